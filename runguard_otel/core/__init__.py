"""What decides. Standard library only: no LiveKit, no OpenTelemetry, no I/O, no global clock."""

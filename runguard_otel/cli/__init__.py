"""The command line: ``runguard-otel``."""

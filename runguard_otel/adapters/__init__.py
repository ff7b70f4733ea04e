"""The host: everything that touches LiveKit."""

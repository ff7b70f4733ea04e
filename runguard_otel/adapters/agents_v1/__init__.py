"""livekit-agents 1.x: every place we touch in the host, one module per concern."""

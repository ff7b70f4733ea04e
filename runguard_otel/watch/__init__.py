"""The server's view: loops of agents in any language, as the LiveKit server sees them."""

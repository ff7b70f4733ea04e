"""Stand-ins for what cannot be on a laptop: paid providers and the LiveKit server.

Used by the demonstration and by the tests. Everything else on stage is real.
"""

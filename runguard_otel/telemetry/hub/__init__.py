"""The hub: job processes write, their worker counts."""

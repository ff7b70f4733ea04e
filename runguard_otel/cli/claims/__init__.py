"""runguard-otel claims: look at claims, let go of one, prepare a registry."""

"""runguard-otel doctor: what works here, what is degraded, and what to do about it."""

"""``runguard-otel export``: what ships with the package, for the tools that read it."""

"""``runguard-otel cost``: the prices in force, an estimate of a loop, and who costs most today."""

"""What was used: streams, metrics events and connections, reported to be priced."""

"""Who may serve a room: registries that keep claims, and the holder that keeps one alive."""

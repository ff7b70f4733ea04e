"""Who may serve a room: registries that keep claims, and the keeper that keeps one alive."""

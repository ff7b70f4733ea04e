"""room_reconnect: the application's connects, and what the SDK does between them."""

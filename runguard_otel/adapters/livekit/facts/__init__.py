"""What LiveKit is: every private name of the host, and every difference between its releases."""

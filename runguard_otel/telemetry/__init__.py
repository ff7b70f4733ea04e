"""What we emit: the catalogue of all names, and the ways from an event to a backend."""

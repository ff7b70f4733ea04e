"""The demonstration: every storm on real parts, guards off and on, with the same input."""

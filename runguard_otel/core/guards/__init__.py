"""The guards: pure policies, and the published classes that work alone."""

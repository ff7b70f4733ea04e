"""Where claims are kept: one package or module per backend, opened by URL."""

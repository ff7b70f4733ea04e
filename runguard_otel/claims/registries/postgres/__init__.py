"""Claims in PostgreSQL: lease rows, or advisory locks."""

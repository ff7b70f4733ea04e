"""Measurements behind every claim of speed or size. Nothing here is a timed test."""

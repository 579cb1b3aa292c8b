"""Checks of what stands in a run folder, each of them by blocks."""

"""Imagery in all its forms, as one raster."""

"""A coarse map of the whole raster first, refined where it matters most."""

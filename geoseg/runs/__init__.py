"""Many rasters in one go."""

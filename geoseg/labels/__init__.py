"""Labels in the forms that people have them, brought onto the grid of their rasters."""

"""What polygons are drawn with: borders of label rasters as shared arcs."""

"""What is made of stitched rasters: objects, polygons, roads, areas, formats."""

"""A folder in which rasters appear: each is segmented once, and all of them become one GeoPackage."""

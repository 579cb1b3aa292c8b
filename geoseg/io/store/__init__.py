"""Where chunks lie until they are stitched."""

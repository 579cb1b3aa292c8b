"""What geoseg does, as algorithms of Processing."""

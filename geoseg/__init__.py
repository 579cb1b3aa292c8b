"""geoseg turns large rasters into maps: classes, buildings and roads."""

__version__ = "0.2.0"

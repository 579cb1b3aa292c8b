"""Rasters that geoseg writes."""

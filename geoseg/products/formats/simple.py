"""Formats that GDAL streams: FlatGeobuf and GeoJSON, a file for each layer."""

from pathlib import Path

from geoseg.io.arrow import copy_features
from geoseg.products.formats.run import GEOMETRY_TYPES, RunProducts

_DEGREES = "9"
"""Decimals of a degree, a tenth of a millimetre: pixels of drones are a few millimetres wide."""


def write_flatgeobuf(products: RunProducts, target: Path) -> None:
    """Write ``<layer>.fgb`` in the CRS of the run, with its spatial index."""
    for layer in products.layers():
        copy_features(products.features, layer, target / f"{layer}.fgb", "FlatGeobuf", GEOMETRY_TYPES[layer])


def write_geojson(products: RunProducts, target: Path) -> None:
    """Write ``<layer>.geojson`` as RFC 7946 has it: degrees of WGS 84, shells counterclockwise, cut at the antimeridian."""
    options = {"RFC7946": "YES", "COORDINATE_PRECISION": _DEGREES}
    for layer in products.layers():
        copy_features(products.features, layer, target / f"{layer}.geojson", "GeoJSON", GEOMETRY_TYPES[layer], layer_options=options)

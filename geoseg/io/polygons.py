"""Polygons of vector files that say where: areas of interest, what is excluded, zones."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from geoseg.errors import UsageError
from geoseg.io.columns import RESERVED, drop_columns
from geoseg.io.vector import read_vector


def read_polygons(path: Path, crs: object, what: str) -> gpd.GeoDataFrame:
    """Read the polygons of a vector file into a CRS (None keeps its own), with edges that stay where they are drawn.

    Args:
        path: The file; its other features are left out.
        crs: A CRS.
        what: What they are, for messages, for example ``area of interest``.

    Returns:
        Valid polygons and multipolygons, with their columns.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it is no vector file, declares no CRS, or holds no polygon.
    """
    table = read_vector(path, crs, follow_edges=True)
    table = table.set_geometry(table.geometry.map(take_polygons))
    polygons = table[table.geom_type.isin(["Polygon", "MultiPolygon"])].reset_index(drop=True)
    if polygons.empty:
        raise UsageError(f"The {what} {path} holds {len(table)} features and no polygon. Give a vector file with polygons.")
    return polygons


def read_zones(path: Path, geobox: GeoBox | None = None) -> gpd.GeoDataFrame:
    """Read zones that areas are added up in, all of them with their columns.

    Args:
        path: Vector file of polygons.
        geobox: Grid whose CRS they are brought into; None keeps theirs.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it is no vector file, declares no CRS, or holds no polygon, or none that touches the grid.
    """
    zones = read_polygons(path, None if geobox is None else geobox.crs, "file of zones")
    if geobox is not None and not zones.intersects(geobox.extent.geom).any():
        raise UsageError(
            f"None of the {len(zones)} zones in {path} touches the raster: they span {np.round(zones.total_bounds, 3).tolist()} in the "
            f"CRS of the raster, which spans {np.round(tuple(geobox.boundingbox.bbox), 3).tolist()}. Check its CRS."
        )
    return drop_columns(zones, RESERVED)


def take_polygons(shape: BaseGeometry | None) -> BaseGeometry | None:
    """Return the polygons of a collection, which a polygon with a spike becomes when it is repaired; other shapes stay."""
    if not isinstance(shape, shapely.GeometryCollection):
        return shape
    parts = shapely.get_parts(shapely.get_parts(shape))
    polygons = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    if len(polygons) == 0:
        return shape
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons.tolist())

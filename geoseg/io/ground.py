"""Lengths and areas on the ground, in every CRS: degrees and web mercator are not metres."""

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

_GEOD = Geod(ellps="WGS84")
_SAMPLED_ROWS = 257


def pixel_step_m(geobox: GeoBox, row: float | None = None) -> tuple[float, float]:
    """Measure one pixel on the ground, at the middle column.

    Args:
        geobox: Grid with a CRS.
        row: Where to measure; None takes the middle row.

    Returns:
        Width and height of the pixel in metres, along its own axes.
    """
    middle = geobox.shape[0] / 2 if row is None else row
    width, height = pixel_steps_m(geobox, np.asarray([middle]))
    return float(width[0]), float(height[0])


def pixel_steps_m(geobox: GeoBox, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure pixels of given rows on the ground, at the middle column.

    Args:
        geobox: Grid with a CRS.
        rows: (n,) row coordinates, fractional allowed.

    Returns:
        Widths and heights in metres, each (n,).
    """
    col = np.full(len(rows), geobox.shape[1] / 2)
    east = _lonlat(geobox, col - 0.5, rows), _lonlat(geobox, col + 0.5, rows)
    south = _lonlat(geobox, col, rows - 0.5), _lonlat(geobox, col, rows + 0.5)
    width = _GEOD.inv(*east[0], *east[1])[2]
    height = _GEOD.inv(*south[0], *south[1])[2]
    return np.asarray(width), np.asarray(height)


def pixel_size_m(geobox: GeoBox) -> float:
    """Return the side in metres of a square as large as the middle pixel."""
    width, height = pixel_step_m(geobox)
    return float(np.sqrt(width * height))


def row_areas_m2(geobox: GeoBox) -> NDArray[np.float64]:
    """Return the area of one pixel of each row, (H,) in m2: constant on no map but true on the ground."""
    height = geobox.shape[0]
    sampled = np.linspace(0.5, height - 0.5, min(height, _SAMPLED_ROWS))
    widths, heights = pixel_steps_m(geobox, sampled)
    return np.interp(np.arange(height) + 0.5, sampled, widths * heights)


def measure_polygons(geometries: NDArray[np.object_], crs: object) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return areas in m2 and perimeters in m on the WGS 84 ellipsoid, each (n,)."""
    shapes = _to_lonlat(geometries, crs)
    areas = np.array([abs(_GEOD.geometry_area_perimeter(g)[0]) for g in shapes], np.float64)
    return areas, np.array([_GEOD.geometry_length(g) for g in shapely.boundary(shapes)], np.float64)


def measure_lines(geometries: NDArray[np.object_], crs: object) -> NDArray[np.float64]:
    """Return lengths in m on the WGS 84 ellipsoid, (n,)."""
    return np.array([_GEOD.geometry_length(g) for g in _to_lonlat(geometries, crs)], np.float64)


def _to_lonlat(geometries: NDArray[np.object_], crs: object) -> NDArray[np.object_]:
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    shapes = np.asarray(geometries, dtype=object)

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(to_degrees.transform(points[:, 0], points[:, 1]))

    return np.asarray(shapely.orient_polygons(shapely.transform(shapes, project)))


def _lonlat(geobox: GeoBox, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b, c, d, e, f = tuple(geobox.transform)[:6]
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    lon, lat = Transformer.from_crs(geobox.crs, "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(lon), np.asarray(lat)

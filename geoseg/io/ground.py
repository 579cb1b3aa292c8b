"""Lengths and areas on the ground, in every CRS: degrees and web mercator are not metres."""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

_GEOD = Geod(ellps="WGS84")
_SAMPLED_ROWS = 257
_SAMPLED_COLS = 9


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
    width, height, _ = _measure_pixels(geobox, np.full(len(rows), geobox.shape[1] / 2), rows)
    return width, height


def _measure_pixels(
    geobox: GeoBox, cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return widths and heights in m and areas in m2 of pixels around places; where a projection shears, a pixel is no rectangle."""
    right, lower = _lonlat(geobox, cols + 0.5, rows), _lonlat(geobox, cols, rows + 0.5)
    width = _GEOD.inv(*_lonlat(geobox, cols - 0.5, rows), *right)[2]
    height = _GEOD.inv(*_lonlat(geobox, cols, rows - 0.5), *lower)[2]
    # directions from one point, which may be a pole
    middle = _lonlat(geobox, cols, rows)
    across, down = (np.asarray(_GEOD.inv(*middle, *side)[0]) for side in (right, lower))
    slant = np.abs(np.sin(np.radians(across - down)))
    return np.asarray(width), np.asarray(height), np.asarray(width * height * slant)


def pixel_size_m(geobox: GeoBox) -> float:
    """Return the side in metres of a square as large as the middle pixel."""
    height, width = geobox.shape
    *_, area = _measure_pixels(geobox, np.array([width / 2]), np.array([height / 2]))
    return float(np.sqrt(area[0]))


def row_areas_m2(geobox: GeoBox) -> NDArray[np.float64]:
    """Return the area of one pixel of each row, (H,) in m2: constant on no map but true on the ground.

    Where areas change along a row as well, as they do over wide rasters, it is the mean over what of a row lies on the globe.
    """
    height, width = geobox.shape
    rows = np.linspace(0.5, height - 0.5, min(height, _SAMPLED_ROWS))
    cols = (np.arange(min(width, _SAMPLED_COLS)) + 0.5) * width / min(width, _SAMPLED_COLS)
    across, down = np.meshgrid(cols, rows)
    *_, areas = _measure_pixels(geobox, across.ravel(), down.ravel())
    table = areas.reshape(across.shape)
    there = np.isfinite(table)
    known = there.any(axis=1)
    if not known.any():
        return np.full(height, np.nan)
    means = np.where(there, table, 0)[known].sum(axis=1) / there[known].sum(axis=1)
    return np.asarray(np.interp(np.arange(height) + 0.5, rows[known], means), np.float64)


def measure_polygons(geometries: NDArray[np.object_], crs: object) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return areas in m2 and perimeters in m on the WGS 84 ellipsoid, each (n,), of polygons whose edges are straight in their CRS."""
    shapes = np.asarray(geometries, dtype=object)
    return measure_areas(shapes, crs), measure_lines(np.asarray(shapely.boundary(shapes)), crs)


def measure_areas(geometries: NDArray[np.object_], crs: object) -> NDArray[np.float64]:
    """Return areas in m2 on the WGS 84 ellipsoid, (n,), of polygons and multipolygons whose edges are straight in their CRS.

    An edge bounds the ground between it and the equator: its span of longitude times the mean of q of its two ends, with q the
    area function of the authalic latitude (Snyder 1987, equation 3-12). Edges are cut to a kilometre first, since neither
    straight lines nor q are straight over longer ones.
    """
    if shapely.is_empty(geometries).all():
        return np.zeros(len(geometries))
    kind, points, offsets = _cut_edges(np.asarray(geometries, dtype=object), _units_of(1000.0, crs))
    lon, lat = (np.radians(degrees) for degrees in _transform(points[:, 0], points[:, 1], crs))
    q = _authalic(np.sin(lat))
    # only what crosses the antimeridian is brought around: adding and taking away pi would cost a square centimetre an edge
    span = np.diff(lon)
    span -= 2 * np.pi * np.rint(span / (2 * np.pi))
    starts = offsets[0]
    bounded = _sum_rings(span * (q[1:] + q[:-1]) / 2, starts)
    around_pole = np.abs(_sum_rings(span, starts)) > np.pi
    rings = np.where(around_pole, 2 * np.pi * _authalic(np.ones(1)) - np.abs(bounded), np.abs(bounded)) * _GEOD.a**2 / 2
    shells = offsets[1]
    rings[np.setdiff1d(np.arange(len(rings)), shells)] *= -1
    areas = _sum_groups(rings, shells)
    return areas if kind == shapely.GeometryType.POLYGON else _sum_groups(areas, offsets[2])


def _sum_groups(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Add up groups that follow one another; those of empty shapes have no values, for which ``reduceat`` would take the next one's."""
    filled = np.diff(offsets) > 0
    sums = np.zeros(len(filled))
    sums[filled] = np.add.reduceat(values, offsets[:-1][filled])
    return sums


def _cut_edges(geometries: NDArray[np.object_], longest: float) -> tuple[Any, NDArray[np.float64], tuple[NDArray[np.int64], ...]]:
    """Return geometries as ragged arrays, without edges that are longer; cutting is slow, so only where there are any."""
    ragged: tuple[Any, NDArray[np.float64], tuple[NDArray[np.int64], ...]] = shapely.to_ragged_array(geometries)
    steps = np.hypot(*np.diff(ragged[1], axis=0).T)
    # the step from the end of a ring to the next one is no edge
    steps[ragged[2][0][1:-1] - 1] = 0
    if steps.max(initial=0.0) > longest:
        ragged = shapely.to_ragged_array(shapely.segmentize(geometries, longest))
    return ragged


def measure_lines(geometries: NDArray[np.object_], crs: object) -> NDArray[np.float64]:
    """Return lengths in m on the WGS 84 ellipsoid, (n,), of lines and multilines."""
    parts, whole = shapely.get_parts(np.asarray(geometries, dtype=object), return_index=True)
    points, line = shapely.get_coordinates(parts, return_index=True)
    lon, lat = _transform(points[:, 0], points[:, 1], crs)
    steps = _GEOD.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])[2]
    along = line[1:] == line[:-1]
    return np.asarray(np.bincount(whole[line[1:][along]], np.asarray(steps)[along], minlength=len(geometries)), np.float64)


def _sum_rings(steps: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Add up what belongs to the edges of each ring; the step from one ring to the next belongs to none."""
    within = steps.copy()
    within[starts[1:-1] - 1] = 0
    return np.add.reduceat(within, starts[:-1])


def _authalic(sine: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.sqrt(_GEOD.es)
    return np.asarray((1 - _GEOD.es) * (sine / (1 - _GEOD.es * sine**2) + np.arctanh(e * sine) / e))


def _units_of(length_m: float, crs: object) -> float:
    """Return about how many units of a CRS a length is."""
    known = CRS.from_user_input(crs)
    factor = known.axis_info[0].unit_conversion_factor
    return length_m / (factor * _GEOD.a if known.is_geographic else factor)


def _transform(x: NDArray[np.float64], y: NDArray[np.float64], crs: object) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def _lonlat(geobox: GeoBox, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b, c, d, e, f = tuple(geobox.transform)[:6]
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    return _transform(x, y, geobox.crs)

"""Areas of classes in zones, such as districts: true square metres on the ground, whatever the CRS."""

from collections.abc import Callable, Collection
from functools import partial

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely import STRtree
from shapely.geometry import mapping

from geoseg.io.columns import replace_columns
from geoseg.io.ground import measure_areas, row_areas_m2
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.tiling import partition

_BLOCK_PX = 1024
_MANY_VERTICES = 256
_AROUND_PX = 1.37


def measure_zones(
    read: Callable[[Window], NDArray[np.uint8]], scheme: ClassScheme, geobox: GeoBox, zones: gpd.GeoDataFrame
) -> gpd.GeoDataFrame:
    """Add up the area of each class in each zone, block by block.

    A pixel on the border of a zone counts by the part of it that lies inside (exactextract), times its area on the ellipsoid, so that
    areas are right in degrees and web mercator too.

    Args:
        read: Returns the class map of a window.
        scheme: Its classes.
        geobox: Its grid.
        zones: Polygons in the CRS of the grid.

    Returns:
        The zones with ``zone_m2`` (the whole zone), ``mapped_m2`` (of it with data), and a column ``<class>_m2`` for each class;
        with ``_class`` before ``_m2`` where a column is called so already.
    """
    polygons = zones.geometry.to_numpy()
    placed = shapely.transform(polygons, partial(place_on_pixels, ~geobox.transform))
    tree, areas = STRtree(placed), row_areas_m2(geobox)
    # a column for each class, one for what else there is, and one that takes nodata
    column = np.full(NODATA_CLASS + 1, len(scheme))
    column[[*scheme.values, NODATA_CLASS]] = [*range(len(scheme)), len(scheme) + 1]
    total = np.zeros((len(zones), len(scheme) + 2))
    for window in partition((int(geobox.shape[0]), int(geobox.shape[1])), _BLOCK_PX):
        inside = tree.query(shapely.box(*bounds_on_pixels(window)), predicate="intersects")
        if len(inside):
            rows = areas[window.row_off : window.row_off + window.height]
            total[inside] += _measure_block(read(window), rows, window, placed[inside], column)
    columns = {"zone_m2": measure_areas(polygons, geobox.crs), "mapped_m2": total[:, :-1].sum(axis=1)}
    for index, row in enumerate(scheme):
        columns[_name_column(row.name, columns)] = total[:, index]
    return replace_columns(zones, {name: np.round(values, 2) for name, values in columns.items()})


def _name_column(name: str, taken: Collection[str]) -> str:
    """Return a name for the area of a class; names in a GeoPackage differ by more than capitals."""
    while f"{name}_m2".lower() in {column.lower() for column in taken}:
        name = f"{name}_class"
    return f"{name}_m2"


def place_on_pixels(inverse: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place points on a grid of pixels of 1 x 1 that is north-up, whatever the raster: y is the row, downwards."""
    a, b, c, d, e, f = tuple(inverse)[:6]
    x, y = points.T
    return np.column_stack([a * x + b * y + c, -(d * x + e * y + f)])


def bounds_on_pixels(window: Window) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a window on that grid."""
    return window.col_off, -(window.row_off + window.height), window.col_off + window.width, -window.row_off


def clip_around(polygons: NDArray[np.object_], window: Window) -> NDArray[np.object_]:
    """Return polygons on that grid, those of many vertices without what lies far from a window that they meet."""
    large = np.flatnonzero(shapely.get_num_coordinates(polygons) > _MANY_VERTICES)
    left, bottom, right, top = bounds_on_pixels(window)
    # no border of pixels lies on the sides, where clipping is not exact
    clipped = shapely.clip_by_rect(polygons[large], left - _AROUND_PX, bottom - _AROUND_PX, right + _AROUND_PX, top + _AROUND_PX)
    kinds = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
    sound = np.isin(shapely.get_type_id(clipped), kinds) & ~shapely.is_empty(clipped)
    found = polygons.copy()
    found[large[sound]] = clipped[sound]
    return found


def _measure_block(
    block: NDArray[np.uint8],
    row_area_m2: NDArray[np.float64],
    window: Window,
    polygons: NDArray[np.object_],
    column: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the area of each value in each polygon, (n, columns), by the column (256,) of each value."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    left, bottom, right, top = bounds_on_pixels(window)
    extent = {"xmin": left, "ymin": bottom, "xmax": right, "ymax": top}
    weights = NumPyRasterSource(np.broadcast_to(row_area_m2[:, None], block.shape).copy(), **extent)
    shapes = [{"type": "Feature", "geometry": mapping(polygon), "properties": {}} for polygon in clip_around(polygons, window)]
    found = exact_extract(NumPyRasterSource(block, **extent), shapes, ["values", "coverage", "weights"], weights=weights)
    each = [row["properties"] for row in found]
    count = int(column.max()) + 1
    return np.stack([np.bincount(column[row["values"]], row["coverage"] * row["weights"], minlength=count) for row in each])

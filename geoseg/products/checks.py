"""Features that rules single out, by a column that says why."""

from collections.abc import Callable, Sequence
from functools import partial

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.checkrules import CheckRule
from geoseg.io.ground import pixel_step_m
from geoseg.pixels.classes import ClassKind, ClassScheme
from geoseg.products.zonal import measure_zones

CHECK = "check"
"""The column; empty where no rule applies."""
_KINDS = {"buildings": ClassKind.BUILDING, "roads": ClassKind.ROAD}


def mark_features(
    table: gpd.GeoDataFrame,
    rules: Sequence[CheckRule],
    read: Callable[[Window], NDArray[np.uint8]],
    scheme: ClassScheme,
    geobox: GeoBox,
) -> tuple[gpd.GeoDataFrame, dict[str, int]]:
    """Add the column ``check``: the names of the rules that apply to a feature, parted by semicolons.

    Args:
        table: Buildings or roads, in the CRS of the grid.
        rules: Those about this layer, at least one.
        read: Returns the class map of a window; it is read block by block.
        scheme: Its classes.
        geobox: Its grid.

    Returns:
        The table, and the number of features of each rule.
    """
    found = {rule.name: _applies(rule, table, read, scheme, geobox) for rule in rules}
    said = ["; ".join(name for name, true in found.items() if true[row]) for row in range(len(table))]
    return table.assign(**{CHECK: said}), {name: int(true.sum()) for name, true in found.items()}


def _applies(
    rule: CheckRule, table: gpd.GeoDataFrame, read: Callable[[Window], NDArray[np.uint8]], scheme: ClassScheme, geobox: GeoBox
) -> NDArray[np.bool_]:
    true = np.ones(len(table), np.bool_)
    if rule.smaller_m2 is not None:
        true &= table["area_m2"].to_numpy() < rule.smaller_m2
    if rule.larger_m2 is not None:
        true &= table["area_m2"].to_numpy() > rule.larger_m2
    if rule.score_below is not None:
        true &= table["score"].to_numpy() < rule.score_below
    rows = np.flatnonzero(true)
    if rule.surrounded_by is not None and len(rows):
        true[rows] = _share_around(table.iloc[rows], rule, read, scheme, geobox) >= rule.min_share
    return true


def _share_around(
    table: gpd.GeoDataFrame, rule: CheckRule, read: Callable[[Window], NDArray[np.uint8]], scheme: ClassScheme, geobox: GeoBox
) -> NDArray[np.float64]:
    """Return the share of the class around each feature; 0 where nothing around it counts."""
    rings = gpd.GeoDataFrame(geometry=_rings(table, rule, geobox), crs=table.crs)
    measured = measure_zones(read, scheme, geobox, rings)
    counted = measured["mapped_m2"].to_numpy().copy()
    for row in scheme.of_kind(_KINDS[rule.layer]):
        counted -= measured[f"{row.name}_m2"].to_numpy()
    share: NDArray[np.float64] = measured[f"{rule.surrounded_by}_m2"].to_numpy()
    return np.asarray(np.divide(share, counted, out=np.zeros(len(table)), where=counted > 0))


def _rings(table: gpd.GeoDataFrame, rule: CheckRule, geobox: GeoBox) -> NDArray[np.object_]:
    """Return what lies around each feature, so many metres wide on the ground."""
    step_x, step_y = pixel_step_m(geobox)
    to_metres = Affine.scale(step_x, step_y) @ ~geobox.transform
    shapes = shapely.transform(table.geometry.to_numpy(), partial(_place, to_metres))
    if rule.layer == "roads":
        shapes = shapely.buffer(shapes, table["width_m"].to_numpy() / 2)
    around = shapely.difference(shapely.buffer(shapes, rule.around_m), shapes)
    return np.asarray(shapely.transform(around, partial(_place, ~to_metres)))


def _place(transform: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c, d, e, f = tuple(transform)[:6]
    x, y = points[:, 0], points[:, 1]
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])

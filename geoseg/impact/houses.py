"""Buildings in water."""

from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.impact.flood import Flood, FloodAreas
from geoseg.impact.metric import move
from geoseg.impact.options import ImpactOptions
from geoseg.io.columns import replace_columns

BUILDING_STATES = ("flooded", "dry", "unknown")
_ROOF_RING_M = 2.0
"""Ring around roofs that hide the ground."""


def measure_buildings(table: gpd.GeoDataFrame, flood: Flood, options: ImpactOptions, metric: CRS) -> gpd.GeoDataFrame:
    """Measure how much of each building is under water, and tell which are flooded.

    A building is flooded if the share of it that is surely under water reaches the threshold, dry if it stays below with
    all that is not known counted as water, else unknown.

    Args:
        table: Multipolygons in the flood's CRS.
        flood: The water.
        options: Threshold, and ring around footprints.
        metric: CRS in metres.

    Returns:
        The table with ``building_id, area_m2, flooded_m2, flooded_share, permanent_share, unknown_share, state`` and, where there is
        a ring, ``around_share``.
    """
    outlines = table.geometry.to_numpy()
    areas = flood.measure(outlines)
    least, most = _shares(areas)
    columns: dict[str, NDArray[Any]] = {
        "building_id": np.arange(1, len(table) + 1),
        "area_m2": areas.whole_m2.round(2),
        "flooded_m2": areas.flooded_m2.round(2),
        "flooded_share": least.round(4),
        "permanent_share": _divide(areas.permanent_m2, areas.whole_m2).round(4),
        "unknown_share": _divide(areas.unknown_m2, areas.whole_m2).round(4),
    }
    around_m = options.around_m if options.around_m is not None else (_ROOF_RING_M if flood.hides_ground else 0.0)
    if around_m > 0:
        flat = move(outlines, flood.crs, metric)
        rings = shapely.difference(shapely.buffer(flat, around_m), flat)
        least_around, most_around = _shares(flood.measure(move(rings, metric, flood.crs)))
        columns["around_share"] = least_around.round(4)
        least, most = np.maximum(least, least_around), np.maximum(most, most_around)
    threshold = options.flooded_from
    columns["state"] = np.where(least >= threshold, "flooded", np.where(most < threshold, "dry", "unknown")).astype(object)
    return replace_columns(table, columns)


def _shares(areas: FloodAreas) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share that is surely under water, and the one with all that is not known."""
    return _divide(areas.flooded_m2, areas.whole_m2), _divide(areas.flooded_m2 + areas.unknown_m2, areas.whole_m2)


def _divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0), 0.0, 1.0)

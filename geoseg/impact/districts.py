"""What the flood did by zone."""

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely import STRtree

from geoseg.impact.flood import FLOODED, Flood
from geoseg.impact.streets import CutNetwork, draw_stretches
from geoseg.io.columns import replace_columns
from geoseg.io.ground import measure_lines


def measure_zones_hit(
    zones: gpd.GeoDataFrame, flood: Flood, buildings: gpd.GeoDataFrame | None, roads: CutNetwork | None
) -> gpd.GeoDataFrame:
    """Add up areas, buildings, roads and people by zone.

    A building counts where its inner point lies, a road by the length inside, a cut road wherever a stretch that cuts it lies.

    Args:
        zones: Polygons in the flood's CRS.
        flood: The water.
        buildings: Buildings with ``state``, and with ``access`` and ``people`` if they are known.
        roads: Roads.

    Returns:
        The zones with ``zone_id, zone_m2, flooded_m2, permanent_m2, unknown_m2`` and counts.
    """
    areas = flood.measure(zones.geometry.to_numpy())
    columns: dict[str, NDArray[np.generic]] = {
        "zone_id": np.arange(1, len(zones) + 1),
        "zone_m2": areas.whole_m2.round(2),
        "flooded_m2": areas.flooded_m2.round(2),
        "permanent_m2": areas.permanent_m2.round(2),
        "unknown_m2": areas.unknown_m2.round(2),
    }
    if buildings is not None:
        columns |= _count_buildings(zones, buildings)
    if roads is not None:
        columns |= _measure_roads(zones, roads)
    return replace_columns(zones, columns)


def _count_buildings(zones: gpd.GeoDataFrame, buildings: gpd.GeoDataFrame) -> dict[str, NDArray[np.generic]]:
    # that of the polygon lies in it, that of its bounds may not
    points = shapely.point_on_surface(buildings.geometry.to_numpy())
    building, zone = STRtree(zones.geometry.to_numpy()).query(points, predicate="within")
    # zones may overlap; a building then counts in each of them
    rows = pd.DataFrame({"buildings": np.ones(len(building), np.int64)})
    state = buildings["state"].to_numpy()[building]
    rows["flooded_buildings"] = (state == "flooded").astype(np.int64)
    rows["unknown_buildings"] = (state == "unknown").astype(np.int64)
    is_lost = buildings["access"].to_numpy()[building] == "cut off" if "access" in buildings.columns else None
    if is_lost is not None:
        rows["cut_off_buildings"] = is_lost.astype(np.int64)
    if "people" in buildings.columns:
        people = buildings["people"].to_numpy()[building]
        rows["people_in_buildings"] = people
        rows["people_flooded"] = np.where(state == "flooded", people, 0.0)
        if is_lost is not None:
            rows["people_cut_off"] = np.where(is_lost, people, 0.0)
    sums = rows.groupby(zone).sum().reindex(np.arange(len(zones)), fill_value=0)
    return {name: sums[name].to_numpy().round(2) for name in sums.columns}


def _measure_roads(zones: gpd.GeoDataFrame, roads: CutNetwork) -> dict[str, NDArray[np.generic]]:
    shapes, crs = zones.geometry.to_numpy(), str(zones.crs.to_wkt())
    lines = roads.table.geometry.to_numpy()
    flooded = draw_stretches(roads.stretches.of(FLOODED), roads.network)
    zone, stretch = STRtree(roads.cuts.geometry.to_numpy()).query(shapes, predicate="intersects")
    pairs = np.unique(np.column_stack([zone, roads.cuts["edge_id"].to_numpy()[stretch]]), axis=0)
    return {
        "road_m": _length_inside(shapes, lines, crs).round(2),
        "flooded_road_m": _length_inside(shapes, flooded, crs).round(2),
        "cut_roads": np.bincount(pairs[:, 0].astype(np.int64), minlength=len(zones)),
    }


def _length_inside(zones: NDArray[np.object_], lines: NDArray[np.object_], crs: str) -> NDArray[np.float64]:
    zone, line = STRtree(zones).query(lines, predicate="intersects")[::-1] if len(lines) else (np.zeros(0, int), np.zeros(0, int))
    parts, owner = shapely.get_parts(shapely.intersection(zones[zone], lines[line]), return_index=True)
    is_line = shapely.get_type_id(parts) == shapely.GeometryType.LINESTRING
    lengths = measure_lines(parts[is_line], crs) if is_line.any() else np.zeros(0)
    return np.bincount(zone[owner[is_line]], lengths, minlength=len(zones)).astype(np.float64)

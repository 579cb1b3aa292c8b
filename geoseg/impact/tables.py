"""What an impact is: tables and totals."""

from dataclasses import dataclass
from typing import Any

import geopandas as gpd

from geoseg.impact.houses import BUILDING_STATES
from geoseg.impact.streets import ROAD_STATES, CutNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What a flood did; tables of what was not given are None. All are in the CRS of the flood."""

    buildings: gpd.GeoDataFrame | None
    """Buildings with ``building_id, state, flooded_share``, and ``depth_max_m, people, access, place_id`` as far as they are known."""
    roads: gpd.GeoDataFrame | None
    """Roads with ``edge_id, from_node, to_node, state, flooded_m, longest_m, unknown_m``."""
    cuts: gpd.GeoDataFrame | None
    """Stretches that cut roads with ``edge_id, from_m, to_m, length_m``."""
    places: gpd.GeoDataFrame | None
    """Places cut off with ``place_id, road_m, buildings, flooded_buildings``, and ``people``."""
    zones: gpd.GeoDataFrame | None
    """Zones with areas, counts and people."""
    totals: dict[str, Any]
    """Counts, metres, square metres and people."""
    warnings: tuple[str, ...]
    """What the reader should know."""
    network: CutNetwork | None
    """Roads with the stretches that are in water."""


def summarize(
    buildings: gpd.GeoDataFrame | None, roads: CutNetwork | None, places: gpd.GeoDataFrame | None, elsewhere: float | None
) -> dict[str, Any]:
    """Add up tables.

    Args:
        buildings: Measured buildings.
        roads: Cut roads.
        places: Places cut off.
        elsewhere: People of pixels without a building.
    """
    totals: dict[str, Any] = {}
    if buildings is not None:
        totals["buildings"] = _sum_buildings(buildings)
        if elsewhere is not None:
            totals["people"] = _sum_people(buildings) | {"without_building": round(elsewhere, 1)}
    if roads is not None:
        table = roads.table
        count = table["state"].value_counts()
        totals["roads"] = {"count": len(table), **{state.replace(" ", "_"): int(count.get(state, 0)) for state in ROAD_STATES}}
        totals["roads"] |= {name: round(float(table[name].sum()), 1) for name in ("length_m", "flooded_m", "permanent_m", "unknown_m")}
    if places is not None:
        totals["places"] = {"count": len(places), "road_m": round(float(places["road_m"].sum()), 1)}
    return totals


def _sum_buildings(buildings: gpd.GeoDataFrame) -> dict[str, Any]:
    count = buildings["state"].value_counts()
    found: dict[str, Any] = {"count": len(buildings), **{state: int(count.get(state, 0)) for state in BUILDING_STATES}}
    found |= {"area_m2": round(float(buildings["area_m2"].sum()), 1), "flooded_m2": round(float(buildings["flooded_m2"].sum()), 1)}
    if "access" in buildings.columns:
        found |= {name.replace(" ", "_"): int((buildings["access"] == name).sum()) for name in ("cut off", "road flooded")}
    if "depth_max_m" in buildings.columns:
        depth = buildings["depth_max_m"].dropna()
        found["deepest_m"] = round(float(depth.max()), 2) if len(depth) else None
    return found


def _sum_people(buildings: gpd.GeoDataFrame) -> dict[str, Any]:
    people = buildings["people"]
    found = {"in_buildings": round(float(people.sum()), 1)}
    found["flooded"] = round(float(people[buildings["state"] == "flooded"].sum()), 1)
    if "access" in buildings.columns:
        found["cut_off"] = round(float(people[buildings["access"] == "cut off"].sum()), 1)
    return found

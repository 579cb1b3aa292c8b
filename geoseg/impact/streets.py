"""Roads in water, and places that they no longer reach."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import UsageError
from geoseg.impact.flood import FLOODED, PERMANENT, UNKNOWN, Flood, Stretches, cut_into_segments
from geoseg.impact.junctions import reach_length
from geoseg.impact.metric import move
from geoseg.impact.network import Network
from geoseg.impact.options import ImpactOptions
from geoseg.impact.reach import Access, Pieces, Spots, cut_lines, draw_pieces, find_spots, split_network
from geoseg.io.columns import replace_columns
from geoseg.io.vector import read_vector

ROAD_STATES = ("cut", "cut off", "open")
_LEAST_M = 1.0
"""Dry road that a place has at least."""
_HULL_M = 10.0
"""Margin around the roads and buildings of a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutNetwork:
    """Roads in a flood."""

    network: Network
    """The roads before."""
    stretches: Stretches
    """Their parts in water and where nothing is known."""
    pieces: Pieces
    """What is left of them."""
    dry_m: NDArray[np.float64]
    """(pieces,) metres of each that lie on the ground, not over a river."""
    is_cut: NDArray[np.bool_]
    """(edges,) whether nobody passes."""
    cuts: gpd.GeoDataFrame
    """The stretches that cut them; see :func:`list_cuts`."""
    table: gpd.GeoDataFrame
    """The roads with ``flooded_m, flooded_share, longest_m, permanent_m, unknown_m, bridge, state``."""


def cut_network(network: Network, flood: Flood, options: ImpactOptions, origins: NDArray[np.object_]) -> CutNetwork:
    """Cut roads by water, and find out what is connected still.

    Args:
        network: The roads.
        flood: The water.
        options: Length from which a stretch cuts.
        origins: Points in metres that must be reached; without any, the largest part that is left.
    """
    count, length = len(network), network.length_m
    stretches = flood.cut(cut_into_segments(network.roads.geometry.to_numpy(), flood.crs))
    wet = stretches.of(FLOODED)
    on_ground = wet.take(~network.is_bridge[wet.line])
    cuts = on_ground.take(reach_length(network, on_ground, max(options.min_cut_m, 1e-6)))
    pieces = split_network(network, cuts, find_spots(origins, network) if len(origins) else None)
    dry_m = _measure_dry(pieces, stretches)
    # what is left in the middle of a river is no place
    adrift = np.bincount(pieces.group, dry_m)[pieces.group] < _LEAST_M if len(pieces.group) else np.zeros(0, bool)
    lost = np.where(adrift & (pieces.access == Access.CUT_OFF), Access.ROAD_FLOODED, pieces.access).astype(object)
    pieces = replace(pieces, access=lost)
    is_cut = np.zeros(count, bool)
    is_cut[cuts.line] = True
    is_lost = np.zeros(count, bool)
    is_lost[pieces.edge[pieces.access == Access.CUT_OFF]] = True
    flooded = wet.sum_m(count)
    columns = {
        "length_m": length.round(2),
        "flooded_m": flooded.round(2),
        "flooded_share": np.clip(flooded / length, 0, 1).round(4),
        "longest_m": wet.longest_m(count).round(2),
        "permanent_m": stretches.of(PERMANENT).sum_m(count).round(2),
        "unknown_m": stretches.of(UNKNOWN).sum_m(count).round(2),
        "bridge": network.is_bridge,
        "state": np.where(is_cut, "cut", np.where(is_lost, "cut off", "open")).astype(object),
    }
    table = replace_columns(network.roads, columns)
    return CutNetwork(
        network=network, stretches=stretches, pieces=pieces, dry_m=dry_m, is_cut=is_cut, cuts=list_cuts(network, cuts), table=table
    )


def draw_roads(roads: CutNetwork) -> Iterator[tuple[str, gpd.GeoDataFrame]]:
    """Yield what is left of roads, and what cuts them, by state: cut roads are open or cut off on either side of the water."""
    pieces, crs = roads.pieces, str(roads.table.crs.to_wkt())
    for state, is_lost in (("open", False), ("cut off", True)):
        chosen = np.flatnonzero((pieces.access == Access.CUT_OFF) == is_lost)
        lines = draw_pieces(roads.network.roads.geometry.to_numpy(), roads.network, pieces, chosen)
        yield state, gpd.GeoDataFrame(geometry=lines, crs=crs)
    yield "cut", roads.cuts


def list_cuts(network: Network, cuts: Stretches) -> gpd.GeoDataFrame:
    """Return the stretches that cut roads, with ``edge_id, from_m, to_m, length_m``."""
    columns = {
        "edge_id": network.roads["edge_id"].to_numpy()[cuts.line],
        "from_m": cuts.from_m.round(2),
        "to_m": cuts.to_m.round(2),
        "length_m": (cuts.to_m - cuts.from_m).round(2),
    }
    return gpd.GeoDataFrame(columns, geometry=draw_stretches(cuts, network), crs=network.roads.crs)


def draw_stretches(stretches: Stretches, network: Network) -> NDArray[np.object_]:
    """Return the lines of stretches in the CRS of the roads."""
    return cut_lines(network.roads.geometry.to_numpy()[stretches.line], network.length_m[stretches.line], stretches.from_m, stretches.to_m)


def read_origins(origins: tuple[tuple[float, float] | Path, ...], metric: CRS) -> NDArray[np.object_]:
    """Return the points that must be reached, in metres.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If a file holds no points, or a point lies off the globe.
    """
    points: list[shapely.Geometry] = []
    for origin in origins:
        if isinstance(origin, Path):
            table = read_vector(origin, metric)
            points_only = table.geometry[table.geom_type.isin(["Point", "MultiPoint"]) & ~table.geometry.is_empty]
            found = points_only.explode(ignore_index=True)
            if found.empty:
                raise UsageError(f"{origin} holds {len(table)} features and no point. Give points with --from, or LON,LAT in degrees.")
            points += found.tolist()
        else:
            lon, lat = origin
            if not (-180 <= lon <= 180 and -90 <= lat <= 90):
                raise UsageError(f"--from takes LON,LAT in degrees, for example 85.52,27.63; got {lon:g},{lat:g}.")
            points += move(np.array([shapely.Point(lon, lat)], dtype=object), "EPSG:4326", metric).tolist()
    return np.array(points, dtype=object)


def reach_buildings(buildings: gpd.GeoDataFrame, roads: CutNetwork, options: ImpactOptions, metric: CRS) -> tuple[gpd.GeoDataFrame, Spots]:
    """Tell how buildings are reached: ``access``, and ``road_m``, the distance to their road."""
    spots = find_spots(move(buildings.geometry.to_numpy(), buildings.crs, metric), roads.network, options.reach_m)
    access = np.array([str(value) for value in roads.pieces.judge(spots)], dtype=object)
    return replace_columns(buildings, {"access": access, "road_m": spots.away_m.round(2)}), spots


def list_places(
    roads: CutNetwork, buildings: gpd.GeoDataFrame | None, spots: Spots | None, least_m: float, metric: CRS
) -> tuple[gpd.GeoDataFrame, NDArray[np.int64]]:
    """List what is cut off, the place with most buildings first.

    Args:
        roads: The roads.
        buildings: Buildings with ``state``, and with ``people`` if they are known.
        spots: Where they are reached from.
        least_m: Road that a place without buildings needs.
        metric: CRS in metres.

    Returns:
        Polygons in the CRS of the roads with ``place_id, road_m, buildings, flooded_buildings``, and ``people``; and the place of each
        building, 0 = none.
    """
    pieces = roads.pieces
    lost = np.flatnonzero(pieces.access == Access.CUT_OFF)
    road_m = pd.Series(roads.dry_m[lost]).groupby(pieces.group[lost]).sum()
    places = pd.DataFrame({"road_m": road_m.round(2)})
    group = np.full(0 if buildings is None else len(buildings), -1, np.int64)
    places["buildings"], places["flooded_buildings"] = 0, 0
    if buildings is not None and spots is not None:
        piece = pieces.find(spots)
        there = np.flatnonzero((piece >= 0) & (buildings["access"] == str(Access.CUT_OFF)).to_numpy())
        group[there] = pieces.group[piece[there]]
        places = _count_by(places, group, buildings)
    chosen = places[(places["buildings"] > 0) | (places["road_m"] >= least_m)]
    chosen = chosen.sort_values(["buildings", "road_m"], ascending=False, kind="stable")
    number = dict(zip(chosen.index.tolist(), range(1, len(chosen) + 1), strict=True))
    homes = None if buildings is None else move(buildings.geometry.to_numpy(), buildings.crs, metric)
    at = chosen.index.to_numpy()
    hulls = [
        _outline(draw_pieces(roads.network.metric, roads.network, pieces, lost[own]), None if homes is None else homes[there])
        for own, there in zip(_find_each(pieces.group[lost], at), _find_each(group, at), strict=True)
    ]
    geometry = gpd.GeoSeries(hulls, crs=metric).to_crs(roads.table.crs)
    listed = chosen.reset_index(drop=True)
    listed.insert(0, "place_id", np.arange(1, len(listed) + 1))
    numbers = np.array([number.get(place, 0) for place in group.tolist()], np.int64)
    return gpd.GeoDataFrame(listed, geometry=geometry), numbers


def _find_each(group: NDArray[np.int64], wanted: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return for each of some numbers the positions where it stands."""
    order = np.argsort(group, kind="stable")
    first, last = (np.searchsorted(group, wanted, side, sorter=order) for side in ("left", "right"))
    return [order[start:stop] for start, stop in zip(first, last, strict=True)]


def _measure_dry(pieces: Pieces, stretches: Stretches) -> NDArray[np.float64]:
    """Return metres of pieces that lie on the ground: what crosses a river is no road that anybody waits on."""
    wet = stretches.state != UNKNOWN
    line, begin, end = stretches.line[wet], stretches.from_m[wet], stretches.to_m[wet]
    piece = pieces.find(Spots(edge=line, along_m=(begin + end) / 2, away_m=np.zeros(len(line))))
    on = piece >= 0
    over = np.minimum(end[on], pieces.to_m[piece[on]]) - np.maximum(begin[on], pieces.from_m[piece[on]])
    return pieces.to_m - pieces.from_m - np.bincount(piece[on], over, minlength=len(pieces.edge))


def _count_by(places: pd.DataFrame, group: NDArray[np.int64], buildings: gpd.GeoDataFrame) -> pd.DataFrame:
    here = pd.DataFrame({"buildings": 1, "flooded_buildings": (buildings["state"] == "flooded").astype(int)})
    if "people" in buildings.columns:
        here["people"] = buildings["people"].to_numpy()
    sums = here[group >= 0].groupby(group[group >= 0]).sum().reindex(places.index, fill_value=0)
    return places.drop(columns=["buildings", "flooded_buildings"]).join(sums)


def _outline(lines: NDArray[np.object_], homes: NDArray[np.object_] | None) -> shapely.Geometry:
    shapes = lines if homes is None else np.concatenate([lines, homes])
    return shapely.buffer(shapely.convex_hull(shapely.union_all(shapes)), _HULL_M)

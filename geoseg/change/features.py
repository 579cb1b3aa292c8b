"""Tables of changed buildings and roads, and how they are drawn."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.change.classes import BASE, is_change, transition_scheme
from geoseg.change.evidence import measure_evidence
from geoseg.change.ground import Ground
from geoseg.change.matching import BuildingStatus, Footprints, Lenience, Match, changed_ground, confirm, match_buildings, weigh
from geoseg.change.options import ChangeOptions
from geoseg.change.roads import Lines, find_pieces
from geoseg.change.surfaces import Limits, Unknown, measure_inside
from geoseg.io.ground import measure_areas, measure_lines
from geoseg.io.polygons import read_zones
from geoseg.io.tiffs.layers import open_layer
from geoseg.io.vector import open_layers
from geoseg.pixels.classes import ClassKind, ClassScheme
from geoseg.products.formats.styles import Look, tabulate_looks
from geoseg.products.zonal import measure_zones

_LAYER_TYPES = {"transitions": "Polygon", "buildings": "MultiPolygon", "roads": "LineString", "zones": "MultiPolygon"}
_BUILDING_COLORS = {
    BuildingStatus.NEW: "#d7191c",
    BuildingStatus.GONE: "#2c7bb6",
    BuildingStatus.GROWN: "#fdae61",
    BuildingStatus.SHRUNK: "#abd9e9",
    BuildingStatus.SAME: "#bdbdbd",
    BuildingStatus.UNSURE: "#c2a5cf",
    BuildingStatus.UNKNOWN: "#f0e442",
}
_ROAD_COLORS = {"new": "#d7191c", "lost": "#2c7bb6", "same": "#969696"}
_LEAST_WIDTH_M = 2.0
"""Of roads whose width is not known."""


def find_buildings(ground: Ground, options: ChangeOptions, limits: Limits, unknown: Unknown, raster: Path) -> gpd.GeoDataFrame:
    """Match the buildings of both dates.

    Args:
        ground: The dates; both have buildings.
        options: How much a building grows at least.
        limits: Tolerance, and area below which a building that is new or gone is left out.
        unknown: Where before, and where after, has no data; metres on the grid.
        raster: The transitions, by which what became of a building is confirmed.

    Returns:
        ``change_id, status, relation, before_ids, after_ids, area_before_m2, area_after_m2, iou, grown_m2, lost_m2, building_before,
        building_after`` (mean probabilities on the ground that changed); the footprint after, or before where it is gone or has shrunk.
        Buildings that lie outside the ground of both dates are left out.
    """
    (before, first), (after, second) = (
        _take_footprints(ground, is_after, other, limits.tolerance_m) for is_after, other in ((False, unknown[1]), (True, unknown[0]))
    )
    lenience = Lenience(
        tolerance_m=limits.tolerance_m,
        min_area_m2=limits.min_area_m2,
        min_growth=options.min_growth,
        min_evidence=options.min_evidence,
        min_sure_m2=options.min_sure_m2,
    )
    least = limits.min_area_m2
    matches = _confirm(ground, raster, match_buildings(before, after, lenience))
    matches = [m for m in matches if (m.before and m.after) or max(m.grown_m2, m.lost_m2) >= least]
    matches = _weigh(ground, matches, lenience)
    shapes = [np.array([m.shapes[side] or shapely.MultiPolygon() for m in matches], dtype=object) for side in (0, 1)]
    placed = [ground.take_back(side) for side in shapes]
    areas = [measure_areas(np.array([_as_multi(s) for s in side], dtype=object), ground.crs).round(2) for side in placed]
    columns = {
        "change_id": np.arange(1, len(matches) + 1),
        "status": [str(m.status) for m in matches],
        "relation": [str(m.relation) for m in matches],
        "before_ids": [_list_ids(first, m.before) for m in matches],
        "after_ids": [_list_ids(second, m.after) for m in matches],
        "area_before_m2": areas[0],
        "area_after_m2": areas[1],
        "iou": np.array([m.iou for m in matches]).round(4),
        "grown_m2": np.array([m.grown_m2 for m in matches]).round(2),
        "lost_m2": np.array([m.lost_m2 for m in matches]).round(2),
        "building_before": np.array([m.evidence[0] for m in matches], float).round(3),
        "building_after": np.array([m.evidence[1] for m in matches], float).round(3),
    }
    smaller = (BuildingStatus.GONE, BuildingStatus.SHRUNK)
    geometry = [_as_multi(b if m.status in smaller or not m.after else a) for m, b, a in zip(matches, *placed, strict=True)]
    return gpd.GeoDataFrame(columns, geometry=geometry, crs=ground.crs)


def _confirm(ground: Ground, raster: Path, matches: list[Match]) -> list[Match]:
    """Hold what became of buildings against the class maps, if they know buildings."""
    scheme = ground.classes.scheme
    built = {c.value for c in scheme.of_kind(ClassKind.BUILDING)}
    if not built:
        return matches
    pairs = [(one, other) for one in scheme.values for other in scheme.values]
    became = [BASE * one + other for one, other in pairs if other in built and one not in built]
    ceased = [BASE * one + other for one, other in pairs if one in built and other not in built]
    shapes = [np.array([*(m.shapes[side] for m in matches), None], dtype=object)[:-1] for side in (0, 1)]
    return confirm(matches, measure_inside(ground, raster, shapes[1], became), measure_inside(ground, raster, shapes[0], ceased))


def _weigh(ground: Ground, matches: list[Match], lenience: Lenience) -> list[Match]:
    """Hold what became of buildings against the evidence of the models, if both runs kept it."""
    if not ground.has_evidence:
        return matches
    shapes = np.array([*(changed_ground(m, lenience.tolerance_m) for m in matches), None], dtype=object)[:-1]
    return weigh(matches, measure_evidence(ground, shapes), np.nan_to_num(shapely.area(shapes)), lenience)


def _take_footprints(
    ground: Ground, is_after: bool, unknown: NDArray[np.object_], tolerance_m: float
) -> tuple[Footprints, NDArray[np.object_]]:
    """Return the buildings of a date that lie on the ground of both, and their ids."""
    table = (ground.after if is_after else ground.before).buildings
    assert table is not None, "a run without buildings"
    shapes = ground.place(table, is_after=is_after)
    ids = table["instance_id"].to_numpy() if "instance_id" in table else np.arange(1, len(table) + 1)
    right, bottom = np.asarray(ground.shape[::-1]) * ground.pixel_m
    left_x, top_y, right_x, bottom_y = shapely.bounds(shapes).T
    there = (right_x > 0) & (left_x < right) & (bottom_y > 0) & (top_y < bottom) & ~shapely.is_empty(shapes)
    inside = (left_x >= tolerance_m) & (top_y >= tolerance_m) & (right_x <= right - tolerance_m) & (bottom_y <= bottom - tolerance_m)
    _, touching = shapely.STRtree(shapes).query(unknown, predicate="dwithin", distance=tolerance_m)
    known = inside.copy()
    known[touching] = False
    return Footprints(shapes=shapely.make_valid(shapes[there]), known=known[there]), ids[there]


def _list_ids(ids: NDArray[np.object_], rows: Sequence[int]) -> str:
    return ",".join(str(ids[row]) for row in rows)


def _as_multi(shape: shapely.Geometry) -> shapely.MultiPolygon:
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.MultiPolygon([part for part in parts if part.geom_type == "Polygon"])


def find_roads(ground: Ground, options: ChangeOptions, limits: Limits, unknown: Unknown) -> tuple[gpd.GeoDataFrame, float]:
    """Cut the roads of both dates where those of the other one end.

    Returns:
        ``status`` (new, lost, same), ``edge_id`` of the road that it is a piece of, ``length_m``; what stayed has the line before. And the
        length in metres that is left out, since one of the dates has no data there.
    """
    sides = [_take_lines(ground, is_after, unknown[0 if is_after else 1]) for is_after in (False, True)]
    cuts = [find_pieces(own, other, limits.tolerance_m, options.min_road_m) for own, other in (sides, sides[::-1])]
    parts = []
    for is_after, pieces, changed in ((False, cuts[0], True), (True, cuts[1], True), (False, cuts[0], False)):
        kept = pieces.changed == changed
        lines = ground.take_back(pieces.shapes[kept])
        table = (ground.after if is_after else ground.before).roads
        assert table is not None, "a run without roads"
        ids = table["edge_id"].to_numpy() if "edge_id" in table else np.arange(1, len(table) + 1)
        status = "same" if not changed else "new" if is_after else "lost"
        parts.append((status, ids[pieces.source[kept]], lines))
    shapes = np.concatenate([lines for _, _, lines in parts])
    columns = {
        "status": np.repeat([status for status, _, _ in parts], [len(lines) for _, _, lines in parts]),
        "edge_id": np.concatenate([ids for _, ids, _ in parts]),
        "length_m": measure_lines(shapes, ground.crs).round(2),
    }
    return gpd.GeoDataFrame(columns, geometry=shapes, crs=ground.crs), sum(pieces.unknown_m for pieces in cuts)


def _take_lines(ground: Ground, is_after: bool, unknown: NDArray[np.object_]) -> Lines:
    """Return the roads of a date, cut at the edge of the ground of both."""
    table = (ground.after if is_after else ground.before).roads
    assert table is not None, "a run without roads"
    width = table["width_m"].to_numpy(float) if "width_m" in table else np.full(len(table), _LEAST_WIDTH_M)
    frame = shapely.box(0, 0, *(np.asarray(ground.shape[::-1]) * ground.pixel_m))
    shapes = shapely.intersection(ground.place(table, is_after=is_after), frame)
    return Lines(shapes=np.asarray(shapes, dtype=object), width_m=np.nan_to_num(width, nan=_LEAST_WIDTH_M), unknown=unknown)


def zone_table(ground: Ground, raster: Path, zones: Path) -> gpd.GeoDataFrame:
    """Add up what became of each class in each zone, in m2: columns ``<from> to <to>_m2``, and ``<class>_m2`` where it stayed."""
    scheme = transition_scheme(ground.classes.scheme)
    with open_layer(raster) as read:
        table = measure_zones(read, scheme, ground.geobox, read_zones(zones, ground.geobox))
    never = [f"{row.name}_m2" for row in scheme if is_change(row.value) and not table[f"{row.name}_m2"].any()]
    multi = [_as_multi(shape) for shape in table.geometry]
    return table.drop(columns=never).set_geometry(gpd.GeoSeries(multi, index=table.index, crs=table.crs))


def write_layers(path: Path, changes: Iterator[gpd.GeoDataFrame], tables: Mapping[str, gpd.GeoDataFrame], scheme: ClassScheme) -> int:
    """Write ``change.gpkg``, with styles; return the number of patches of change.

    Args:
        path: Final name.
        changes: Patches of change, table by table.
        tables: The other layers by name.
        scheme: Classes of both dates.

    Raises:
        WriteError: If the disk does not take it.
    """
    count = 0
    with open_layers(path, _LAYER_TYPES) as add:
        for table in changes:
            add("transitions", table)
            count += len(table)
        for layer, table in tables.items():
            add(layer, table)
        add("layer_styles", tabulate_looks(_looks(scheme, tables)))
    return count


def _looks(scheme: ClassScheme, layers: Iterable[str]) -> dict[str, Look]:
    codes = tuple((row.value, row.name, row.color) for row in transition_scheme(scheme) if is_change(row.value))
    looks = {"transitions": Look(kind="fill", column="code", rows=codes)}
    if "buildings" in layers:
        looks["buildings"] = Look(kind="fill", column="status", rows=tuple((str(s), str(s), c) for s, c in _BUILDING_COLORS.items()))
    if "roads" in layers:
        looks["roads"] = Look(kind="line", column="status", rows=tuple((s, s, c) for s, c in _ROAD_COLORS.items()))
    return looks

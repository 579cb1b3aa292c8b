"""A flood in polygons."""

from collections.abc import Iterator
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import STRtree

from geoseg.impact.flood import FLOODED, PERMANENT, STATES, UNKNOWN, FloodAreas, Segments, Stretches, join_stretches
from geoseg.io.ground import measure_areas

_MOST_VERTICES = 512
"""Larger polygons are cut into quarters: an intersection with a polygon looks at all of its vertices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeFlood:
    """A flood in polygons; see :class:`geoseg.impact.flood.Flood`. Memory holds all of them; what was looked at around them is dry."""

    name: str
    """What it is called."""
    crs: str
    """Their CRS as WKT."""
    water: dict[int, shapely.Geometry]
    """Area of each state but ``DRY``; they do not overlap."""
    parts: NDArray[np.object_]
    """(n,) the same in small polygons."""
    states: NDArray[np.uint8]
    """(n,) their states."""
    bounds: tuple[float, float, float, float]
    """Left, bottom, right and top of all water."""
    seen: shapely.Geometry | None
    """What was looked at; None = everything."""
    hides_ground: bool = False
    """Whether roofs hide the water."""

    def measure(self, polygons: NDArray[np.object_]) -> FloodAreas:
        """Measure how much of polygons is under water, by intersection."""
        sums = np.zeros((256, len(polygons)))
        which, part = STRtree(self.parts).query(polygons, predicate="intersects")
        shared = shapely.area(shapely.intersection(polygons[which], self.parts[part]))
        np.add.at(sums, (self.states[part], which), shared)
        beyond, outside = self._find_beyond(polygons)
        sums[UNKNOWN, beyond] += shapely.area(outside)
        whole, flat = measure_areas(polygons, self.crs), shapely.area(polygons)
        # on the map shares are those of the ground, as far as a polygon is small against the globe
        scale = np.divide(whole, flat, out=np.zeros_like(whole), where=flat > 0)
        found = {state: np.minimum(sums[state] * scale, whole) for state in STATES}
        return FloodAreas(whole_m2=whole, flooded_m2=found[FLOODED], permanent_m2=found[PERMANENT], unknown_m2=found[UNKNOWN])

    def cut(self, segments: Segments) -> Stretches:
        """Cut lines where they cross the borders of water."""
        lines = shapely.linestrings(segments.ends)
        which, part = STRtree(self.parts).query(lines, predicate="intersects")
        inside, state = shapely.intersection(lines[which], self.parts[part]), self.states[part]
        beyond, outside = self._find_beyond(lines)
        inside = np.concatenate([inside, outside])
        which, state = np.append(which, beyond), np.append(state, np.full(len(beyond), UNKNOWN, np.uint8))
        wet, index = shapely.get_parts(inside, return_index=True)
        is_line = shapely.get_type_id(wet) == shapely.GeometryType.LINESTRING
        wet, index = wet[is_line], index[is_line]
        segment, state = which[index], state[index]
        first = shapely.get_coordinates(shapely.get_point(wet, 0))
        last = shapely.get_coordinates(shapely.get_point(wet, -1))
        start, step = segments.ends[segment, 0], segments.ends[segment, 1] - segments.ends[segment, 0]
        square = np.maximum((step**2).sum(axis=1), np.finfo(float).tiny)
        t = np.stack([((p - start) * step).sum(axis=1) / square for p in (first, last)], axis=1)
        return join_stretches(segments, segment, np.clip(np.sort(t, axis=1), 0.0, 1.0), state)

    def _find_beyond(self, shapes: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
        """Return which shapes reach beyond what was looked at, and what of them does."""
        if self.seen is None:
            return np.zeros(0, np.int64), np.zeros(0, object)
        # predicates use the index of a prepared first argument; without it each shape looks at all vertices
        shapely.prepare(self.seen)
        beyond = np.flatnonzero(~shapely.covers(self.seen, shapes))
        outside = shapes[beyond]
        astride = shapely.intersects(self.seen, outside)
        outside[astride] = shapely.difference(outside[astride], self.seen)
        return beyond, outside

    def patches(self) -> Iterator[gpd.GeoDataFrame]:
        """Yield the polygons as they are."""
        drawn = {state: _take_polygons(shapely.get_parts(area)) for state, area in self.water.items()}
        polygons = np.concatenate([*drawn.values()])
        states = np.repeat([STATES[state] for state in drawn], [len(parts) for parts in drawn.values()]).astype(object)
        yield gpd.GeoDataFrame({"state": states, "area_m2": measure_areas(polygons, self.crs).round(2)}, geometry=polygons, crs=self.crs)

    def shores(self, step: float) -> Iterator[NDArray[np.float64]]:
        """Yield points along the borders between water and what is dry."""
        wet = shapely.union_all([area for state, area in self.water.items() if state != UNKNOWN])
        border = shapely.boundary(wet)
        for unknown in (self.water.get(UNKNOWN), None if self.seen is None else shapely.boundary(self.seen)):
            if unknown is not None:
                border = shapely.difference(border, shapely.buffer(unknown, step / 10))
        yield shapely.get_coordinates(shapely.segmentize(border, step))


def make_shape_flood(
    name: str,
    crs: str,
    wet: shapely.Geometry,
    before: tuple[shapely.Geometry, shapely.Geometry] | None = None,
    seen: shapely.Geometry | None = None,
) -> ShapeFlood:
    """Make a flood of areas in a CRS.

    Args:
        name: What it is called.
        crs: The CRS.
        wet: The water.
        before: What was water before, and of what that is not known.
        seen: What was looked at; None = everything.
    """
    bounds = shapely.bounds(wet)
    if seen is not None:
        wet = shapely.intersection(wet, seen)
    water = {FLOODED: wet}
    if before is not None:
        then, unseen = before
        fresh = shapely.difference(wet, then)
        water = {FLOODED: shapely.difference(fresh, unseen), PERMANENT: shapely.intersection(wet, then)}
        water[UNKNOWN] = shapely.intersection(fresh, unseen)
    water = {state: shapely.multipolygons(_take_polygons(shapely.get_parts(area))) for state, area in water.items()}
    water = {state: area for state, area in water.items() if state == FLOODED or not shapely.is_empty(area)}
    small = {state: list(_quarter(area)) for state, area in water.items()}
    parts = np.array([part for row in small.values() for part in row], dtype=object)
    states = np.repeat(np.array([*small], np.uint8), [len(row) for row in small.values()])
    left, bottom, right, top = bounds.tolist()
    return ShapeFlood(name=name, crs=crs, water=water, parts=parts, states=states, bounds=(left, bottom, right, top), seen=seen)


def _take_polygons(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    return np.asarray(shapes[(shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(shapes)])


def _quarter(area: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """Yield an area as polygons of few vertices."""
    waiting = [*_take_polygons(shapely.get_parts(area))]
    while waiting:
        polygon = waiting.pop()
        if shapely.get_num_coordinates(polygon) <= _MOST_VERTICES:
            yield polygon
            continue
        left, bottom, right, top = polygon.bounds
        x, y = (left + right) / 2, (bottom + top) / 2
        corners = [(left, bottom, x, y), (x, bottom, right, y), (left, y, x, top), (x, y, right, top)]
        for corner in corners:
            waiting += [*_take_polygons(shapely.get_parts(shapely.intersection(polygon, shapely.box(*corner))))]

"""Ways that the imagery hints at: from a dead end along weak road probability to the next road, by least cost."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.network.bridges import DeadEnds, find_dead_ends
from geoseg.objects.network.landing import Joints, build_joints
from geoseg.objects.network.leastcost import LEAST_PROBABILITY, Ground, find_way, price_probability
from geoseg.objects.network.tracks import Tracks

_CELL_PX = 1024
_MOST_REACH_PX = 1200
"""Farthest that a way leads from its dead end, in rows and columns: 60 m in pixels of 5 cm. Memory grows with its square."""
_MOST_TURN_DEG = 60.0
"""Largest angle between the direction in which a road ends and the straight line to where its way ends."""
_MOST_CURVATURE = 1.5
"""Longest way, in straight distances between its ends."""
_DETOUR = 3.0
"""A way leads to its own road, or to one that starts where its own does, only where the way round is this many times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOptions:
    """Which ways are taken; see ``RoadOptions``."""

    max_way_m: float
    """Longest way outside the roads that it joins."""
    min_score: float
    """Least harmonic mean of the probability along it, 0..1."""
    threshold: float
    """Probability from which a pixel is road, 0..1."""

    @property
    def budget(self) -> float:
        """What a way may cost at most."""
        return self.max_way_m / max(self.min_score, LEAST_PROBABILITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    end: int
    """Dead end at which it starts."""
    edge: int
    """Line that it meets."""
    along_m: float
    """Where it meets that line: distance along it."""
    xy: NDArray[np.float64]
    """(p, 2) points from the dead end to that line, metres."""
    length_m: float
    """Length."""
    gap_m: float
    """Length outside roads."""
    score: float
    """Mean probability along it."""
    cost: float
    """Length over probability, outside roads."""


def follow_ways(
    tracks: Tracks,
    read: Callable[[Window], NDArray[np.uint8]],
    shape: tuple[int, int],
    pixel_m: tuple[float, float],
    options: WayOptions,
) -> Tracks:
    """Prolong dead ends along what may be road, though less likely than the threshold, to the next road.

    The way is the one of least cost, a metre costing one over its probability, so that it follows a faint track round a curve. It is
    looked for in a square around each dead end, which is the same for any reading windows; Dijkstra's search ends where even the
    longest way may not cost more. It leads ahead, meets the first line in its way, and crosses nothing: of two ways that do, the cheaper
    one stays (ties in the order of ids). Memory holds the probability of 1024 px and twice the reach squared.

    Args:
        tracks: The network.
        read: Returns the road probability of a window, uint8, 0..255 = 0..1.
        shape: Rows and columns of the raster.
        pixel_m: Width and height of a pixel on the ground.
        options: Which ways are taken.

    Returns:
        The network with the ways merged into its lines.
    """
    if options.max_way_m == 0 or not len(tracks.from_node):
        return tracks
    ends = find_dead_ends(tracks)
    grounds = _lay_grounds(tracks, ends, read, shape, pixel_m, options)
    found = [_follow(tracks, ends, end, ground, options) for members, ground in grounds for end in members]
    ways = [way for way in found if way is not None]
    return _join(tracks, ends, _choose(ways)) if ways else tracks


def _lay_grounds(
    tracks: Tracks,
    ends: DeadEnds,
    read: Callable[[Window], NDArray[np.uint8]],
    shape: tuple[int, int],
    pixel_m: tuple[float, float],
    options: WayOptions,
) -> Iterator[tuple[list[int], Ground]]:
    """Read what surrounds dead ends, for those of one cell of a fixed grid at a time."""
    reach_px = min(math.ceil(options.max_way_m / min(pixel_m)) + 1, _MOST_REACH_PX)
    lines = tracks.lines
    tree = shapely.STRtree(lines)
    at = np.clip(np.floor(ends.xy / pixel_m).astype(np.int64)[:, ::-1], 0, np.array(shape) - 1)
    cell = at[:, 0] // _CELL_PX * (shape[1] // _CELL_PX + 1) + at[:, 1] // _CELL_PX
    order = np.argsort(cell, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1) if len(order) else []:
        top, left = np.maximum(0, at[members].min(axis=0) - reach_px).tolist()
        bottom, right = np.minimum(shape, at[members].max(axis=0) + reach_px + 1).tolist()
        window_m = shapely.box(left * pixel_m[0], top * pixel_m[1], right * pixel_m[0], bottom * pixel_m[1])
        near = np.sort(tree.query(window_m))
        yield (
            members.tolist(),
            Ground.lay(read(Window(left, top, right - left, bottom - top)), (top, left), (lines[near], near), pixel_m, reach_px),
        )


def _follow(tracks: Tracks, ends: DeadEnds, end: int, ground: Ground, options: WayOptions) -> _Way | None:
    own, pixel_m = int(ends.edge[end]), np.array(ground.pixel_m)
    start = np.floor(ends.xy[end] / pixel_m).astype(np.int64)[::-1] - ground.origin
    row, col = np.clip(start, 0, np.array(ground.probability.shape) - 1).tolist()
    along_m = 0.0 if tracks.from_node[own] == ends.node[end] else float(ends.length_m[end])
    x, y = ends.ahead[end].tolist()
    path = find_way(ground, (row, col), (x, y), (own, along_m, _DETOUR), options.budget)
    if len(path) < 2:
        return None
    xy = (path[:, ::-1] + ground.origin[::-1] + 0.5) * pixel_m
    xy[0] = ends.xy[end]
    values = ground.probability[path[:, 0], path[:, 1]]
    step_m = np.hypot(*(np.diff(path, axis=0) * pixel_m[::-1]).T)
    chance = (values[1:].astype(np.float64) + values[:-1]) / 510
    price = (price_probability(values[1:]) + price_probability(values[:-1])) / 2
    gap = chance < options.threshold
    way = _Way(
        end=end,
        edge=int(ground.edge[tuple(path[-1])]),
        along_m=float(ground.along_m[tuple(path[-1])]),
        xy=xy,
        length_m=float(step_m.sum()),
        gap_m=float(step_m[gap].sum()),
        score=float((chance * step_m).sum() / step_m.sum()),
        cost=float((price * step_m)[gap].sum()),
    )
    ahead_m, far_m = (xy[-1] - xy[0]) @ ends.ahead[end], math.hypot(*(xy[-1] - xy[0]))
    good = options.min_score * way.cost <= way.gap_m <= options.max_way_m
    good &= ahead_m >= math.cos(math.radians(_MOST_TURN_DEG)) * far_m and way.length_m <= _MOST_CURVATURE * far_m
    return way if good and not _leads_back(tracks, ends, way) else None


def _leads_back(tracks: Tracks, ends: DeadEnds, way: _Way) -> bool:
    """Whether the network leads nearly as short to where a way does, over its own line or from there over the next one."""
    own, node = int(ends.edge[way.end]), ends.node[way.end]
    from_node, to_node = tracks.from_node, tracks.to_node
    start, own_m = from_node[own] == node, float(ends.length_m[way.end])
    far = to_node[own] if start else from_node[own]
    round_m = math.inf
    if way.edge == own:
        round_m = way.along_m if start else own_m - way.along_m
    elif from_node[way.edge] == far:
        round_m = own_m + way.along_m
    elif to_node[way.edge] == far:
        round_m = own_m + tracks.take(np.array([way.edge])).length_m[0] - way.along_m
    return round_m < _DETOUR * way.length_m


def _choose(ways: list[_Way]) -> list[_Way]:
    """Take ways in the order of their cost; none that meets one before its end."""
    lines = np.array([shapely.LineString(way.xy) for way in ways], dtype=object)
    before = np.array([shapely.LineString(way.xy[:-1] if len(way.xy) > 2 else way.xy) for way in ways], dtype=object)
    one, other = shapely.STRtree(lines).query(before, predicate="intersects")
    against: dict[int, set[int]] = {}
    for i, j in zip([*one.tolist(), *other.tolist()], [*other.tolist(), *one.tolist()], strict=True):
        against.setdefault(i, set()).add(j)
    chosen: set[int] = set()
    for i in sorted(range(len(ways)), key=lambda i: (ways[i].cost + ways[i].length_m, ways[i].end)):
        if not chosen & against.get(i, set()):
            chosen.add(i)
    return [ways[i] for i in sorted(chosen)]


def _join(tracks: Tracks, ends: DeadEnds, ways: list[_Way]) -> Tracks:
    end = np.array([way.end for way in ways])
    return build_joints(
        tracks,
        Joints(
            start=ends.node[end],
            node=np.full(len(ways), -1),
            edge=np.array([way.edge for way in ways]),
            target=np.array([way.xy[-1] for way in ways]),
            inner=[way.xy[1:-1] for way in ways],
            width_m=2 * ends.half_m[end],
            score=np.array([way.score for way in ways]),
            bridged_m=np.array([way.gap_m for way in ways]),
        ),
    )

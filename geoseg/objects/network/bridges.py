"""Where roads may go on over a gap: from dead end to dead end, from dead end to the side of a road."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.objects.network.tracks import Tracks

_SAMPLES = 16
_LOOKBACK_WIDTHS = 2.0
_LEAST_LOOKBACK_M = 10.0
_OWN_DETOUR = 6.0
"""A dead end meets the side of its own road only where the way round is this many times the gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GapOptions:
    """Which gaps are closed; see ``RoadOptions``."""

    max_gap_m: float
    """Longest gap."""
    max_turn_deg: float
    """Largest angle between the direction in which a road ends and the way over the gap."""
    min_score: float
    """Least mean probability over the gap, 0..1."""
    stub_m: float
    """A road that is met so near its dead end is joined there; what sticks out is a spur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEnds:
    """Dead ends."""

    node: NDArray[np.int64]
    """(n,) their nodes, ascending."""
    edge: NDArray[np.int64]
    """(n,) the lines that end there."""
    xy: NDArray[np.float64]
    """(n, 2) where they lie."""
    ahead: NDArray[np.float64]
    """(n, 2) unit vectors in which their roads would go on."""
    half_m: NDArray[np.float64]
    """(n,) half widths of their roads."""
    length_m: NDArray[np.float64]
    """(n,) lengths of those lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridges:
    """Ways over gaps."""

    end: NDArray[np.int64]
    """(k,) dead end at which each starts."""
    other: NDArray[np.int64]
    """(k,) dead end that it joins: there it ends, or beside it at the side of its road; -1 if none is near."""
    edge: NDArray[np.int64]
    """(k,) that road, -1 at a dead end."""
    target: NDArray[np.float64]
    """(k, 2) where it ends."""
    gap_m: NDArray[np.float64]
    """(k,) length outside the roads that it joins."""
    turn: NDArray[np.float64]
    """(k,) sum of the angles at its ends, of the largest one that is allowed."""

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Bridges":
        """Return the chosen bridges, by number or mask."""
        names = ("end", "other", "edge", "target", "gap_m", "turn")
        return Bridges(**{name: getattr(self, name)[chosen] for name in names})


def find_bridges(tracks: Tracks, ends: DeadEnds, options: GapOptions) -> Bridges:
    """Return every way over a gap that distance and directions allow and that crosses no road; several may start at one dead end."""
    lines = tracks.lines
    facing = _without_crossing(_face_ends(ends, options), ends, lines)
    return _join(facing, _meet_sides(ends, tracks, lines, options))


def find_dead_ends(tracks: Tracks) -> DeadEnds:
    """Return the dead ends of a network in the order of their nodes."""
    dead = tracks.degree == 1
    at_start, at_end = np.flatnonzero(dead[tracks.from_node]), np.flatnonzero(dead[tracks.to_node])
    edge = np.concatenate([at_start, at_end])
    node = np.concatenate([tracks.from_node[at_start], tracks.to_node[at_end]])
    order = np.argsort(node)
    edge, node = edge[order], node[order]
    backwards = (tracks.to_node[edge] == node) & (tracks.from_node[edge] != node)
    lines = np.where(backwards, shapely.reverse(tracks.lines[edge]), tracks.lines[edge])
    half_m = tracks.width_m[edge] / 2
    length_m = tracks.length_m[edge]
    reach_m = np.maximum(_LEAST_LOOKBACK_M, _LOOKBACK_WIDTHS * 2 * half_m)
    along = np.linspace(0, 1, _SAMPLES) * np.minimum(reach_m, length_m)[:, None]
    back = shapely.get_coordinates(shapely.line_interpolate_point(lines[:, None], along)).reshape(len(edge), _SAMPLES, 2)
    # The main axis of the last part is steadier than the line to any one of its points.
    x, y = np.moveaxis(back - back.mean(axis=1, keepdims=True), 2, 0)
    angle = np.arctan2(2 * (x * y).sum(axis=1), (x * x).sum(axis=1) - (y * y).sum(axis=1)) / 2
    ahead = np.column_stack([np.cos(angle), np.sin(angle)])
    outwards = ((back[:, 0] - back[:, -1]) * ahead).sum(axis=1)
    ahead *= np.where(outwards < 0, -1, 1)[:, None]
    return DeadEnds(node=node, edge=edge, xy=tracks.node_xy[node], ahead=ahead, half_m=half_m, length_m=length_m)


def _face_ends(ends: DeadEnds, options: GapOptions) -> Bridges:
    """Pairs of dead ends that come towards each other."""
    points = shapely.points(ends.xy)
    one, other = shapely.STRtree(points).query(points, predicate="dwithin", distance=options.max_gap_m)
    one, other = one[one < other], other[one < other]
    order = np.lexsort((other, one))
    one, other = one[order], other[order]
    # Seen from where the middle of the road ends, half a width back, a step to the side does not look like a turn.
    anchor = ends.xy - ends.ahead * ends.half_m[:, None]
    way = anchor[other] - anchor[one]
    turn = np.stack([_angle(ends.ahead[one], way), _angle(ends.ahead[other], -way)])
    good = (turn <= np.radians(options.max_turn_deg)).all(axis=0)
    bridges = Bridges(
        end=one,
        other=other,
        edge=np.full(len(one), -1),
        target=ends.xy[other],
        gap_m=np.hypot(*(ends.xy[other] - ends.xy[one]).T),
        turn=turn.sum(axis=0) / np.radians(max(options.max_turn_deg, 1e-6)),
    )
    return bridges.take(good)


def _angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.abs(np.arctan2(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0], (one * other).sum(axis=1))))


def _without_crossing(bridges: Bridges, ends: DeadEnds, lines: NDArray[np.object_]) -> Bridges:
    """Leave out what crosses a road; what only starts or ends there stays."""
    straight = draw_bridges(bridges, ends)
    crossing, _ = shapely.STRtree(lines).query(straight, predicate="crosses")
    clear = np.ones(len(straight), bool)
    clear[crossing] = False
    return bridges.take(clear & (bridges.gap_m > 0))


def draw_bridges(bridges: Bridges, ends: DeadEnds) -> NDArray[np.object_]:
    """Return bridges as straight lines (k,)."""
    return np.asarray(shapely.linestrings(np.stack([ends.xy[bridges.end], bridges.target], axis=1)), dtype=object)


def _meet_sides(ends: DeadEnds, tracks: Tracks, lines: NDArray[np.object_], options: GapOptions) -> Bridges:
    """Dead ends that run straight into the side of a road, the first one in their way."""
    if not len(ends.node):
        return _face_ends(ends, options)
    reach_m = options.max_gap_m + tracks.width_m.max()
    rays = np.asarray(shapely.linestrings(np.stack([ends.xy, ends.xy + ends.ahead * reach_m], axis=1)), dtype=object)
    end, edge = shapely.STRtree(lines).query(rays, predicate="intersects")
    hit, pair = shapely.get_coordinates(shapely.intersection(rays[end], lines[edge]), return_index=True)
    end, edge = end[pair], edge[pair]
    far_m = np.hypot(*(hit - ends.xy[end]).T)
    ahead = far_m > 1e-6 * reach_m
    end, edge, hit, far_m = end[ahead], edge[ahead], hit[ahead], far_m[ahead]
    order = np.lexsort((edge, far_m, end))
    order = order[np.unique(end[order], return_index=True)[1]]
    end, edge, hit, far_m = end[order], edge[order], hit[order], far_m[order]
    # Inside the other road nothing is missing; met askew, its half width takes longer to cross, here at most twice.
    slope = _slope(ends.ahead[end], lines[edge], hit, tracks.width_m[edge])
    gap_m = np.maximum(0, far_m - tracks.width_m[edge] / 2 / np.maximum(0.5, slope))
    good = (gap_m <= options.max_gap_m) & (slope >= np.sin(np.radians(options.max_turn_deg)) / 2)
    own = ends.edge[end] == edge
    along = shapely.line_locate_point(lines[edge], shapely.points(ends.xy[end]))
    round_m = np.abs(shapely.line_locate_point(lines[edge], shapely.points(hit)) - along)
    good &= ~own | (round_m >= np.maximum(_OWN_DETOUR * far_m, 2 * np.pi * tracks.width_m[edge]))
    other = _near_dead_end(ends, tracks, edge, hit, options.stub_m)
    # What sticks out goes, so that the road turns there: not back to where it came from.
    good &= (other < 0) | (_angle(ends.ahead[end], -ends.ahead[other]) <= np.pi / 2)
    return Bridges(end=end, other=other, edge=edge, target=hit, gap_m=gap_m, turn=np.zeros(len(end))).take(good)


def _near_dead_end(ends: DeadEnds, tracks: Tracks, edge: NDArray[np.int64], hit: NDArray[np.float64], stub_m: float) -> NDArray[np.int64]:
    """Return the dead end (k,) within a distance of places on lines, -1 where there is none."""
    of_node = np.full(len(tracks.node_xy), -1)
    of_node[ends.node] = np.arange(len(ends.node))
    along = shapely.line_locate_point(tracks.lines[edge], shapely.points(hit))
    at_start = np.where(along < stub_m, of_node[tracks.from_node[edge]], -1)
    at_end = np.where(tracks.length_m[edge] - along < stub_m, of_node[tracks.to_node[edge]], -1)
    return np.where(at_start >= 0, at_start, at_end)


def _slope(
    ahead: NDArray[np.float64], lines: NDArray[np.object_], hit: NDArray[np.float64], within_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sine of the angle between directions and the lines that they meet."""
    at = shapely.line_locate_point(lines, shapely.points(hit))
    before = shapely.get_coordinates(shapely.line_interpolate_point(lines, np.maximum(0, at - within_m)))
    after = shapely.get_coordinates(shapely.line_interpolate_point(lines, np.minimum(shapely.length(lines), at + within_m)))
    along = after - before
    return np.asarray(np.abs(ahead[:, 0] * along[:, 1] - ahead[:, 1] * along[:, 0]) / np.maximum(np.hypot(*along.T), 1e-9))


def _join(one: Bridges, other: Bridges) -> Bridges:
    names = ("end", "other", "edge", "target", "gap_m", "turn")
    return Bridges(**{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names})

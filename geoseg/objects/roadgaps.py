"""Gaps in roads closed by direction, distance and what the imagery says: dead end to dead end, dead end to the side of a road."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.roadtracks import Tracks, compact, join_runs, split_tracks

_SAMPLES = 16
_LOOKBACK_WIDTHS = 2.0
_LEAST_LOOKBACK_M = 10.0
_READING_BLOCK_PX = 1024
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
class _Ends:
    """Dead ends."""

    node: NDArray[np.int64]
    edge: NDArray[np.int64]
    xy: NDArray[np.float64]
    """(n, 2) where they lie."""
    ahead: NDArray[np.float64]
    """(n, 2) unit vectors in which their roads would go on."""
    half_m: NDArray[np.float64]
    """(n,) half widths of their roads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bridges:
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

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "_Bridges":
        names = ("end", "other", "edge", "target", "gap_m", "turn")
        return _Bridges(**{name: getattr(self, name)[chosen] for name in names})


def close_gaps(
    tracks: Tracks,
    read: Callable[[Window], NDArray[np.uint8]],
    shape: tuple[int, int],
    pixel_m: tuple[float, float],
    options: GapOptions,
) -> Tracks:
    """Join roads over short gaps.

    A dead end goes on straight to another one that comes towards it, or to the side of the first road in its way. No bridge
    crosses a road or another bridge: of two that do, and of two from one end, the cheaper one stays (length, angles and
    probability; ties in the order of ids). Each is read once, block by block on a fixed grid, so that the answer depends on
    nothing but the raster.

    Args:
        tracks: The network.
        read: Returns the road probability of a window, uint8, 0..255 = 0..1.
        shape: Rows and columns of the raster.
        pixel_m: Width and height of a pixel on the ground.
        options: Which gaps are closed.

    Returns:
        The network with the bridges merged into its lines.
    """
    if options.max_gap_m == 0 or not len(tracks.from_node):
        return tracks
    ends = _find_ends(tracks)
    lines = tracks.lines
    facing = _without_crossing(_face_ends(ends, options), ends, lines)
    bridges = _join(facing, _meet_sides(ends, tracks, lines, options))
    score = _sample(np.stack([ends.xy[bridges.end], _seen_until(bridges, ends)], axis=1), read, shape, pixel_m)
    likely = score >= options.min_score
    bridges, score = bridges.take(likely), score[likely]
    chosen = _choose(bridges, ends, (bridges.gap_m + min(pixel_m)) * (1 + bridges.turn) * (2 - score))
    return _build(tracks, ends, bridges.take(chosen), score[chosen])


def _find_ends(tracks: Tracks) -> _Ends:
    dead = tracks.degree == 1
    at_start, at_end = np.flatnonzero(dead[tracks.from_node]), np.flatnonzero(dead[tracks.to_node])
    edge = np.concatenate([at_start, at_end])
    node = np.concatenate([tracks.from_node[at_start], tracks.to_node[at_end]])
    order = np.argsort(node)
    edge, node = edge[order], node[order]
    backwards = (tracks.to_node[edge] == node) & (tracks.from_node[edge] != node)
    lines = np.where(backwards, shapely.reverse(tracks.lines[edge]), tracks.lines[edge])
    half_m = tracks.width_m[edge] / 2
    reach_m = np.maximum(_LEAST_LOOKBACK_M, _LOOKBACK_WIDTHS * 2 * half_m)
    along = np.linspace(0, 1, _SAMPLES) * np.minimum(reach_m, tracks.length_m[edge])[:, None]
    back = shapely.get_coordinates(shapely.line_interpolate_point(lines[:, None], along)).reshape(len(edge), _SAMPLES, 2)
    # The main axis of the last part is steadier than the line to any one of its points.
    x, y = np.moveaxis(back - back.mean(axis=1, keepdims=True), 2, 0)
    angle = np.arctan2(2 * (x * y).sum(axis=1), (x * x).sum(axis=1) - (y * y).sum(axis=1)) / 2
    ahead = np.column_stack([np.cos(angle), np.sin(angle)])
    outwards = ((back[:, 0] - back[:, -1]) * ahead).sum(axis=1)
    return _Ends(node=node, edge=edge, xy=tracks.node_xy[node], ahead=ahead * np.where(outwards < 0, -1, 1)[:, None], half_m=half_m)


def _face_ends(ends: _Ends, options: GapOptions) -> _Bridges:
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
    bridges = _Bridges(
        end=one,
        other=other,
        edge=np.full(len(one), -1),
        target=ends.xy[other],
        gap_m=np.hypot(*(ends.xy[other] - ends.xy[one]).T),
        turn=turn.sum(axis=0) / np.radians(max(options.max_turn_deg, 1e-6)),
    )
    return bridges.take(good)


def _angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(np.arctan2(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0], (one * other).sum(axis=1)))


def _without_crossing(bridges: _Bridges, ends: _Ends, lines: NDArray[np.object_]) -> _Bridges:
    """Leave out what crosses a road; what only starts or ends there stays."""
    straight = _draw(bridges, ends)
    crossing, _ = shapely.STRtree(lines).query(straight, predicate="crosses")
    clear = np.ones(len(straight), bool)
    clear[crossing] = False
    return bridges.take(clear & (bridges.gap_m > 0))


def _draw(bridges: _Bridges, ends: _Ends) -> NDArray[np.object_]:
    return np.asarray(shapely.linestrings(np.stack([ends.xy[bridges.end], bridges.target], axis=1)), dtype=object)


def _meet_sides(ends: _Ends, tracks: Tracks, lines: NDArray[np.object_], options: GapOptions) -> _Bridges:
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
    return _Bridges(end=end, other=other, edge=edge, target=hit, gap_m=gap_m, turn=np.zeros(len(end))).take(good)


def _near_dead_end(ends: _Ends, tracks: Tracks, edge: NDArray[np.int64], hit: NDArray[np.float64], stub_m: float) -> NDArray[np.int64]:
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


def _join(one: _Bridges, other: _Bridges) -> _Bridges:
    names = ("end", "other", "edge", "target", "gap_m", "turn")
    return _Bridges(**{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names})


def _seen_until(bridges: _Bridges, ends: _Ends) -> NDArray[np.float64]:
    """Where the gap is over and the other road begins."""
    way = bridges.target - ends.xy[bridges.end]
    share = bridges.gap_m / np.maximum(np.hypot(*way.T), 1e-9)
    return np.asarray(ends.xy[bridges.end] + way * share[:, None])


def _sample(
    spans: NDArray[np.float64], read: Callable[[Window], NDArray[np.uint8]], shape: tuple[int, int], pixel_m: tuple[float, float]
) -> NDArray[np.float64]:
    """Mean probability along straight lines (k, 2, 2) in metres, read in windows little larger than a block."""
    spans = spans / pixel_m
    counts = np.ceil(np.hypot(*(spans[:, 1] - spans[:, 0]).T)).astype(np.int64) + 1
    owner = np.repeat(np.arange(len(spans)), counts)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (step / np.maximum(counts - 1, 1)[owner])[:, None]
    at = np.floor(spans[owner, 0] * (1 - share) + spans[owner, 1] * share).astype(np.int64)
    cols, rows = np.clip(at, 0, [shape[1] - 1, shape[0] - 1]).T
    blocks = (rows // _READING_BLOCK_PX) * (shape[1] // _READING_BLOCK_PX + 1) + cols // _READING_BLOCK_PX
    total = np.zeros(len(spans))
    for block in np.unique(blocks):
        here = blocks == block
        top, left = int(rows[here].min()), int(cols[here].min())
        pixels = read(Window(left, top, int(cols[here].max()) - left + 1, int(rows[here].max()) - top + 1))
        total += np.bincount(owner[here], weights=pixels[rows[here] - top, cols[here] - left], minlength=len(spans))
    return total / counts / 255


def _choose(bridges: _Bridges, ends: _Ends, cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Take bridges in the order of their cost; none at an end that has one, none that crosses one."""
    straight = _draw(bridges, ends)
    one, other = shapely.STRtree(straight).query(straight, predicate="crosses")
    against: dict[int, list[int]] = {}
    for i, j in zip(one.tolist(), other.tolist(), strict=True):
        against.setdefault(i, []).append(j)
    taken = np.zeros(len(ends.node) + 1, bool)
    chosen = np.zeros(len(cost), bool)
    for i in np.lexsort((bridges.other, bridges.end, cost)).tolist():
        end, partner = int(bridges.end[i]), int(bridges.other[i])
        if taken[end] or (partner >= 0 and taken[partner]) or chosen[against.get(i, [])].any():
            continue
        chosen[i] = taken[end] = True
        if partner >= 0:
            taken[partner] = True
    return np.flatnonzero(chosen)


def _build(tracks: Tracks, ends: _Ends, bridges: _Bridges, score: NDArray[np.float64]) -> Tracks:
    tracks, node = _land(tracks, bridges)
    other = np.where(bridges.edge < 0, ends.node[bridges.other], node)
    start = ends.node[bridges.end]
    straight = np.asarray(shapely.linestrings(tracks.node_xy[np.column_stack([start, other])]), dtype=object)
    # A bridge that was moved to a node may now cross something.
    crossing, _ = shapely.STRtree(tracks.lines).query(straight, predicate="crosses")
    one, two = shapely.STRtree(straight).query(straight, predicate="crosses")
    apart = (tracks.node_xy[start] != tracks.node_xy[other]).any(axis=1)
    apart[crossing] = False
    apart[np.maximum(one, two)] = False
    start, other = start[apart], other[apart]
    new = Tracks(
        node_xy=tracks.node_xy,
        from_node=start,
        to_node=other,
        xy=tracks.node_xy[np.column_stack([start, other])].reshape(-1, 2),
        starts=2 * np.arange(len(start) + 1),
        width_m=2 * ends.half_m[bridges.end[apart]],
        score=score[apart],
        bridged_m=bridges.gap_m[apart],
    )
    return join_runs(compact(tracks.add(new)))


def _land(tracks: Tracks, bridges: _Bridges) -> tuple[Tracks, NDArray[np.int64]]:
    """Cut roads where bridges meet their sides.

    Where two meet within the width of the road they share a node, and near the road's end they end in its node.

    Returns:
        The network, and the node (k,) at which each bridge ends; that of bridges between dead ends has no meaning.
    """
    side = np.flatnonzero(bridges.edge >= 0)
    edge = bridges.edge[side]
    along = shapely.line_locate_point(tracks.lines[edge], shapely.points(bridges.target[side]))
    order = np.lexsort((along, edge))
    side, edge, along = side[order], edge[order], along[order]
    near_m, length_m = tracks.width_m[edge] / 2, tracks.length_m[edge]
    node = np.full(len(bridges.edge), -1)
    at_start = along <= near_m
    at_end = (length_m - along <= near_m) & ~at_start
    node[side[at_start]] = tracks.from_node[edge[at_start]]
    node[side[at_end]] = tracks.to_node[edge[at_end]]
    inner = ~at_start & ~at_end
    side, edge, along, near_m = side[inner], edge[inner], along[inner], near_m[inner]
    fresh = np.ones(len(side), bool)
    fresh[1:] = (edge[1:] != edge[:-1]) | (along[1:] - along[:-1] > 2 * near_m[1:])
    group = np.cumsum(fresh) - 1
    middle = np.bincount(group, weights=along) / np.bincount(group) if len(group) else along
    tracks, cuts = split_tracks(tracks, edge[fresh], middle)
    node[side] = cuts[group]
    return tracks, node

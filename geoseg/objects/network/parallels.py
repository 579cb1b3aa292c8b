"""Two lines along one road: tracks between the same two nodes that stay near each other become one."""

import math
from dataclasses import replace
from functools import reduce

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.objects.network.tracks import Tracks, join_runs

_ROUNDS = 8


def merge_parallels(tracks: Tracks, parallel_m: float, step_m: float) -> Tracks:
    """Replace each two lines between the same nodes that are never farther apart than a distance by the line in their middle.

    The new line is as wide as both with what lies between them. A line that then passes through a node without crossing is
    joined, which may make further pairs.

    Args:
        tracks: The network.
        parallel_m: Greatest distance between the two; the mean of their widths counts where it is more. 0 merges none.
        step_m: Distance between points at which they are compared.

    Returns:
        The network without such pairs.
    """
    for _ in range(_ROUNDS if parallel_m > 0 else 0):
        pairs = _find_pairs(tracks)
        lines, length_m = tracks.lines, tracks.length_m
        middles = [_find_middle(lines[one], lines[other], step_m) for one, other in pairs]
        near = np.array(
            [d.max() <= max(parallel_m, tracks.width_m[pair].mean()) for pair, (_, d) in zip(pairs, middles, strict=True)], bool
        )
        near[near] = ~_crosses([middles[i][0] for i in np.flatnonzero(near)], pairs[near], lines)
        merged = [_merge(tracks, pairs[i], length_m[pairs[i]], middles[i]) for i in np.flatnonzero(near)]
        if not merged:
            break
        left = np.setdiff1d(np.arange(len(lines)), pairs[near])
        tracks = join_runs(tracks.take(left).add(reduce(Tracks.add, merged)))
    return tracks


def _find_pairs(tracks: Tracks) -> NDArray[np.int64]:
    """(p, 2) lines between the same two nodes, each line once, short ones first."""
    low, high = np.minimum(tracks.from_node, tracks.to_node), np.maximum(tracks.from_node, tracks.to_node)
    order = np.lexsort((tracks.length_m, high, low))
    same = (np.diff(low[order]) == 0) & (np.diff(high[order]) == 0) & (low[order][1:] != high[order][1:])
    pairs: list[tuple[int, int]] = []
    for i in np.flatnonzero(same):
        if not pairs or pairs[-1][1] != order[i]:
            pairs.append((int(order[i]), int(order[i + 1])))
    return np.asarray(pairs, np.int64).reshape(-1, 2)


def _find_middle(one: shapely.LineString, other: shapely.LineString, step_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in the middle of two lines, and how far the lines are apart there."""
    if shapely.get_point(one, 0) != shapely.get_point(other, 0):
        other = shapely.reverse(other)
    share = np.linspace(0, 1, max(2, math.ceil((one.length + other.length) / 2 / step_m)) + 1)
    first, second = (shapely.get_coordinates(shapely.line_interpolate_point(line, share, normalized=True)) for line in (one, other))
    middle = (first + second) / 2
    middle[0], middle[-1] = one.coords[0], one.coords[-1]
    return middle, np.hypot(*(first - second).T)


def _crosses(middles: list[NDArray[np.float64]], pairs: NDArray[np.int64], lines: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Whether each middle crosses a line other than its pair, or an earlier middle."""
    drawn = np.array([shapely.LineString(xy) for xy in middles], dtype=object)
    middle, line = shapely.STRtree(lines).query(drawn, predicate="crosses")
    foreign = (pairs[middle] != line[:, None]).all(axis=1)
    one, two = shapely.STRtree(drawn).query(drawn, predicate="crosses")
    return np.isin(np.arange(len(middles)), [*middle[foreign], *np.maximum(one, two)])


def _merge(
    tracks: Tracks, pair: NDArray[np.int64], length_m: NDArray[np.float64], middle: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> Tracks:
    """Return one line for a pair, in a network of the same nodes."""
    xy, apart_m = middle
    return replace(
        tracks.take(pair[:1]),
        xy=xy,
        starts=np.array([0, len(xy)]),
        width_m=np.array([tracks.width_m[pair].mean() + apart_m.mean()]),
        score=np.array([np.average(tracks.score[pair], weights=length_m)]),
        bridged_m=np.array([tracks.bridged_m[pair].min()]),
    )

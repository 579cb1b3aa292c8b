"""Gaps in roads closed by direction, distance and what the imagery says: dead end to dead end, dead end to the side of a road."""

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.network.bridges import Bridges, DeadEnds, GapOptions, draw_bridges, find_bridges, find_dead_ends
from geoseg.objects.network.landing import Joints, build_joints
from geoseg.objects.network.tracks import Tracks

_READING_BLOCK_PX = 1024


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
    ends = find_dead_ends(tracks)
    bridges = find_bridges(tracks, ends, options)
    score = _sample(np.stack([ends.xy[bridges.end], _find_far_side(bridges, ends)], axis=1), read, shape, pixel_m)
    likely = score >= options.min_score
    bridges, score = bridges.take(likely), score[likely]
    chosen = _choose(bridges, ends, (bridges.gap_m + min(pixel_m)) * (1 + bridges.turn) * (2 - score))
    bridges, score = bridges.take(chosen), score[chosen]
    joints = Joints(
        start=ends.node[bridges.end],
        node=ends.node[bridges.other],
        edge=bridges.edge,
        target=bridges.target,
        inner=[np.zeros((0, 2))] * len(chosen),
        width_m=2 * ends.half_m[bridges.end],
        score=score,
        bridged_m=bridges.gap_m,
    )
    return build_joints(tracks, joints)


def _find_far_side(bridges: Bridges, ends: DeadEnds) -> NDArray[np.float64]:
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
    order = np.argsort(blocks, kind="stable")
    for here in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1) if len(order) else []:
        top, left = int(rows[here].min()), int(cols[here].min())
        pixels = read(Window(left, top, int(cols[here].max()) - left + 1, int(rows[here].max()) - top + 1))
        np.add.at(total, owner[here], pixels[rows[here] - top, cols[here] - left])
    return np.asarray(total / counts / 255)


def _choose(bridges: Bridges, ends: DeadEnds, cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Take bridges in the order of their cost; none at an end that has one, none that crosses one."""
    straight = draw_bridges(bridges, ends)
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

"""New lines put into a network: from dead ends to nodes or to the sides of roads, which are cut there."""

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.objects.network.tracks import Tracks, compact, draw_lines, join_runs, split_tracks


@dataclass(frozen=True, slots=True, kw_only=True)
class Joints:
    """Lines that join a network in itself."""

    start: NDArray[np.int64]
    """(k,) node at which each starts."""
    node: NDArray[np.int64]
    """(k,) node at which it ends, -1 where it ends at the side of a road."""
    edge: NDArray[np.int64]
    """(k,) that road, -1 at a node."""
    target: NDArray[np.float64]
    """(k, 2) where it meets that road, metres."""
    inner: list[NDArray[np.float64]]
    """(k,) points (p, 2) between both ends."""
    width_m: NDArray[np.float64]
    """(k,) width of the road that it goes on."""
    score: NDArray[np.float64]
    """(k,) mean probability along it."""
    bridged_m: NDArray[np.float64]
    """(k,) length outside the roads that it joins."""


def build_joints(tracks: Tracks, joints: Joints) -> Tracks:
    """Add lines to a network and make one line of what then meets in twos; those that would cross anything are left out."""
    tracks, node = _land(tracks, joints)
    other = np.where(joints.edge < 0, joints.node, node)
    ends = tracks.node_xy[np.column_stack([joints.start, other])]
    points = [np.concatenate([pair[:1], inner, pair[1:]]) for pair, inner in zip(ends, joints.inner, strict=True)]
    starts = np.concatenate([[0], np.cumsum([len(p) for p in points], dtype=np.int64)])
    xy = np.concatenate([np.zeros((0, 2)), *points])
    drawn = draw_lines(xy, starts)
    # A line that was moved to a node may now cross something.
    crossing, _ = shapely.STRtree(tracks.lines).query(drawn, predicate="crosses")
    one, two = shapely.STRtree(drawn).query(drawn, predicate="crosses")
    kept = (ends[:, 0] != ends[:, 1]).any(axis=1)
    kept[crossing] = False
    kept[np.maximum(one, two)] = False
    new = Tracks(
        node_xy=tracks.node_xy,
        from_node=joints.start,
        to_node=other,
        xy=xy,
        starts=starts,
        width_m=joints.width_m,
        score=joints.score,
        bridged_m=joints.bridged_m,
    )
    new = replace(new, bridged_m=np.minimum(new.bridged_m, new.length_m))
    return join_runs(compact(tracks.add(new.take(np.flatnonzero(kept)))))


def _land(tracks: Tracks, joints: Joints) -> tuple[Tracks, NDArray[np.int64]]:
    """Cut roads where lines meet their sides.

    Where two meet within the width of the road they share a node, and near the road's end they end in its node.

    Returns:
        The network, and the node (k,) at which each line ends; that of lines between nodes has no meaning.
    """
    side = np.flatnonzero(joints.edge >= 0)
    edge = joints.edge[side]
    along = shapely.line_locate_point(tracks.lines[edge], shapely.points(joints.target[side]))
    order = np.lexsort((along, edge))
    side, edge, along = side[order], edge[order], along[order]
    near_m, length_m = tracks.width_m[edge] / 2, tracks.length_m[edge]
    node = np.full(len(joints.edge), -1)
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

"""The outlines of touching buildings as walls: chains of points between the places where a neighbor begins or ends.

A *wall* is the longest chain of edges with the same polygons on its two sides. Two polygons that share edges, vertex by vertex, as
those of a valid coverage do, share the wall: what is done to it is done once, for both. A *node* is the end of an open wall.
Polygons that touch in single points only share nothing.
"""

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

_NOBODY = -1


class Walls(NamedTuple):
    """Walls of all polygons, and how rings are put together from them; a NamedTuple, since numba takes no dataclass."""

    points: NDArray[np.float64]
    """(m, 2) x and y, wall after wall; a closed wall repeats its first point at its end."""
    starts: NDArray[np.int64]
    """(w + 1,) where each wall starts in ``points``."""
    nodes: NDArray[np.int64]
    """(w, 2) nodes at the start and at the end of each wall; -1 for closed walls."""
    owners: NDArray[np.int64]
    """(w, 2) polygons on the two sides; the second is -1 where there is none."""
    node_xy: NDArray[np.float64]
    """(v, 2) where the nodes lie."""
    steps: NDArray[np.int64]
    """(k,) walls in the order of the rings."""
    backwards: NDArray[np.bool_]
    """(k,) whether a ring walks along the wall from its end to its start."""
    rings: NDArray[np.int64]
    """(r + 1,) where each ring starts in ``steps``."""
    shells: NDArray[np.int64]
    """(n + 1,) where each polygon starts in the rings; its first ring is its exterior."""


class _Edges(NamedTuple):
    """Edges in the order of the rings; the edge at position k leaves vertex k."""

    xy: NDArray[np.float64]
    """(e, 2) the vertex that each edge leaves."""
    vertex: NDArray[np.int64]
    """(e,) its number; equal places have equal numbers."""
    after: NDArray[np.int64]
    """(e,) position of the next edge of the ring."""
    ring: NDArray[np.int64]
    """(e,) the ring."""
    key: NDArray[np.int64]
    """(e,) number of the undirected edge."""
    ahead: NDArray[np.bool_]
    """(e,) whether the edge leads from its lower to its higher vertex."""


def find_walls(polygons: NDArray[np.object_]) -> Walls:
    """Cut the outlines of polygons into walls.

    Args:
        polygons: (n,) valid polygons without Z.

    Returns:
        Walls; those that two polygons share stand there once.
    """
    _, coordinates, (ring_starts, shells) = shapely.to_ragged_array(polygons)
    edges = _edges(np.asarray(coordinates[:, :2], np.float64), np.asarray(ring_starts, np.int64))
    polygon_of = np.repeat(np.arange(len(polygons)), np.diff(shells))[edges.ring]
    neighbor = _neighbors(edges, polygon_of)
    begins = _find_breaks(edges, neighbor)
    return _cut(edges, begins, np.column_stack([polygon_of, neighbor]), np.asarray(shells, np.int64))


def _edges(coordinates: NDArray[np.float64], starts: NDArray[np.int64]) -> _Edges:
    """Number vertices and undirected edges; the point that closes a ring is left out."""
    counts = np.diff(starts)
    kept = np.ones(len(coordinates), np.bool_)
    kept[starts[1:] - 1] = False
    xy = coordinates[kept]
    ring = np.repeat(np.arange(len(counts)), counts - 1)
    ends = np.cumsum(counts - 1)
    after = np.arange(1, len(xy) + 1)
    after[ends - 1] = ends - (counts - 1)
    # complex numbers sort by x, then by y
    vertex = np.unique(xy[:, 0] + 1j * xy[:, 1], return_inverse=True)[1].astype(np.int64)
    low, high = np.minimum(vertex, vertex[after]), np.maximum(vertex, vertex[after])
    key = np.unique(low * (len(xy) + 1) + high, return_inverse=True)[1].astype(np.int64)
    return _Edges(xy, vertex, after, ring, key, vertex <= vertex[after])


def _neighbors(edges: _Edges, polygon_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (e,) the one other polygon that has the same edge, or -1."""
    order = np.argsort(edges.key, kind="stable")
    count = np.bincount(edges.key)
    first = order[np.concatenate([[0], np.cumsum(count)[:-1]])[count == 2]]
    second = order[np.cumsum(count)[count == 2] - 1]
    between = polygon_of[first] != polygon_of[second]
    neighbor = np.full(len(edges.key), _NOBODY, np.int64)
    neighbor[first[between]] = polygon_of[second[between]]
    neighbor[second[between]] = polygon_of[first[between]]
    return neighbor


def _find_breaks(edges: _Edges, neighbor: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (e,) whether a wall begins with the edge; both polygons along a wall agree where it begins and ends."""
    before = np.empty_like(edges.after)
    before[edges.after] = np.arange(len(before))
    begins = neighbor != neighbor[before]
    # where a polygon touches itself in a point, only one of the two sides sees that the wall ends
    arriving = 2 * edges.key[before] + edges.ahead[before]
    leaving = 2 * edges.key + ~edges.ahead
    while True:
        ends = np.unique(np.concatenate([arriving[begins], leaving[begins]]))
        more = (np.isin(arriving, ends) | np.isin(leaving, ends)) & (neighbor != _NOBODY) | begins
        if (more == begins).all():
            return np.asarray(begins, np.bool_)
        begins = more


def _cut(edges: _Edges, begins: NDArray[np.bool_], owners: NDArray[np.int64], shells: NDArray[np.int64]) -> Walls:
    """Make walls: rotate rings so that each starts where a wall begins, and find the two rides along each shared wall."""
    position, is_first, ring_of_walk = _walks(edges, begins)
    first = np.flatnonzero(is_first)
    lengths = np.diff(np.append(first, len(position)))
    lowest = np.minimum.reduceat(edges.key[position], first)
    walk_of = np.repeat(np.arange(len(first)), lengths)
    at_lowest = np.zeros(len(first), np.int64)
    hits = np.flatnonzero(edges.key[position] == lowest[walk_of])
    at_lowest[walk_of[hits]] = position[hits]
    _, canonical, wall_of = np.unique(lowest, return_index=True, return_inverse=True)
    ahead = edges.ahead[at_lowest]
    chosen = np.repeat(np.isin(np.arange(len(first)), canonical), lengths)
    # walls keep the order of their walks
    rank = np.argsort(np.argsort(canonical))
    canonical, wall_of = np.sort(canonical), rank[wall_of]
    points, starts = _with_ends(edges, position[chosen], lengths[canonical])
    is_open = begins[position[first[canonical]]]
    ends = np.column_stack([edges.vertex[position[first[canonical]]], edges.vertex[_last(edges, position, first, lengths)[canonical]]])
    ids, nodes = np.unique(ends[is_open], return_inverse=True)
    all_nodes = np.full((len(canonical), 2), _NOBODY, np.int64)
    all_nodes[is_open] = nodes.reshape(-1, 2)
    node_xy = np.empty((len(ids), 2), np.float64)
    node_xy[nodes.ravel()] = np.stack([points[starts[:-1]], points[starts[1:] - 1]], axis=1)[is_open].reshape(-1, 2)
    rings = np.searchsorted(ring_of_walk, np.arange(shells[-1] + 1))
    return Walls(
        points=points,
        starts=starts,
        nodes=all_nodes,
        owners=owners[position[first[canonical]]],
        node_xy=node_xy,
        steps=wall_of.astype(np.int64),
        backwards=ahead != ahead[canonical[wall_of]],
        rings=rings.astype(np.int64),
        shells=shells,
    )


def _walks(edges: _Edges, begins: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return (e,) edges ring by ring, each ring from where a wall begins, (e,) whether a walk starts, and (k,) the walks' rings."""
    size = np.bincount(edges.ring)
    start = np.cumsum(size) - size
    shift = np.zeros(len(size), np.int64)
    breaks = np.flatnonzero(begins)
    shift[edges.ring[breaks][::-1]] = (breaks - start[edges.ring[breaks]])[::-1]
    within = np.arange(len(edges.ring)) - start[edges.ring]
    position = start[edges.ring] + (within + shift[edges.ring]) % size[edges.ring]
    is_first = begins[position] | (within == 0)
    return position, is_first, edges.ring[is_first]


def _last(edges: _Edges, position: NDArray[np.int64], first: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the edge that leaves the end of each walk."""
    return np.asarray(edges.after[position[first + lengths - 1]])


def _with_ends(edges: _Edges, position: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the points of walks, each with the vertex that its last edge leads to, and where each walk starts."""
    starts = np.concatenate([[0], np.cumsum(lengths + 1)])
    points = np.empty((starts[-1], 2), np.float64)
    is_end = np.zeros(len(points), np.bool_)
    is_end[starts[1:] - 1] = True
    points[~is_end] = edges.xy[position]
    points[is_end] = edges.xy[edges.after[position[np.cumsum(lengths) - 1]]]
    return points, starts

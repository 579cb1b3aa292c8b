"""Average path length similarity of two road networks (Van Etten et al. 2018, "SpaceNet: a remote sensing dataset and challenge series").

Lines that lie near each other may still be cut: APLS asks whether the ways through the network have the same lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

_SNAP_GRID_M = 0.05
"""Lines that end this near to another one meet it."""
_SHORTEST_M = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class AplsOptions:
    """How networks are compared."""

    interval_m: float = 50.0
    """Largest distance between control points along an edge."""
    snap_m: float = 4.0
    """Distance up to which a control point has a counterpart on the other network."""
    sources: int = 500
    """Control points that ways start from; where there are more, as many are drawn. Ways lead to all control points."""
    seed: int = 0
    """Of that draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apls:
    """Similarity in both directions, each 0..1."""

    reference_to_found: float
    """Ways between points of the reference, looked for in what was found: missing roads cost."""
    found_to_reference: float
    """Ways between points of what was found, looked for in the reference: invented roads cost."""

    @property
    def score(self) -> float:
        """Harmonic mean; 0 if either is; NaN if there is no way in the reference."""
        total = self.reference_to_found + self.found_to_reference
        return 2 * self.reference_to_found * self.found_to_reference / total if total != 0 else 0.0


def compare_networks(found: Sequence[shapely.Geometry], reference: Sequence[shapely.Geometry], options: AplsOptions | None = None) -> Apls:
    """Compare two networks.

    Lines are connected where they touch or cross; what passes over a bridge is connected too.

    Args:
        found: Lines in a CRS whose unit is the metre.
        reference: Lines in the same CRS.
        options: Distances and limits.

    Returns:
        1 for identical networks, 0 where nothing was found; NaN where the reference holds no way.
    """
    options = options or AplsOptions()
    one, other = _edges(reference), _edges(found)
    if len(one) == 0:
        return Apls(reference_to_found=float("nan"), found_to_reference=float("nan"))
    if len(other) == 0:
        return Apls(reference_to_found=0.0, found_to_reference=0.0)
    return Apls(reference_to_found=_similarity(one, other, options), found_to_reference=_similarity(other, one, options))


def _edges(lines: Sequence[shapely.Geometry]) -> NDArray[np.object_]:
    """Cut lines where they meet, and join what meets in twos."""
    if len(lines) == 0:
        return np.empty(0, dtype=object)
    noded = shapely.line_merge(shapely.union_all(np.asarray(lines, dtype=object), grid_size=_SNAP_GRID_M))
    parts = shapely.get_parts(noded)
    return np.asarray(parts[shapely.length(parts) > 0])


def _similarity(edges: NDArray[np.object_], others: NDArray[np.object_], options: AplsOptions) -> float:
    """Return one minus the mean relative difference of path lengths; a way that is missing counts as 1."""
    edge, along = _control_points(edges, options.interval_m)
    points = shapely.line_interpolate_point(edges[edge], along)
    snapped, other_along = _snap(points, others, options.snap_m)
    there = snapped >= 0
    graph, nodes = _build_graph(edges, edge, along)
    other_graph, other_nodes = _build_graph(others, snapped[there], other_along[there])
    place = np.full(len(points), -1)
    place[there] = other_nodes
    # ends that edges share are one control point
    first = np.unique(nodes, return_index=True)[1]
    sources = first
    if len(sources) > options.sources:
        sources = np.sort(np.random.default_rng(options.seed).choice(first, options.sources, replace=False))
    lengths = dijkstra(graph, directed=False, indices=nodes[sources])[:, nodes[first]]
    others_there = np.where(place[sources] >= 0, place[sources], 0)
    counterparts = dijkstra(other_graph, directed=False, indices=others_there)[:, np.maximum(place[first], 0)]
    counterparts[place[sources] < 0] = np.inf
    counterparts[:, place[first] < 0] = np.inf
    ways = np.isfinite(lengths) & (lengths > 10 * _SHORTEST_M)
    if not ways.any():
        return float("nan")
    difference = np.abs(lengths[ways] - counterparts[ways]) / lengths[ways]
    return float(1 - np.minimum(difference, 1).mean())


def _control_points(edges: NDArray[np.object_], interval_m: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return edge and distance along it of the ends of each edge and of points at equal intervals between."""
    lengths = shapely.length(edges)
    steps = np.maximum(np.ceil(lengths / interval_m - 1e-9).astype(np.int64), 1)
    edge = np.repeat(np.arange(len(edges)), steps + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - (steps + 1), steps + 1)
    return edge, step * (lengths / steps)[edge]


def _snap(points: NDArray[np.object_], edges: NDArray[np.object_], snap_m: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nearest edge of each point, -1 where none is near, and the distance along it."""
    index, near = shapely.STRtree(edges).query_nearest(points, max_distance=snap_m, all_matches=False)
    edge, along = np.full(len(points), -1), np.zeros(len(points))
    edge[index] = near
    along[index] = shapely.line_locate_point(edges[near], points[index])
    return edge, along


def _build_graph(
    edges: NDArray[np.object_], edge: NDArray[np.int64], along: NDArray[np.float64]
) -> tuple[sparse.csr_array, NDArray[np.int64]]:
    """Make a graph of the ends of edges and of points on them.

    Returns:
        Graph weighted by length in metres, and the node (n,) of each point.
    """
    lengths = shapely.length(edges)
    ends = np.round(np.concatenate([shapely.get_coordinates(shapely.get_point(edges, i)) for i in (0, -1)]), 6)
    junction = np.unique(ends, axis=0, return_inverse=True)[1].reshape(2, len(edges))
    count = int(junction.max()) + 1
    nodes = count + np.arange(len(edge))
    at_start, at_end = along <= _SHORTEST_M, along >= lengths[edge] - _SHORTEST_M
    nodes = np.where(at_start, junction[0][edge], np.where(at_end, junction[1][edge], nodes))
    every = np.arange(len(edges))
    all_edge = np.concatenate([edge, every, every])
    all_along = np.concatenate([along, np.zeros(len(edges)), lengths])
    all_node = np.concatenate([nodes, *junction])
    order = np.lexsort((all_along, all_edge))
    same = np.diff(all_edge[order]) == 0
    one, other = all_node[order][:-1][same], all_node[order][1:][same]
    weight = np.maximum(np.diff(all_along[order])[same], _SHORTEST_M)
    return _lightest(one, other, weight, count + len(edge)), nodes


def _lightest(one: NDArray[np.int64], other: NDArray[np.int64], weight: NDArray[np.float64], size: int) -> sparse.csr_array:
    """Build a graph whose parallel edges keep the shorter of them; a sparse matrix would add them up."""
    low, high = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((weight, high, low))
    low, high, weight = low[order], high[order], weight[order]
    first = np.append(True, (np.diff(low) != 0) | (np.diff(high) != 0)) & (low != high)
    return sparse.csr_array((weight[first], (low[first], high[first])), shape=(size, size))

"""What stays within reach by road, and what is cut off."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from shapely import STRtree
from shapely.ops import substring

from geoseg.impact.flood import Stretches
from geoseg.impact.network import Network


class Access(StrEnum):
    """How something is reached by road."""

    REACHED = "reached"
    """There is a dry way."""
    CUT_OFF = "cut off"
    """There was a way before the flood."""
    ROAD_FLOODED = "road flooded"
    """There was a way before the flood; the nearest road is under water just there."""
    NEVER = "never"
    """There was no way before the flood either."""
    NO_ROAD = "no road"
    """No road is near enough to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spots:
    """Places on roads."""

    edge: NDArray[np.int64]
    """(n,) edge, -1 = none is near."""
    along_m: NDArray[np.float64]
    """(n,) metres along it, on the ground."""
    away_m: NDArray[np.float64]
    """(n,) distance to it, NaN = none is near."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What a flood leaves of the edges: the parts between stretches that cut them."""

    edge: NDArray[np.int64]
    """(m,) edge of each piece, in order along the edges."""
    from_m: NDArray[np.float64]
    """(m,) where it begins, metres along the edge."""
    to_m: NDArray[np.float64]
    """(m,) where it ends."""
    group: NDArray[np.int64]
    """(m,) pieces with the same number are connected."""
    access: NDArray[np.object_]
    """(m,) how the piece is reached."""
    before: NDArray[np.int64]
    """(edges,) edges with the same number were connected before."""
    was_reached: NDArray[np.bool_]
    """(edges,) whether there was a way before the flood."""

    def find(self, spots: Spots) -> NDArray[np.int64]:
        """Return the piece that each spot lies on, (n,); -1 where it lies on none."""
        return _find_piece(self.edge, self.from_m, self.to_m, spots)

    def judge(self, spots: Spots) -> NDArray[np.object_]:
        """Tell how spots are reached, (n,)."""
        piece = self.find(spots)
        there = spots.edge >= 0
        if not len(self.was_reached):
            return np.full(len(there), Access.NO_ROAD, dtype=object)
        drowned = np.where(self.was_reached[np.maximum(spots.edge, 0)], Access.ROAD_FLOODED, Access.NEVER).astype(object)
        access = np.where(piece >= 0, self.access[piece] if len(self.access) else Access.NEVER, drowned)
        return np.where(there, access, Access.NO_ROAD).astype(object)


def find_spots(points: NDArray[np.object_], network: Network, most_m: float = np.inf) -> Spots:
    """Find the nearest place on a road to each point or polygon in metres, as far as there is one within a distance."""
    tree = STRtree(network.metric)
    which, away = tree.query_nearest(points, all_matches=False, return_distance=True)
    edge, away_m = np.full(len(points), -1, np.int64), np.full(len(points), np.nan)
    near = away <= most_m
    edge[which[0][near]], away_m[which[0][near]] = which[1][near], away[near]
    line = network.metric[np.maximum(edge, 0)]
    along = shapely.line_locate_point(line, shapely.centroid(points), normalized=True)
    return Spots(edge=edge, along_m=np.where(edge >= 0, along * network.length_m[np.maximum(edge, 0)], 0.0), away_m=away_m)


def split_network(network: Network, cuts: Stretches, origins: Spots | None) -> Pieces:
    """Tell what is still connected when stretches of roads are gone.

    What was not connected before the flood is not held against it. Nodes are in water only if a road is there that ends.

    Args:
        network: The roads before the flood.
        cuts: The stretches that nobody passes.
        origins: What must be reached, any of them; None takes the largest part that is left, by length.
    """
    edge, start, end = _cut_edges(network.length_m, cuts)
    group = _connect(network, edge, start, end)
    before = _connect(network, np.arange(len(network)), np.zeros(len(network)), network.length_m)
    if origins is None:
        largest = np.bincount(group, end - start).argmax() if len(group) else -1
        at = np.flatnonzero(group == largest)
        good, once = np.unique(group[at]), np.unique(before[edge[at]])
    else:
        piece = _find_piece(edge, start, end, origins)
        good, once = np.unique(group[piece[piece >= 0]]), np.unique(before[origins.edge[origins.edge >= 0]])
    was_reached = np.isin(before, once)
    lost = np.where(was_reached[edge], Access.CUT_OFF, Access.NEVER)
    access = np.where(np.isin(group, good), Access.REACHED, lost).astype(object)
    return Pieces(edge=edge, from_m=start, to_m=end, group=group, access=access, before=before, was_reached=was_reached)


def draw_pieces(lines: NDArray[np.object_], network: Network, pieces: Pieces, chosen: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return some pieces of the lines (edges,) of a network, in any CRS."""
    edge = pieces.edge[chosen]
    return cut_lines(lines[edge], network.length_m[edge], pieces.from_m[chosen], pieces.to_m[chosen])


def cut_lines(
    lines: NDArray[np.object_], length_m: NDArray[np.float64], from_m: NDArray[np.float64], to_m: NDArray[np.float64]
) -> NDArray[np.object_]:
    """Return the part of each line (n,) between two places, metres along it, from its length on the ground."""
    ends = zip(lines, from_m / length_m, to_m / length_m, strict=True)
    parts = [substring(line, start, end, normalized=True) for line, start, end in ends]
    return np.array(parts, dtype=object)


def _cut_edges(length_m: NDArray[np.float64], cuts: Stretches) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the parts of edges outside of stretches, in order: edge, begin and end."""
    edge = np.concatenate([np.arange(len(length_m)), cuts.line])
    start = np.concatenate([np.zeros(len(length_m)), cuts.to_m])
    order = np.lexsort((start, edge))
    edge, start = edge[order], start[order]
    until = np.concatenate([cuts.from_m, length_m])
    end = until[np.lexsort((until, np.concatenate([cuts.line, np.arange(len(length_m))])))]
    there = end > start
    return edge[there], start[there], end[there]


def _connect(network: Network, edge: NDArray[np.int64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number pieces by what they are connected with, over the nodes that they reach."""
    count, nodes = len(edge), network.node_count
    own = np.arange(count) + nodes
    first, last = start <= 0, end >= network.length_m[edge]
    one = np.concatenate([own[first], own[last]])
    other = np.concatenate([network.from_node[edge[first]], network.to_node[edge[last]]])
    graph = sparse.coo_array((np.ones(len(one), np.int8), (one, other)), shape=(nodes + count, nodes + count))
    return np.asarray(csgraph.connected_components(graph, directed=False)[1][nodes:], np.int64)


def _find_piece(edge: NDArray[np.int64], start: NDArray[np.float64], end: NDArray[np.float64], spots: Spots) -> NDArray[np.int64]:
    """Return the piece that each spot lies on, -1 = none; pieces come in order along the edges."""
    if not len(edge):
        return np.full(len(spots.edge), -1, np.int64)
    longest = float(max(end.max(), spots.along_m.max(initial=0.0))) + 1.0
    at = np.searchsorted(edge * longest + start, spots.edge * longest + spots.along_m, side="right") - 1
    safe = np.maximum(at, 0)
    on = (at >= 0) & (edge[safe] == spots.edge) & (spots.along_m <= end[safe])
    return np.where(on, safe, -1).astype(np.int64)

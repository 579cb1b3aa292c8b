"""Water that goes on over junctions: a road that is drawn in many short lines is cut as one that is drawn in one."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from geoseg.impact.flood import Stretches
from geoseg.impact.network import Network

_AT_NODE_M = 1e-3
"""A stretch that ends nearer to a node reaches it."""


def reach_length(network: Network, wet: Stretches, least_m: float) -> NDArray[np.bool_]:
    """Tell which stretches belong to water that is as long as that along the roads, (n,).

    Stretches that meet at a node are one water. It is as long as the way through it between its two ends that are farthest apart, so
    that a puddle on a crossroads is no longer for the number of roads that meet there.

    Args:
        network: The roads.
        wet: Stretches of theirs under water.
        least_m: The length.
    """
    length, ends = wet.to_m - wet.from_m, _find_ends(network, wet)
    water = _connect(length, ends)[1][: len(length)]
    total, longest = np.bincount(water, length), np.zeros(water.max(initial=-1) + 1)
    np.maximum.at(longest, water, length)
    is_long = longest >= least_m
    # only these are worth a look
    doubtful = ~is_long & (total >= least_m)
    order = np.flatnonzero(doubtful[water])
    order = order[np.argsort(water[order], kind="stable")]
    for members in np.split(order, np.flatnonzero(np.diff(water[order])) + 1):
        if len(members):
            is_long[water[members[0]]] = _find_width(length[members], ends[members]) >= least_m
    return np.asarray(is_long[water], bool)


def _find_ends(network: Network, wet: Stretches) -> NDArray[np.int64]:
    """Return a number for both ends of each stretch, (n, 2): those that reach a node have that of the node."""
    own = network.node_count + np.arange(2 * len(wet.line)).reshape(-1, 2)
    begins = np.where(wet.from_m <= _AT_NODE_M, network.from_node[wet.line], own[:, 0])
    ends = np.where(wet.to_m >= network.length_m[wet.line] - _AT_NODE_M, network.to_node[wet.line], own[:, 1])
    return np.column_stack([begins, ends])


def _connect(length: NDArray[np.float64], ends: NDArray[np.int64]) -> tuple[sparse.csr_array, NDArray[np.int64]]:
    """Return the graph of the middles of stretches, which come first, and their ends, and what is connected in it; weights are metres."""
    names, place = np.unique(ends, return_inverse=True)
    size = len(length) + len(names)
    # two stretches may have the same ends, but never the same middle; a weight of 0 is no edge
    half, mids = np.maximum(np.tile(length / 2, 2), 1e-9), np.tile(np.arange(len(length)), 2)
    others = len(length) + place.reshape(-1, 2).T.ravel()
    graph = sparse.csr_array(sparse.coo_array((half, (mids, others)), shape=(size, size)))
    return graph, csgraph.connected_components(graph, directed=False)[1]


def _find_width(length: NDArray[np.float64], ends: NDArray[np.int64]) -> float:
    """Return the longest of the shortest ways through connected stretches; exact where there are no rings."""
    graph, _ = _connect(length, ends)
    far = int(csgraph.dijkstra(graph, directed=False, indices=0).argmax())
    return float(csgraph.dijkstra(graph, directed=False, indices=far).max())

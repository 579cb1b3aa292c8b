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
    length = wet.to_m - wet.from_m
    graph = _link(network, wet, length)
    _, water = csgraph.connected_components(graph, directed=False)
    mids = np.arange(len(wet.line))
    water = water[mids]
    total, longest = np.bincount(water, length), np.zeros(water.max(initial=-1) + 1)
    np.maximum.at(longest, water, length)
    is_long = longest >= least_m
    # only these are worth a look
    for number in np.flatnonzero(~is_long & (total >= least_m)):
        start = int(np.flatnonzero(water == number)[0])
        is_long[number] = _find_width(graph, start) >= least_m
    return np.asarray(is_long[water], bool)


def _link(network: Network, wet: Stretches, length: NDArray[np.float64]) -> sparse.csr_array:
    """Return a graph of the middles of stretches, their ends, and the nodes that these reach; weights are metres."""
    count = len(wet.line)
    mids, first_node = np.arange(count), 3 * count
    at_start, at_end = wet.from_m <= _AT_NODE_M, wet.to_m >= network.length_m[wet.line] - _AT_NODE_M
    begins = np.where(at_start, first_node + network.from_node[wet.line], count + mids)
    ends = np.where(at_end, first_node + network.to_node[wet.line], 2 * count + mids)
    size = first_node + network.node_count
    # a weight of 0 is no edge
    half = np.maximum(np.tile(length / 2, 2), 1e-9)
    return sparse.csr_array(sparse.coo_array((half, (np.tile(mids, 2), np.concatenate([begins, ends]))), shape=(size, size)))


def _find_width(graph: sparse.csr_array, start: int) -> float:
    """Return the longest of the shortest ways in the part of a graph around a place; exact where there are no rings."""
    one = csgraph.dijkstra(graph, directed=False, indices=start)
    far = int(np.where(np.isfinite(one), one, -1.0).argmax())
    other = csgraph.dijkstra(graph, directed=False, indices=far)
    return float(other[np.isfinite(other)].max())

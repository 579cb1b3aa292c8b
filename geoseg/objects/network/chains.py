"""Runs of skeleton pixels from crossing to crossing: traced, cleaned of what is too short, crossings made one node."""

import math
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.objects.network.skeleton import PixelGraph, Skeleton, connect
from geoseg.pixels.kernel import entry, kernel

_PRUNING_ROUNDS = 8
_MERGING_ROUNDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """Runs of links from node to node. Half-edge 2i walks link i forwards, 2i + 1 backwards."""

    steps: NDArray[np.int64]
    """(s,) half-edges, chain after chain."""
    starts: NDArray[np.int64]
    """(c + 1,) where each chain starts in ``steps``, and their number."""
    start_vertex: NDArray[np.int64]
    """(c,) vertex at which each chain starts."""
    end_vertex: NDArray[np.int64]
    """(c,) vertex at which each chain ends."""
    length_m: NDArray[np.float64]
    """(c,) length of its links."""
    width_m: NDArray[np.float64]
    """(c,) mean width along it."""
    score: NDArray[np.float64]
    """(c,) mean probability along it, 0..1."""

    def take(self, chosen: NDArray[np.int64]) -> "Chains":
        """Return the chosen chains, by number."""
        counts = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)])
        shift = np.repeat(self.starts[chosen] - starts[:-1], counts)
        return Chains(
            steps=self.steps[np.arange(starts[-1]) + shift],
            starts=starts,
            start_vertex=self.start_vertex[chosen],
            end_vertex=self.end_vertex[chosen],
            length_m=self.length_m[chosen],
            width_m=self.width_m[chosen],
            score=self.score[chosen],
        )


def clean_chains(skeleton: Skeleton, graph: PixelGraph, min_length_m: float) -> tuple[PixelGraph, Chains]:
    """Remove what is too short, and make one node of crossings that lie within each other.

    Isolated pieces stay where they are longer than wide: gaps between them may be closed later.

    Args:
        skeleton: The pixels.
        graph: Their graph.
        min_length_m: Shorter dead ends and loops go.

    Returns:
        What is left of the graph, and its chains in the order of their vertices.
    """
    graph, chains = _prune(skeleton, graph, min_length_m)
    for _ in range(_MERGING_ROUNDS):
        merged = _merge_junctions(skeleton, graph, chains, min_length_m)
        if len(merged.links) == len(graph.links):
            break
        graph, chains = _prune(skeleton, merged, min_length_m)
    alone = (count_ends(graph, chains) == 1)[np.column_stack([chains.start_vertex, chains.end_vertex])].all(axis=1)
    lasting = ~alone | (chains.length_m >= np.minimum(min_length_m, chains.width_m / 2))
    order = np.lexsort((chains.steps[chains.starts[:-1]], chains.end_vertex, chains.start_vertex))
    return graph, chains.take(order[lasting[order]])


def _prune(skeleton: Skeleton, graph: PixelGraph, min_length_m: float) -> tuple[PixelGraph, Chains]:
    chains = _trace_chains(graph)
    for _ in range(_PRUNING_ROUNDS):
        doomed = _is_spur(skeleton, graph, chains, min_length_m) | _is_short_loop(chains, min_length_m)
        if not doomed.any():
            break
        alive = np.ones(len(graph.links), bool)
        alive[chains.take(np.flatnonzero(doomed)).steps >> 1] = False
        graph = graph.keep(alive)
        chains = _trace_chains(graph)
    return graph, chains


def _is_spur(skeleton: Skeleton, graph: PixelGraph, chains: Chains, min_length_m: float) -> NDArray[np.bool_]:
    """Dead ends that are short, or hardly leave the road that they start from."""
    dead = count_ends(graph, chains) == 1
    starts_dead, ends_dead = dead[chains.start_vertex], dead[chains.end_vertex]
    first, last = _end_pixels(graph, chains)
    least_m = np.maximum(min_length_m, skeleton.width_m[np.where(starts_dead, last, first)])
    return np.asarray((starts_dead != ends_dead) & (chains.length_m < least_m))


def _is_short_loop(chains: Chains, min_length_m: float) -> NDArray[np.bool_]:
    """Ways back to the same node, and the longer of two ways between the same nodes, that go round next to nothing.

    A loop is also short where it is shorter than a circle that has the road's own width as radius: it goes round a car or a tree.
    """
    order = np.lexsort((chains.length_m, chains.end_vertex, chains.start_vertex))
    start, end, length_m = chains.start_vertex[order], chains.end_vertex[order], chains.length_m[order]
    opens = np.ones(len(order), bool)
    opens[1:] = (start[1:] != start[:-1]) | (end[1:] != end[:-1])
    shortest_m = length_m[opens][np.cumsum(opens) - 1]
    round_m = np.full(len(order), np.inf)
    round_m[order] = np.where(opens, np.inf, shortest_m + length_m)
    round_m = np.where(chains.start_vertex == chains.end_vertex, chains.length_m, round_m)
    return round_m < np.maximum(min_length_m, 2 * math.pi * chains.width_m)


def _merge_junctions(skeleton: Skeleton, graph: PixelGraph, chains: Chains, min_length_m: float) -> PixelGraph:
    """Make one vertex of junctions that are closer than the road is wide, and of those round a short loop.

    Thinning turns a crossing into two forks; a traffic island or a parked car makes a small triangle of one.
    """
    degree = count_ends(graph, chains)
    first, last = _end_pixels(graph, chains)
    close = chains.length_m < np.minimum(skeleton.width_m[first], skeleton.width_m[last])
    close &= (degree[chains.start_vertex] > 2) & (degree[chains.end_vertex] > 2)
    close |= _is_round_short_face(skeleton, graph, chains, min_length_m)
    between = graph.vertex[graph.links[chains.take(np.flatnonzero(close)).steps >> 1]]
    owner = connect(between[:, 0], between[:, 1], len(degree))
    counted = np.ones(len(degree))
    counted[between[degree[between] == 0]] = 0
    size = np.bincount(owner, weights=counted)
    xy = np.column_stack([np.bincount(owner, weights=along * counted) / size for along in graph.vertex_xy.T])
    vertex = owner[graph.vertex]
    merged = replace(graph, vertex=vertex, vertex_xy=xy)
    return merged.keep(vertex[graph.links[:, 0]] != vertex[graph.links[:, 1]])


def _is_round_short_face(skeleton: Skeleton, graph: PixelGraph, chains: Chains, min_length_m: float) -> NDArray[np.bool_]:
    """Chains round a place of three or more sides that is as short as a short loop."""
    limit_m = np.maximum(min_length_m, 2 * math.pi * chains.width_m)
    on_face = np.zeros(len(chains.length_m), bool)
    able = np.flatnonzero((chains.length_m < limit_m) & (chains.start_vertex != chains.end_vertex))
    xy, first = list_points(skeleton, graph, chains.take(able))
    lines = shapely.linestrings(xy, indices=np.repeat(np.arange(len(able)), np.diff(first)))
    faces = shapely.get_parts(shapely.polygonize(lines))
    face, side = shapely.STRtree(lines).query(shapely.get_exterior_ring(faces), predicate="covers")
    around_m = np.bincount(face, weights=chains.length_m[able[side]], minlength=len(faces))
    least_m = np.full(len(faces), np.inf)
    np.minimum.at(least_m, face, limit_m[able[side]])
    on_face[able[side[(around_m < least_m)[face]]]] = True
    return on_face


def list_points(skeleton: Skeleton, graph: PixelGraph, chains: Chains) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points (n, 2) in pixel coordinates along chains, from vertex to vertex, and where each chain starts among them."""
    pixel, first = list_pixels(graph, chains)
    rows, cols = np.divmod(skeleton.flat[pixel], skeleton.raster_width)
    path_xy = np.column_stack([cols + 0.5, rows + 0.5])
    ends_xy = np.concatenate([graph.vertex_xy[chains.end_vertex], graph.vertex_xy[chains.start_vertex]])
    # Where a chain ends and the next one starts, np.insert keeps the order given: ends first.
    xy = np.insert(path_xy, np.concatenate([first[1:], first[:-1]]), ends_xy, axis=0)
    return xy, first + 2 * np.arange(len(first))


def _trace_chains(graph: PixelGraph) -> Chains:
    tails = graph.vertex[graph.links].ravel()
    order = np.argsort(tails, kind="stable")
    steps, starts = walk_runs(tails, order, np.searchsorted(tails[order], np.arange(len(graph.vertex_xy) + 1)))
    length_m, width_sum, score_sum = np.add.reduceat(graph.weights[steps >> 1], starts[:-1], axis=0).T
    return Chains(
        steps=steps,
        starts=starts,
        start_vertex=tails[steps[starts[:-1]]],
        end_vertex=tails[steps[starts[1:] - 1] ^ 1],
        length_m=length_m,
        width_m=width_sum / length_m,
        score=score_sum / length_m,
    )


def _end_pixels(graph: PixelGraph, chains: Chains) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pixels = graph.links.ravel()
    return pixels[chains.steps[chains.starts[:-1]]], pixels[chains.steps[chains.starts[1:] - 1] ^ 1]


def list_pixels(graph: PixelGraph, chains: Chains) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels along each chain, and where each chain starts among them; links may jump inside a node."""
    pixels = graph.links.ravel()
    both = np.column_stack([pixels[chains.steps], pixels[chains.steps ^ 1]]).ravel()
    fresh = np.ones(len(both), bool)
    fresh[1:] = both[1:] != both[:-1]
    fresh[2 * chains.starts[:-1]] = True
    return both[fresh], np.concatenate([[0], np.cumsum(fresh)])[2 * chains.starts]


def count_ends(graph: PixelGraph, chains: Chains) -> NDArray[np.int64]:
    """Count chain ends at each vertex: none along a line."""
    return np.bincount(np.concatenate([chains.start_vertex, chains.end_vertex]), minlength=len(graph.vertex_xy))


@entry
def walk_runs(tails: NDArray[np.int64], order: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Walk every half-edge pair once: from nodes through vertices of degree 2 to nodes, then round the rings that are left."""
    steps, starts = np.empty(len(tails) // 2, np.int64), np.zeros(len(tails) // 2 + 1, np.int64)
    walked = np.zeros(len(tails) // 2, np.bool_)
    count = chains = 0
    for rings in (False, True):
        for vertex in range(len(first) - 1):
            if (first[vertex + 1] - first[vertex] == 2) != rings:
                continue
            for half in order[first[vertex] : first[vertex + 1]]:
                if not walked[half >> 1]:
                    count = _follow(half, tails, order, first, steps, count)
                    walked[steps[starts[chains] : count] >> 1] = True
                    chains += 1
                    starts[chains] = count
    return steps, starts[: chains + 1]


@kernel
def _follow(
    half: int,
    tails: NDArray[np.int64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    steps: NDArray[np.int64],
    count: int,
) -> int:
    start = tails[half]
    while True:
        steps[count] = half
        count += 1
        at = tails[half ^ 1]
        if first[at + 1] - first[at] != 2 or at == start:
            return count
        half = order[first[at] + (1 if order[first[at]] == half ^ 1 else 0)]

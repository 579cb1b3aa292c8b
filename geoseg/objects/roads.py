"""Connected road centerlines from the stitched road probability."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import ConfigError
from geoseg.objects.skeleton import PixelGraph, Skeleton, Thinning, collect_skeleton, compiled, connect, link_pixels

_PRUNING_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadOptions:
    """What counts as a road, and how its line is cleaned.

    Raises:
        ConfigError: If the threshold is outside 0..1, or a length is negative or not finite.
    """

    threshold: float = 0.5
    """Probability from which a pixel is road, 0..1; pixels of probability 0 never are."""
    max_width_m: float = 40.0
    """Widest road that is thinned to a line. A wider place becomes one node, in which the roads around it meet."""
    min_length_m: float = 15.0
    """Shorter dead ends, loops and isolated pieces are removed; so are dead ends shorter than the road is wide that they leave."""
    simplify_m: float = 0.5
    """Douglas-Peucker tolerance of the lines on the ground, at least half a pixel's diagonal; 0 keeps every pixel."""
    min_hole_m: float = 3.0
    """Closed gaps in a road, such as cars, are filled up to this far across; the road goes round a larger one."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"The road threshold is a probability from 0 to 1; {self.threshold} was given.")
        if not 0 < self.max_width_m < math.inf:
            raise ConfigError(f"The greatest road width must be more than 0 m; max_width_m = {self.max_width_m} was given.")
        for name in ("min_length_m", "simplify_m", "min_hole_m"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"Lengths of roads are 0 m or more; {name} = {getattr(self, name)} was given.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadNetwork:
    """Roads as a graph, in pixel coordinates: x = column, y = row, pixel centers at +0.5.

    Nodes are numbered by their first pixel in row-major order, edges are sorted by their nodes: ids are reproducible. Two edges
    may join the same nodes, and an edge may return to its node; ``from_node <= to_node``.
    """

    node_xy: NDArray[np.float64]
    """(n, 2) positions."""
    from_node: NDArray[np.int64]
    """(m,) node at which each line starts."""
    to_node: NDArray[np.int64]
    """(m,) node at which each line ends."""
    lines: NDArray[np.object_]
    """(m,) shapely LineStrings; they start and end exactly at their nodes."""
    width_m: NDArray[np.float64]
    """(m,) mean width on the ground, at most ``max_width_m``."""
    score: NDArray[np.float64]
    """(m,) mean probability along the line, 0..1."""

    @property
    def degree(self) -> NDArray[np.int64]:
        """(n,) number of line ends at each node; 1 is a dead end."""
        return np.bincount(np.concatenate([self.from_node, self.to_node]), minlength=len(self.node_xy))

    @property
    def component(self) -> NDArray[np.int64]:
        """(n,) number of the connected part that a node belongs to, from 0."""
        return connect(self.from_node, self.to_node, len(self.node_xy))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chains:
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

    def take(self, chosen: NDArray[np.int64]) -> "_Chains":
        counts = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)])
        shift = np.repeat(self.starts[chosen] - starts[:-1], counts)
        return _Chains(
            steps=self.steps[np.arange(starts[-1]) + shift],
            starts=starts,
            start_vertex=self.start_vertex[chosen],
            end_vertex=self.end_vertex[chosen],
            length_m=self.length_m[chosen],
            width_m=self.width_m[chosen],
            score=self.score[chosen],
        )


def extract_roads(
    read: Callable[[Window], NDArray[np.uint8]],
    shape: tuple[int, int],
    blocks: Iterable[Window],
    pixel_m: tuple[float, float],
    options: RoadOptions,
) -> RoadNetwork:
    """Turn road probability into a network of centerlines that does not depend on the blocks (law 7).

    The raster is thinned block by block with a margin that makes the skeleton exact; everything after sees only the skeleton.
    Memory holds one block with its margin and about 250 bytes per skeleton pixel. Lines end where the road ends: a dead end is
    prolonged by the half width that thinning took from it.

    Args:
        read: Returns the road probability of any window inside the raster, uint8 (H, W), 0..255 = 0..1, 0 where there is no data.
        shape: Rows and columns of the raster.
        blocks: Windows that partition the raster, in any order.
        pixel_m: Width and height of a pixel in metres on the ground.
        options: What counts as a road.

    Returns:
        The network, empty where there is no road.
    """
    thinning = Thinning(
        cut=max(1, math.ceil(options.threshold * 255 - 1e-9)),
        # Diagonal roads lose only 1/sqrt(2) pixel per side and iteration.
        iterations=math.ceil(math.sqrt(2) * options.max_width_m / 2 / min(pixel_m)) + 1,
        hole_px=(int(options.min_hole_m / pixel_m[1]), int(options.min_hole_m / pixel_m[0])),
        max_width_m=options.max_width_m,
        pixel_m=pixel_m,
    )
    skeleton = collect_skeleton(read, shape, blocks, thinning)
    graph, chains = _clean(skeleton, link_pixels(skeleton, shape[1], pixel_m), options.min_length_m)
    return _draw(skeleton, graph, chains, shape, pixel_m, options.simplify_m)


def _clean(skeleton: Skeleton, graph: PixelGraph, min_length_m: float) -> tuple[PixelGraph, _Chains]:
    """Remove what is too short, merge junctions that lie within each other, and order the edges that remain."""
    graph, chains = _prune(skeleton, graph, min_length_m)
    graph, chains = _prune(skeleton, _merge_junctions(skeleton, graph, chains), min_length_m)
    part = connect(chains.start_vertex, chains.end_vertex, len(graph.vertex_xy))[chains.start_vertex]
    long = np.bincount(part, weights=chains.length_m)[part] >= min_length_m
    order = np.lexsort((chains.steps[chains.starts[:-1]], chains.end_vertex, chains.start_vertex))
    return graph, chains.take(order[long[order]])


def _prune(skeleton: Skeleton, graph: PixelGraph, min_length_m: float) -> tuple[PixelGraph, _Chains]:
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


def _is_spur(skeleton: Skeleton, graph: PixelGraph, chains: _Chains, min_length_m: float) -> NDArray[np.bool_]:
    """Dead ends that are short, or hardly leave the road that they start from."""
    dead = _degree(graph, chains) == 1
    starts_dead, ends_dead = dead[chains.start_vertex], dead[chains.end_vertex]
    first, last = _end_pixels(graph, chains)
    least_m = np.maximum(min_length_m, skeleton.width_m[np.where(starts_dead, last, first)])
    return np.asarray((starts_dead != ends_dead) & (chains.length_m < least_m))


def _is_short_loop(chains: _Chains, min_length_m: float) -> NDArray[np.bool_]:
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


def _merge_junctions(skeleton: Skeleton, graph: PixelGraph, chains: _Chains) -> PixelGraph:
    """Make one vertex of junctions that are closer than the road is wide: thinning turns a crossing into two forks."""
    degree = _degree(graph, chains)
    first, last = _end_pixels(graph, chains)
    close = chains.length_m < np.minimum(skeleton.width_m[first], skeleton.width_m[last])
    close &= (degree[chains.start_vertex] > 2) & (degree[chains.end_vertex] > 2)
    between = graph.vertex[graph.links[chains.take(np.flatnonzero(close)).steps >> 1]]
    owner = connect(between[:, 0], between[:, 1], len(degree))
    counted = np.ones(len(degree))
    counted[between[degree[between] == 0]] = 0
    size = np.bincount(owner, weights=counted)
    xy = np.column_stack([np.bincount(owner, weights=along * counted) / size for along in graph.vertex_xy.T])
    vertex = owner[graph.vertex]
    merged = replace(graph, vertex=vertex, vertex_xy=xy)
    return merged.keep(vertex[graph.links[:, 0]] != vertex[graph.links[:, 1]])


def _trace_chains(graph: PixelGraph) -> _Chains:
    tails = graph.vertex[graph.links].ravel()
    order = np.argsort(tails, kind="stable")
    steps, starts = _walk(tails, order, np.searchsorted(tails[order], np.arange(len(graph.vertex_xy) + 1)))
    length_m, width_sum, score_sum = np.add.reduceat(graph.weights[steps >> 1], starts[:-1], axis=0).T
    return _Chains(
        steps=steps,
        starts=starts,
        start_vertex=tails[steps[starts[:-1]]],
        end_vertex=tails[steps[starts[1:] - 1] ^ 1],
        length_m=length_m,
        width_m=width_sum / length_m,
        score=score_sum / length_m,
    )


def _end_pixels(graph: PixelGraph, chains: _Chains) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pixels = graph.links.ravel()
    return pixels[chains.steps[chains.starts[:-1]]], pixels[chains.steps[chains.starts[1:] - 1] ^ 1]


def _draw(
    skeleton: Skeleton,
    graph: PixelGraph,
    chains: _Chains,
    shape: tuple[int, int],
    pixel_m: tuple[float, float],
    simplify_m: float,
) -> RoadNetwork:
    pixel, first = _list_pixels(graph, chains)
    rows, cols = np.divmod(skeleton.flat[pixel], shape[1])
    path_xy = np.column_stack([cols + 0.5, rows + 0.5])
    vertex_xy = graph.vertex_xy.copy()
    dead = _degree(graph, chains) == 1
    for vertex, end, inwards in ((chains.start_vertex, first[:-1], 1), (chains.end_vertex, first[1:] - 1, -1)):
        loose = np.flatnonzero(dead[vertex] & (skeleton.piece[pixel[end]] < 0))
        width_m = skeleton.width_m[pixel[end[loose]]].astype(np.float64)
        back = end[loose] + inwards * np.maximum(4, np.ceil(width_m / min(pixel_m))).astype(np.int64)
        back = np.clip(back, first[loose], first[loose + 1] - 1)
        vertex_xy[vertex[loose]] = _prolong(path_xy[back], path_xy[end[loose]], width_m / 2, pixel_m)
    vertex_xy = np.clip(vertex_xy, 0, (shape[1], shape[0]))

    nodes, ends = np.unique(np.concatenate([chains.start_vertex, chains.end_vertex]), return_inverse=True)
    from_node, to_node = np.split(ends.astype(np.int64), 2)
    node_xy = vertex_xy[nodes]
    return RoadNetwork(
        node_xy=node_xy,
        from_node=from_node,
        to_node=to_node,
        lines=_draw_lines(path_xy, first, (node_xy[from_node], node_xy[to_node]), pixel_m, simplify_m),
        width_m=chains.width_m,
        score=chains.score,
    )


def _list_pixels(graph: PixelGraph, chains: _Chains) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels along each chain, and where each chain starts among them; links may jump inside a node."""
    pixels = graph.links.ravel()
    both = np.column_stack([pixels[chains.steps], pixels[chains.steps ^ 1]]).ravel()
    fresh = np.ones(len(both), bool)
    fresh[1:] = both[1:] != both[:-1]
    fresh[2 * chains.starts[:-1]] = True
    return both[fresh], np.concatenate([[0], np.cumsum(fresh)])[2 * chains.starts]


def _prolong(
    back_xy: NDArray[np.float64], end_xy: NDArray[np.float64], by_m: NDArray[np.float64], pixel_m: tuple[float, float]
) -> NDArray[np.float64]:
    ahead_m = (end_xy - back_xy) * pixel_m
    return np.asarray(end_xy + ahead_m * (by_m / np.hypot(*ahead_m.T))[:, None] / pixel_m)


def _draw_lines(
    path_xy: NDArray[np.float64],
    first: NDArray[np.int64],
    ends_xy: tuple[NDArray[np.float64], NDArray[np.float64]],
    pixel_m: tuple[float, float],
    simplify_m: float,
) -> NDArray[np.object_]:
    # Where a line ends and the next one starts, np.insert keeps the order given: ends first.
    xy = np.insert(path_xy, np.concatenate([first[1:], first[:-1]]), np.concatenate(ends_xy[::-1]), axis=0)
    line = np.repeat(np.arange(len(first) - 1), np.diff(first) + 2)
    if simplify_m > 0 and len(xy):
        # Finer than a pixel, a tolerance would keep the staircase of a straight road, which is longer than the road.
        tolerance_m = max(simplify_m, math.hypot(*pixel_m) / 2)
        drawn = shapely.simplify(shapely.linestrings(xy * pixel_m, indices=line), tolerance_m)
        xy, line = shapely.get_coordinates(drawn, return_index=True)
        starts = np.searchsorted(line, np.arange(len(first)))
        xy /= pixel_m
        xy[starts[:-1]], xy[starts[1:] - 1] = ends_xy
    fresh = np.ones(len(xy), bool)
    fresh[1:] = (xy[1:] != xy[:-1]).any(axis=1) | (line[1:] != line[:-1])
    return np.asarray(shapely.linestrings(xy[fresh], indices=line[fresh]), dtype=object)


def _degree(graph: PixelGraph, chains: _Chains) -> NDArray[np.int64]:
    """Count chain ends at each vertex: none along a line."""
    return np.bincount(np.concatenate([chains.start_vertex, chains.end_vertex]), minlength=len(graph.vertex_xy))


@compiled
def _walk(tails: NDArray[np.int64], order: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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


@compiled
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

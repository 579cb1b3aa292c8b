"""Road lines between nodes in metres: drawn from chains of pixels, split, joined, counted, put in order."""

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.objects.network.chains import Chains, count_ends, list_pixels, list_points, walk_runs
from geoseg.objects.network.skeleton import PixelGraph, Skeleton, connect

_DROPPING_ROUNDS = 8
_SAME_M = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """A road network in metres: pixel coordinates times the pixel's size on the ground."""

    node_xy: NDArray[np.float64]
    """(n, 2) positions of nodes."""
    from_node: NDArray[np.int64]
    """(m,) node at which each line starts."""
    to_node: NDArray[np.int64]
    """(m,) node at which each line ends."""
    xy: NDArray[np.float64]
    """(s, 2) points, line after line; the first and the last one of a line lie exactly at its nodes."""
    starts: NDArray[np.int64]
    """(m + 1,) where each line starts in ``xy``, and their number."""
    width_m: NDArray[np.float64]
    """(m,) mean width where the road was seen."""
    score: NDArray[np.float64]
    """(m,) mean probability along the line, 0..1."""
    bridged_m: NDArray[np.float64]
    """(m,) length of the closed gaps in the line."""

    @property
    def lines(self) -> NDArray[np.object_]:
        """(m,) the lines as geometries."""
        return draw_lines(self.xy, self.starts)

    @property
    def length_m(self) -> NDArray[np.float64]:
        """(m,) lengths of the lines."""
        steps = np.hypot(*np.diff(self.xy, axis=0, prepend=0).T)
        steps[self.starts[:-1]] = 0
        return sum_runs(steps, self.starts)

    @property
    def degree(self) -> NDArray[np.int64]:
        """(n,) line ends at each node."""
        return np.bincount(np.concatenate([self.from_node, self.to_node]), minlength=len(self.node_xy))

    def take(self, chosen: NDArray[np.int64]) -> "Tracks":
        """Return the chosen lines, by number; nodes stay, also those without lines."""
        at, starts = gather_runs(self.starts, chosen)
        return replace(
            self,
            from_node=self.from_node[chosen],
            to_node=self.to_node[chosen],
            xy=self.xy[at],
            starts=starts,
            width_m=self.width_m[chosen],
            score=self.score[chosen],
            bridged_m=self.bridged_m[chosen],
        )

    def add(self, other: "Tracks") -> "Tracks":
        """Return these lines and others, whose nodes are numbered as in ``other``, which knows all nodes."""
        return Tracks(
            node_xy=other.node_xy,
            from_node=np.concatenate([self.from_node, other.from_node]),
            to_node=np.concatenate([self.to_node, other.to_node]),
            xy=np.concatenate([self.xy, other.xy]),
            starts=np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
            width_m=np.concatenate([self.width_m, other.width_m]),
            score=np.concatenate([self.score, other.score]),
            bridged_m=np.concatenate([self.bridged_m, other.bridged_m]),
        )


def draw_lines(xy: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.object_]:
    """Make lines (m,) of points (s, 2), given where each starts (m + 1,)."""
    return np.asarray(shapely.linestrings(xy, indices=np.repeat(np.arange(len(starts) - 1), np.diff(starts))), dtype=object)


def gather_runs(starts: NDArray[np.int64], chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the members of the chosen runs lie, run after run, and where each of these starts among them."""
    counts = np.diff(starts)[chosen]
    first = np.concatenate([[0], np.cumsum(counts)])
    return np.arange(first[-1]) + np.repeat(starts[chosen] - first[:-1], counts), first


def sum_runs(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum values (s,) over runs without empty ones."""
    return np.add.reduceat(values, starts[:-1]) if len(starts) > 1 else np.zeros(0)


def draw_tracks(skeleton: Skeleton, graph: PixelGraph, chains: Chains, shape: tuple[int, int], pixel_m: tuple[float, float]) -> Tracks:
    """Draw chains as lines through all their pixels.

    Dead ends are prolonged by the half width that thinning took from them.
    """
    pixel, first = list_pixels(graph, chains)
    xy, starts = list_points(skeleton, graph, chains)
    vertex_xy = graph.vertex_xy.copy()
    dead = count_ends(graph, chains) == 1
    for vertex, end, at, inwards in (
        (chains.start_vertex, first[:-1], starts[:-1], 1),
        (chains.end_vertex, first[1:] - 1, starts[1:] - 1, -1),
    ):
        loose = np.flatnonzero(dead[vertex] & (skeleton.piece[pixel[end]] < 0))
        width_m = skeleton.width_m[pixel[end[loose]]].astype(np.float64)
        steps = np.maximum(4, np.ceil(width_m / min(pixel_m))).astype(np.int64)
        back = at[loose] + inwards * np.minimum(steps + 1, np.diff(starts)[loose] - 2)
        vertex_xy[vertex[loose]] = _prolong(xy[back], xy[at[loose] + inwards], width_m / 2, pixel_m)
    vertex_xy = np.clip(vertex_xy, 0, (shape[1], shape[0]))
    xy[starts[:-1]], xy[starts[1:] - 1] = vertex_xy[chains.start_vertex], vertex_xy[chains.end_vertex]
    fresh = np.ones(len(xy), bool)
    fresh[1:] = (xy[1:] != xy[:-1]).any(axis=1)
    fresh[starts[:-1]] = True
    return compact(
        Tracks(
            node_xy=vertex_xy * pixel_m,
            from_node=chains.start_vertex,
            to_node=chains.end_vertex,
            xy=xy[fresh] * pixel_m,
            starts=np.concatenate([[0], np.cumsum(fresh)])[starts],
            width_m=chains.width_m,
            score=chains.score,
            bridged_m=np.zeros(len(chains.width_m)),
        )
    )


def compact(tracks: Tracks) -> Tracks:
    """Drop nodes without lines; the others keep their order."""
    used, ends = np.unique(np.concatenate([tracks.from_node, tracks.to_node]), return_inverse=True)
    from_node, to_node = np.split(ends.astype(np.int64), 2)
    return replace(tracks, node_xy=tracks.node_xy[used], from_node=from_node, to_node=to_node)


def join_runs(tracks: Tracks) -> Tracks:
    """Make one line of lines that meet in twos."""
    tails = np.column_stack([tracks.from_node, tracks.to_node]).ravel()
    order = np.argsort(tails, kind="stable")
    steps, runs = walk_runs(tails, order, np.searchsorted(tails[order], np.arange(len(tracks.node_xy) + 1)))
    if len(runs) == len(tracks.from_node) + 1:
        return tracks
    edge, backwards = steps >> 1, (steps & 1).astype(bool)
    at, starts = gather_runs(tracks.starts, edge)
    turned = np.repeat(backwards, np.diff(starts))
    at[turned] = np.repeat(tracks.starts[edge] + tracks.starts[edge + 1] - 1, np.diff(starts))[turned] - at[turned]
    fresh = np.ones(len(at), bool)
    fresh[starts[:-1]] = False
    fresh[starts[runs[:-1]]] = True
    length_m, bridged_m = tracks.length_m[edge], tracks.bridged_m[edge]
    seen_m = np.maximum(length_m - bridged_m, 1e-9)
    return compact(
        replace(
            tracks,
            from_node=tails[steps[runs[:-1]]],
            to_node=tails[steps[runs[1:] - 1] ^ 1],
            xy=tracks.xy[at[fresh]],
            starts=np.concatenate([[0], np.cumsum(fresh)])[starts[runs]],
            width_m=sum_runs(tracks.width_m[edge] * seen_m, runs) / sum_runs(seen_m, runs),
            score=sum_runs(tracks.score[edge] * length_m, runs) / sum_runs(length_m, runs),
            bridged_m=sum_runs(bridged_m, runs),
        )
    )


def drop_short(tracks: Tracks, min_length_m: float, min_part_m: float) -> Tracks:
    """Remove what is still too short after gaps were closed, counting what was seen: dead ends at crossings, and connected parts."""
    for _ in range(_DROPPING_ROUNDS):
        part = connect(tracks.from_node, tracks.to_node, len(tracks.node_xy))[tracks.from_node]
        seen_m = tracks.length_m - tracks.bridged_m
        loose = (tracks.degree == 1)[np.column_stack([tracks.from_node, tracks.to_node])].sum(axis=1) == 1
        doomed = (np.bincount(part, weights=seen_m)[part] < min_part_m) | (loose & (seen_m < min_length_m))
        if not doomed.any():
            break
        tracks = join_runs(compact(tracks.take(np.flatnonzero(~doomed))))
    return tracks


def split_tracks(tracks: Tracks, edge: NDArray[np.int64], along_m: NDArray[np.float64]) -> tuple[Tracks, NDArray[np.int64]]:
    """Cut lines at inner points.

    Where the closed gaps of a line lie is not known, so each of its pieces takes its share of them, by length.

    Args:
        tracks: The network.
        edge: (k,) line of each cut, ascending.
        along_m: (k,) distance along it, ascending within a line.

    Returns:
        The network with uncut lines first, and the node (k,) of each cut.
    """
    nodes = len(tracks.node_xy) + np.arange(len(edge))
    if not len(edge):
        return tracks, nodes
    cut_lines, first = np.unique(edge, return_index=True)
    parts: list[NDArray[np.float64]] = []
    ends: list[NDArray[np.int64]] = []
    points = np.zeros((len(edge), 2))
    for one, cuts in zip(cut_lines, np.split(np.arange(len(edge)), first[1:]), strict=True):
        points[cuts], pieces = _cut(tracks.xy[tracks.starts[one] : tracks.starts[one + 1]], along_m[cuts])
        stops = np.concatenate([tracks.from_node[[one]], nodes[cuts], tracks.to_node[[one]]])
        ends.append(np.column_stack([stops[:-1], stops[1:]]))
        parts += pieces
    node_xy = np.concatenate([tracks.node_xy, points])
    owner = np.repeat(cut_lines, [len(e) for e in ends])
    from_node, to_node = np.concatenate(ends).T
    cut = Tracks(
        node_xy=node_xy,
        from_node=from_node,
        to_node=to_node,
        xy=np.concatenate(parts),
        starts=np.concatenate([[0], np.cumsum([len(p) for p in parts])]),
        width_m=tracks.width_m[owner],
        score=tracks.score[owner],
        bridged_m=tracks.bridged_m[owner],
    )
    whole_m = np.bincount(owner, cut.length_m)[owner]
    cut = replace(cut, bridged_m=cut.bridged_m * np.divide(cut.length_m, whole_m, out=np.zeros(len(owner)), where=whole_m > 0))
    return tracks.take(np.setdiff1d(np.arange(len(tracks.from_node)), edge)).add(cut), nodes


def node_crossings(tracks: Tracks) -> Tracks:
    """Put a node where two lines cross; lines drawn to the middle of a merged crossing may."""
    lines = tracks.lines
    one, other = shapely.STRtree(lines).query(lines, predicate="crosses")
    one, other = one[one < other], other[one < other]
    points, pair = shapely.get_coordinates(shapely.intersection(lines[one], lines[other]), return_index=True)
    edges = np.stack([one[pair], other[pair]])
    along = shapely.line_locate_point(lines[edges], shapely.points(points)[None])
    # Crossing lines may also share a node; it is one already.
    inner = ((along > _SAME_M) & (along < tracks.length_m[edges] - _SAME_M)).all(axis=0)
    edge, along_m = edges[:, inner].ravel(), along[:, inner].ravel()
    order = np.lexsort((along_m, edge))
    cut, nodes = split_tracks(tracks, edge[order], along_m[order])
    if not len(edge):
        return cut
    first, second = nodes[np.argsort(order)].reshape(2, -1)
    same = np.arange(len(cut.node_xy))
    same[second] = first
    from_node, to_node = same[cut.from_node], same[cut.to_node]
    xy = cut.xy.copy()
    xy[cut.starts[:-1]], xy[cut.starts[1:] - 1] = cut.node_xy[from_node], cut.node_xy[to_node]
    noded = replace(cut, from_node=from_node, to_node=to_node, xy=xy)
    return compact(noded.take(np.flatnonzero(noded.length_m > 0)))


def put_in_order(tracks: Tracks) -> Tracks:
    """Number nodes by row and column, turn lines from the lower to the higher node, sort lines by their nodes."""
    order = np.lexsort((tracks.node_xy[:, 0], tracks.node_xy[:, 1]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    from_node, to_node = rank[tracks.from_node], rank[tracks.to_node]
    turned = np.repeat(from_node > to_node, np.diff(tracks.starts))
    at = np.arange(len(tracks.xy))
    ends = np.repeat(tracks.starts[:-1] + tracks.starts[1:] - 1, np.diff(tracks.starts))
    at[turned] = ends[turned] - at[turned]
    low, high = np.minimum(from_node, to_node), np.maximum(from_node, to_node)
    forward = replace(tracks, node_xy=tracks.node_xy[order], from_node=low, to_node=high, xy=tracks.xy[at])
    second = forward.xy[np.minimum(forward.starts[:-1] + 1, len(forward.xy) - 1)]
    return forward.take(np.lexsort((second[:, 0], second[:, 1], high, low)))


def _prolong(
    back_xy: NDArray[np.float64], end_xy: NDArray[np.float64], by_m: NDArray[np.float64], pixel_m: tuple[float, float]
) -> NDArray[np.float64]:
    ahead_m = (end_xy - back_xy) * pixel_m
    return np.asarray(end_xy + ahead_m * (by_m / np.hypot(*ahead_m.T))[:, None] / pixel_m)


def _cut(xy: NDArray[np.float64], along_m: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Cut a line: the points (k, 2) at which, and the k + 1 pieces."""
    reach_m = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    points = np.column_stack([np.interp(along_m, reach_m, axis) for axis in xy.T])
    pieces = np.split(xy, np.searchsorted(reach_m, along_m, side="right"))
    heads, tails = [xy[:0], *points[:, None]], [*points[:, None], xy[:0]]
    return points, [_without_repeats(np.concatenate(parts)) for parts in zip(heads, pieces, tails, strict=True)]


def _without_repeats(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    fresh = np.ones(len(xy), bool)
    fresh[1:] = (xy[1:] != xy[:-1]).any(axis=1)
    return np.asarray(xy[fresh])

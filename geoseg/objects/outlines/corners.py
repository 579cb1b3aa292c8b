"""Lines along walls to corners, and walls back to polygons."""

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.objects.outlines.alignment import Lines, Samples
from geoseg.objects.outlines.frames import Kinds
from geoseg.objects.outlines.walls import Walls
from geoseg.pixels.kernel import entry, kernel

_MIN_SINE = 0.34
_PULL = 0.01
_CIRCLE_CORNERS = 48


class Chains(NamedTuple):
    """What stands between the nodes of each wall; whole rings for closed walls, without their first point repeated."""

    xy: NDArray[np.float64]
    """(m, 2) points."""
    starts: NDArray[np.int64]
    """(w + 1,) where each wall starts."""
    node_xy: NDArray[np.float64]
    """(v, 2) where the nodes lie."""


def find_corners(walls: Walls, samples: Samples, lines: Lines, kinds: Kinds | None, step_m: float) -> Chains:
    """Meet the lines of each wall with one another, and at nodes with those of other walls.

    Args:
        walls: Walls.
        samples: The same, sampled.
        lines: Their lines.
        kinds: Frame and turn of each line: lines of one kind that meet become one line, so that a wall goes straight
            through a node. None where lines run anywhere.
        step_m: Lines of one kind that lie farther apart stay two, with a step at the node.

    Returns:
        Corners of all walls.
    """
    first, last = lines.starts[:-1], lines.starts[1:] - 1
    is_open = walls.nodes[:, 0] >= 0
    node = np.concatenate([walls.nodes[is_open, 0], walls.nodes[is_open, 1]])
    line = np.concatenate([first[is_open], last[is_open]])
    merged = np.arange(len(lines.offset))
    if kinds is not None:
        merged = _merge(_numbered(kinds), (node, line), np.column_stack([first, last])[~is_open], (lines.offset, step_m))
        lines = _with_common_offsets(lines, merged)
    order = np.argsort(node, kind="stable")
    starts = np.searchsorted(node[order], np.arange(len(walls.node_xy) + 1))
    leaving = _leaving(samples, lines, is_open)[order]
    node_xy = _place_nodes(walls.node_xy - samples.origin, starts, (line[order], leaving), lines, merged, kinds is None)
    xy, starts = _meet(samples, lines, merged, (walls.nodes, node_xy), step_m / 4, kinds is None)
    return Chains(xy + samples.origin, starts, node_xy + samples.origin)


def original_chains(walls: Walls) -> Chains:
    """Return the walls as they were."""
    is_open = walls.nodes[:, 0] >= 0
    inner = np.ones(len(walls.points), np.bool_)
    inner[walls.starts[1:] - 1] = False
    inner[walls.starts[:-1][is_open]] = False
    lengths = np.diff(walls.starts) - 1 - is_open
    return Chains(walls.points[inner], np.concatenate([[0], np.cumsum(lengths)]), walls.node_xy)


def equal_circles(outlines: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return circles of the outlines' areas about their centroids, as polygons of 48 corners."""
    turn = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
    # a polygon in a circle is smaller than the circle
    radius = np.sqrt(2 * shapely.area(outlines) / (_CIRCLE_CORNERS * np.sin(2 * np.pi / _CIRCLE_CORNERS)))
    ring = np.column_stack([np.cos(turn), np.sin(turn)])
    centers = shapely.get_coordinates(shapely.centroid(outlines))
    return np.asarray(shapely.polygons(centers[:, None] + radius[:, None, None] * ring), np.object_)


def mix(one: Chains, other: Chains, walls: Walls, chosen: NDArray[np.bool_]) -> Chains:
    """Take some walls from another drawing, (w,) chosen, and the nodes at their ends; all walls at a node come from the same one."""
    sizes = np.where(chosen, np.diff(other.starts), np.diff(one.starts))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    begins = np.where(chosen, other.starts[:-1] + len(one.xy), one.starts[:-1])
    index = np.repeat(begins - starts[:-1], sizes) + np.arange(starts[-1])
    node_xy = one.node_xy.copy()
    nodes = walls.nodes[chosen & (walls.nodes[:, 0] >= 0)].ravel()
    node_xy[nodes] = other.node_xy[nodes]
    return Chains(np.concatenate([one.xy, other.xy])[index], starts, node_xy)


def as_chains(rings: NDArray[np.object_], walls: Walls) -> Chains:
    """Return polygons without holes as the first wall of each outline, for ``mix``; no other wall has points."""
    points, index = shapely.get_coordinates(rings, return_index=True)
    inner = np.append(index[1:] == index[:-1], False)[: len(index)]
    first = walls.steps[walls.rings[walls.shells[:-1]]]
    sizes = np.zeros(len(walls.owners), np.int64)
    sizes[first] = np.bincount(index[inner], minlength=len(rings))
    order = np.argsort(first[index[inner]], kind="stable")
    return Chains(points[inner][order], np.concatenate([[0], np.cumsum(sizes)]), walls.node_xy)


def build(walls: Walls, drawn: Chains, original: Chains, kept: NDArray[np.bool_]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Put polygons together.

    Args:
        walls: How.
        drawn: Walls as they are to be.
        original: Walls as they were.
        kept: (w,) walls that stay as they were; nodes between such walls only stay too.

    Returns:
        (n,) polygons, and (n,) False where a ring is left with less than three points; the polygon is empty there.
    """
    stays = np.ones(len(walls.node_xy), np.bool_)
    moving = walls.nodes[~kept]
    stays[moving[moving >= 0]] = False
    nodes = np.where(stays[:, None], original.node_xy, drawn.node_xy)
    points, starts = _string(walls, drawn, original, kept, nodes)
    good = np.add.reduceat(np.diff(starts) < 4, walls.shells[:-1]) == 0
    polygons = np.full(len(good), shapely.Polygon(), np.object_)
    rings = np.flatnonzero(np.repeat(good, np.diff(walls.shells)))
    shells = np.concatenate([[0], np.cumsum(np.diff(walls.shells)[good])])
    sizes = np.diff(starts)[rings]
    point_index = np.repeat(starts[rings] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes) + np.arange(sizes.sum())
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    if good.any():
        built = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points[point_index], (offsets, shells))
        polygons[good] = shapely.orient_polygons(built)
    return polygons, good


def _numbered(kinds: Kinds) -> NDArray[np.int64]:
    """Return (l,) one number for each kind."""
    # turns are whole eighths of a circle
    return kinds.frame * 5 + np.where(np.isnan(kinds.turn), 4, np.round(kinds.turn * 4 / np.pi)).astype(np.int64)


def _merge(
    kind: NDArray[np.int64],
    ends: tuple[NDArray[np.int64], NDArray[np.int64]],
    closing: NDArray[np.int64],
    limit: tuple[NDArray[np.float64], float],
) -> NDArray[np.int64]:
    """Return (l,) numbers, equal for lines of one kind that meet at a node, not too far apart, or where a ring closes."""
    node, line = ends
    ringed = closing[kind[closing[:, 0]] == kind[closing[:, 1]]]
    # one graph vertex for each pair of node and kind ties all its lines together
    hubs, hub = np.unique(node * (kind.max() + 1) + kind[line], return_inverse=True)
    offsets, step_m = limit
    low, high = np.full(len(hubs), np.inf), np.full(len(hubs), -np.inf)
    np.minimum.at(low, hub, offsets[line])
    np.maximum.at(high, hub, offsets[line])
    near = (high - low <= step_m)[hub]
    line, hub = line[near], hub[near]
    rows = np.concatenate([line, ringed[:, 0]])
    cols = np.concatenate([len(kind) + hub, ringed[:, 1]])
    size = len(kind) + len(hubs)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, cols)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][: len(kind)], np.int64)


def _with_common_offsets(lines: Lines, merged: NDArray[np.int64]) -> Lines:
    """Give merged lines their mean offset, weighted by length."""
    # two lines of one kind may have opposite normals by rounding of angles only, never by construction
    weight = np.asarray(np.bincount(merged, lines.length), np.float64)
    mean = np.bincount(merged, lines.length * lines.offset) / weight
    return lines._replace(offset=mean[merged], length=weight[merged])


def _leaving(samples: Samples, lines: Lines, is_open: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (e, 2) where lines at the ends of open walls lead to from the node: first those at starts, then those at ends."""
    start = samples.starts[:-1][is_open][:, None]
    out = start + lines.span[lines.starts[:-1][is_open]]
    back = start + lines.span[lines.starts[1:][is_open] - 1]
    return np.concatenate([samples.xy[out[:, 1]] - samples.xy[out[:, 0]], samples.xy[back[:, 0]] - samples.xy[back[:, 1]]])


@kernel
def _place_nodes(
    places: NDArray[np.float64],
    starts: NDArray[np.int64],
    ends: tuple[NDArray[np.int64], NDArray[np.float64]],
    lines: Lines,
    merged: NDArray[np.int64],
    free: bool,
) -> NDArray[np.float64]:
    """Place each node where the two strongest lines that end there meet; if none meet, on the strongest one."""
    placed = places.copy()
    for v in range(len(places)):
        here, leaving = ends[0][starts[v] : starts[v + 1]], ends[1][starts[v] : starts[v + 1]]
        best, pair = 0.0, (-1, -1)
        strongest = -1
        for a in range(len(here)):
            if strongest < 0 or lines.length[here[a]] > lines.length[strongest]:
                strongest = here[a]
            for b in range(a + 1, len(here)):
                p, q = here[a], here[b]
                sine = abs(_cross(lines.normal[p], lines.normal[q]))
                weight = lines.length[p] * lines.length[q] * sine
                if merged[p] != merged[q] and sine >= _MIN_SINE and weight > best:
                    best, pair = weight, (a, b)
        if pair[0] >= 0 and not free:
            a, b = pair
            a = _deepest(lines, here, a, b, leaving[b])
            b = _deepest(lines, here, b, a, leaving[a])
            placed[v] = _cross_point(lines, here[a], here[b])
        elif free:
            placed[v] = _nearest(lines, here, places[v])
        elif strongest >= 0:
            off = lines.offset[strongest] - (lines.normal[strongest] * places[v]).sum()
            placed[v] = places[v] + off * lines.normal[strongest]
    return placed


@kernel
def _deepest(lines: Lines, here: NDArray[np.int64], a: int, b: int, along: NDArray[np.float64]) -> int:
    """Of the lines about parallel to ``a``, return the one that ``b`` meets last on its way from the node.

    A wall that ends on another one steps to it over ground that ``b`` has not begun to cover; from any other node it would step
    back along ``b``.
    """
    best, depth = a, (_cross_point(lines, here[a], here[b]) * along).sum()
    for c in range(len(here)):
        parallel = abs(_cross(lines.normal[here[a]], lines.normal[here[c]])) < _MIN_SINE
        if c in (a, b) or not parallel or abs(_cross(lines.normal[here[b]], lines.normal[here[c]])) < _MIN_SINE:
            continue
        reached = (_cross_point(lines, here[c], here[b]) * along).sum()
        if reached > depth:
            best, depth = c, reached
    return best


@entry
def _meet(
    samples: Samples,
    lines: Lines,
    merged: NDArray[np.int64],
    nodes: tuple[NDArray[np.int64], NDArray[np.float64]],
    smallest: float,
    free: bool,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the corners of each wall; where an end line misses its node by more than ``smallest``, with a step to it."""
    walls = len(samples.closed)
    xy = np.empty((len(lines.offset) + 4 * walls, 2))
    starts = np.zeros(walls + 1, np.int64)
    pair = np.empty(2, np.int64)
    n = 0
    for w in range(walls):
        first, end, begin = lines.starts[w], lines.starts[w + 1], n
        if not samples.closed[w] and not free:
            n = _step_to(xy, n, nodes[1][nodes[0][w, 0]], lines, first, smallest)
        for k in range(first, end):
            after = k + 1
            if after == end:
                if not samples.closed[w]:
                    break
                after = first
            if merged[k] == merged[after]:
                continue
            if free or abs(_cross(lines.normal[k], lines.normal[after])) < _MIN_SINE:
                pair[0], pair[1] = k, after
                xy[n] = _nearest(lines, pair, samples.xy[samples.starts[w] + lines.span[k, 1]])
            else:
                xy[n] = _cross_point(lines, k, after)
            n += 1
        if not samples.closed[w] and not free:
            n = _step_to(xy, n, nodes[1][nodes[0][w, 1]], lines, end - 1, smallest)
        elif samples.closed[w] and n - begin < 4 and not free:
            n = begin + _draw_rectangle(samples.xy[samples.starts[w] : samples.starts[w + 1]], lines.normal[first], xy[begin:])
        starts[w + 1] = n
    return xy[:n].copy(), starts


@kernel
def _draw_rectangle(ring: NDArray[np.float64], normal: NDArray[np.float64], xy: NDArray[np.float64]) -> int:
    """Write the rectangle around a ring in a direction, scaled to the ring's area; return the number of its corners.

    So small a ring stays within the tolerance of less than four lines.
    """
    across, along = ring @ normal, ring @ np.array([-normal[1], normal[0]])
    area = abs((ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]).sum()) / 2
    height, width = across.max() - across.min(), along.max() - along.min()
    scale = np.sqrt(area / (height * width)) / 2
    middle, center = (across.max() + across.min()) / 2, (along.max() + along.min()) / 2
    for k in range(4):
        a = middle + height * scale * (1 if k < 2 else -1)
        b = center + width * scale * (1 if k in (0, 3) else -1)
        xy[k, 0], xy[k, 1] = a * normal[0] - b * normal[1], a * normal[1] + b * normal[0]
    return 4


@kernel
def _step_to(xy: NDArray[np.float64], n: int, node: NDArray[np.float64], lines: Lines, line: int, smallest: float) -> int:
    """Add the point of a line beside a node unless they are close."""
    off = lines.offset[line] - (lines.normal[line] * node).sum()
    if abs(off) <= smallest:
        return n
    xy[n] = node + off * lines.normal[line]
    return n + 1


@kernel
def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a[0] * b[1] - a[1] * b[0])


@kernel
def _cross_point(lines: Lines, a: int, b: int) -> NDArray[np.float64]:
    """Return where two lines meet; the mean of two parallel ones never does, so it is infinite."""
    sine = _cross(lines.normal[a], lines.normal[b])
    x = (lines.offset[a] * lines.normal[b, 1] - lines.offset[b] * lines.normal[a, 1]) / sine
    y = (lines.normal[a, 0] * lines.offset[b] - lines.normal[b, 0] * lines.offset[a]) / sine
    return np.array([x, y])


@kernel
def _nearest(lines: Lines, here: NDArray[np.int64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the point nearest to some lines in the least squares sense, drawn gently to a place where they are almost parallel."""
    total = 0.0
    for k in here:
        total += lines.length[k]
    xx, xy, yy = _PULL * total, 0.0, _PULL * total
    bx, by = _PULL * total * place[0], _PULL * total * place[1]
    for k in here:
        w, (nx, ny) = lines.length[k], lines.normal[k]
        xx, xy, yy = xx + w * nx * nx, xy + w * nx * ny, yy + w * ny * ny
        bx, by = bx + w * nx * lines.offset[k], by + w * ny * lines.offset[k]
    determinant = xx * yy - xy * xy
    return np.array([(yy * bx - xy * by) / determinant, (xx * by - xy * bx) / determinant])


@entry
def _string(
    walls: Walls, drawn: Chains, original: Chains, kept: NDArray[np.bool_], nodes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return closed rings without repeated points, and where each starts; a ring that vanished has one or two points."""
    most = len(walls.rings) + len(walls.steps) + 2 * (len(drawn.xy) + len(original.xy))
    points = np.empty((most, 2))
    starts = np.zeros(len(walls.rings), np.int64)
    n = 0
    for r in range(len(walls.rings) - 1):
        first = n
        for s in range(walls.rings[r], walls.rings[r + 1]):
            w, back = walls.steps[s], walls.backwards[s]
            chains = original if kept[w] else drawn
            if walls.nodes[w, 0] >= 0:
                n = _add(points, first, n, nodes[walls.nodes[w, 1 if back else 0]])
            begin, end = chains.starts[w], chains.starts[w + 1]
            for k in range(end - begin):
                n = _add(points, first, n, chains.xy[end - 1 - k if back else begin + k])
        while n - first > 1 and _same(points[n - 1], points[first]):
            n -= 1
        points[n] = points[first]
        n += 1
        starts[r + 1] = n
    return points[:n].copy(), starts


@kernel
def _add(points: NDArray[np.float64], first: int, n: int, point: NDArray[np.float64]) -> int:
    if n > first and _same(points[n - 1], point):
        return n
    points[n] = point
    return n + 1


@kernel
def _same(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(abs(a[0] - b[0]) < 1e-7 and abs(a[1] - b[1]) < 1e-7)

"""From road probability to skeleton pixels and their graph, the same under any cutting into blocks."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.pixels.kernel import kernel

_T = TypeVar("_T", bound=np.generic)
_EIGHT = np.ones((3, 3), bool)
_ROAD, _CHECK_FIRST = 1, 2
_SURROUNDED = 255
_WIDTH_BIAS_PX = 0.25
"""Twice the distance to the nearest background center is too wide by 0.5 +- 0.5 px along the grid, by 0.0 +- 0.3 px across it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinning:
    """How a probability raster is thinned: all in pixels, so that nothing depends on the blocks."""

    cut: int
    """Smallest road value, 1..255."""
    iterations: int
    """Iterations of the thinning; each takes one layer off both sides of a road."""
    hole_px: tuple[int, int]
    """Rows and columns of the largest closed gap in a road that is filled."""
    max_width_m: float
    """Widths are measured up to here."""
    pixel_m: tuple[float, float]
    """Pixel width and height in metres on the ground."""

    @property
    def margin_px(self) -> int:
        """How far beyond a block its skeleton depends on the raster.

        An iteration has two steps that each see a 3x3 neighborhood; thick places are told apart two pixels around; a hole must
        be seen whole.
        """
        return 2 * self.iterations + 2 + max(self.hole_px)

    @property
    def reach_px(self) -> int:
        """How far the nearest background is looked for."""
        return math.ceil(self.max_width_m / 2 / min(self.pixel_m))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """Pixels that survived the thinning, in row-major order.

    Places wider than the thinning reaches stay thick. Only the rim of such a place is held (and its pixels on block faces), with
    the exact sums of all its pixels, so that a lake taken for a road costs no memory.
    """

    raster_width: int
    """Columns of the raster."""
    flat: NDArray[np.int64]
    """(n,) row * raster width + column, ascending."""
    probability: NDArray[np.uint8]
    """(n,) 0..255 = 0..1."""
    width_m: NDArray[np.float32]
    """(n,) width of the road here, at most ``max_width_m``, which thick pixels have."""
    piece: NDArray[np.int64]
    """(n,) row of ``piece_sums`` of a thick pixel, -1 on a line. A thick place has at least one piece per block."""
    piece_sums: NDArray[np.int64]
    """(p, 3) number of pixels of a piece, sum of their rows, sum of their columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelGraph:
    """Skeleton pixels linked to their neighbors; adjoining junction pixels and thick places are one vertex each."""

    vertex: NDArray[np.int64]
    """(n,) vertex of each pixel; vertices are numbered by their first pixel."""
    vertex_xy: NDArray[np.float64]
    """(v, 2) mean position in pixel coordinates, centers at +0.5."""
    links: NDArray[np.int64]
    """(m, 2) linked pixels of different vertices, in ascending order."""
    weights: NDArray[np.float64]
    """(m, 3) length in metres, and width in metres and probability times length: summed along a line they give its means."""

    def keep(self, chosen: NDArray[np.bool_]) -> "PixelGraph":
        """Return the same vertices with the chosen (m,) links."""
        return replace(self, links=self.links[chosen], weights=self.weights[chosen])


def collect_skeleton(
    read: Callable[[Window], NDArray[np.uint8]], shape: tuple[int, int], blocks: Iterable[Window], thinning: Thinning
) -> Skeleton:
    """Thin a raster block by block; equal to thinning it whole (law 7), with one block and its margin in memory.

    Args:
        read: Returns the probability of a window, uint8 (H, W), 0..255 = 0..1.
        shape: Rows and columns of the raster; outside is background.
        blocks: Windows that partition the raster, in any order.
        thinning: How to thin.

    Returns:
        Skeleton pixels; thick places in pieces.
    """
    parts = [_thin_block(read, shape, block, thinning) for block in blocks]
    counts = [len(p.piece_sums) for p in parts]
    shift = np.repeat(np.cumsum([0, *counts])[:-1], [len(p.flat) for p in parts])
    flat, piece = _join([p.flat for p in parts], np.int64), _join([p.piece for p in parts], np.int64)
    order = np.argsort(flat, kind="stable")
    return Skeleton(
        raster_width=shape[1],
        flat=flat[order],
        probability=_join([p.probability for p in parts], np.uint8)[order],
        width_m=_join([p.width_m for p in parts], np.float32)[order],
        piece=np.where(piece < 0, -1, piece + shift)[order],
        piece_sums=np.concatenate([np.zeros((0, 3), np.int64), *[p.piece_sums for p in parts]]),
    )


def link_pixels(skeleton: Skeleton, pixel_m: tuple[float, float]) -> PixelGraph:
    """Link neighboring skeleton pixels and merge what belongs to one node.

    A diagonal link is left out where the two pixels share a 4-neighbor on the skeleton, so that corners are no triangles.

    Args:
        skeleton: Pixels of the whole raster.
        pixel_m: Width and height of a pixel in metres on the ground.

    Returns:
        The graph. Every vertex of degree 2 is a single pixel on a line.
    """
    links = _neighbors(skeleton.flat, skeleton.raster_width)
    count, pieces = len(skeleton.flat), len(skeleton.piece_sums)
    thick = skeleton.piece >= 0
    joint = thick | (np.bincount(links.ravel(), minlength=count) > 2)
    inside = links[joint[links].all(axis=1)]
    one = np.concatenate([inside[:, 0], np.flatnonzero(thick)])
    other = np.concatenate([inside[:, 1], count + skeleton.piece[thick]])
    owner = connect(one, other, count + pieces)
    vertex = owner[:count]

    rows, cols = np.divmod(skeleton.flat[~thick], skeleton.raster_width)
    sums = np.concatenate([np.column_stack([np.ones_like(rows), rows, cols]), skeleton.piece_sums])
    owners = np.concatenate([vertex[~thick], owner[count:]])
    size, row, col = (np.bincount(owners, weights=s) for s in sums.T)
    links = links[vertex[links[:, 0]] != vertex[links[:, 1]]]
    return PixelGraph(
        vertex=vertex,
        vertex_xy=np.column_stack([col / size, row / size]) + 0.5,
        links=links,
        weights=_weigh(skeleton, links, pixel_m),
    )


def connect(one: NDArray[np.int64], other: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the connected part of each of ``count`` things, (count,), given (m,) pairs; parts are numbered by first member."""
    pairs = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    _, first, part = np.unique(connected_components(pairs, directed=False)[1], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[part]


def thin(road: NDArray[np.bool_], iterations: int) -> NDArray[np.bool_]:
    """Thin like ``skimage.morphology.thin``, looking again only at pixels whose neighborhood changed.

    The work grows with the area of the roads, not with raster times iterations. Guo and Hall, "Parallel thinning with
    two-subiteration algorithms", Comm. ACM 32(3), 1989.

    Args:
        road: (H, W); outside is background.
        iterations: Upper bound; thinning ends when nothing changes.

    Returns:
        (H, W) what is left.
    """
    state = np.pad(road.astype(np.uint8), 1)
    _thin_in_place(state.reshape(-1), state.shape[1], iterations, _guo_hall_tables())
    return (state[1:-1, 1:-1] & _ROAD).astype(bool)


def _thin_block(read: Callable[[Window], NDArray[np.uint8]], shape: tuple[int, int], block: Window, thinning: Thinning) -> Skeleton:
    margin = thinning.margin_px
    top, left = max(0, block.row_off - margin), max(0, block.col_off - margin)
    bottom, right = min(shape[0], block.row_off + block.height + margin), min(shape[1], block.col_off + block.width + margin)
    probability = read(Window(left, top, right - left, bottom - top))
    road = probability >= thinning.cut
    if road.any():
        _fill_holes(road, thinning.hole_px)
    kept = thin(road, thinning.iterations)
    core = (slice(block.row_off - top, block.row_off - top + block.height), slice(block.col_off - left, block.col_off - left + block.width))
    piece, held, sums = _split_thick(kept, core, (block.row_off, block.col_off))
    rows, cols = np.nonzero(held)
    pieces = piece[rows, cols].astype(np.int64) - 1
    inside = np.column_stack([rows, cols])[pieces < 0] + (core[0].start, core[1].start)
    width_m = np.full(len(rows), thinning.max_width_m, np.float32)
    width_m[pieces < 0] = _measure_widths(road, inside, thinning.pixel_m, thinning.max_width_m, thinning.reach_px)
    flat = (rows + int(block.row_off)).astype(np.int64) * shape[1] + cols + int(block.col_off)
    held_probability = probability[core][rows, cols]
    return Skeleton(raster_width=shape[1], flat=flat, probability=held_probability, width_m=width_m, piece=pieces, piece_sums=sums)


def _fill_holes(road: NDArray[np.bool_], hole_px: tuple[int, int]) -> None:
    if min(hole_px) == 0:
        return
    labels, _ = ndimage.label(~road)
    small = [True]
    for rows, cols in ndimage.find_objects(labels):
        inside = rows.start > 0 and cols.start > 0 and rows.stop < road.shape[0] and cols.stop < road.shape[1]
        small.append(inside and rows.stop - rows.start <= hole_px[0] and cols.stop - cols.start <= hole_px[1])
    road |= np.asarray(small)[labels]


def _split_thick(
    kept: NDArray[np.bool_], core: tuple[slice, slice], origin: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64]]:
    inner = ndimage.binary_erosion(kept, _EIGHT)
    if not inner.any():
        return np.zeros(kept[core].shape, np.int32), kept[core], np.zeros((0, 3), np.int64)
    piece, count = ndimage.label(ndimage.binary_dilation(inner, _EIGHT)[core], _EIGHT)
    rows, cols = np.nonzero(piece)
    owner = piece[rows, cols] - 1
    size = np.bincount(owner, minlength=count).astype(np.int64)
    row = np.bincount(owner, weights=rows, minlength=count).astype(np.int64) + size * int(origin[0])
    col = np.bincount(owner, weights=cols, minlength=count).astype(np.int64) + size * int(origin[1])
    # Without its pixels on the faces of the block a thick place would fall apart there.
    hidden = inner[core].copy()
    hidden[[0, -1], :] = False
    hidden[:, [0, -1]] = False
    return piece, kept[core] & ~hidden, np.column_stack([size, row, col])


def _neighbors(flat: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    col = flat % width
    east, south = _find(flat, 1, col < width - 1), _find(flat, width, col >= 0)
    southeast, southwest = _find(flat, width + 1, col < width - 1), _find(flat, width - 1, col > 0)
    has_west = np.zeros(len(flat), bool)
    has_west[east[east >= 0]] = True
    southeast[(east >= 0) | (south >= 0)] = -1
    southwest[has_west | (south >= 0)] = -1
    here = np.arange(len(flat))
    links = np.concatenate([np.column_stack([here, there])[there >= 0] for there in (east, southwest, south, southeast)])
    return links[np.lexsort((links[:, 1], links[:, 0]))]


def _weigh(skeleton: Skeleton, links: NDArray[np.int64], pixel_m: tuple[float, float]) -> NDArray[np.float64]:
    rows, cols = np.divmod(skeleton.flat[links], skeleton.raster_width)
    length_m = np.hypot((cols[:, 1] - cols[:, 0]) * pixel_m[0], (rows[:, 1] - rows[:, 0]) * pixel_m[1])
    width_m = skeleton.width_m[links].mean(axis=1, dtype=np.float64)
    probability = skeleton.probability[links].mean(axis=1) / 255
    return np.column_stack([length_m, length_m * width_m, length_m * probability])


def _find(flat: NDArray[np.int64], step: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Index of the pixel ``step`` further on, -1 where there is none."""
    at = np.searchsorted(flat, flat + step)
    at[at == len(flat)] = 0
    return np.where(allowed & (flat[at] == flat + step), at, -1)


def _join(parts: list[NDArray[_T]], dtype: type[_T]) -> NDArray[_T]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _guo_hall_tables() -> NDArray[np.bool_]:
    """(2, 256) whether a step deletes a pixel with these neighbors; bits are E, NE, N, NW, W, SW, S, SE."""
    east, northeast, north, northwest, west, southwest, south, southeast = (np.arange(256) >> np.arange(8)[:, None] & 1).astype(bool)
    parts = (~north & (northeast | east), ~east & (southeast | south), ~south & (southwest | west), ~west & (northwest | north))
    one_part = np.sum(parts, axis=0) == 1
    pairs = (northwest | north, northeast | east, southeast | south, southwest | west)
    turned = (north | northeast, east | southeast, south | southwest, west | northwest)
    fewest = np.minimum(np.sum(pairs, axis=0), np.sum(turned, axis=0))
    border = one_part & (fewest >= 2) & (fewest <= 3)
    return np.stack([border & ~((north | northeast | ~southeast) & east), border & ~((south | southwest | ~northwest) & west)])


@kernel
def _thin_in_place(state: NDArray[np.uint8], stride: int, iterations: int, tables: NDArray[np.bool_]) -> None:
    around = np.array([1, 1 - stride, -stride, -stride - 1, -1, stride - 1, stride, stride + 1])
    waiting = np.empty((3, np.count_nonzero(state)), np.int64)
    counts = np.zeros(2, np.int64)
    for at in range(len(state)):
        if state[at] & _ROAD and _neighbor_code(state, at, around) != _SURROUNDED:
            _queue(state, at, waiting, counts)
    for step in range(2 * iterations):
        if counts.sum() == 0:
            break
        turn = step % 2
        deleted = _choose(state, turn, waiting, counts, around, tables)
        for at in deleted:
            state[at] &= ~_ROAD
        for at in deleted:
            for offset in around:
                if state[at + offset] & _ROAD:
                    _queue(state, at + offset, waiting, counts)


@kernel
def _choose(
    state: NDArray[np.uint8],
    turn: int,
    waiting: NDArray[np.int64],
    counts: NDArray[np.int64],
    around: NDArray[np.int64],
    tables: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Empty the queue of this turn; return what it deletes, which all at once must go."""
    deleted = 0
    for at in waiting[turn, : counts[turn]]:
        state[at] &= ~(_CHECK_FIRST << turn)
        if state[at] & _ROAD and tables[turn, _neighbor_code(state, at, around)]:
            waiting[2, deleted] = at
            deleted += 1
    counts[turn] = 0
    return waiting[2, :deleted]


@kernel
def _queue(state: NDArray[np.uint8], at: int, waiting: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    for turn in range(2):
        if not state[at] & (_CHECK_FIRST << turn):
            state[at] |= _CHECK_FIRST << turn
            waiting[turn, counts[turn]] = at
            counts[turn] += 1


@kernel
def _neighbor_code(state: NDArray[np.uint8], at: int, around: NDArray[np.int64]) -> int:
    code = 0
    for bit in range(8):
        code |= (state[at + around[bit]] & 1) << bit
    return code


@kernel
def _measure_widths(
    road: NDArray[np.bool_], pixels: NDArray[np.int64], pixel_m: tuple[float, float], max_width_m: float, reach_px: int
) -> NDArray[np.float32]:
    """Width at each (row, col): from the nearest background, in rings outwards; beyond the raster nothing is known."""
    widths = np.empty(len(pixels), np.float32)
    for i in range(len(pixels)):
        best, steps = max_width_m, np.inf
        for ring in range(1, reach_px + 1):
            if ring * min(pixel_m) >= best:
                break
            best, steps = _nearest_on_ring(road, pixels[i], ring, pixel_m, best, steps)
        widths[i] = min(max_width_m, best * (2 - _WIDTH_BIAS_PX / steps))
    return widths


@kernel
def _nearest_on_ring(
    road: NDArray[np.bool_], pixel: NDArray[np.int64], ring: int, pixel_m: tuple[float, float], best: float, steps: float
) -> tuple[float, float]:
    """Smaller distance in metres and in pixels; ties keep the first in a fixed order."""
    for dy in range(-ring, ring + 1):
        row = pixel[0] + dy
        if row < 0 or row >= road.shape[0]:
            continue
        for dx in range(-ring, ring + 1, 1 if abs(dy) == ring else 2 * ring):
            col = pixel[1] + dx
            if col < 0 or col >= road.shape[1] or road[row, col]:
                continue
            distance = math.hypot(dx * pixel_m[0], dy * pixel_m[1])
            if distance < best:
                best, steps = distance, math.hypot(dx, dy)
    return best, steps

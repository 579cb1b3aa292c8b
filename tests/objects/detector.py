"""Objects with exact truth, a detector that sees them tile by tile, and the rules that others merge its masks by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.draw import polygon

from geoseg.evaluation.objects import ObjectScores, Polygons, match_objects, score_objects
from geoseg.objects.labeling.pieces import Detections

Labels = NDArray[np.uint32]
Found = list[tuple[Window, Detections]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a set of objects looks like."""

    short_px: tuple[int, int]
    long_px: tuple[int, int]
    count: int
    square: bool = False
    """Whether the sides of an object are drawn together."""


SETS = {
    "small": Sizes(short_px=(8, 24), long_px=(10, 32), count=500),
    "mixed": Sizes(short_px=(10, 160), long_px=(16, 300), count=130),
    "large": Sizes(short_px=(150, 320), long_px=(200, 480), count=22),
    "long": Sizes(short_px=(14, 40), long_px=(500, 1200), count=24),
}


def draw_objects(sizes: Sizes, shape: tuple[int, int], seed: int) -> Labels:
    """Draw rotated blocks, every third with a corner cut out, that touch or leave 1 to 4 pixels between them."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    found = 0
    for _ in range(40 * sizes.count):
        block = _draw_block(sizes, shape, rng)
        near = ndimage.maximum_filter(block[1], 2 * int(rng.integers(1, 5)) + 1) if rng.random() < 0.5 else block[1]
        if block[1].any() and not labels[block[0]][near].any():
            found += 1
            labels[block[0]][block[1]] = found
        if found == sizes.count:
            break
    return labels


def _draw_block(sizes: Sizes, shape: tuple[int, int], rng: np.random.Generator) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Return where a block lies, and its pixels there, in one piece and away from the raster's edge by as much as it is wide."""
    height, width = rng.integers(*sizes.short_px, endpoint=True), rng.integers(*sizes.long_px, endpoint=True)
    corners = np.array([[0, 0], [0, width], [height, width], [height, 0]], float)
    if rng.random() < 1 / 3:
        corners = np.array([[0, 0], [0, width], [height / 2, width], [height / 2, width / 2], [height, width / 2], [height, 0]], float)
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    turned = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned += 6 - turned.min(axis=0)
    size = np.ceil(turned.max(axis=0)).astype(int) + 6
    free = np.array(shape) - size
    if (free < 1).any():
        return np.s_[0:1, 0:1], np.zeros((1, 1), bool)
    top, left = rng.integers(0, free)
    drawn = np.zeros(tuple(size), bool)
    drawn[polygon(turned[:, 0], turned[:, 1], drawn.shape)] = True
    parts, _ = ndimage.label(drawn)
    # the tip of a slanted corner may touch the rest in a corner only
    drawn = parts == np.bincount(parts[drawn]).argmax()
    return np.s_[top : top + size[0], left : left + size[1]], drawn


def tile_windows(shape: tuple[int, int], tile_px: int, overlap_px: int) -> list[Window]:
    """Return overlapping tiles; the last ones of a row and column end at the raster's edge."""

    def starts(length: int) -> list[int]:
        last = max(length - tile_px, 0)
        return [*range(0, last, tile_px - overlap_px), last]

    return [Window(x, y, min(tile_px, shape[1]), min(tile_px, shape[0])) for y in starts(shape[0]) for x in starts(shape[1])]


def see(labels: Labels, window: Window) -> Detections:
    """Return the perfect masks of a tile."""
    tile = labels[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]
    ids = np.unique(tile[tile > 0])
    return Detections(scores=np.ones(len(ids)), masks=tile[None] == ids[:, None, None], classes=np.ones(len(ids), int))


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What goes wrong with the masks of a tile, each on its own."""

    eroded: float = 0.5
    """Share that loses its outermost pixels."""
    shift_px: int = 2
    """Masks are moved by up to this, down and right."""
    split: float = 0.1
    """Share that comes as two halves, three pixels apart."""
    dropped: float = 0.05
    """Share that is not seen."""


def see_badly(labels: Labels, window: Window, noise: Noise, rng: np.random.Generator) -> Detections:
    """Return the masks of a tile with noise."""
    masks = [m for mask in see(labels, window).masks for m in _spoil(mask, noise, rng) if m.any()]
    stacked = np.array(masks, bool).reshape(len(masks), window.height, window.width)
    return Detections(scores=rng.uniform(0.6, 1, len(masks)), masks=stacked, classes=np.ones(len(masks), int))


def _spoil(mask: NDArray[np.bool_], noise: Noise, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    dropped, eroded, split = rng.random(3) < (noise.dropped, noise.eroded, noise.split)
    shift = rng.integers(-noise.shift_px, noise.shift_px + 1, 2)
    if dropped:
        return []
    seen = ndimage.binary_erosion(mask, border_value=1) if eroded else mask
    seen = ndimage.shift(seen.astype(np.uint8), shift, order=0).astype(bool)
    if not split or not seen.any():
        return [seen]
    points = np.argwhere(seen)
    axis = int(np.ptp(points, axis=0).argmax())
    cut = int(np.median(points[:, axis]))
    place = np.arange(seen.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    return [seen & (place < cut - 1), seen & (place > cut + 1)]


def panoptic_quality(found: NDArray[np.integer], truth: NDArray[np.integer]) -> ObjectScores:
    """Score labels against labels, by their exact polygons."""
    one, other = _polygons(found), _polygons(truth)
    return score_objects(match_objects(one, np.ones(len(one.shapes)), other))


def _polygons(labels: NDArray[np.integer]) -> Polygons:
    pieces: dict[int, list[shapely.Geometry]] = {}
    for shape, value in rasterio.features.shapes(labels.astype(np.int32), mask=labels > 0):
        pieces.setdefault(int(value), []).append(shapely.geometry.shape(shape))
    shapes = np.empty(len(pieces), object)
    shapes[:] = [shapely.union_all(parts) for parts in pieces.values()]
    return Polygons(shapes=shapes, counts=np.ones(len(shapes), bool))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """Masks of all tiles in one raster, best first."""

    where: list[tuple[slice, slice]]
    masks: list[NDArray[np.bool_]]
    boxes: NDArray[np.float64]

    @classmethod
    def of(cls, found: Found) -> "_Pool":
        rows = []
        for window, detections in found:
            for score, mask in zip(detections.scores, detections.masks, strict=True):
                (y, x), (bottom, right) = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0) + 1
                top, left = y + window.row_off, x + window.col_off
                rows.append((score, np.s_[top : top + bottom - y, left : left + right - x], mask[y:bottom, x:right]))
        rows.sort(key=lambda row: -row[0])
        where = [row[1] for row in rows]
        boxes = np.array([[w[1].start, w[0].start, w[1].stop, w[0].stop] for w in where], float).reshape(-1, 4)
        return cls(where=where, masks=[row[2] for row in rows], boxes=boxes)

    def draw(self, groups: Sequence[Sequence[int]], shape: tuple[int, int]) -> Labels:
        """Draw one object for each group of masks; the first group lies on top."""
        labels = np.zeros(shape, np.uint32)
        for number, members in reversed(list(enumerate(groups, start=1))):
            for index in members:
                labels[self.where[index]][self.masks[index]] = number
        return labels

    def shared_boxes(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the areas that the box of a mask shares with all, and the areas of all."""
        sides = np.minimum(self.boxes[:, 2:], self.boxes[index, 2:]) - np.maximum(self.boxes[:, :2], self.boxes[index, :2])
        return np.maximum(sides, 0).prod(axis=1), (self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1)


Rule = Callable[[Found, tuple[int, int]], Labels]
"""Merges the masks of all tiles."""


def box_nms(found: Found, shape: tuple[int, int]) -> Labels:
    """Drop masks whose box overlaps a better one by an IoU of 0.5."""
    pool = _Pool.of(found)
    return pool.draw([[kept] for kept, _ in _greedy(pool, "iou")], shape)


def greedy_nmm_ios(found: Found, shape: tuple[int, int]) -> Labels:
    """Give the best mask those whose box shares half of the smaller box with it, then go on: as SAHI does by default."""
    pool = _Pool.of(found)
    return pool.draw([[kept, *merged] for kept, merged in _greedy(pool, "ios")], shape)


def greedy_nmm_iou(found: Found, shape: tuple[int, int]) -> Labels:
    """Give the best mask those whose box has an IoU of 0.5 with it, then go on."""
    pool = _Pool.of(found)
    return pool.draw([[kept, *merged] for kept, merged in _greedy(pool, "iou")], shape)


def _greedy(pool: _Pool, metric: str) -> list[tuple[int, list[int]]]:
    """Return the masks that are kept, with the later ones that match them."""
    free = np.ones(len(pool.masks), bool)
    kept = []
    for index in range(len(pool.masks)):
        if not free[index]:
            continue
        shared, area = pool.shared_boxes(index)
        whole = np.minimum(area, area[index]) if metric == "ios" else area + area[index] - shared
        free[index] = False
        matched = free & (shared >= 0.5 * whole)
        free &= ~matched
        kept.append((index, np.flatnonzero(matched).tolist()))
    return kept


def iou_merge(found: Found, shape: tuple[int, int]) -> Labels:
    """Join masks whose IoU, of the whole masks, is 0.5 or more, and what is joined to them."""
    pool = _Pool.of(found)
    size = len(pool.masks)
    pairs = [(i, j) for i in range(size) for j in np.flatnonzero(pool.shared_boxes(i)[0][:i]) if _mask_iou(pool, i, int(j)) >= 0.5]
    rows, cols = np.array(pairs, int).reshape(-1, 2).T
    _, group = connected_components(coo_array((np.ones(len(pairs)), (rows, cols)), shape=(size, size)), directed=False)
    return pool.draw([np.flatnonzero(group == g).tolist() for g in range(group.max(initial=-1) + 1)], shape)


def _mask_iou(pool: _Pool, one: int, other: int) -> float:
    (rows, cols), (others, other_cols) = pool.where[one], pool.where[other]
    top, bottom = max(rows.start, others.start), min(rows.stop, others.stop)
    left, right = max(cols.start, other_cols.start), min(cols.stop, other_cols.stop)
    a = pool.masks[one][top - rows.start : bottom - rows.start, left - cols.start : right - cols.start]
    b = pool.masks[other][top - others.start : bottom - others.start, left - other_cols.start : right - other_cols.start]
    shared = int((a & b).sum())
    return shared / (int(pool.masks[one].sum()) + int(pool.masks[other].sum()) - shared)


RULES: dict[str, Rule] = {
    "box NMS": box_nms,
    "greedy NMM, IoS": greedy_nmm_ios,
    "greedy NMM, IoU": greedy_nmm_iou,
    "IoU merge": iou_merge,
}

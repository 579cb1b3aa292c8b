"""Building probability to instance labels over the whole raster, block by block, whatever the blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numba
import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from geoseg.errors import ConfigError
from geoseg.pixels.decode import EVIDENCE_SCALE
from geoseg.tiling import partition

ReadLayer = Callable[[Window], NDArray[Any]]
"""Returns the pixels (H, W) of a window."""


class LabelRaster(Protocol):
    """A uint32 raster that is written and read by windows."""

    def read(self, window: Window) -> NDArray[np.uint32]:
        """Return the labels (H, W) of a window."""

    def write(self, window: Window, labels: NDArray[np.uint32]) -> None:
        """Set the labels (H, W) of a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """What counts as a building of its own.

    Raises:
        ConfigError: If a threshold is outside 0..1 or a length is negative.
    """

    seed_threshold: float = 0.5
    """Probability from which a pixel belongs to a seed, in [0, 1]."""
    mask_threshold: float = 0.5
    """Building probability up to which seeds grow, in [0, 1]."""
    growth_px: int = 6
    """How far seeds grow at most; also the margin that is read around a block."""
    min_area_px: int = 1
    """Smaller instances are dropped."""
    min_score: float = 0.0
    """Instances whose mean building probability is lower are dropped, in [0, 1]."""
    block_px: int = 2048
    """Side of the blocks that are held in memory; without influence on the result."""

    def __post_init__(self) -> None:
        for name in ("seed_threshold", "mask_threshold", "min_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a probability in 0..1; got {getattr(self, name)}.")
        if self.growth_px < 0 or self.min_area_px < 0 or self.block_px < 1:
            raise ConfigError(
                f"growth_px {self.growth_px}, min_area_px {self.min_area_px} and block_px {self.block_px} cannot be negative."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTable:
    """One row per instance; row i is instance i + 1."""

    area_px: NDArray[np.int64]
    """(n,) pixels."""
    score: NDArray[np.float64]
    """(n,) mean building probability in [0, 1]."""

    def __len__(self) -> int:
        return len(self.area_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLayers:
    """The stitched rasters that instances are made from."""

    shape: tuple[int, int]
    """Rows and columns."""
    seed: ReadLayer
    """Probability that a pixel lies inside one building and not between two, uint8 in 1/255."""
    building: ReadLayer
    """Probability of buildings, uint8 in 1/255."""


def label_instances(layers: InstanceLayers, seeds: LabelRaster, labels: LabelRaster, options: InstanceOptions) -> InstanceTable:
    """Label every building of a raster.

    Seeds are the 4-connected components of the seed layer; they grow, one pixel at a time and all at once, into the
    building probability; where two meet the lower id wins. Seeds are joined over block faces and growth reads a
    margin as wide as it reaches, so the labels equal those of the whole raster in one piece (law 5).

    Args:
        layers: Probabilities.
        seeds: Scratch of the raster's shape, overwritten.
        labels: Takes the result: 0 background, ids by first pixel in row-major order, 1..n without gaps.
        options: Thresholds and sizes.

    Returns:
        Area and score of each instance.
    """
    ids = _find_seeds(layers, seeds, options)
    grown = _Tally(size=int(ids.max(initial=0)))
    for window in partition(layers.shape, options.block_px):
        block = _grow_block(layers, seeds, ids, window, options)
        grown.add(block, layers.building(window), window, layers.shape[1])
        labels.write(window, block)
    final, table = grown.rank(options)
    for window in partition(layers.shape, options.block_px):
        labels.write(window, final[labels.read(window)])
    return table


def _find_seeds(layers: InstanceLayers, seeds: LabelRaster, options: InstanceOptions) -> NDArray[np.uint32]:
    """Label seeds per block into ``seeds``; return the map from those provisional labels to ids over the whole raster."""
    threshold = max(1, np.ceil(options.seed_threshold * EVIDENCE_SCALE))
    faces = _Faces(width=layers.shape[1])
    first: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
    count = 0
    for window in partition(layers.shape, options.block_px):
        block, found = ndimage.label(layers.seed(window) >= threshold)
        first.append(_first_pixels(block, found, window, layers.shape[1]))
        provisional = np.where(block > 0, block + count, 0).astype(np.uint32)
        faces.add(provisional, window)
        seeds.write(window, provisional)
        count += found
    return _rank_components(faces.pairs(), np.concatenate(first))


class _Faces:
    """Pairs of labels that touch across block faces, gathered in row-major order of blocks."""

    def __init__(self, width: int) -> None:
        self._above = np.zeros(width, np.uint32)
        self._left: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._pairs: list[NDArray[np.int64]] = []

    def add(self, block: NDArray[np.uint32], window: Window) -> None:
        cols = slice(window.col_off, window.col_off + window.width)
        if window.row_off > 0:
            self._join(self._above[cols], block[0])
        if window.col_off > 0:
            self._join(self._left, block[:, 0])
        self._above[cols] = block[-1]
        self._left = block[:, -1]

    def _join(self, one: NDArray[np.uint32], other: NDArray[np.uint32]) -> None:
        both = (one > 0) & (other > 0)
        self._pairs.append(np.unique(np.stack([one[both], other[both]], axis=1).astype(np.int64), axis=0))

    def pairs(self) -> NDArray[np.int64]:
        return np.concatenate([np.zeros((0, 2), np.int64), *self._pairs])


def _first_pixels(block: NDArray[Any], count: int, window: Window, width: int) -> NDArray[np.int64]:
    """Return the flat index in the raster of the first pixel of labels 1..count, row-major."""
    where = np.flatnonzero(block)
    rows, cols = np.divmod(where, block.shape[1])
    first = np.full(count, np.iinfo(np.int64).max)
    # written backwards, so that the first pixel of a label is the one that stays
    first[block.ravel()[where][::-1].astype(np.int64) - 1] = ((rows + window.row_off) * width + cols + window.col_off)[::-1]
    return first


def _rank_components(pairs: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Map provisional labels 0..n to the rank of their component's first pixel; 0 stays 0."""
    size = len(first)
    graph = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    found, component = csgraph.connected_components(graph, directed=False)
    earliest = np.full(found, np.iinfo(np.int64).max)
    np.minimum.at(earliest, component[1:], first[1:])
    earliest[component[0]] = -1
    rank = np.empty(found, np.uint32)
    rank[np.argsort(earliest)] = np.arange(found, dtype=np.uint32)
    return np.asarray(rank[component])


def _grow_block(
    layers: InstanceLayers, seeds: LabelRaster, ids: NDArray[np.uint32], window: Window, options: InstanceOptions
) -> NDArray[np.uint32]:
    reach = options.growth_px
    height, width = layers.shape
    top, left = max(window.row_off - reach, 0), max(window.col_off - reach, 0)
    bottom = min(window.row_off + window.height + reach, height)
    right = min(window.col_off + window.width + reach, width)
    around = Window(left, top, right - left, bottom - top)
    grown = ids[seeds.read(around)]
    grow(grown, layers.building(around) >= max(1, np.ceil(options.mask_threshold * EVIDENCE_SCALE)), reach)
    row, col = window.row_off - top, window.col_off - left
    return grown[row : row + window.height, col : col + window.width]


@numba.njit(cache=True)
def grow(labels: NDArray[np.uint32], mask: NDArray[np.bool_], steps: int) -> None:
    """Grow labels into a mask by 4-connected steps, in place; all pixels of a step at once, the lower label wins.

    Args:
        labels: (H, W) uint32, 0 = free.
        mask: (H, W), where labels may grow.
        steps: Number of steps, the reach in pixels.
    """
    rows, cols = np.nonzero(labels)
    front = [(rows[k], cols[k]) for k in range(len(rows))]
    for _ in range(steps):
        claims = [(y, x, labels[i, j]) for i, j in front for y, x in _free_neighbors(labels, mask, i, j)]
        front = [(y, x) for y, x, label in claims if _claim(labels, y, x, label)]


@numba.njit(cache=True)
def _free_neighbors(labels: NDArray[np.uint32], mask: NDArray[np.bool_], i: int, j: int) -> list[tuple[int, int]]:
    around = [(i - 1, j), (i, j - 1), (i, j + 1), (i + 1, j)]
    height, width = labels.shape
    return [(y, x) for y, x in around if 0 <= y < height and 0 <= x < width and mask[y, x] and labels[y, x] == 0]


@numba.njit(cache=True)
def _claim(labels: NDArray[np.uint32], y: int, x: int, label: np.uint32) -> bool:
    """Give a pixel a label unless a lower one has it; return whether it was free."""
    free = bool(labels[y, x] == 0)
    if free or label < labels[y, x]:
        labels[y, x] = label
    return free


class _Tally:
    """Area, first pixel and probability of labels 1..size, summed over blocks."""

    def __init__(self, size: int) -> None:
        self._area = np.zeros(size + 1, np.int64)
        self._sum = np.zeros(size + 1, np.int64)
        self._first = np.full(size + 1, np.iinfo(np.int64).max)

    def add(self, block: NDArray[np.uint32], probability: NDArray[np.uint8], window: Window, width: int) -> None:
        high = int(block.max(initial=0))
        if high == 0:
            return
        # the ids of a block lie close together, so the sums of a block are as long as their range
        low = int(block[block > 0].min())
        local = np.where(block > 0, block.astype(np.int64) - (low - 1), 0)
        ids = slice(low, high + 1)
        self._area[ids] += np.bincount(local.ravel())[1:]
        self._sum[ids] += np.bincount(local.ravel(), probability.ravel()).astype(np.int64)[1:]
        self._first[ids] = np.minimum(self._first[ids], _first_pixels(local, high - low + 1, window, width))

    def rank(self, options: InstanceOptions) -> tuple[NDArray[np.uint32], InstanceTable]:
        """Return the map to final ids, and the table in their order."""
        enough = (self._area >= max(options.min_area_px, 1)) & (self._sum >= options.min_score * EVIDENCE_SCALE * self._area)
        kept = np.flatnonzero(enough)
        kept = kept[kept > 0]
        kept = kept[np.argsort(self._first[kept])]
        final = np.zeros(len(self._area), np.uint32)
        final[kept] = np.arange(1, len(kept) + 1, dtype=np.uint32)
        area = self._area[kept]
        return final, InstanceTable(area_px=area, score=self._sum[kept] / np.maximum(area, 1) / EVIDENCE_SCALE)


@dataclass(slots=True)
class MemoryLabels:
    """Double of a label raster: an array."""

    array: NDArray[np.uint32]
    """(H, W)."""

    def read(self, window: Window) -> NDArray[np.uint32]:
        """Return the labels of a window."""
        return self.array[tuple(_slices(window))].copy()

    def write(self, window: Window, labels: NDArray[np.uint32]) -> None:
        """Set the labels of a window."""
        self.array[tuple(_slices(window))] = labels


def _slices(window: Window) -> Iterator[slice]:
    yield slice(window.row_off, window.row_off + window.height)
    yield slice(window.col_off, window.col_off + window.width)

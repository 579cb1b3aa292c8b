"""One pass over class map and labels, window by window: everything that scores of pixels are made from."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.evaluation.boundary import count_boundary
from geoseg.evaluation.calibration import PERCENTS, count_confidence
from geoseg.evaluation.found import Found
from geoseg.evaluation.sampling import Reader
from geoseg.evaluation.semantic import confusion_matrix
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.pixels.classes import NODATA_CLASS, ClassKind
from geoseg.tiling import partition

_NO_CLASS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class CountOptions:
    """How pixels are counted."""

    boundary_px: int = 3
    """Width of boundary regions."""
    block_px: int = 1024
    """Side of the windows; without influence on counts."""
    cell_px: int = 256
    """Side of the places that are looked for errors."""
    places: int = 6
    """Worst places to name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelCounts:
    """Counts of pixels that have a class and a label; those of several rasters add up."""

    confusion: NDArray[np.int64]
    """(K, K) by true (row) and found (column) class, where the class is known."""
    building: NDArray[np.int64]
    """(2, 2) by truth (row) and result (column), building or not, wherever that is known."""
    boundary: NDArray[np.int64]
    """(K, 2) intersection and union of the boundary regions of each class."""
    building_boundary: NDArray[np.int64]
    """(2,) the same of buildings, wherever they are known."""
    confidence: NDArray[np.int64]
    """(101, 2) pixels and right ones by percent, where the class is known."""

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        """Pool the pixels of two rasters."""
        return PixelCounts(
            confusion=self.confusion + other.confusion,
            building=self.building + other.building,
            boundary=self.boundary + other.boundary,
            building_boundary=self.building_boundary + other.building_boundary,
            confidence=self.confidence + other.confidence,
        )

    @property
    def known(self) -> int:
        """Pixels that were compared."""
        return int(max(self.confusion.sum(), self.building.sum()))

    @property
    def is_partial(self) -> bool:
        """Whether labels tell only buildings from everything else."""
        return bool(self.building.sum() > self.confusion.sum())


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A part of the raster, by how wrong it is."""

    wrong_px: int
    """Pixels whose class is wrong."""
    known_px: int
    """Pixels that were compared."""
    window: Window = field(compare=False)
    """Where."""


def count_pixels(found: Found, labels: Reader, options: CountOptions) -> tuple[PixelCounts, tuple[Place, ...]]:
    """Compare a class map with labels.

    Args:
        found: The class map.
        labels: Channel of the scheme, NOT_BUILDING or UNLABELLED of a window.
        options: Windows and distances.

    Returns:
        Counts, and the places with the most errors, worst first.
    """
    counts: PixelCounts | None = None
    worst: list[Place] = []
    for window in partition(found.shape, options.block_px):
        pair = _read_pair(found, labels, window, options.boundary_px)
        here = _count(pair, found, window)
        counts = here if counts is None else counts + here
        worst = heapq.nlargest(options.places, [*worst, *_cells(pair, window, options.cell_px)])
    if counts is None:
        raise ValueError(f"a raster of {found.shape} has no pixel")
    return counts, tuple(worst)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Truth and result of a window with the margin that boundaries need."""

    truth: NDArray[np.uint8]
    found: NDArray[np.uint8]
    building: int
    core: tuple[slice, slice]
    margin: int

    @property
    def whole(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Truth and result of the window alone."""
        return self.truth[self.core], self.found[self.core]


def _read_pair(found: Found, labels: Reader, window: Window, margin: int) -> _Pair:
    top, left = max(window.row_off - margin, 0), max(window.col_off - margin, 0)
    bottom = min(window.row_off + window.height + margin, found.shape[0])
    right = min(window.col_off + window.width + margin, found.shape[1])
    wide = Window(left, top, right - left, bottom - top)
    table = np.full(256, _NO_CLASS, np.uint8)
    table[list(found.scheme.values)] = np.arange(len(found.scheme))
    classes = table[found.classes(wide)]
    truth = np.where(classes == _NO_CLASS, UNLABELLED, labels(wide)).astype(np.uint8)
    row, col = window.row_off - top, window.col_off - left
    core = (slice(row, row + window.height), slice(col, col + window.width))
    return _Pair(truth=truth, found=classes, building=found.channel_of(ClassKind.BUILDING), core=core, margin=margin)


def _count(pair: _Pair, found: Found, window: Window) -> PixelCounts:
    truth, classes = pair.whole
    size = len(found.scheme)
    confusion = confusion_matrix(truth, classes, size)
    building = np.zeros((2, 2), np.int64)
    if pair.building >= 0:
        known = truth != UNLABELLED
        building = confusion_matrix((truth == pair.building)[known].astype(np.uint8), (classes == pair.building)[known].astype(np.uint8), 2)
    confidence = np.zeros((PERCENTS, 2), np.int64)
    if found.confidence is not None and confusion.any():
        sure = truth < size
        confidence = count_confidence(found.confidence(window)[sure], (truth == classes)[sure])
    return PixelCounts(
        confusion=confusion,
        building=building,
        boundary=_boundaries(pair, size),
        building_boundary=_boundary(pair, pair.building, pair.truth != UNLABELLED) if pair.building >= 0 else np.zeros(2, np.int64),
        confidence=confidence,
    )


def _boundaries(pair: _Pair, size: int) -> NDArray[np.int64]:
    counts = np.zeros((size, 2), np.int64)
    known = pair.truth < size
    for channel in np.unique(np.concatenate([pair.truth[known], pair.found[known]])):
        counts[channel] = _boundary(pair, int(channel), known)
    return counts


def _boundary(pair: _Pair, channel: int, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    counted = np.zeros_like(known)
    counted[pair.core] = known[pair.core]
    # what is not known is no contour on either side
    return count_boundary((pair.truth == channel) | ~known, (pair.found == channel) | ~known, counted, pair.margin)


def _cells(pair: _Pair, window: Window, cell_px: int) -> Iterator[Place]:
    truth, classes = pair.whole
    known = truth != UNLABELLED
    wrong = known & np.where(truth == NOT_BUILDING, classes == pair.building, truth != classes)
    for cell in partition(truth.shape, cell_px):
        part = (slice(cell.row_off, cell.row_off + cell.height), slice(cell.col_off, cell.col_off + cell.width))
        count = int(wrong[part].sum())
        if count:
            there = Window(window.col_off + cell.col_off, window.row_off + cell.row_off, cell.width, cell.height)
            yield Place(count, int(known[part].sum()), there)


def known_at(found: Found, labels: Reader, window: Window) -> NDArray[np.bool_]:
    """Return where a window has a label and data."""
    return np.asarray((labels(window) != UNLABELLED) & (found.classes(window) != NODATA_CLASS))

"""Components of a raster that is held block by block: numbered per block, joined over block faces, ranked by first pixel."""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import sparse
from scipy.sparse import csgraph

from geoseg.pixels.kernel import kernel

NOWHERE = int(np.iinfo(np.int64).max)
"""First pixel of what has no pixel."""
_LOW = 2**32 - 1


class Faces:
    """Pairs of labels that touch across block faces, gathered in row-major order of blocks."""

    def __init__(self, width: int) -> None:
        self._above = np.zeros(width, np.uint32)
        self._left: NDArray[np.uint32] = np.zeros(0, np.uint32)
        # one buffer that grows: an array for each face would take more than what is in it
        self._pairs = array("q")

    def add(self, block: NDArray[Any], window: Window, start: int = 0) -> None:
        """Take the next block.

        Args:
            block: (H, W) labels, unique over all blocks when ``start`` is added, 0 = background.
            window: Where it lies.
            start: Labels of the blocks before.
        """
        cols = slice(window.col_off, window.col_off + window.width)
        first, last, left, right = (_count_on(side, start) for side in (block[0], block[-1], block[:, 0], block[:, -1]))
        if window.row_off > 0:
            self._join(self._above[cols], first)
        if window.col_off > 0:
            self._join(self._left, left)
        self._above[cols] = last
        self._left = right

    def _join(self, one: NDArray[np.uint32], other: NDArray[np.uint32]) -> None:
        both = (one > 0) & (other > 0)
        packed = np.unique((one[both].astype(np.uint64) << np.uint64(32)) | other[both])
        self._pairs.frombytes(np.column_stack([packed >> np.uint64(32), packed & np.uint64(_LOW)]).astype(np.int64).tobytes())

    def pairs(self) -> NDArray[np.int64]:
        """Return (n, 2) labels that are one thing."""
        return np.array(self._pairs, np.int64).reshape(-1, 2)


def _count_on(labels: NDArray[Any], start: int) -> NDArray[np.uint32]:
    return np.where(labels > 0, labels.astype(np.int64) + start, 0).astype(np.uint32)


def find_components(pairs: NDArray[np.int64], size: int) -> tuple[int, NDArray[np.int32]]:
    """Join labels 0..size - 1.

    Args:
        pairs: (n, 2) labels that are one thing.
        size: Number of labels, with the background.

    Returns:
        Number of components, and the component (size,) of each label.
    """
    graph = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    found, component = csgraph.connected_components(graph, directed=False)
    return int(found), component


def first_pixels(block: NDArray[Any], count: int, window: Window, width: int) -> NDArray[np.int64]:
    """Return the flat index in the raster of the first pixel of labels 1..count, row-major.

    Args:
        block: (H, W) labels, 0 = background.
        count: Highest label.
        window: Where the block lies.
        width: Columns of the raster.
    """
    first = np.full(count, NOWHERE)
    _find_first(block, first)
    rows, cols = np.divmod(first, block.shape[1])
    return np.where(first < NOWHERE, (rows + window.row_off) * width + cols + window.col_off, NOWHERE)


@kernel
def _find_first(block: NDArray[Any], first: NDArray[np.int64]) -> None:
    height, width = block.shape
    for i in range(height):
        for j in range(width):
            label = block[i, j]
            if label > 0 and first[label - 1] == NOWHERE:
                first[label - 1] = i * width + j


def widen(window: Window, margin_px: int, shape: tuple[int, int]) -> Window:
    """Return a window with a margin on each side, as far as the raster reaches."""
    height, width = shape
    top, left = max(window.row_off - margin_px, 0), max(window.col_off - margin_px, 0)
    bottom = min(window.row_off + window.height + margin_px, height)
    right = min(window.col_off + window.width + margin_px, width)
    return Window(left, top, right - left, bottom - top)

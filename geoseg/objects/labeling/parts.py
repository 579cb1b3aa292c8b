"""Labels in several parts: the largest one of each, over the whole raster, block by block."""

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.borders.components import label, unite_all
from geoseg.objects.labeling.faces import NOWHERE, Faces, first_pixels
from geoseg.objects.rasters import LabelRaster
from geoseg.tiling import partition


@dataclass(frozen=True, slots=True, kw_only=True)
class LargestParts:
    """The largest 4-connected part of each label, of equal ones the first."""

    area: NDArray[np.int64]
    """(size + 1,) its pixels, 0 where there is no such label."""
    first: NDArray[np.int64]
    """(size + 1,) its first pixel, counted over the raster in row-major order."""
    is_in: NDArray[np.bool_]
    """(parts of all blocks + 1,) whether a part of a block belongs to it."""
    starts: NDArray[np.int64]
    """(blocks,) number of parts before each block."""
    block_px: int
    """Side of the blocks."""

    def rank(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return (n,) the labels that are kept and there, by the first pixels of their largest parts."""
        numbers = np.flatnonzero(kept & (self.area > 0))
        return numbers[np.argsort(self.first[numbers])]

    def renumber(self, labels: LabelRaster, shape: tuple[int, int], order: NDArray[np.int64]) -> None:
        """Leave only the largest parts of some labels, numbered 1..n.

        Args:
            labels: The raster that the parts were found in.
            shape: Its rows and columns.
            order: (n,) label that becomes 1, 2 and so on; others become background.
        """
        final = np.zeros(len(self.area), np.uint32)
        final[order] = np.arange(1, len(order) + 1)
        for start, window in zip(self.starts, partition(shape, self.block_px), strict=True):
            block = labels.read(window)
            parts, _ = _number(block)
            labels.write(window, np.where((parts > 0) & self.is_in[start + parts], final[block], np.uint32(0)))


def find_largest_parts(labels: LabelRaster, shape: tuple[int, int], block_px: int, size: int) -> LargestParts:
    """Find the largest part of each label 1..size; the result does not depend on the blocks.

    Memory holds a few numbers for each part in a block.
    """
    faces, count = Faces(width=shape[1]), 0
    # label, first pixel and pixels of each part, the background before all
    measured = array("q", [0]), array("q", [NOWHERE]), array("q", [0])
    starts: list[int] = []
    for window in partition(shape, block_px):
        block = labels.read(window)
        parts, found = _number(block)
        faces.add(parts, window, count)
        for column, values in zip(measured, _measure(block, parts, found, window, shape[1]), strict=True):
            column.frombytes(values.tobytes())
        starts.append(count)
        count += found
    owner, first, pixels = (np.array(column, np.int64) for column in measured)
    pairs = faces.pairs()
    roots = unite_all(pairs[owner[pairs[:, 0]] == owner[pairs[:, 1]]], count)
    area, start = np.zeros(count + 1, np.int64), np.full(count + 1, NOWHERE)
    np.add.at(area, roots, pixels)
    np.minimum.at(start, roots, first)
    heads = np.flatnonzero(roots == np.arange(count + 1))[1:]
    heads = heads[np.lexsort((start[heads], -area[heads], owner[heads]))]
    best = heads[np.unique(owner[heads], return_index=True)[1]]
    largest, firsts, is_best = np.zeros(size + 1, np.int64), np.full(size + 1, NOWHERE), np.zeros(count + 1, bool)
    largest[owner[best]], firsts[owner[best]], is_best[best] = area[best], start[best], True
    return LargestParts(area=largest, first=firsts, is_in=is_best[roots], starts=np.array(starts, np.int64), block_px=block_px)


def _number(block: NDArray[np.uint32]) -> tuple[NDArray[np.int32], int]:
    """Return the 4-connected parts (H, W) of equal labels, from 1, 0 where there is none, and how many there are."""
    parts = np.zeros(block.shape, np.int32)
    return parts, label(block, 0, parts) if block.any() else 0


def _measure(
    block: NDArray[np.uint32], parts: NDArray[np.int32], count: int, window: Window, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return label, first pixel in the raster and pixels of the parts 1..count of a block."""
    first = first_pixels(parts, count, window, width)
    rows, cols = np.divmod(first, width)
    owner = block[rows - window.row_off, cols - window.col_off].astype(np.int64)
    return owner, first, np.bincount(parts.ravel(), minlength=count + 1)[1:]

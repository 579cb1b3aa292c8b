"""Holes of instances: background that one instance encloses, over the whole raster, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from geoseg.objects.labeling.faces import Faces, find_components, widen
from geoseg.objects.rasters import ReadLayer
from geoseg.tiling import partition, place

_OPEN = 1
"""Label of all background that cannot be a hole: too large, at the raster's edge, or with pixels without data."""
_NOBODY = int(np.iinfo(np.uint32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoleLayers:
    """The stitched rasters that holes are looked for in."""

    shape: tuple[int, int]
    """Rows and columns."""
    labels: ReadLayer
    """Instance labels, uint32, 0 = background; stays as it is while holes are looked for."""
    values: ReadLayer
    """Values to be summed over filled pixels, uint8."""
    valid: ReadLayer | None = None
    """True = data; None if there is data everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one block knows about its pieces of background, numbered from 2 over all blocks; (k,) each."""

    area: NDArray[np.int64]
    total: NDArray[np.int64]
    low: NDArray[np.int64]
    """Lowest label beside the piece."""
    high: NDArray[np.int64]
    """Highest label beside the piece."""


class Holes:
    """Holes of at most ``max_px`` pixels: 4-connected background whose neighbors all belong to one instance.

    Background is labelled per block and joined over block faces, so holes do not depend on the blocks. Pieces of background
    that are no holes for sure share one label: memory holds a few numbers for each small piece, whatever the raster's size.
    """

    def __init__(self, layers: HoleLayers, max_px: int, block_px: int) -> None:
        self._layers, self._max_px, self._block_px = layers, max_px, block_px
        parts, faces = [], Faces(width=layers.shape[1])
        count = _OPEN
        for window in self._windows():
            pieces, found = self._number(layers.labels(window), window, count)
            faces.add(pieces, window)
            parts.append(self._measure(pieces, window, count, found))
            count += found
        self._settle(parts, faces.pairs(), count)

    def _windows(self) -> Iterator[Window]:
        return partition(self._layers.shape, self._block_px) if self._max_px > 0 else iter(())

    def _number(self, block: NDArray[np.uint32], window: Window, before: int) -> tuple[NDArray[np.uint32], int]:
        """Label pieces of background: 0 none, 1 no hole, from before + 1 those that may be holes."""
        background = block == 0
        pieces, found = ndimage.label(background)
        no_hole = np.bincount(pieces.ravel(), minlength=found + 1) > self._max_px
        no_hole[pieces[at_edge(window, self._layers.shape)]] = True
        if self._layers.valid is not None:
            no_hole[pieces[background & ~self._layers.valid(window).astype(bool)]] = True
        no_hole[0] = True
        numbers = np.full(found + 1, _OPEN, np.uint32)
        maybe = np.flatnonzero(~no_hole)
        numbers[maybe] = np.arange(before + 1, before + 1 + len(maybe), dtype=np.uint32)
        numbers[0] = 0
        return numbers[pieces], len(maybe)

    def _measure(self, pieces: NDArray[np.uint32], window: Window, before: int, count: int) -> _Part:
        low, high = np.full(count, _NOBODY, np.int64), np.zeros(count, np.int64)
        area = total = np.zeros(count, np.int64)
        if count:
            around = widen(window, 1, self._layers.shape)
            labels = np.zeros((window.height + 2, window.width + 2), np.uint32)
            labels[place(around, Window(window.col_off - 1, window.row_off - 1, 0, 0))] = self._layers.labels(around)
            rows, cols = np.nonzero(pieces > _OPEN)
            local = pieces[rows, cols].astype(np.int64) - (before + 1)
            area = np.bincount(local, minlength=count)
            total = np.bincount(local, self._layers.values(window)[rows, cols], minlength=count).astype(np.int64)
            for down, right in ((0, 1), (1, 0), (1, 2), (2, 1)):
                beside = labels[rows + down, cols + right].astype(np.int64)
                np.minimum.at(low, local, np.where(beside > 0, beside, _NOBODY))
                np.maximum.at(high, local, beside)
        return _Part(area=area, total=total, low=low, high=high)

    def _settle(self, parts: list[_Part], pairs: NDArray[np.int64], count: int) -> None:
        found, component = find_components(pairs, count + 1)
        piece = component[_OPEN + 1 :]
        area, total = np.zeros(found, np.int64), np.zeros(found, np.int64)
        low, high = np.full(found, _NOBODY, np.int64), np.zeros(found, np.int64)
        for sums, reduce, name in (
            (area, np.add, "area"),
            (total, np.add, "total"),
            (low, np.minimum, "low"),
            (high, np.maximum, "high"),
        ):
            reduce.at(sums, piece, np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)]))
        filled = (low == high) & (area <= self._max_px)
        filled[component[[0, _OPEN]]] = False
        self.owner = high[filled]
        """(m,) label that each filled hole goes to."""
        self.area, self.total = area[filled], total[filled]
        """(m,) pixels and summed values of each filled hole."""
        self._fill = np.where(filled, high, 0).astype(np.uint32)[component]
        self._starts = np.cumsum([_OPEN, *(len(part.area) for part in parts)])

    def fill(self, block: NDArray[np.uint32], window: Window, index: int) -> NDArray[np.uint32]:
        """Fill the holes of a block.

        Args:
            block: (H, W) its labels, as they were when holes were looked for.
            window: Where it lies.
            index: Position among the blocks, row-major.
        """
        if len(self.owner) == 0 or self._starts[index] == self._starts[index + 1]:
            return block
        pieces, _ = self._number(block, window, int(self._starts[index]))
        return np.where(pieces > _OPEN, self._fill[pieces], block)


def at_edge(window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels (H, W) of a window lie at the raster's edge."""
    edge = np.zeros((window.height, window.width), bool)
    edge[0] |= window.row_off == 0
    edge[-1] |= window.row_off + window.height == shape[0]
    edge[:, 0] |= window.col_off == 0
    edge[:, -1] |= window.col_off + window.width == shape[1]
    return edge

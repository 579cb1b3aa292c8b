"""What is counted of labels over the blocks of a raster."""

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.labeling.faces import NOWHERE, first_pixels


class Tally:
    """Area, first pixel and summed values of labels 1..size."""

    def __init__(self, size: int) -> None:
        self.area = np.zeros(size + 1, np.int64)
        self.total = np.zeros(size + 1, np.int64)
        self.first = np.full(size + 1, NOWHERE)

    def add(self, block: NDArray[np.uint32], window: Window, width: int, values: NDArray[np.uint8]) -> None:
        """Take a block.

        Args:
            block: (H, W) labels, 0 = background.
            window: Where it lies.
            width: Columns of the raster.
            values: (H, W) to be summed per label.
        """
        high = int(block.max(initial=0))
        if high == 0:
            return
        # the ids of a block lie close together, so the sums of a block are as long as their range
        low = int(block[block > 0].min())
        local = np.where(block > 0, block.astype(np.int64) - (low - 1), 0)
        ids = slice(low, high + 1)
        self.area[ids] += np.bincount(local.ravel())[1:]
        self.total[ids] += np.bincount(local.ravel(), values.ravel()).astype(np.int64)[1:]
        self.first[ids] = np.minimum(self.first[ids], first_pixels(local, high - low + 1, window, width))

    def rank(self, enough: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Number labels by their first pixels.

        Args:
            enough: (size + 1,) which labels stay; those without a pixel never do.

        Returns:
            The map (size + 1,) to new labels, 0 for what is dropped, and the old label (n,) of each new one.
        """
        kept = np.flatnonzero(enough & (self.area > 0))
        kept = kept[np.argsort(self.first[kept])]
        final = np.zeros(len(self.area), np.uint32)
        final[kept] = np.arange(1, len(kept) + 1, dtype=np.uint32)
        return final, kept

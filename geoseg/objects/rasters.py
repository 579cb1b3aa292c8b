"""Rasters that are read and written by windows, as far as objects know them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

ReadLayer = Callable[[Window], NDArray[Any]]
"""Returns the pixels (H, W) of a window."""


class LabelRaster(Protocol):
    """A uint32 raster that is written and read by windows."""

    def read(self, window: Window) -> NDArray[np.uint32]:
        """Return the labels (H, W) of a window."""

    def write(self, window: Window, labels: NDArray[np.uint32]) -> None:
        """Set the labels (H, W) of a window."""


@dataclass(slots=True)
class MemoryLabels:
    """Double of a label raster: an array."""

    array: NDArray[np.uint32]
    """(H, W)."""

    def read(self, window: Window) -> NDArray[np.uint32]:
        """Return the labels of a window."""
        return self.array[_place(window)].copy()

    def write(self, window: Window, labels: NDArray[np.uint32]) -> None:
        """Set the labels of a window."""
        self.array[_place(window)] = labels


def _place(window: Window) -> tuple[slice, slice]:
    return slice(window.row_off, window.row_off + window.height), slice(window.col_off, window.col_off + window.width)

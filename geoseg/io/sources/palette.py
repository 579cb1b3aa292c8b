"""Imagery of indices into a table of colors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

_ENTRIES = 256


def read_palette(dataset: Any) -> bytes:
    """Return red, green, blue and opacity of each value of a raster whose only band holds indices; of others nothing.

    An index that the table lacks shows nothing.
    """
    if dataset.count != 1 or dataset.dtypes[0] != "uint8" or dataset.colorinterp[0] != ColorInterp.palette:
        return b""
    try:
        colors = dataset.colormap(1)
        return b"".join(bytes(colors.get(index, (0, 0, 0, 0))) for index in range(_ENTRIES))
    except ValueError:
        # it claims a table and has none, or one of other numbers
        return b""


def look_up(palette: bytes, bands: Sequence[int], indices: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return what indices (H, W) show.

    Args:
        palette: As :func:`read_palette` returns it.
        bands: 1 is red, 2 is green, 3 is blue.
        indices: Values of the band.

    Returns:
        (C, H, W), and (H, W), False where a color is transparent.
    """
    table = np.frombuffer(palette, np.uint8).reshape(_ENTRIES, 4).T
    return table[[band - 1 for band in bands]][:, indices], table[-1][indices] > 0

"""How far a first map and the final one agree."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.quick.order import below
from geoseg.tiling import partition

_BLOCK_PX = 1024
Read = Callable[[Window], NDArray[np.uint8]]


def measure_agreement(first: Read, final: Read, factor: int, shape: tuple[int, int], scheme: ClassScheme) -> dict[str, Any]:
    """Compare a first map with the final one, pixel by pixel of the final one, where both hold data.

    Args:
        first: Reads windows of the first map.
        final: Reads windows of the final one.
        factor: Pixels of the final map along each side of one of the first.
        shape: Rows and columns of the final map.
        scheme: Classes of both.

    Returns:
        ``agreement``, the share of pixels that have the same class, and ``classes``, for each ``value``, ``name``, ``found`` (share of
        the final map's pixels of the class that the first map had as well) and ``kept`` (share of the first map's pixels of the class
        that the final map has as well). None stands where there are no such pixels.
    """
    counts = np.zeros((256, 256), np.int64)
    for window in partition(shape, max(1, _BLOCK_PX // factor) * factor):
        sharp = final(window)
        coarse = np.repeat(np.repeat(first(below(window, factor)), factor, axis=0), factor, axis=1)[: window.height, : window.width]
        counts += np.bincount(sharp.astype(np.intp).ravel() * 256 + coarse.ravel(), minlength=65536).reshape(256, 256)
    both = counts[:NODATA_CLASS, :NODATA_CLASS]
    same, finals, firsts = both.diagonal(), both.sum(axis=1), both.sum(axis=0)
    rows = ((c.value, c.name) for c in scheme)
    return {
        "agreement": _share(same.sum(), both.sum()),
        "classes": [
            {"value": value, "name": name, "found": _share(same[value], finals[value]), "kept": _share(same[value], firsts[value])}
            for value, name in rows
        ],
    }


def _share(part: int, whole: int) -> float | None:
    return round(float(part / whole), 4) if whole else None

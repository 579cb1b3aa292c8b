"""How sure both dates are of ground that is said to have been built up or cleared."""

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window

from geoseg.change.ground import Ground
from geoseg.tiling import partition

_BLOCK_PX = 1024


def measure_evidence(ground: Ground, shapes: NDArray[np.object_]) -> NDArray[np.float64]:
    """Average the probability of building, as the models of both dates gave it, over shapes that do not overlap.

    Args:
        ground: The dates; both have evidence.
        shapes: (n,) polygons in metres on the grid; None is nowhere.

    Returns:
        (n, 2) mean probability before and after over the pixels whose centers lie inside; NaN where there is none.
    """
    placed = np.asarray(shapely.transform(shapes, lambda points: points / np.asarray(ground.pixel_m)))
    tree = shapely.STRtree(placed)
    sums, counts = np.zeros((len(shapes), 2)), np.zeros(len(shapes))
    with ground.open_evidence() as read:
        for window in partition(ground.shape, _BLOCK_PX):
            top, left = window.row_off, window.col_off
            near = tree.query(shapely.box(left, top, left + window.width, top + window.height))
            if not len(near):
                continue
            origin = Affine.translation(left, top)
            burned = rasterize(zip(placed[near], near + 1, strict=True), (window.height, window.width), transform=origin, dtype="uint32")
            inside = burned > 0
            counts += np.bincount(burned[inside], minlength=len(shapes) + 1)[1:]
            for date, layer in enumerate(read(Window(left, top, window.width, window.height))):
                sums[:, date] += np.bincount(burned[inside], layer[inside], minlength=len(shapes) + 1)[1:]
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts[:, None])

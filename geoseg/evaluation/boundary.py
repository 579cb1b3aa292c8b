"""Boundary IoU: how well outlines agree, whatever the size of the objects (Cheng et al. 2021, "Boundary IoU")."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def boundary_region(inside: NDArray[np.bool_], distance_px: int) -> NDArray[np.bool_]:
    """Return the pixels of a region that lie within a distance of its contour.

    As in the authors' code, the distance is that of repeated 3 x 3 erosions. Other than there, the edge of the array is
    no contour: nobody drew it, and windows of a raster have edges that the raster has not.

    Args:
        inside: (H, W), True = in the region, or not known.
        distance_px: Width of the boundary region.
    """
    core = ndimage.minimum_filter(inside, size=2 * distance_px + 1, mode="constant", cval=True)
    return np.asarray(inside & ~core)


def count_boundary(truth: NDArray[np.bool_], found: NDArray[np.bool_], known: NDArray[np.bool_], distance_px: int) -> NDArray[np.int64]:
    """Count intersection and union of the boundary regions of one class.

    Args:
        truth: (H, W), True = the class, or not known.
        found: (H, W), True = the class, or not known.
        known: (H, W), pixels that count.
        distance_px: Width of the boundary region.

    Returns:
        (2,) pixels in both boundary regions and in either, each within its class.
    """
    one, other = boundary_region(truth, distance_px), boundary_region(found, distance_px)
    return np.array([(one & other & known).sum(), ((one | other) & known).sum()], np.int64)

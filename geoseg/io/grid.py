"""The pixel grid of a run: that of the imagery, made coarser by a whole factor where the model was made for coarser pixels."""

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError

from geoseg.errors import RasterError
from geoseg.io.ground import pixel_size_m
from geoseg.io.sources.checks import count_averaged


def settle_grid(name: str, geobox: GeoBox, resolution_m: float | None) -> tuple[GeoBox, int]:
    """Return the grid of a run, and how many pixels of the imagery along a side each of its pixels is the mean of.

    Args:
        name: Of the imagery, for messages.
        geobox: Its grid, with a CRS.
        resolution_m: Pixel size on the ground that the model was made for; None takes the imagery's own.

    Raises:
        RasterError: If the imagery does not lie on the earth, or is finer than can be averaged.
    """
    factor = count_averaged(name, ground_pixel_m(name, geobox), resolution_m)
    height, width = (-(-n // factor) for n in geobox.shape)
    return GeoBox((height, width), geobox.transform @ Affine.scale(factor), geobox.crs), factor


def ground_pixel_m(name: str, geobox: GeoBox) -> float:
    """Return the side of a pixel on the ground, in metres.

    Raises:
        RasterError: If it has none.
    """
    try:
        size = pixel_size_m(geobox)
    except ProjError as exc:
        raise RasterError(f"{name} does not lie on the earth, so it has no metres on the ground: {exc}.") from exc
    if not 0 < size < np.inf:
        raise RasterError(f"{name} has pixels of {size} m on the ground: its transform does not fit its CRS. Check both with gdalinfo.")
    return size

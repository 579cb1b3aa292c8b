"""What a raster has to be: of a size that can be, with real numbers, placed on the earth by a north-up grid."""

from typing import Any

import numpy as np
from affine import Affine

from geoseg.errors import RasterError

_MOST_PX = 10**14
"""Pixels of a raster, at most; what declares more is a damaged header, or made to harm."""
_MOST_BANDS = 4096
"""Bands of a raster, at most."""
_MOST_AVERAGED = 1000
"""Source pixels along a side of a run pixel, at most."""


def check_raster(name: str, dataset: Any, needs_georeference: bool) -> None:
    """Refuse an open dataset that cannot be segmented.

    Raises:
        RasterError: If it is a container, larger than any raster, holds complex numbers, or has no north-up grid where one is needed.
    """
    if dataset.count == 0:
        raise RasterError(f"{name} has no bands of its own; it is a container. Name one of its subdatasets: {dataset.subdatasets[:3]}.")
    if dataset.count > _MOST_BANDS or dataset.height * dataset.width > _MOST_PX:
        raise RasterError(
            f"{name} declares {dataset.width} x {dataset.height} pixels in {dataset.count} bands; at most {_MOST_PX:.0e} pixels in "
            f"{_MOST_BANDS} bands are taken. Check its header with gdalinfo."
        )
    if any(dtype.startswith("complex") for dtype in dataset.dtypes):
        raise RasterError(
            f"{name} holds complex numbers ({dataset.dtypes[0]}); real bands are needed. Convert it, for example to amplitude in dB."
        )
    if needs_georeference:
        _check_georeference(name, dataset)


def _check_georeference(name: str, dataset: Any) -> None:
    if dataset.transform == Affine.identity() and (dataset.gcps[0] or dataset.rpcs):
        raise RasterError(
            f"{name} is placed by ground control points or RPCs, not by a grid. Warp it on the fly with --warp, or with gdalwarp."
        )
    if dataset.crs is None:
        raise RasterError(
            f"{name} declares no CRS, so lengths and areas would have no unit. Name it with --assume-crs, for example EPSG:32645, "
            "or segment it in coordinates of pixels with --assume-crs pixels."
        )
    check_grid(name, dataset.transform)


def check_grid(name: str, transform: Affine) -> None:
    """Refuse a grid that is not north-up.

    Raises:
        RasterError: If it is rotated, or places no pixel.
    """
    t = transform
    if not np.isfinite(tuple(t)[:6]).all() or t.determinant == 0:
        raise RasterError(f"{name} has the transform {tuple(t)[:6]}, which places no pixel. Correct it, for example with gdal_edit.")
    if t.b != 0 or t.d != 0:
        raise RasterError(
            f"{name} is rotated (transform {tuple(t)[:6]}); a north-up grid is needed. Warp it on the fly with --warp, or with gdalwarp."
        )


def count_averaged(name: str, ground_m: float, resolution_m: float | None) -> int:
    """Return how many pixels along a side of a run pixel are averaged, 1 or more.

    Args:
        name: Of the raster.
        ground_m: Size of its pixels on the ground.
        resolution_m: Size that the model was made for; None takes the raster's own.

    Raises:
        RasterError: If the raster is finer than can be averaged.
    """
    finer = 1.0 if resolution_m is None else resolution_m / ground_m
    if finer > _MOST_AVERAGED:
        raise RasterError(
            f"{name} has pixels of {ground_m:.3g} m on the ground; the model was made for {resolution_m:.3g} m. "
            f"At most {_MOST_AVERAGED} x {_MOST_AVERAGED} are averaged. Choose another model, or make the raster coarser."
        )
    return max(1, round(finer))

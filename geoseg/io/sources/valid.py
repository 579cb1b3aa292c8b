"""Which pixels of an open raster hold data."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NodataShadowWarning, RasterioError
from rasterio.windows import Window

_LOOKS = 4
"""Places along each side where an alpha band is looked at."""
_LOOK_PX = 64
_MOSTLY = 0.9
"""Share of the values of a true alpha band that are nothing or all, at least; borders and soft edges are the rest."""


def is_all_valid(dataset: Any) -> bool:
    """Tell whether a file has no way to say that a pixel holds no data."""
    return ColorInterp.alpha not in dataset.colorinterp and all(flags == [MaskFlags.all_valid] for flags in dataset.mask_flag_enums)


def read_valid(dataset: Any, **where: Any) -> NDArray[np.bool_]:
    """Return valid pixels: those of the mask of all bands, or else those where any band of imagery has data; alpha counts in any case.

    GDAL overlooks alpha in most band counts and types. rasterio's ``dataset_mask`` goes by the fourth of four bands alone where the first
    is red, also where that is infrared, whose nodata value would make holes of water.
    """
    alpha = [band for band in dataset.indexes if dataset.colorinterp[band - 1] == ColorInterp.alpha]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NodataShadowWarning)
        if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
            return np.asarray(dataset.read_masks(1, **where) != 0)
        imagery = [band for band in dataset.indexes if band not in alpha] or alpha
        valid: NDArray[np.bool_] = dataset.read_masks(imagery[0], **where) != 0
        for band in imagery[1:]:
            # most blocks are settled by their first band
            if valid.all():
                break
            valid |= dataset.read_masks(band, **where) != 0
    if alpha:
        valid &= dataset.read(alpha[0], **where) != 0
    return valid


def is_opacity(dataset: Any, band: int) -> bool:
    """Tell whether a band that is called alpha says where there is data, by its values at some places.

    GDAL and rasterio call the fourth band of many files alpha that is infrared. Opacity is nothing or all nearly everywhere, infrared
    hardly anywhere.
    """
    try:
        seen = np.concatenate([dataset.read(band, window=window).ravel() for window in _look_at(dataset)])
    except RasterioError:
        # damaged there; who reads it says so
        return True
    return bool(np.mean((seen == 0) | (seen == seen.max())) >= _MOSTLY)


def _look_at(dataset: Any) -> list[Window]:
    size = [(n, min(n, _LOOK_PX)) for n in (dataset.height, dataset.width)]
    tops, lefts = ([round(i * (n - side) / (_LOOKS - 1)) for i in range(_LOOKS)] for n, side in size)
    return [Window(left, top, size[1][1], size[0][1]) for top in sorted(set(tops)) for left in sorted(set(lefts))]

"""Which pixels of an open raster hold data."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NodataShadowWarning


def is_all_valid(dataset: Any) -> bool:
    """Tell whether a file has no way to say that a pixel holds no data."""
    return ColorInterp.alpha not in dataset.colorinterp and all(flags == [MaskFlags.all_valid] for flags in dataset.mask_flag_enums)


def read_valid(dataset: Any, **where: Any) -> NDArray[np.bool_]:
    """Return valid pixels by mask band, nodata value and alpha; GDAL's own mask overlooks alpha in most band counts and types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NodataShadowWarning)
        valid: NDArray[np.bool_] = dataset.dataset_mask(**where) != 0
    if ColorInterp.alpha in dataset.colorinterp and MaskFlags.per_dataset not in dataset.mask_flag_enums[0]:
        valid &= dataset.read(dataset.colorinterp.index(ColorInterp.alpha) + 1, **where) != 0
    return valid

"""Pixel values to network input: one linear map per band, invalid pixels to the neutral value."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.pixels.compiled import load_compiled


@dataclass(frozen=True, slots=True, kw_only=True)
class BandScaling:
    """Affine scaling per band, ``(x - mean) / std``; the neutral value of every band is 0.

    Raises:
        ConfigError: If the lengths differ or a std is not positive.
    """

    mean: tuple[float, ...]
    """Per band, in units of the raster's values."""
    std: tuple[float, ...]
    """Per band, in units of the raster's values, > 0."""

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ConfigError(f"Band scaling has {len(self.mean)} means and {len(self.std)} stds; give one each per band.")
        if any(not s > 0 for s in self.std):
            raise ConfigError(f"Band scaling needs stds above 0; got {self.std}.")


def normalize(pixels: NDArray[Any], valid: NDArray[np.bool_], scaling: BandScaling) -> NDArray[np.float32]:
    """Scale bands to network units and set invalid pixels to 0, the neutral value.

    Args:
        pixels: (C, H, W), any real dtype.
        valid: (H, W), True = data.
        scaling: One mean and std per band.

    Returns:
        (C, H, W) float32, finite wherever ``valid`` is True and the input is.
    """
    mean = np.asarray(scaling.mean, np.float32)[:, None, None]
    std = np.asarray(scaling.std, np.float32)[:, None, None]
    there = np.where(valid, pixels, 0).astype(np.float32)
    return np.where(valid, (there - mean) / std, np.float32(0))


def normalize_batch(pixels: NDArray[Any], valid: NDArray[np.bool_], scaling: BandScaling, *, threads: int = 1) -> NDArray[np.float32]:
    """Do for a batch what :func:`normalize` does for one image: by compiled code, or by NumPy until that is loaded, the same to the bit.

    Args:
        pixels: (N, C, H, W), any real dtype.
        valid: (N, H, W), True = data.
        scaling: One mean and std per band.
        threads: Processor threads.

    Returns:
        (N, C, H, W) float32, 0 where nothing is valid.
    """
    if not load_compiled().done():
        return np.stack([normalize(image, there, scaling) for image, there in zip(pixels, valid, strict=True)])
    from geoseg.pixels.fused import scale_batch

    return scale_batch(pixels, valid, scaling, threads=threads)

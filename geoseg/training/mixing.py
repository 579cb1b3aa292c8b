"""What a window takes from another raster of the training sites: its colors, or some of its classes with their labels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.labels.coding import UNLABELLED

_ENOUGH_PX = 1_000_000
"""Of a raster, that its colors are measured on."""
_LEAST_DEVIATION = 1.0
"""Of bytes; what varies less has no colors to give or to change."""


def measure_colors(pixels: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> Tensor:
    """Return the mean and the standard deviation of each band of a raster, (2, C, 1, 1) float32, of at most a million pixels.

    Args:
        pixels: (C, H, W).
        valid: (H, W), True = imagery; None if there is imagery everywhere.
    """
    seen = pixels.reshape(len(pixels), -1) if valid is None else pixels[:, valid]
    if seen.shape[1] == 0:
        return torch.zeros(2, len(pixels), 1, 1)
    seen = seen[:, :: 1 + seen.shape[1] // _ENOUGH_PX]
    measured = np.stack([seen.mean(axis=1), seen.std(axis=1)])
    return torch.from_numpy(measured.astype(np.float32))[:, :, None, None]


def take_colors(pixels: Tensor, own: Tensor, other: Tensor, share: float) -> Tensor:
    """Give a window the look of another raster: mean and standard deviation of each band (Reinhard et al. 2001, "Color Transfer").

    By a share of the way, as two styles are mixed (Zhou et al. 2021, "MixStyle"): means tell of water and roofs as well as of light.

    Args:
        pixels: (C, H, W) float32 in 0..255.
        own: Of the raster that the window is cut from, as :func:`measure_colors` returns them.
        other: Of the other raster. Where a band of either hardly varies, the window stays as it is.
        share: 0 leaves the window as it is, 1 gives it the numbers of the other raster.

    Returns:
        (C, H, W) float32 in 0..255.
    """
    if min(float(own[1].min()), float(other[1].min())) < _LEAST_DEVIATION:
        return pixels
    mean, deviation = torch.lerp(own, other, share)
    changed: Tensor = (pixels - own[0]) / own[1] * deviation + mean
    return changed.clamp(0, 255)


def paste_classes(window: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Paste half of the classes of another window, pixels and labels (Olsson et al. 2021, "ClassMix").

    Roads, trees and houses of one place come to lie on the ground of another, so that they are told by their own looks and not by what
    happened to lie around them. "No building" is one of the classes, where no more is known. A window of a single class gives nothing.

    Args:
        window: (C, H, W) float32 pixels and (T, H, W) uint8 targets as in :class:`geoseg.labels.targets.LabelledRaster`.
        other: The same of what is pasted.
        rng: Source of randomness.

    Returns:
        Pixels and targets.
    """
    pixels, targets = window
    semantic = other[1][0]
    classes = np.setdiff1d(semantic.numpy(), UNLABELLED)
    if len(classes) < 2:
        return window
    chosen = rng.choice(classes, len(classes) // 2, replace=False)
    pasted = torch.isin(semantic, torch.from_numpy(chosen))
    return torch.where(pasted, other[0], pixels), torch.where(pasted, other[1], targets)

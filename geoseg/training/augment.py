"""Variation of the colors of a window."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geoseg.training.recipe import Augmentation


def vary_colors(pixels: Tensor, rng: np.random.Generator, augmentation: Augmentation) -> Tensor:
    """Vary brightness, contrast, gamma, color balance, haze, blur and noise of a window.

    Args:
        pixels: (C, H, W) float32 in 0..255.
        rng: Source of randomness.
        augmentation: Strengths.

    Returns:
        (C, H, W) float32 in 0..255.
    """
    strength = augmentation.color
    if strength == 0:
        return pixels
    bands = len(pixels)
    x = pixels / 255
    x = x.clamp(0, 1) ** float(np.exp(rng.normal(0, 0.2 * strength)))
    middle = x.mean()
    gain = torch.tensor(np.exp(rng.normal(0, 0.15 * strength) + rng.normal(0, 0.06 * strength, (bands, 1, 1))), dtype=torch.float32)
    x = (x - middle) * gain + middle + float(rng.normal(0, 0.07 * strength))
    gray = x.mean(dim=0, keepdim=True)
    saturation = 0.0 if rng.random() < augmentation.gray else float(np.exp(rng.normal(0, 0.3 * strength)))
    x = gray + (x - gray) * saturation
    if rng.random() < 0.15:
        haze = float(rng.uniform(0, 0.4 * strength))
        x = x * (1 - haze) + haze * 0.85
    if rng.random() < 0.2:
        x = functional.avg_pool2d(x[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    if rng.random() < 0.3:
        noise = rng.normal(0, 0.03 * strength, x.shape)
        x = x + torch.from_numpy(noise.astype(np.float32))
    return x.clamp(0, 1) * 255

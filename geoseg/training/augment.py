"""Variation of a window's colors: light, air, sensor and compression. Seeded by the window's own generator."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geoseg.training.recipe import Augmentation

_BLOCK_PX = 8
_HAZE = 0.85
# Quantization of luminance in ITU-T T.81, annex K, on which JPEG encoders base their quality.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def vary_window(pixels: Tensor, rng: np.random.Generator, augmentation: Augmentation, neutral: Tensor) -> Tensor:
    """Apply shadow, color, compression and band drop, each with its probability.

    An effect that is switched off draws nothing from ``rng``, so that it leaves the others as they were.

    Args:
        pixels: (C, H, W) float32 in 0..255.
        rng: Source of randomness.
        augmentation: Probabilities and strengths.
        neutral: (C, 1, 1) float32, what a dropped band is filled with.

    Returns:
        (C, H, W) float32 in 0..255.
    """
    if falls(augmentation.shadow, rng):
        pixels = cast_shadow(pixels, rng, augmentation.shadow_strength)
    pixels = vary_colors(pixels, rng, augmentation)
    if falls(augmentation.jpeg, rng):
        low, high = augmentation.jpeg_quality
        pixels = compress(pixels, int(rng.integers(low, high + 1)))
    if len(pixels) > 1 and falls(augmentation.band_drop, rng):
        dropped = torch.arange(len(pixels)) == int(rng.integers(len(pixels)))
        pixels = torch.where(dropped[:, None, None], neutral, pixels)
    return pixels


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
    if bands >= 3:
        gray = x.mean(dim=0, keepdim=True)
        saturation = 0.0 if rng.random() < augmentation.gray else float(np.exp(rng.normal(0, 0.3 * strength)))
        x = gray + (x - gray) * saturation
    if falls(augmentation.haze, rng):
        haze = float(rng.uniform(0, min(augmentation.haze_strength * strength, 1.0)))
        x = x * (1 - haze) + haze * _HAZE
    if falls(augmentation.blur, rng):
        x = _blurred(x, rng, augmentation.blur_px)
    if falls(augmentation.noise, rng):
        noise = rng.normal(0, augmentation.noise_strength * strength, x.shape)
        x = x + torch.from_numpy(noise.astype(np.float32))
    return x.clamp(0, 1) * 255


def cast_shadow(pixels: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Darken a part of a window: a polygon of 3 to 6 straight sides as buildings cast it, or a soft blob as clouds do.

    Bands lose light alike but for a tenth: what the sky still sends into a shadow is bluer than the sun.

    Args:
        pixels: (C, H, W) float32 in 0..255.
        rng: Source of randomness.
        strength: Largest share of the light that is taken, in [0, 1].
    """
    height, width = pixels.shape[1:]
    size = min(height, width)
    rows, cols = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    y, x = rows - float(rng.uniform(0, height)), cols - float(rng.uniform(0, width))
    radius = float(rng.uniform(0.08, 0.4)) * size
    cloud = rng.random() < 0.3
    soft_px = float(rng.uniform(0.1, 0.3)) * size if cloud else float(rng.uniform(0.5, 2.0))
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(0.7, 1.3, 12 if cloud else int(rng.integers(3, 7))))
    angles *= 2 * np.pi / (angles[-1] - angles[0] + 1.0)
    # inside of a convex polygon: below all of its sides, which lie at their own distances from the middle
    reach = radius * rng.uniform(0.6, 1.0, len(angles))
    over = torch.stack([x * math.cos(a) + y * math.sin(a) - float(r) for a, r in zip(angles, reach, strict=True)]).amax(dim=0)
    cover = (0.5 - over / (2 * soft_px)).clamp(0, 1)
    taken = float(rng.uniform(0.3, 1.0)) * strength * torch.tensor(rng.uniform(0.9, 1.0, (len(pixels), 1, 1)), dtype=torch.float32)
    return pixels * (1 - cover * taken)


def compress(pixels: Tensor, quality: int) -> Tensor:
    """Lose what baseline JPEG loses of luminance, in each band: blocks of 8 x 8, cosine transform, quantization (ITU-T T.81).

    Args:
        pixels: (C, H, W) float32 in 0..255.
        quality: 1..100 on the scale of the Independent JPEG Group.
    """
    height, width = pixels.shape[1:]
    padded = functional.pad(pixels[None], (0, -width % _BLOCK_PX, 0, -height % _BLOCK_PX), mode="replicate")[0] - 128
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    steps = ((torch.tensor(_LUMINANCE) * scale + 50) / 100).floor().clamp(1, 255)
    cosine = _cosine_transform()
    bands, rows, cols = padded.shape
    blocks = padded.reshape(bands, rows // _BLOCK_PX, _BLOCK_PX, cols // _BLOCK_PX, _BLOCK_PX).transpose(2, 3)
    kept = ((cosine @ blocks @ cosine.T) / steps).round() * steps
    restored = (cosine.T @ kept @ cosine).transpose(2, 3).reshape(bands, rows, cols)
    return (restored[:, :height, :width] + 128).clamp(0, 255)


def _cosine_transform() -> Tensor:
    n = torch.arange(_BLOCK_PX, dtype=torch.float32)
    matrix = torch.cos(math.pi / _BLOCK_PX * (n + 0.5) * n[:, None]) * math.sqrt(2 / _BLOCK_PX)
    matrix[0] /= math.sqrt(2)
    return matrix


def falls(probability: float, rng: np.random.Generator) -> bool:
    """Throw the dice for an effect of this probability; one that is switched off draws nothing."""
    return probability > 0 and bool(rng.random() < probability)


def _blurred(x: Tensor, rng: np.random.Generator, blur_px: float) -> Tensor:
    if blur_px == 0:
        return functional.avg_pool2d(x[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    sigma = max(float(rng.uniform(0, blur_px)), 0.1)
    reach = min(math.ceil(3 * sigma), min(x.shape[1:]) - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    wide = functional.pad(x[:, None], (reach, reach, reach, reach), mode="reflect")
    return functional.conv2d(functional.conv2d(wide, kernel[None, None, None, :]), kernel[None, None, :, None])[:, 0]

"""Seeded noise, smooth at given scales: what makes drawn surfaces look like ground."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.scene.options import SceneOptions

Raster = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture:
    """Noise rasters shared by all surfaces, each (H, W) float32 with mean 0 and a deviation of about 1."""

    broad: Raster
    """Tens of metres: moisture, wear, soil."""
    patch: Raster
    """Some metres: tufts, stains."""
    fine: Raster
    """About a metre: leaves, gravel heaps."""
    grain: Raster
    """Single pixels."""


def draw_texture(options: SceneOptions) -> Texture:
    """Draw the noise of a scene."""
    rng = options.chance(1)

    def mix(*octaves: tuple[float, float]) -> Raster:
        layers = [weight * smooth_noise(rng, options.shape, scale_m / options.resolution_m) for scale_m, weight in octaves]
        return np.asarray(np.sum(layers, axis=0) / math.hypot(*(weight for _, weight in octaves)), np.float32)

    return Texture(
        broad=mix((60, 1), (22, 0.8), (9, 0.5)),
        patch=mix((14, 1), (5, 0.8), (1.6, 0.5)),
        fine=mix((1.3, 1), (0.7, 0.8)),
        grain=rng.standard_normal(options.shape, dtype=np.float32),
    )


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> Raster:
    """Draw noise whose bumps are about ``scale_px`` wide.

    Returns:
        (H, W) float32, mean 0, deviation about 1.
    """
    if scale_px <= 1:
        return rng.standard_normal(shape, dtype=np.float32)
    coarse = rng.standard_normal([math.ceil(n / scale_px) + 4 for n in shape], dtype=np.float32)
    # A random offset: otherwise all scales have a grid point in the same corner.
    left, top = rng.uniform(1, 2, 2)
    box = (left, top, left + shape[1] / scale_px, top + shape[0] / scale_px)
    return 1.3 * enlarge(coarse, shape, box)


def enlarge(coarse: Raster, shape: tuple[int, int], box: tuple[float, float, float, float]) -> Raster:
    """Interpolate the part ``box`` (left, top, right, bottom in its pixels) of a coarse raster to (H, W), bicubic."""
    image = Image.fromarray(np.ascontiguousarray(coarse, np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box), np.float32)

"""What a per-pixel model looks at: a pixel's bands, and means, spreads, edges and ratios around it."""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.normalize import BandScaling, normalize

_STEPS = 256
_LARGEST = 1 << 14


def feature_radius(scales_px: tuple[int, ...]) -> int:
    """Return how far from a pixel its features reach, in pixels."""
    return max(scales_px) + 1


def pixel_features(pixels: NDArray[Any], valid: NDArray[np.bool_], scaling: BandScaling, scales_px: tuple[int, ...]) -> NDArray[np.float32]:
    """Compute the features of every pixel of an image.

    They are the bands; per scale r the mean and standard deviation of each band over the valid pixels of a (2 r + 1) square, and the
    size of the gradient of the mean brightness; the Laplacian of the brightness; the normalized difference of each pair of bands.

    Law: sums are of integers, so they are exact, and features depend on nothing beyond :func:`feature_radius`.

    Args:
        pixels: (C, H, W) in the raster's dtype.
        valid: (H, W), True = data.
        scaling: Of the bands; values beyond 64 standard deviations are clipped.
        scales_px: Radii, in pixels.

    Returns:
        (H, W, F) float32.
    """
    scaled = normalize(pixels, valid, scaling)
    whole = np.clip(np.rint(scaled * _STEPS), -_LARGEST, _LARGEST).astype(np.int64)
    brightness = whole.sum(axis=0)
    layers = [*whole, _laplacian(brightness), *_band_ratios(pixels, valid)]
    for radius in scales_px:
        # an invalid pixel is 0 and is not counted, so it adds nothing
        count = np.maximum(_box_sum(valid.astype(np.int64), radius), 1)
        total = _box_sum(whole, radius)
        means = total / count
        layers += [*means, *np.sqrt(np.maximum(_box_sum(whole**2, radius) / count - means**2, 0))]
        layers.append(_gradient(total.sum(axis=0) // count))
    return np.stack(layers, axis=-1).astype(np.float32)


def _box_sum(values: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    margin = [(0, 0)] * (values.ndim - 2) + [(radius + 1, radius)] * 2
    table = np.pad(values, margin).cumsum(axis=-2).cumsum(axis=-1)
    side = 2 * radius + 1
    corners = table[..., side:, side:] - table[..., :-side, side:] - table[..., side:, :-side] + table[..., :-side, :-side]
    return np.asarray(corners)


def _neighbors(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    padded = np.pad(values, 1)
    return padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]


def _laplacian(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(sum(_neighbors(values)) - 4 * values)


def _gradient(values: NDArray[np.int64]) -> NDArray[np.float64]:
    above, below, left, right = _neighbors(values)
    return np.asarray(np.hypot(below - above, right - left))


def _band_ratios(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    there = np.where(valid, pixels, 0).astype(np.float32)
    ratios = []
    for one, other in combinations(there, 2):
        size = np.abs(one) + np.abs(other)
        ratios.append(np.divide(one - other, size, out=np.zeros_like(size), where=size > 0))
    return ratios

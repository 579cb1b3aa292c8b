"""A natural-looking class map of any size, made window by window: smooth noise at several scales, the highest class wins."""

import numpy as np
from numpy.typing import NDArray

SCALES = ((96, 1.0), (24, 0.5), (8, 0.25))
"""Wavelength in pixels and amplitude."""


def natural_map(top: int, left: int, size: int, *, classes: int = 5, seed: int = 0) -> NDArray[np.uint8]:
    """Return a (size, size) window of the map; any window shows the same map."""
    best, winner = np.full((size, size), -np.inf, np.float32), np.zeros((size, size), np.uint8)
    for number in range(classes):
        field = np.zeros((size, size), np.float32)
        for scale, (step, amplitude) in enumerate(SCALES):
            rows, first_row = _weights(top, size, step)
            cols, first_col = _weights(left, size, step)
            knots = _noise(first_row, first_col, (rows.shape[1], cols.shape[1]), seed * 100 + number * 10 + scale)
            field += amplitude * (rows @ knots @ cols.T)
        higher = field > best
        winner[higher], best[higher] = number, field[higher]
    return winner


def _weights(start: int, size: int, step: int) -> tuple[NDArray[np.float32], int]:
    """Return the cubic B-spline weights (size, knots) of pixels, and the number of the first knot."""
    place = (start + np.arange(size)) / step
    first = int(place[0]) - 1
    knots = np.arange(first, int(place[-1]) + 3)
    distance = np.abs(place[:, None] - knots[None, :])
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32), first


def _noise(row: int, col: int, shape: tuple[int, int], seed: int) -> NDArray[np.float32]:
    """Return numbers between -1 and 1 that depend on nothing but their place and the seed (splitmix64)."""
    rows, cols = (np.arange(start, start + n).astype(np.uint64) for start, n in zip((row, col), shape, strict=True))
    mixed = rows[:, None] * np.uint64(0x9E3779B97F4A7C15) + cols[None, :] * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed += np.full(1, seed, np.uint64) * np.uint64(0x165667B19E3779F9)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (mixed.astype(np.float64) / 2**63 - 1).astype(np.float32)

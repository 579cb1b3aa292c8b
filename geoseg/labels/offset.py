"""How far labels lie beside the imagery that they were drawn on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

_SMOOTH_PX = 1.0
_TREND_PX = 12.0
_FEWEST_EDGES = 200
_LOUDEST = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """A shift of labels against imagery."""

    rows_px: float
    """Rows that the labels have to be moved down to fit."""
    cols_px: float
    """Columns that the labels have to be moved right to fit."""
    strength: float
    """How much better they would fit, in standard deviations of the fit at random shifts; the best of random fits reaches about 5."""

    @property
    def distance_px(self) -> float:
        """Length of the shift."""
        return float(np.hypot(self.rows_px, self.cols_px))


def estimate_offset(pixels: NDArray[np.uint8], semantic: NDArray[np.uint8], known: NDArray[np.bool_], reach_px: int = 24) -> Offset | None:
    """Find the shift at which label edges lie on the strongest edges of the imagery.

    The cross-correlation of both edge pictures, by Fourier transform, with their slow trends taken off.

    Args:
        pixels: (C, H, W) imagery.
        semantic: (H, W) classes.
        known: (H, W), True where both are to be looked at.
        reach_px: Largest shift that is tried, along each axis.

    Returns:
        The shift, or None if there are too few label edges, or the raster is smaller than the reach.
    """
    if min(semantic.shape) < 3 * reach_px:
        return None
    edges = _label_edges(semantic, known)
    if edges.sum() < _FEWEST_EDGES:
        return None
    fit = _correlate(_image_edges(pixels, known), edges.astype(np.float32), reach_px)
    peak = np.unravel_index(int(np.argmax(fit)), fit.shape)
    row, col = int(peak[0]), int(peak[1])
    gain = fit[row, col] - fit[reach_px, reach_px]
    away = np.hypot(*np.mgrid[-row : fit.shape[0] - row, -col : fit.shape[1] - col]) > reach_px / 3
    spread = float(fit[away].std()) or 1.0
    rows, cols = row + _vertex(fit[:, col], row), col + _vertex(fit[row], col)
    return Offset(rows_px=rows - reach_px, cols_px=cols - reach_px, strength=float(gain / spread))


def _label_edges(semantic: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how much of a class border runs through each pixel (H, W); half of it on either side, so that nothing is shifted."""
    edges = np.zeros(semantic.shape, np.float32)
    first, last, every = slice(None, -1), slice(1, None), slice(None)
    for one, other in (((last, every), (first, every)), ((every, last), (every, first))):
        border = (semantic[one] != semantic[other]) & known[one] & known[other]
        edges[one] += border / 2
        edges[other] += border / 2
    return edges


def _image_edges(pixels: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the gradient of the imagery (H, W), loud edges cut, trend taken off, 0 where nothing is known."""
    steps = [ndimage.gaussian_gradient_magnitude(band.astype(np.float32), _SMOOTH_PX) for band in pixels]
    strongest = np.max(steps, axis=0)
    inner = ndimage.binary_erosion(known, iterations=3, border_value=1)
    if not inner.any():
        return np.zeros(known.shape, np.float32)
    cut = np.where(inner, np.minimum(strongest, np.quantile(strongest[inner], _LOUDEST)), 0)
    weight = ndimage.gaussian_filter(inner.astype(np.float32), _TREND_PX)
    trend = ndimage.gaussian_filter(cut, _TREND_PX) / np.maximum(weight, 1e-3)
    return np.asarray(np.where(inner, cut - trend, 0), np.float32)


def _correlate(image: NDArray[np.float32], edges: NDArray[np.float32], reach_px: int) -> NDArray[np.float64]:
    """Return the fit at each shift of the edges, (2 r + 1, 2 r + 1)."""
    shape = [fft.next_fast_len(n + reach_px, real=True) for n in image.shape]
    product = fft.rfft2(image, shape) * np.conj(fft.rfft2(edges, shape))
    fit = fft.irfft2(product, shape)
    return np.asarray(np.roll(fit, (reach_px, reach_px), (0, 1))[: 2 * reach_px + 1, : 2 * reach_px + 1], np.float64)


def _vertex(fit: NDArray[np.float64], place: int) -> float:
    """Return where between its neighbors the parabola through a peak has its vertex."""
    if not 0 < place < len(fit) - 1:
        return 0.0
    before, here, after = fit[place - 1 : place + 2]
    bend = before - 2 * here + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0

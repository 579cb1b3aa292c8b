"""How far two dates lie beside each other, measured by phase correlation in many places."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from geoseg.change.ground import Ground
from geoseg.errors import GeosegError
from geoseg.io.ground import pixel_size_m
from geoseg.io.raster import RasterSource
from geoseg.io.warp import read_onto
from geoseg.pixels.average import average_blocks, whole_blocks
from geoseg.pixels.classes import NODATA_CLASS

BLOCK_PX = 256
"""Side of the places that are compared."""
_PLACES = 5
"""So many along each axis, at most."""
_REACH_PX = 32.0
"""A place that seems to have moved farther was not recognized."""
_FINENESS = 20
"""Shifts are told in twentieths of a pixel."""
_LEAST_KNOWN = 0.6
"""Share of a place that holds data in both dates."""
_AGREE_PX = 0.75
_FEWEST = 3
_LEAST_AGREEING = 0.4
_FINER = 4
_EDGE_REACH_PX = 4
"""The filter of edges ends at four times its width of one pixel."""
_TONES = np.random.default_rng(0).permutation(256).astype(np.float32)
"""Gray of classes, so that those of neighboring numbers differ as much as others."""

Picture = Callable[[Window], tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]] | None]
"""Returns both dates of a place, (H, W) each, and where both hold data; None where a date has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misregistration:
    """How far AFTER lies beside BEFORE: the median of many places."""

    cols_px: float
    """Columns of the grid that AFTER lies too far to the right."""
    rows_px: float
    """Rows of the grid that AFTER lies too far down."""
    distance_m: float
    """On the ground."""
    seen_on: str
    """``imagery`` or ``classes``."""
    places: int
    """Places that were compared."""
    agreeing: int
    """Those of them that lie within 0.75 pixels of the median."""
    spread_px: float
    """Half of the agreeing places lie nearer to the median."""
    corrected: bool = False
    """Whether AFTER was moved by it."""

    @property
    def distance_px(self) -> float:
        """In pixels of the grid."""
        return float(np.hypot(self.cols_px, self.rows_px))

    @property
    def is_reliable(self) -> bool:
        """Whether enough places agree."""
        return self.agreeing >= _FEWEST and self.agreeing >= _LEAST_AGREEING * self.places

    @property
    def left_px(self) -> float:
        """What of it has to be put up with, in pixels."""
        if not self.is_reliable:
            return 0.0
        return self.spread_px if self.corrected else self.distance_px

    def table(self) -> dict[str, Any]:
        """Return it with what follows from it, rounded."""
        told = asdict(self) | {"distance_px": self.distance_px, "reliable": self.is_reliable}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in told.items()}


def measure_misregistration(ground: Ground) -> Misregistration:
    """Measure how far two dates lie beside each other: on their imagery if both can be read and agree, else on the borders of classes.

    Phase correlation (Kuglin and Hines 1975; sub-pixel: Guizar-Sicairos et al. 2008) of pictures of edges, in up to 25 places of 256 px.
    The median does not follow places that have changed or were not recognized.
    """
    if ground.before.imagery is not None and ground.after.imagery is not None:
        seen = _measure(ground, _imagery_of(ground, ground.before.imagery, ground.after.imagery), "imagery")
        if seen.is_reliable:
            return seen
    with _borders_of(ground) as picture:
        return _measure(ground, picture, "classes")


def _measure(ground: Ground, picture: Picture, seen_on: str) -> Misregistration:
    found = np.array([shift for window in _choose_places(ground.shape) if (shift := _compare(picture(window))) is not None]).reshape(-1, 2)
    median = np.median(found, axis=0) if len(found) else np.zeros(2)
    # once more without the places that were not recognized
    near = np.hypot(*(found - median).T) <= _AGREE_PX
    if near.any():
        median = np.median(found[near], axis=0)
    away = np.hypot(*(found - median).T)
    agreeing = away <= _AGREE_PX
    rows, cols = (float(n) for n in median)
    width, height = ground.pixel_m
    return Misregistration(
        cols_px=cols,
        rows_px=rows,
        distance_m=float(np.hypot(cols * width, rows * height)),
        seen_on=seen_on,
        places=len(found),
        agreeing=int(agreeing.sum()),
        spread_px=float(np.median(away[agreeing])) if agreeing.any() else 0.0,
    )


def _choose_places(shape: tuple[int, int]) -> Iterator[Window]:
    """Yield places that are spread evenly; they overlap where the raster is small."""
    height, width = (min(BLOCK_PX, n) for n in shape)
    starts = []
    for length, block in zip(shape, (height, width), strict=True):
        count = min(_PLACES, max(1, 2 * length // block - 1))
        starts.append(np.unique(np.linspace(0, length - block, count).astype(int)).tolist())
    for row in starts[0]:
        for col in starts[1]:
            yield Window(col, row, width, height)


def _compare(pictures: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]] | None) -> tuple[float, float] | None:
    """Return rows and columns by which the second picture lies beside the first; None where that cannot be told."""
    if pictures is None:
        return None
    one, other, known = pictures
    if known.mean() < _LEAST_KNOWN or min(one.shape) < 2 * _REACH_PX:
        return None
    window = np.outer(*(np.hanning(n) for n in one.shape)) * ndimage.gaussian_filter(known.astype(np.float32), 2.0)
    edges = [_level(picture, known) * window for picture in (one, other)]
    if min(picture.std() for picture in edges) == 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        shift, _, _ = phase_cross_correlation(*edges, upsample_factor=_FINENESS)
    if not np.isfinite(shift).all() or np.hypot(*shift) > _REACH_PX:
        return None
    # how the second one has to be moved, not how it was
    return -float(shift[0]), -float(shift[1])


def _level(picture: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a picture about zero, 0 where nothing is known."""
    return np.where(known, picture - picture[known].mean(), np.float32(0))


def _imagery_of(ground: Ground, before: RasterSource, after: RasterSource) -> Picture:
    coarsest = max(pixel_size_m(source.geobox) for source in (before, after)) / pixel_size_m(ground.geobox)
    # values where there is no data reach so far, by being interpolated and by the filter of edges
    reach = math.ceil(coarsest - 1e-6) + _EDGE_REACH_PX

    def look(window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]] | None:
        grid = ground.geobox[window.toslices()]
        try:
            placed = [read_onto(source, grid, Resampling.bilinear) for source in (before, after)]
        except GeosegError:
            # imagery is a help; the classes are there in any case
            return None
        known = np.logical_and(*(p.valid for p in placed))
        known = np.asarray(ndimage.binary_erosion(known, np.ones((3, 3)), iterations=reach, border_value=1))
        if not known.any():
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            one, other = (_edges(p.values[:3].astype(np.float32).mean(axis=0)) for p in placed)
        return one, other, known

    return look


@contextmanager
def _borders_of(ground: Ground) -> Iterator[Picture]:
    # the nearest pixel of another grid lies up to half a pixel off, so that borders are looked for on a finer one
    with ground.open(finer=_FINER) as read:

        def look(window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]] | None:
            classes = read(Window(*(_FINER * n for n in (window.col_off, window.row_off, window.width, window.height))))
            known = np.logical_and(*(c != NODATA_CLASS for c in classes))
            if not known.any():
                return None
            one, other = (_edges(average_blocks(_TONES[np.where(known, c, 0)][None], _FINER)[0]) for c in classes)
            return one, other, whole_blocks(known, _FINER)

        yield look


def _edges(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_gradient_magnitude(picture, 1.0), np.float32)

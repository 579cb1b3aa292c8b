"""A plane over a grid on which angles are those of the ground, in every row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.io.ground import pixel_step_m, pixel_steps_m

_ROWS = 1024
"""At which pixels are measured, at most."""
_BEYOND_PX = 1e6
"""How far the plane goes on beyond the grid."""
_NARROWEST = 0.01
"""Least width of a pixel, as a share of the widest: at a pole it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundFrame:
    """Metres of the middle row, and rows stretched until pixels are as high as they are wide on the ground.

    In degrees pixels become narrower towards the poles, so that one scale for all rows makes right angles askew away from the middle.
    Rows are stretched as Mercator stretches them. Lengths are true in the middle row, and elsewhere off as much as pixels are wider or
    narrower there.
    """

    width_m: float
    """Of a pixel of the middle row."""
    rows: NDArray[np.float64]
    """(n,) ascending row coordinates."""
    heights_m: NDArray[np.float64]
    """(n,) where they lie on the plane."""

    @classmethod
    def of(cls, geobox: GeoBox) -> Self:
        """Measure a grid that has a CRS."""
        height = int(geobox.shape[0])
        rows = np.linspace(0.0, height, min(height, _ROWS) + 1)
        width, length = pixel_steps_m(geobox, (rows[1:] + rows[:-1]) / 2)
        middle, middle_length = pixel_step_m(geobox)
        known = np.isfinite(width) & np.isfinite(length)
        ratio = np.where(known, length / np.maximum(width, _NARROWEST * np.nanmax(width)), middle_length / middle)
        heights = np.concatenate([[0.0], np.cumsum(ratio * np.diff(rows))]) * middle
        beyond = _BEYOND_PX * middle * ratio[[0, -1]]
        return cls(
            width_m=middle,
            rows=np.concatenate([[-_BEYOND_PX], rows, [height + _BEYOND_PX]]),
            heights_m=np.concatenate([[-beyond[0]], heights, [heights[-1] + beyond[1]]]),
        )

    def to_metres(self, geometries: NDArray[np.object_]) -> NDArray[np.object_]:
        """Move geometries from pixels to the plane."""
        return _move(geometries, lambda xy: np.column_stack([xy[:, 0] * self.width_m, np.interp(xy[:, 1], self.rows, self.heights_m)]))

    def to_pixels(self, geometries: NDArray[np.object_]) -> NDArray[np.object_]:
        """Move geometries from the plane to pixels."""
        return _move(geometries, lambda xy: np.column_stack([xy[:, 0] / self.width_m, np.interp(xy[:, 1], self.heights_m, self.rows)]))


def _move(geometries: NDArray[np.object_], place: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.object_]:
    return np.asarray(shapely.transform(np.asarray(geometries, dtype=object), place))

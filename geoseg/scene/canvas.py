"""The picture while it is painted, and how shapes in metres get onto its pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import distance_transform_edt
from shapely.geometry.base import BaseGeometry

from geoseg.scene.options import SceneOptions
from geoseg.scene.texture import Raster, Texture, enlarge

_FAR_M = 1e4


class Land(IntEnum):
    """Class values of a scene."""

    LAND = 0
    WATER = 1
    VEGETATION = 2
    ROAD = 3
    BUILDING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Picture and truth; painters change both arrays in place, so that they never disagree."""

    options: SceneOptions
    """Size and resolution."""
    texture: Texture
    """Noise for all surfaces."""
    rgb: Raster
    """(H, W, 3) float32, 0..255."""
    classes: NDArray[np.uint8]
    """(H, W), values of `Land`."""

    def burn(self, shapes: Sequence[BaseGeometry], values: Sequence[int] | None = None) -> NDArray[np.int32]:
        """Rasterize shapes given in metres; pixels whose center is inside take the shape's value, later shapes win.

        Args:
            shapes: Polygons or lines; lines are one pixel wide.
            values: One for each shape; None takes 1 for all.

        Returns:
            (H, W) int32, 0 outside of all shapes.
        """
        return burn(shapes, values, self.options.shape, self.options.resolution_m)

    def distance_m(self, shapes: Sequence[BaseGeometry], step_m: float) -> Raster:
        """Measure how far each pixel is from shapes, negative inside; exact to about half of ``step_m``.

        Returns:
            (H, W) float32 in metres, smooth.
        """
        step = max(step_m, self.options.resolution_m)
        cols, rows = (size / step for size in self.options.size_m)
        inside = burn(shapes, None, (math.ceil(rows) + 1, math.ceil(cols) + 1), step) > 0
        if not inside.any():
            return np.full(self.options.shape, _FAR_M, np.float32)
        outward = np.asarray(distance_transform_edt(~inside), np.float32)
        inward = np.asarray(distance_transform_edt(np.pad(inside, 1, mode="edge")), np.float32)[1:-1, 1:-1]
        signed = np.where(inside, 0.5 - inward, outward - 0.5) * np.float32(step)
        return enlarge(signed, self.options.shape, (0, 0, cols, rows))

    def blend(self, share: Raster, rgb: Raster | tuple[float, float, float]) -> None:
        """Lay a color over the picture.

        Args:
            share: (H, W), 0 leaves the picture as it is, 1 hides it.
            rgb: One color, or (H, W, 3).
        """
        self.rgb[...] += share[..., None] * (np.asarray(rgb, np.float32) - self.rgb)


def burn(shapes: Sequence[BaseGeometry], values: Sequence[int] | None, shape: tuple[int, int], step_m: float) -> NDArray[np.int32]:
    """Rasterize shapes given in metres onto a grid of ``step_m`` pixels; see `Canvas.burn`."""
    kept = [(s, v) for s, v in zip(shapes, values or [1] * len(shapes), strict=True) if not shapely.is_empty(s)]
    if not kept:
        return np.zeros(shape, np.int32)
    return np.asarray(rasterize(kept, out_shape=shape, transform=Affine.scale(step_m), dtype="int32"))

"""What vectorizing makes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """One polygon per connected component of equal value."""

    values: NDArray[np.int64]
    """(n,) raster value of each polygon."""
    polygons: NDArray[np.object_]
    """(n,) shapely Polygon in pixel coordinates (x = column, y = row), or MultiPolygon of parts that touch diagonally. Exteriors
    have a positive signed area in (x, y), which looks clockwise on a screen, holes a negative one. Corners where three patches
    meet are vertices of all three."""
    pixels: NDArray[np.int64]
    """(n,) pixels of each component; the polygon's area unless it was simplified."""
    first: NDArray[np.int64]
    """(n,) first pixel of each component, counted over the raster in row-major order."""

    def __len__(self) -> int:
        return len(self.values)


def join_patches(batches: Sequence[Patches]) -> Patches:
    """Put batches into one, in the order of first pixels."""
    order = np.argsort(np.concatenate([batch.first for batch in batches]))
    return Patches(
        values=np.concatenate([batch.values for batch in batches])[order],
        polygons=np.concatenate([batch.polygons for batch in batches])[order],
        pixels=np.concatenate([batch.pixels for batch in batches])[order],
        first=np.concatenate([batch.first for batch in batches])[order],
    )

"""What vectorizing makes, and how it is steered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.objects.borders.choose import DOUGLAS_PEUCKER, VISVALINGAM
from geoseg.objects.borders.smooth import MAX_ROUNDS

Method = Literal["douglas-peucker", "visvalingam"]
METHODS = {"douglas-peucker": DOUGLAS_PEUCKER, "visvalingam": VISVALINGAM}
"""Numbers that compiled code knows the methods by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizeOptions:
    """How polygons are drawn.

    Raises:
        ConfigError: If a number is negative or not finite, or a word unknown.
    """

    simplify_m: float = 0.0
    """How far a border may move when it is simplified, metres on the ground; 0 keeps the pixel edges.
    From 1.5 pixels on, slanted borders lose all their stairs."""
    method: Method = "douglas-peucker"
    """``douglas-peucker`` bounds how far a border moves; ``visvalingam`` takes out corners whose triangle with their neighbors
    is smaller than ``simplify_m`` squared, which suits natural borders."""
    smooth_rounds: int = 0
    """How often corners are cut (Chaikin), 0 to 5; each round doubles the vertices."""
    connectivity: Literal[4, 8] = 4
    """8: pixels that touch diagonally belong to one patch, which is then a multipolygon."""
    min_area_m2: float = 0.0
    """Smaller patches are merged into the neighbor with the longest shared border, m2 on the ground."""
    background: int | None = None
    """Value that gets no polygons: 255 for class maps, 0 for instance labels; None draws every value."""
    cover_background: bool = True
    """False: simplified polygons never cover background pixels; borders on background are then simplified inwards only."""

    def __post_init__(self) -> None:
        if not 0 <= self.simplify_m < np.inf:
            raise ConfigError(f"The simplification tolerance must be 0 m or more; got {self.simplify_m}.")
        if not 0 <= self.min_area_m2 < np.inf:
            raise ConfigError(f"The minimum area must be 0 m2 or more; got {self.min_area_m2}.")
        if self.method not in METHODS:
            raise ConfigError(f"Borders are simplified by {' or '.join(METHODS)}; got {self.method!r}.")
        if self.smooth_rounds not in range(MAX_ROUNDS + 1):
            raise ConfigError(f"Corners are cut 0 to {MAX_ROUNDS} times; got {self.smooth_rounds}.")
        if self.connectivity not in (4, 8):
            raise ConfigError(f"Pixels have 4 or 8 neighbors; got {self.connectivity}.")


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

"""Pieces of ground: lots, fields, parks; each with its soil, its green and what grows in rows."""

from dataclasses import dataclass, fields

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.scene.buildings import Rgb

SOILS: tuple[Rgb, ...] = ((190, 178, 160), (184, 180, 173), (160, 142, 122), (172, 147, 124), (150, 142, 130), (202, 193, 178))
PAVINGS: tuple[Rgb, ...] = ((180, 177, 172), (160, 157, 154), (194, 188, 180))
LAWNS: tuple[Rgb, ...] = ((96, 106, 72), (108, 113, 80), (84, 96, 64), (114, 114, 86))
CROPS: tuple[Rgb, ...] = ((92, 105, 70), (106, 115, 76), (82, 95, 68), (118, 121, 88), (98, 105, 78))
TILLED: tuple[Rgb, ...] = ((156, 136, 115), (174, 155, 133), (140, 122, 106), (188, 172, 149))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One piece of ground."""

    outline: shapely.Polygon
    """In metres."""
    soil: Rgb
    """Color of the bare ground."""
    green: Rgb
    """Color of what grows on it."""
    growth: float
    """How much of it is green: -3 nothing, 0 half of it in patches, 3 everything."""
    row_angle: float = 0.0
    """Direction of its rows in radians."""
    row_gap_m: float = 2.0
    """From row to row."""
    row_depth: float = 0.0
    """Contrast of the rows, 0..1."""
    roughness: float = 1.0
    """Contrast of the fine texture."""
    trees_per_ha: float = 15.0
    """Trees at random places."""
    orchard_gap_m: float = 0.0
    """From tree to tree along the rows; 0 is no orchard."""
    is_walled: bool = False
    """Whether a wall runs around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelTable:
    """Parcels by id, as arrays that are indexed with the raster of parcel ids; id 0 is the ground between them."""

    soil: NDArray[np.float32]
    """(n + 1, 3)."""
    green: NDArray[np.float32]
    """(n + 1, 3)."""
    growth: NDArray[np.float32]
    """(n + 1,)."""
    row_angle: NDArray[np.float32]
    """(n + 1,)."""
    row_gap_m: NDArray[np.float32]
    """(n + 1,)."""
    row_depth: NDArray[np.float32]
    """(n + 1,)."""
    roughness: NDArray[np.float32]
    """(n + 1,)."""
    trees_per_ha: NDArray[np.float32]
    """(n + 1,)."""
    orchard_gap_m: NDArray[np.float32]
    """(n + 1,)."""


def tabulate(parcels: list[Parcel], between: Parcel) -> ParcelTable:
    """Turn parcels into a table, ``between`` at id 0."""
    rows = [between, *parcels]
    return ParcelTable(**{f.name: np.array([getattr(row, f.name) for row in rows], np.float32) for f in fields(ParcelTable)})


def pick(rng: np.random.Generator, palette: tuple[Rgb, ...], spread: float = 6.0) -> Rgb:
    """Choose a color near one of a palette."""
    base = palette[int(rng.integers(len(palette)))]
    red, green, blue = np.clip(np.asarray(base) + rng.normal(0, spread) + rng.normal(0, spread / 4, 3), 10, 250).astype(int).tolist()
    return red, green, blue

"""Painting what lies on the ground: soil, green, rows of crops, and the river."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.scene.canvas import Canvas, Land
from geoseg.scene.parcels import Parcel, ParcelTable
from geoseg.scene.river import KEEP_OFF_M, River
from geoseg.scene.texture import Raster

_DEEP = np.array((38, 47, 41), np.float32)
_SHALLOW = np.array((92, 99, 74), np.float32)
_WALL = (212.0, 207.0, 198.0)
_BANK_MOVES_M = 0.35 * KEEP_OFF_M


def paint_parcels(canvas: Canvas, ids: NDArray[np.int32], table: ParcelTable) -> None:
    """Paint soil and what grows on it; where more than half is green, the truth is vegetation.

    Args:
        canvas: Picture and truth.
        ids: (H, W) rows of the table.
        table: What the parcels look like.
    """
    noise = canvas.texture
    share = np.clip(0.5 + (0.75 * noise.patch + 0.5 * noise.broad + 0.12 * noise.fine + table.growth[ids]) / 0.7, 0, 1)
    rough = table.roughness[ids]
    rows = _rows(canvas, ids, table)
    clutter = 0.16 * np.clip(noise.fine - 1.9, 0, 1.2) - 0.22 * np.clip(-noise.fine - 1.9, 0, 1)
    soil_gain = 1 + rows + 0.07 * noise.broad + 0.03 * noise.patch + rough * (0.028 * noise.fine + 0.03 * noise.grain + clutter)
    green_gain = 1 + rows + 0.10 * noise.broad + 0.06 * noise.patch + rough * (0.11 * noise.fine + 0.08 * noise.grain)
    canvas.rgb[...] = table.soil[ids] * soil_gain[..., None]
    canvas.blend(share, table.green[ids] * green_gain[..., None])
    canvas.classes[share > 0.5] = Land.VEGETATION


def paint_walls(canvas: Canvas, parcels: Sequence[Parcel]) -> None:
    """Draw garden walls as bright lines with gaps; they count as land."""
    walls = canvas.burn([p.outline.boundary for p in parcels if p.is_walled]) > 0
    walls &= canvas.texture.broad + 0.3 * canvas.texture.patch > -0.7
    strength = min(0.8, 0.24 / canvas.options.resolution_m)
    canvas.blend(walls.astype(np.float32) * np.float32(strength), _WALL)
    canvas.classes[walls] = Land.LAND


def paint_river(canvas: Canvas, river: River) -> Raster:
    """Paint water, deeper away from its banks, and a wet rim.

    Returns:
        (H, W) distance from the drawn bank in metres, negative in the water.
    """
    noise = canvas.texture
    moves = np.clip(0.9 * noise.patch + 0.7 * noise.broad + 0.15 * noise.fine, -_BANK_MOVES_M, _BANK_MOVES_M)
    bank = canvas.distance_m([river.polygon], 1.2) + moves
    canvas.rgb[...] *= (1 - 0.22 * np.clip(1 - bank / 2.5, 0, 1))[..., None]
    depth = np.clip(-bank / 5 + 0.15 * noise.broad, 0, 1)[..., None]
    ripples = (2.2 * noise.patch + 1.2 * noise.fine)[..., None]
    canvas.blend(np.clip(0.5 - bank / 1.2, 0, 1), _SHALLOW + depth * (_DEEP - _SHALLOW) + ripples)
    canvas.classes[bank < 0] = Land.WATER
    return np.asarray(bank, np.float32)


def _rows(canvas: Canvas, ids: NDArray[np.int32], table: ParcelTable) -> Raster:
    """Return the relative brightness of rows, (H, W); rows finer than the pixels vanish."""
    step = np.float32(canvas.options.resolution_m)
    x = np.arange(canvas.options.width_px, dtype=np.float32) * step
    y = np.arange(canvas.options.height_px, dtype=np.float32)[:, None] * step
    wave = (2 * np.pi / table.row_gap_m).astype(np.float32)
    depth = table.row_depth * np.clip(table.row_gap_m / step / 2 - 1, 0, 1)
    across_x, across_y = -np.sin(table.row_angle) * wave, np.cos(table.row_angle) * wave
    swing = np.sin(across_x[ids] * x + across_y[ids] * y + 0.5 * canvas.texture.broad)
    return np.asarray(depth[ids] * swing * (1 + 0.3 * canvas.texture.patch), np.float32)

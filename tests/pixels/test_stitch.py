"""Stitching: what was cut comes back, each pixel from the tile that owns it."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.pixels.stitch import stitch_core
from geoseg.tiling import Chunk, TilePlan, TilingOptions, place, plan_tiles


def chunk_of(padded: NDArray[np.uint8], chunk: Chunk) -> NDArray[np.uint8]:
    f = chunk.footprint
    return padded[:, f.row_off : f.row_off + f.height, f.col_off : f.col_off + f.width]


def pad(raster: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    return np.pad(raster, ((0, 0), (0, -raster.shape[1] % stride), (0, -raster.shape[2] % stride)))


def plan_for(height: int, width: int, halo_px: int) -> TilePlan:
    return plan_tiles((height, width), TilingOptions(tile_size_px=40 + 2 * halo_px, halo_px=halo_px, stride_px=8, chunk_size_px=90))


@settings(deadline=None, max_examples=60)
@given(height=st.integers(1, 250), width=st.integers(1, 250), halo_px=st.sampled_from([0, 8, 24]), seed=st.integers(0, 99))
@example(height=30, width=700, halo_px=16, seed=0)
def test_the_cores_of_tiles_give_the_raster_back(height: int, width: int, halo_px: int, seed: int) -> None:
    raster = np.random.default_rng(seed).integers(0, 255, (2, height, width), np.uint8)
    padded, whole = pad(raster, 8), np.full_like(raster, 255)
    for chunk in plan_for(height, width, halo_px).chunks():
        footprint, (rows, cols) = chunk_of(padded, chunk), chunk.window.toslices()
        for tile in chunk.tiles:
            seen = footprint[:, *place(tile.window, chunk.footprint)]
            stitch_core(whole[:, rows, cols], seen[:, *tile.crop], tile, chunk.window)
    np.testing.assert_array_equal(whole, raster)

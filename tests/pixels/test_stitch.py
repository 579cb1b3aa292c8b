"""Stitching: what was cut comes back, each pixel from the tile that owns it."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.pixels.stitch import cut_tiles, stitch_cores
from geoseg.tiling import Chunk, TilePlan, TilingOptions, plan_tiles


def chunk_of(padded: NDArray[np.uint8], chunk: Chunk) -> NDArray[np.uint8]:
    f = chunk.footprint
    return padded[:, f.row_off : f.row_off + f.height, f.col_off : f.col_off + f.width]


def pad(raster: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    return np.pad(raster, ((0, 0), (0, -raster.shape[1] % stride), (0, -raster.shape[2] % stride)))


def plan_for(height: int, width: int, halo_px: int) -> TilePlan:
    return plan_tiles((height, width), TilingOptions(tile_size_px=40 + 2 * halo_px, halo_px=halo_px, stride_px=8, chunk_size_px=90))


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 250), width=st.integers(1, 250), halo_px=st.sampled_from([0, 8, 24]), seed=st.integers(0, 99), spoil=st.booleans()
)
@example(height=30, width=700, halo_px=16, seed=0, spoil=True)
def test_cut_and_stitch_give_the_raster_back_whatever_stands_in_the_halos(
    height: int, width: int, halo_px: int, seed: int, spoil: bool
) -> None:
    raster = np.random.default_rng(seed).integers(0, 255, (2, height, width), np.uint8)
    padded, whole = pad(raster, 8), np.full_like(raster, 255)
    for chunk in plan_for(height, width, halo_px).chunks():
        tiles = cut_tiles(chunk_of(padded, chunk), chunk.footprint, chunk.tiles)
        if spoil:
            for tile, pixels in zip(chunk.tiles, tiles, strict=True):
                kept = pixels[:, *tile.crop].copy()
                pixels[:] = 255
                pixels[:, *tile.crop] = kept
        w = chunk.window
        stitch_cores(whole[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width], tiles, chunk.tiles, w)
    np.testing.assert_array_equal(whole, raster)


def test_tiles_are_copies_in_row_major_order() -> None:
    raster = np.arange(100 * 100, dtype=np.int32).reshape(100, 100)
    plan = plan_for(100, 100, 0)
    chunk = plan.chunk(0, 0)
    tiles = cut_tiles(raster, Window(0, 0, 100, 100), chunk.tiles)
    assert tiles.shape == (4, 40, 40)
    assert tiles[:, 0, 0].tolist() == [0, 40, 4000, 4040]
    tiles[:] = -1
    assert raster[0, 0] == 0

"""What is done of a run is seen while others work on it, fine and coarse, and nothing is written into its folder."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.io.store.chunks import ChunkStore
from geoseg.io.store.places import Folder
from geoseg.tiling import TilePlan
from geoseg.view.growing import GrowingRaster
from geoseg.view.rasters import TileRaster
from tests.doubles import CRS, TRANSFORM

LAYERS = ("class", "confidence", "building")


def plan_of(side: int) -> TilePlan:
    return TilePlan(height=side, width=side + 70, tile_size_px=128, halo_px=0, stride_px=16, tiles_per_chunk=side // 512 or 1)


def write_chunk(store: ChunkStore, tiles: TilePlan, key: tuple[int, int], truth: np.ndarray) -> None:
    chunk = tiles.chunk(*key)
    rows, cols = chunk.window.toslices()
    store.write(chunk, np.stack([truth[rows, cols], np.full_like(truth[rows, cols], 80), np.zeros_like(truth[rows, cols])]))


def read_all(raster: TileRaster, band: int) -> np.ndarray:
    with raster._dataset() as dataset:
        return np.asarray(dataset.read(band, window=Window(0, 0, dataset.width, dataset.height)))


def grow(tmp_path: Path, side: int) -> tuple[GrowingRaster, ChunkStore, TilePlan, np.ndarray]:
    tiles = plan_of(side)
    truth = np.random.default_rng(3).integers(0, 5, (side, side + 70), np.uint8)
    store = ChunkStore(place=Folder(tmp_path / "chunks"), geobox=GeoBox(truth.shape, TRANSFORM, CRS), layers=LAYERS)
    (tmp_path / "work").mkdir()
    return GrowingRaster(store.place, tiles, LAYERS, tmp_path / "work"), store, tiles, truth


def test_chunks_appear_as_they_are_done_and_the_rest_is_nodata(tmp_path: Path) -> None:
    growing, store, tiles, truth = grow(tmp_path, 256)
    assert not growing.refresh()
    assert growing.raster_for(0.0) is None
    write_chunk(store, tiles, (0, 1), truth)
    assert growing.refresh()
    assert growing.counts == (1, 6)
    rows, cols = tiles.chunk(0, 1).window.toslices()
    expected = np.full_like(truth, 255)
    expected[rows, cols] = truth[rows, cols]
    np.testing.assert_array_equal(read_all(growing.raster_for(0.0), growing.band("class")), expected)
    former = growing.raster_for(0.0)
    for key in ((0, 0), (1, 0), (1, 1), (0, 2), (1, 2)):
        write_chunk(store, tiles, key, truth)
    assert growing.refresh()
    assert growing.version == 2
    np.testing.assert_array_equal(read_all(growing.raster_for(0.0), growing.band("class")), truth)
    np.testing.assert_array_equal(read_all(former, growing.band("class")), expected)
    assert set(np.unique(read_all(growing.raster_for(0.0), growing.band("confidence")))) == {80}
    growing.close()


def test_from_far_a_large_run_is_a_picture_of_its_middles_on_the_same_ground(tmp_path: Path) -> None:
    growing, store, tiles, truth = grow(tmp_path, 2304)
    for row in range(tiles.chunk_shape[0]):
        for col in range(tiles.chunk_shape[1]):
            write_chunk(store, tiles, (row, col), truth)
    growing.refresh()
    fine = growing.raster_for(0.0)
    far = growing.raster_for(8 * fine.pixel_m)
    assert far is not fine
    np.testing.assert_array_equal(read_all(far, 1)[:-1, :-1], truth[1::2, 1::2][: far.geobox.shape[0] - 1, : far.geobox.shape[1] - 1])
    assert far.bounds == pytest.approx(fine.bounds, abs=1e-5)
    assert far.geobox.transform.almost_equals(TRANSFORM @ Affine.scale(2))
    growing.close()

"""Web tiles: the right pixels at the right place, and none where there are none."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import ColorInterp, Resampling

from geoseg.errors import RasterError, RunError
from geoseg.view.rasters import TILE_PX, IdleDatasets, TileRaster, WebTile, find_bounds, unite
from tests.doubles import write_raster


def tile_at(lon: float, lat: float, z: int) -> tuple[WebTile, int, int]:
    """Return the tile, row and column of a place; an oracle of its own."""
    x = (lon + 180) / 360 * 2**z
    y = (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**z
    return WebTile(z=z, x=int(x), y=int(y)), int(y % 1 * TILE_PX), int(x % 1 * TILE_PX)


def test_the_tiles_of_a_zoom_partition_the_world() -> None:
    left, bottom, right, top = WebTile(z=3, x=2, y=5).bounds_m
    assert WebTile(z=3, x=3, y=5).bounds_m[0] == pytest.approx(right)
    assert WebTile(z=3, x=2, y=6).bounds_m[3] == pytest.approx(bottom)
    assert right - left == pytest.approx(top - bottom) == pytest.approx(20037508.342789244 / 4)
    assert not WebTile(z=3, x=8, y=0).exists


@pytest.mark.parametrize("crs", ["EPSG:32645", "EPSG:3857", "EPSG:4326"])
def test_a_tile_holds_the_pixel_that_lies_at_its_place(tmp_path: Path, crs: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (1, 60, 90), np.uint8)
    transform = Affine(2e-5, 0, 85.5, 0, -2e-5, 27.6) if crs == "EPSG:4326" else Affine(2, 0, 337_200, 0, -2, 3_058_800)
    raster = TileRaster(str(write_raster(tmp_path / "a.tif", pixels, transform=transform, crs=crs)))
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    for row, col in ((3, 5), (30, 44), (57, 86)):
        lon, lat = to_degrees.transform(*(transform @ (col + 0.5, row + 0.5)))
        tile, y, x = tile_at(lon, lat, raster.zoom + 2)
        assert raster.touches(tile)
        found = raster.read_tile(tile)
        assert found.valid[y, x]
        assert found.data[0, y, x] == pixels[0, row, col] == raster.read_point(lon, lat)[0]
    raster.close()


def test_outside_of_a_raster_and_without_data_nothing_is_valid(tmp_path: Path) -> None:
    pixels = np.full((1, 50, 50), 7, np.uint8)
    pixels[:, :, :25] = 255
    path = write_raster(tmp_path / "a.tif", pixels, transform=Affine(2, 0, 0, 0, -2, 100), crs="EPSG:3857")
    raster = TileRaster(str(path), nodata=255)
    west, south, east, north = raster.bounds
    tile, _, _ = tile_at(west + 1e-6, north - 1e-6, 15)
    found = raster.read_tile(tile)
    assert set(np.unique(found.data[0][found.valid])) == {7}
    assert found.valid.sum() == pytest.approx(25 * 50 * (2 / tile.pixel_m) ** 2, rel=0.15)
    assert raster.read_point(west + (east - west) / 4, (south + north) / 2) is None
    assert raster.read_point(west - 1, south) is None
    assert not raster.touches(WebTile(z=15, x=0, y=0))


def test_what_is_no_number_is_no_data_at_every_zoom(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).uniform(0.2, 0.8, (3, 1200, 1200)).astype(np.float32)
    pixels[:, :, :600] = np.nan
    raster = TileRaster(str(write_raster(tmp_path / "a.tif", pixels, transform=Affine(2, 0, 0, 0, -2, 2400), crs="EPSG:3857", tiled=True)))
    small = raster.write_pyramid(tmp_path / "small.tif", (1, 2, 3))
    west, south, east, north = raster.bounds
    for shown, z in ((raster, raster.zoom), (small, raster.zoom - 1), (small, raster.zoom - 2)):
        tile, row, col = tile_at((west + east) / 2, (south + north) / 2, z)
        found = shown.read_tile(tile, (1, 2, 3), smooth=True)
        assert not found.valid[row, : max(0, col - 4)].any()
        assert found.valid[max(0, row - 1), col + 4 :][:20].all()
        assert np.isfinite(found.data[:, found.valid]).all()


def test_at_the_edge_of_a_file_all_bands_are_there_or_none(tmp_path: Path) -> None:
    grey = np.random.default_rng(5).integers(100, 120, (3, 300, 300), np.uint8)
    path = write_raster(
        tmp_path / "a.tif", grey, transform=Affine(0.149, 0, 9_519_391.07, 0, -0.149, 3_203_475.86), crs="EPSG:3857", tiled=True
    )
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8], Resampling.average)
    raster = TileRaster(str(path))
    _, south, east, north = raster.bounds
    for z in (16, 17, 18):
        tile, _, _ = tile_at(east - 1e-7, (south + north) / 2, z)
        found = raster.read_tile(tile, (1, 2, 3), smooth=True)
        assert found.valid.any()
        assert found.data[:, found.valid].min() >= 90


@pytest.mark.parametrize(
    ("crs", "transform"),
    [("EPSG:3413", Affine(1000, 0, -50_000, 0, -1000, 50_000)), ("EPSG:32601", Affine(10_000, 0, 0, 0, -10_000, 2_000_000))],
)
def test_where_a_web_map_ends_a_raster_is_refused_and_the_message_says_where(crs: str, transform: Affine) -> None:
    with pytest.raises(RasterError, match="85 degrees or over the 180th meridian"):
        find_bounds("far.tif", GeoBox((100, 100), transform, crs))


def test_a_raster_without_a_crs_has_no_place_and_the_message_says_what_to_do() -> None:
    with pytest.raises(RasterError, match="--assume-crs pixels"):
        find_bounds("plain.png", GeoBox((10, 10), Affine.identity(), None))


def test_boxes_unite_to_the_one_that_holds_them_all() -> None:
    assert unite([(1, 2, 3, 4), (0, 3, 2, 9)]) == (0, 2, 3, 9)


def test_a_small_copy_lies_where_the_raster_lies_and_holds_means_of_what_is_valid(tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(np.arange(1, 65, dtype=np.uint8).reshape(1, 8, 8), 100, axis=1), 100, axis=2)
    pixels = np.concatenate([pixels + 50, pixels])
    pixels[1, ::2] += 10
    pixels[:, :100, :100] = 0
    raster = TileRaster(str(write_raster(tmp_path / "a.tif", pixels, nodata=0, tiled=True, blockxsize=256, blockysize=256)))
    small = raster.write_pyramid(tmp_path / "small.tif", (2,))
    assert small.geobox.shape == (400, 400)
    assert small.bounds == pytest.approx(raster.bounds)
    assert small.has_overviews
    found = small.read_coarse((1,), 400)
    assert not found.valid[:50, :50].any()
    assert found.valid.mean() == 63 / 64
    np.testing.assert_array_equal(found.data[0][25::50, 25::50].ravel()[1:], np.arange(2, 65) + 5)
    assert raster.write_pyramid(tmp_path / "share.tif", (2,), 150**2).geobox.shape == (100, 100), "the share of one file of many"


def test_a_copy_of_a_file_in_wide_strips_keeps_its_pixels_in_small_blocks(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(1, 200, (1, 1100, 1200), np.uint8)
    raster = TileRaster(str(write_raster(tmp_path / "a.tif", pixels)))
    assert not raster.is_tiled
    small = raster.write_pyramid(tmp_path / "small.tif", (1,))
    assert small.is_tiled
    np.testing.assert_array_equal(small.read_coarse((1,), 1200).data, pixels)


@pytest.mark.parametrize("crs", ["EPSG:32645", "EPSG:3857"])
def test_a_tile_that_shows_much_of_a_file_is_read_from_its_overviews_in_any_crs(tmp_path: Path, crs: str) -> None:
    path = write_raster(tmp_path / "a.tif", np.full((1, 512, 512), 9, np.uint8), transform=Affine(2, 0, 337_200, 0, -2, 3_058_800), crs=crs)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    with rasterio.open(path, "r+") as dataset:
        # overviews stay as they were, so that they are told apart
        dataset.write(np.ones((1, 512, 512), np.uint8))
    raster = TileRaster(str(path))
    west, south, east, north = raster.bounds
    seen = []
    for z in (raster.zoom, raster.zoom - 2, raster.zoom - 4):
        tile, _, _ = tile_at((west + east) / 2, (south + north) / 2, z)
        found = raster.read_tile(tile)
        seen += np.unique(found.data[0][found.valid]).tolist()
    assert seen == [1, 9, 9]


def test_a_pixel_lacks_data_where_all_of_its_bands_do(tmp_path: Path) -> None:
    pixels = np.full((3, 40, 40), 90, np.uint8)
    pixels[0, :20] = 0
    pixels[:, :, :10] = 0
    path = write_raster(tmp_path / "a.tif", pixels, nodata=0, transform=Affine(2, 0, 337_200, 0, -2, 3_058_800), crs="EPSG:32645")
    raster = TileRaster(str(path))
    lon, lat = Transformer.from_crs("EPSG:32645", "EPSG:4326", always_xy=True).transform(337_250, 3_058_790)
    tile, y, x = tile_at(lon, lat, raster.zoom)
    found = raster.read_tile(tile, (1, 2, 3), smooth=True)
    assert found.valid[y, x]
    assert found.data[:, y, x].tolist() == [0, 90, 90]
    assert raster.read_point(lon, lat, (1, 2, 3)) == (0, 90, 90)
    lon, lat = Transformer.from_crs("EPSG:32645", "EPSG:4326", always_xy=True).transform(337_208, 3_058_770)
    tile, y, x = tile_at(lon, lat, raster.zoom)
    assert not raster.read_tile(tile, (1, 2, 3), smooth=True).valid[y, x]


def test_looked_at_from_afar_water_without_infrared_is_no_hole(tmp_path: Path) -> None:
    pixels = np.full((4, 400, 400), 90, np.uint8)
    pixels[3, :200] = 0
    pixels[:, :, :100] = 0
    path = write_raster(tmp_path / "a.tif", pixels, nodata=0, photometric="RGB")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.nir]
    raster = TileRaster(str(path))
    expected = np.tile(np.arange(100) >= 25, (100, 1))
    np.testing.assert_array_equal(raster.read_coarse((1, 2, 3), 100).valid, expected)
    np.testing.assert_array_equal(raster.write_pyramid(tmp_path / "small.tif", (1, 2, 3)).read_coarse((1, 2, 3), 100).valid, expected)


def test_a_file_that_goes_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "gone.tif", np.ones((1, 9, 9), np.uint8))
    raster = TileRaster(str(path))
    raster.close()
    path.unlink()
    with pytest.raises(RunError, match=r"gone\.tif"):
        raster.read_point(*raster.bounds[:2])


def test_files_that_wait_to_be_read_again_are_few_and_those_longest_unread_are_closed(tmp_path: Path) -> None:
    idle = IdleDatasets(2)
    rasters = [TileRaster(str(write_raster(tmp_path / f"{n}.tif", np.ones((1, 4, 4), np.uint8)))) for n in range(3)]
    files = [rasterio.open(raster.path) for raster in rasters]
    for raster, file in zip(rasters, files, strict=True):
        idle.put(raster, file)
    assert [file.closed for file in files] == [True, False, False]
    assert idle.take(rasters[0]) is None
    assert idle.take(rasters[1]) is files[1]
    idle.drop(rasters[2])
    assert files[2].closed
    assert len(idle) == 0
    files[1].close()

"""The raster source: any window of it equals the whole, nodata of every style is found, files that do not fit say why."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import shapely.affinity
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.env import get_gdal_config
from rasterio.rpc import RPC
from rasterio.windows import Window

from geoseg.errors import GeosegError, MissingFileError, RasterError, RunError, UsageError
from geoseg.io.raster import (
    OpenRaster,
    RasterOptions,
    RasterSource,
    bounded_cache,
    has_data,
    open_plain,
    open_raster,
    read_whole,
)
from geoseg.pixels.average import average_blocks, whole_blocks
from geoseg.tiling import partition

UTM = "EPSG:32645"
NORTH_UP = Affine(2.0, 0.0, 300000.0, 0.0, -2.0, 3000000.0)
WARP = RasterOptions(warp=True)
WriteTif = Callable[..., Path]


def noise(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(1, 255, shape).astype(dtype)


def slices(window: Window) -> tuple[slice, slice]:
    return slice(window.row_off, window.row_off + window.height), slice(window.col_off, window.col_off + window.width)


@pytest.fixture(scope="module")
def holey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of odd size whose lower left corner and some lines are nodata."""
    pixels = noise(3, 211, 307)
    pixels[:, 150:, :100] = 0
    pixels[:, 40] = 0
    path = tmp_path_factory.mktemp("holey") / "holey.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": 211, "width": 307, "crs": UTM, "transform": NORTH_UP}
    with rasterio.open(path, "w", **profile, nodata=0, tiled=True, blockxsize=64, blockysize=64) as dataset:
        dataset.write(pixels)
    return path


@settings(deadline=None, max_examples=50)
@given(resolution_m=st.sampled_from([None, 4.0, 10.1]), data=st.data())
def test_any_window_equals_the_same_part_of_the_whole(holey: Path, resolution_m: float | None, data: st.DataObject) -> None:
    source = open_raster(holey, resolution_m=resolution_m)
    rows, cols = source.shape
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    window = Window(left, top, data.draw(st.integers(1, cols - left)), data.draw(st.integers(1, rows - top)))
    all_pixels, all_valid = read_whole(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoseg.io.raster._STRIP_PX", 16)
        pixels, valid = source.read(window)
    np.testing.assert_array_equal(pixels, all_pixels[:, *slices(window)])
    np.testing.assert_array_equal(valid, all_valid[slices(window)])


@pytest.mark.parametrize("resolution_m", [None, 4.0])
def test_a_part_of_a_part_is_what_lies_there_in_the_whole(holey: Path, resolution_m: float | None) -> None:
    source = open_raster(holey, resolution_m=resolution_m)
    area = shapely.affinity.affine_transform(shapely.box(30, 20, 100, 90).buffer(5), source.geobox.transform.to_shapely())
    source = replace(source, aoi=area)
    assert source.wanted() == Window(25, 15, 80, 80)
    part = source.crop(source.wanted()).crop(Window(3, 2, 70, 75))
    assert part.shape == (75, 70)
    for made, whole in zip(read_whole(part), source.read(Window(28, 17, 70, 75)), strict=True):
        np.testing.assert_array_equal(made, whole)
    assert part.wanted() == Window(0, 0, 70, 75)


@pytest.mark.parametrize(("resolution_m", "k"), [(None, 1), (1.0, 1), (2.9, 1), (4.0, 2), (10.1, 5)])
def test_a_finer_raster_is_averaged_by_a_whole_factor_and_a_coarser_one_is_not(holey: Path, resolution_m: float | None, k: int) -> None:
    source = open_raster(holey, resolution_m=resolution_m)
    assert source.decimation == k
    assert source.shape == (-(-211 // k), -(-307 // k))
    assert source.geobox.transform == NORTH_UP @ Affine.scale(k)
    with rasterio.open(holey) as dataset:
        expected, valid = average_blocks(dataset.read(), k), whole_blocks(dataset.dataset_mask() != 0, k)
    pixels, there = read_whole(source)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(there, valid)


@pytest.mark.parametrize("resolution_m", [None, 4.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_raster_that_is_held_open_gives_what_one_opened_anew_gives(holey: Path, resolution_m: float | None, threads: int) -> None:
    source = open_raster(holey, resolution_m=resolution_m)
    windows = list(partition(source.shape, 50)) * 2
    with source.open(threads) as raster, ThreadPoolExecutor(max_workers=3) as pool:
        assert raster.shape == source.shape
        for window, read in zip(windows, pool.map(raster.read, windows), strict=True):
            for held, anew in zip(read, source.read(window), strict=True):
                np.testing.assert_array_equal(held, anew)


def test_a_block_that_two_windows_share_is_decoded_once(write_tif: WriteTif) -> None:
    path = write_tif(noise(3, 64, 64), tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with open_raster(path).open() as raster:
        before = raster.read(Window(0, 0, 40, 40))[0]
        os.truncate(path, 1000)
        after = raster.read(Window(20, 10, 44, 54))[0]
    np.testing.assert_array_equal(before[:, 10:, 20:], after[:, :30, :20])


def test_the_blocks_that_are_kept_have_a_bound_in_bytes() -> None:
    with bounded_cache():
        assert get_gdal_config("GDAL_CACHEMAX") == 32 * 2**20


def test_a_raster_that_failed_is_opened_anew(write_tif: WriteTif) -> None:
    path = write_tif(noise(1, 64, 64), compress="deflate")
    whole = path.read_bytes()
    window = Window(0, 0, 64, 64)
    with open_raster(path).open() as raster:
        path.write_bytes(whole[:-500])
        with pytest.raises(RunError, match="columns 0-64, rows 0-64"):
            raster.read(window)
        path.write_bytes(whole)
        np.testing.assert_array_equal(raster.read(window)[0], noise(1, 64, 64))


def test_averages_of_floats_are_not_rounded(write_tif: WriteTif) -> None:
    pixels = np.random.default_rng(0).random((2, 30, 41), np.float32)
    averaged, _ = read_whole(open_raster(write_tif(pixels), resolution_m=4.0))
    assert averaged.dtype == np.float32
    np.testing.assert_allclose(averaged[:, :, :20], pixels[:, :, :40].reshape(2, 15, 2, 20, 2).mean(axis=(2, 4)), rtol=1e-5)


@pytest.mark.parametrize("latitude", [0.0, 27.0, 60.0])
def test_web_mercator_is_averaged_by_metres_on_the_ground(write_tif: WriteTif, latitude: float) -> None:
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(85.0, latitude)
    path = write_tif(noise(3, 60, 80), crs="EPSG:3857", transform=Affine(1, 0, x, 0, -1, y))
    lon, lat = Transformer.from_crs("EPSG:3857", "EPSG:4326", always_xy=True).transform([x, x + 1], [y, y])
    ground_m = Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])[2]
    assert open_raster(path, resolution_m=3.2).decimation == round(3.2 / ground_m)
    assert open_raster(path, resolution_m=3.2).decimation == {0.0: 3, 27.0: 4, 60.0: 6}[latitude]


def test_bands_are_read_in_the_order_that_is_asked_for(holey: Path) -> None:
    source = open_raster(holey)
    some = source.choose((3, 1))
    window = Window(5, 7, 20, 10)
    np.testing.assert_array_equal(some.read(window)[0], source.read(window)[0][[2, 0]])


HOLE = np.s_[10:30, 5:25]


def with_hole(value: float, dtype: Any) -> NDArray[Any]:
    pixels = noise(3, 64, 48, dtype=dtype)
    pixels[:, *HOLE] = value
    return pixels


def nodata_value(write_tif: WriteTif) -> Path:
    return write_tif(with_hole(0, np.uint8), nodata=0)


def nodata_nan(write_tif: WriteTif) -> Path:
    return write_tif(with_hole(np.nan, np.float32), nodata=np.nan)


def undeclared_nan(write_tif: WriteTif) -> Path:
    return write_tif(with_hole(np.nan, np.float32))


def nan_in_one_band(write_tif: WriteTif) -> Path:
    pixels = noise(3, 64, 48, dtype=np.float32)
    pixels[1, *HOLE] = np.nan
    return write_tif(pixels)


def infinite(write_tif: WriteTif) -> Path:
    return write_tif(with_hole(-np.inf, np.float64))


def mask_band(write_tif: WriteTif) -> Path:
    path = write_tif(noise(3, 64, 48))
    mask = np.full((64, 48), 255, np.uint8)
    mask[HOLE] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    return path


def sidecar_mask(write_tif: WriteTif) -> Path:
    path = write_tif(noise(3, 64, 48))
    mask = np.full((64, 48), 255, np.uint8)
    mask[HOLE] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert path.with_name("image.tif.msk").exists()
    return path


def alpha_band(write_tif: WriteTif) -> Path:
    pixels = np.concatenate([noise(3, 64, 48), np.full((1, 64, 48), 255, np.uint8)])
    pixels[3, *HOLE] = 0
    return write_tif(pixels, photometric="RGB", alpha="yes")


def alpha_as_a_fifth_band(write_tif: WriteTif) -> Path:
    pixels = np.concatenate([noise(4, 64, 48), np.full((1, 64, 48), 255, np.uint8)])
    pixels[4, *HOLE] = 0
    path = write_tif(pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined, ColorInterp.alpha]
    return path


def alpha_of_floats(write_tif: WriteTif) -> Path:
    pixels = np.concatenate([noise(3, 64, 48), np.full((1, 64, 48), 255, np.uint8)]).astype(np.float32)
    pixels[3, *HOLE] = 0
    return write_tif(pixels, photometric="RGB", alpha="yes")


def nodata_in_all_bands_beside_infrared(write_tif: WriteTif) -> Path:
    """Infrared is 0 over water, which is no hole."""
    pixels = noise(4, 64, 48)
    pixels[:, *HOLE] = 0
    pixels[3, 30:] = 0
    path = write_tif(pixels, nodata=0, photometric="RGB")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.nir]
    return path


def nodata_beside_alpha(write_tif: WriteTif) -> Path:
    """A part is nodata and opaque, the other transparent and imagery."""
    pixels = np.concatenate([noise(3, 64, 48), np.full((1, 64, 48), 255, np.uint8)])
    rows, cols = HOLE
    half = (rows.start + rows.stop) // 2
    pixels[:3, rows.start : half, cols] = 0
    pixels[3, half : rows.stop, cols] = 0
    return write_tif(pixels, nodata=0, photometric="RGB", alpha="yes")


STYLES = [
    nodata_value,
    nodata_nan,
    undeclared_nan,
    nan_in_one_band,
    infinite,
    mask_band,
    sidecar_mask,
    alpha_band,
    alpha_as_a_fifth_band,
    alpha_of_floats,
    nodata_in_all_bands_beside_infrared,
    nodata_beside_alpha,
]


@pytest.mark.parametrize("style", STYLES, ids=[s.__name__ for s in STYLES])
def test_nodata_of_every_style_is_not_valid(write_tif: WriteTif, style: Callable[[WriteTif], Path]) -> None:
    source = open_raster(style(write_tif))
    expected = np.ones((64, 48), np.bool_)
    expected[HOLE] = False
    np.testing.assert_array_equal(read_whole(source)[1], expected)
    np.testing.assert_array_equal(source.read(Window(3, 8, 30, 30))[1], expected[8:38, 3:33])
    assert has_data(source)


def test_pixels_whose_center_lies_outside_the_area_of_interest_are_not_valid(holey: Path) -> None:
    source = open_raster(holey)
    triangle = shapely.Polygon([(300010, 2999990), (300400, 2999990), (300100, 2999700)])
    inside = replace(source, aoi=triangle)
    x, y = np.meshgrid(*(np.arange(n) + 0.5 for n in (307, 211)))
    expected = shapely.contains_xy(triangle, *(NORTH_UP @ (x.ravel(), y.ravel()))).reshape(211, 307)
    np.testing.assert_array_equal(read_whole(inside)[1], read_whole(source)[1] & expected)
    assert has_data(inside)
    far = replace(source, aoi=shapely.box(0, 0, 1, 1))
    assert not has_data(far)


EMPTY = [
    ("declared", np.zeros((1, 50, 40), np.uint8), {"nodata": 0}),
    ("declared_nan", np.full((1, 50, 40), np.nan, np.float32), {"nodata": np.nan}),
    ("undeclared_nan", np.full((1, 50, 40), np.nan, np.float32), {}),
]


@pytest.mark.parametrize(("pixels", "profile"), [row[1:] for row in EMPTY], ids=[row[0] for row in EMPTY])
def test_a_file_of_nodata_only_has_no_data(write_tif: WriteTif, pixels: NDArray[Any], profile: dict[str, Any]) -> None:
    assert not has_data(open_raster(write_tif(pixels, **profile)))


def test_a_single_pixel_that_a_coarse_look_misses_is_data(write_tif: WriteTif) -> None:
    pixels = np.zeros((1, 30, 3000), np.uint8)
    pixels[0, 17, 1801] = 9
    assert has_data(open_raster(write_tif(pixels, nodata=0)))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Windows that are read of rasters that are held open."""
    windows: list[Window] = []
    read = OpenRaster.read

    def watch(raster: OpenRaster, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        windows.append(window)
        return read(raster, window)

    monkeypatch.setattr(OpenRaster, "read", watch)
    return windows


def test_only_what_lies_in_the_area_of_interest_is_looked_through(write_tif: WriteTif, seen: list[Window]) -> None:
    pixels = np.full((1, 2200, 3100), 5, np.uint8)
    source = open_raster(write_tif(pixels, nodata=0))
    corner = shapely.box(*source.geobox[2150:2190, 3050:3090].boundingbox.bbox)
    assert has_data(replace(source, aoi=corner))
    assert seen
    assert all(window.row_off + window.height > 2150 and window.col_off + window.width > 3050 for window in seen)


def test_a_few_places_tell_that_a_masked_raster_holds_data(write_tif: WriteTif, seen: list[Window]) -> None:
    assert has_data(open_raster(write_tif(np.full((1, 900, 1300), 5, np.uint8), nodata=0)))
    assert [window.height * window.width for window in seen] == [64 * 64]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MissingFileError, match=r"/nowhere/city\.tif"):
        open_raster("/nowhere/city.tif")


@pytest.mark.parametrize("content", [b"", b"not an image at all\n" * 20, b"II*\x00" + b"\xff" * 60])
def test_a_file_that_only_looks_like_an_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.tif").write_bytes(content)
    with pytest.raises(RasterError, match=r"text\.tif could not be opened as a raster"):
        open_raster(tmp_path / "text.tif")


def test_a_folder_is_no_raster(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=str(tmp_path)):
        open_raster(tmp_path)


def test_a_raster_without_a_crs_is_refused_until_one_is_assumed(write_tif: WriteTif) -> None:
    path = write_tif(noise(3, 20, 30), crs=None)
    with pytest.raises(RasterError, match="--assume-crs"):
        open_raster(path)
    source = open_raster(path, RasterOptions(assume_crs=UTM), resolution_m=4.0)
    assert source.geobox.crs == UTM
    assert source.decimation == 2
    assert read_whole(source)[0].shape == (3, 10, 15)
    assert open_raster(path, needs_georeference=False, resolution_m=4.0).decimation == 1


def test_an_assumed_crs_does_not_replace_the_one_that_is_declared(write_tif: WriteTif) -> None:
    assert open_raster(write_tif(noise(1, 9, 9)), RasterOptions(assume_crs="EPSG:4326")).geobox.crs == UTM


@pytest.mark.parametrize("crs", ["EPSG:999999", "somewhere"])
def test_an_assumed_crs_that_does_not_exist_is_refused_and_named(write_tif: WriteTif, crs: str) -> None:
    path = write_tif(noise(1, 9, 9), crs=None)
    with pytest.raises(UsageError, match=crs):
        open_raster(path, RasterOptions(assume_crs=crs))


def test_an_image_without_georeference_opens_silently_where_none_is_needed(tmp_path: Path) -> None:
    with rasterio.MemoryFile(noise_png()) as memory:
        (tmp_path / "photo.png").write_bytes(memory.read())
    source = open_raster(tmp_path / "photo.png", needs_georeference=False)
    assert read_whole(source)[0].shape == (3, 30, 40)


def noise_png() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(noise(30, 40, 3)).save(stream, "PNG")
    return stream.getvalue()


ROTATED = Affine(2.0, 0.7, 300000.0, 0.7, -2.0, 3000000.0)


@pytest.mark.parametrize(("bands", "dtype"), [(1, np.uint8), (2, np.uint8), (3, np.uint8), (4, np.uint8), (8, np.uint16), (3, np.float32)])
def test_a_rotated_raster_is_refused_until_it_is_warped(write_tif: WriteTif, bands: int, dtype: Any) -> None:
    path = write_tif(np.full((bands, 60, 80), 77, dtype), transform=ROTATED, photometric="MINISBLACK")
    with pytest.raises(RasterError, match="rotated"):
        open_raster(path)
    source = open_raster(path, WARP)
    check_warped(source, bands, 60 * 80 * abs(ROTATED.determinant))


def test_a_raster_placed_by_control_points_is_refused_until_it_is_warped(write_tif: WriteTif) -> None:
    corners = [(0, 0), (0, 80), (60, 0), (60, 80)]
    points = [GroundControlPoint(row=r, col=c, x=(ROTATED @ (c, r))[0], y=(ROTATED @ (c, r))[1]) for r, c in corners]
    path = write_tif(np.full((3, 60, 80), 77, np.uint8), transform=None, gcps=points)
    with pytest.raises(RasterError, match="ground control points"):
        open_raster(path)
    source = open_raster(path, WARP)
    check_warped(source, 3, 60 * 80 * abs(ROTATED.determinant))


@pytest.mark.parametrize("placed", ["by control points", "by RPCs"])
def test_infrared_that_is_called_alpha_does_not_lose_the_place_of_a_raster(write_tif: WriteTif, placed: str) -> None:
    pixels = np.full((4, 60, 80), 77, np.uint8)
    pixels[3] = noise(1, 60, 80)[0]
    bare = {"transform": None, "photometric": "RGB", "alpha": "yes"}
    if placed == "by control points":
        corners = [(0, 0), (0, 80), (60, 0), (60, 80)]
        points = [GroundControlPoint(row=r, col=c, x=(ROTATED @ (c, r))[0], y=(ROTATED @ (c, r))[1]) for r, c in corners]
        path = write_tif(pixels, **bare, gcps=points)
        expected = 60 * 80 * abs(ROTATED.determinant)
    else:
        path = write_tif(pixels, **bare, crs=None, rpcs=flat_rpcs())
        expected = 60 * 80 * 1e-5**2
    for asked in (open_raster(path, WARP), open_raster(path, WARP).choose((1, 4))):
        assert asked.imagery.options.ignore_alpha
        there, valid = read_whole(asked)
        assert (there[0, valid] == 77).all()
        assert valid.sum() * abs(asked.geobox.transform.determinant) == pytest.approx(expected, rel=0.06)


def flat_rpcs() -> RPC:
    """80 x 60 pixels of 0.00001 degrees around 85.5 E 27.6 N."""
    line, sample, one = ([0.0] * 20 for _ in range(3))
    line[2], sample[1], one[0] = -1.0, 1.0, 1.0
    half = {"lat_scale": 30e-5, "long_scale": 40e-5, "height_scale": 100.0, "line_scale": 30.0, "samp_scale": 40.0}
    middle = {"lat_off": 27.6, "long_off": 85.5, "height_off": 0.0, "line_off": 29.5, "samp_off": 39.5}
    return RPC(**half, **middle, line_num_coeff=line, line_den_coeff=one, samp_num_coeff=sample, samp_den_coeff=one)


def check_warped(source: RasterSource, bands: int, area_m2: float) -> None:
    """North-up, its valid pixels hold the source's value and cover its area; the corners around it are not valid."""
    assert source.geobox.transform.b == source.geobox.transform.d == 0
    assert source.bands == tuple(range(1, bands + 1))
    pixels, valid = read_whole(source)
    assert (pixels[:, valid] == 77).all()
    assert not valid[0, 0]
    assert not valid[-1, -1]
    assert valid.sum() * abs(source.geobox.transform.determinant) == pytest.approx(area_m2, rel=0.06)
    assert has_data(source)


@pytest.mark.parametrize("style", ["nodata", "alpha", "nan"])
def test_warping_keeps_nodata(write_tif: WriteTif, style: str) -> None:
    dtype, value = (np.float32, np.nan) if style == "nan" else (np.uint8, 0)
    pixels = np.full((4 if style == "alpha" else 3, 60, 80), 77, dtype)
    if style == "alpha":
        pixels[3] = 255
        pixels[3, 20:40, 20:60] = 0
        profile: dict[str, Any] = {"photometric": "RGB", "alpha": "yes"}
    else:
        pixels[:, 20:40, 20:60] = value
        profile = {"nodata": value}
    source = open_raster(write_tif(pixels, transform=ROTATED, **profile), WARP)
    there, valid = read_whole(source)
    center = ~source.geobox.transform @ (ROTATED @ (40.0, 30.0))
    assert not valid[int(center[1]), int(center[0])]
    assert valid.any()
    assert (there[:3, valid] == 77).all()


def test_a_rotated_raster_without_a_crs_is_warped_in_the_assumed_one(write_tif: WriteTif) -> None:
    path = write_tif(np.full((3, 60, 80), 77, np.uint8), transform=ROTATED, crs=None)
    source = open_raster(path, RasterOptions(assume_crs=UTM, warp=True))
    assert source.geobox.crs == UTM
    check_warped(source, 3, 60 * 80 * abs(ROTATED.determinant))


def test_complex_numbers_are_refused_by_name(write_tif: WriteTif) -> None:
    with pytest.raises(RasterError, match="complex64"):
        open_raster(write_tif(np.ones((1, 8, 8), np.complex64)))


@pytest.fixture
def damaged(write_tif: WriteTif) -> Path:
    """A file whose header is whole and whose lower rows are missing."""
    path = write_tif(noise(1, 400, 300), nodata=0, compress="deflate", blockysize=20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def test_a_damaged_file_fails_where_it_is_damaged_and_names_the_window(damaged: Path) -> None:
    source = open_raster(damaged)
    assert source.read(Window(0, 0, 300, 100))[1].all()
    with pytest.raises(RunError, match="columns 10-60, rows 350-390"):
        source.read(Window(10, 350, 50, 40))


def test_looking_for_data_in_a_damaged_file_fails_with_its_name(damaged: Path) -> None:
    source = open_raster(damaged)
    with pytest.raises(GeosegError, match=str(damaged)):
        has_data(source)


def test_a_raster_of_our_own_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "classes.tif").write_bytes(b"II*\x00")
    with pytest.raises(RunError, match=r"classes\.tif could not be read"), open_plain(tmp_path / "classes.tif"):
        pass

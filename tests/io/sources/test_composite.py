"""Mosaics and stacks: pieces of a raster give the raster, whatever window is read; what does not fit says so."""

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import reproject
from rasterio.windows import Window

from geoseg.errors import MissingFileError, RasterError, RunError, UsageError
from geoseg.io.raster import RasterSource, place_source, read_whole
from geoseg.io.sources import composite
from geoseg.io.sources.arrangement import Arrangement, Rule
from geoseg.io.sources.dataset import RasterOptions
from geoseg.io.sources.gather import expand_names, gather_imagery
from geoseg.io.sources.imagery import FileImagery, Imagery
from tests.doubles import CRS, TRANSFORM, draw_blobs, write_raster

PIXELS = draw_blobs(90, 130)


def gather(*names: Path | str, rule: Rule = "first", feather: int = 0, stack: bool = False) -> Imagery:
    return gather_imagery([str(name) for name in names], RasterOptions(), Arrangement(rule=rule, feather_px=feather, stack=stack))


def source_of(*names: Path | str, **arrangement: Any) -> RasterSource:
    return place_source(gather(*names, **arrangement), None)


def cut(folder: Path, pixels: NDArray[Any], name: str, rows: slice, cols: slice, **more: Any) -> Path:
    placed = TRANSFORM @ Affine.translation(cols.start, rows.start)
    return write_raster(folder / f"{name}.tif", pixels[:, rows, cols], transform=placed, **more)


@pytest.fixture(scope="module")
def quarters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four overlapping pieces of one image."""
    folder = tmp_path_factory.mktemp("quarters")
    for row, rows in enumerate((slice(0, 50), slice(40, 90))):
        for col, cols in enumerate((slice(0, 70), slice(60, 130))):
            cut(folder, PIXELS, f"part_{row}_{col}", rows, cols)
    return folder


@pytest.mark.parametrize("rule", ["first", "last", "best", "median"])
def test_the_pieces_of_a_raster_give_the_raster(quarters: Path, rule: Rule) -> None:
    source = source_of(quarters, rule=rule)
    pixels, valid = read_whole(source)
    np.testing.assert_array_equal(pixels, PIXELS)
    assert valid.all()
    assert source.geobox.transform == TRANSFORM
    assert source.geobox.crs == CRS
    assert source.dtype == "uint8"


def test_a_pattern_a_folder_and_the_names_are_the_same_mosaic(quarters: Path) -> None:
    names = sorted(quarters.glob("*.tif"))
    assert expand_names([str(quarters)]) == expand_names([str(quarters / "part_*.tif")]) == [str(name) for name in names]
    assert gather(quarters) == gather(*names)
    assert gather(quarters).name == f"{names[0]} and 3 more"


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pieces with nodata of their own, an alpha band less, another resolution and another CRS."""
    folder = tmp_path_factory.mktemp("uneven")
    holed = PIXELS[:, :60, :80].copy()
    holed[:, 20:30, 30:60] = 0
    first = write_raster(folder / "holed.tif", holed, nodata=0)
    second = cut(folder, 255 - PIXELS, "inverse", slice(10, 90), slice(40, 130))
    coarse = np.full((3, 50, 70), 77, np.uint8)
    third = write_raster(folder / "coarse.tif", coarse, transform=TRANSFORM @ Affine.scale(2.3), nodata=5)
    lonlat, shape = (
        rasterio.warp.calculate_default_transform(CRS, "EPSG:4326", 130, 90, 337_200, 3_058_755, 337_265, 3_058_800)[0],
        (90, 130),
    )
    turned = np.zeros((3, *shape), np.uint8)
    reproject(
        PIXELS, turned, src_transform=TRANSFORM, src_crs=CRS, dst_transform=lonlat, dst_crs="EPSG:4326", resampling=Resampling.bilinear
    )
    fourth = write_raster(folder / "degrees.tif", turned, transform=lonlat, crs="EPSG:4326", nodata=0)
    return [first, second, third, fourth]


@settings(deadline=None, max_examples=60)
@given(rule=st.sampled_from(["first", "last", "best", "median"]), feather=st.sampled_from([0, 7]), data=st.data())
def test_any_window_of_a_mosaic_equals_the_same_part_of_the_whole(
    uneven: list[Path], rule: Rule, feather: int, data: st.DataObject
) -> None:
    source = source_of(*uneven, rule=rule, feather=feather)
    rows, cols = source.shape
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    window = Window(left, top, data.draw(st.integers(1, cols - left)), data.draw(st.integers(1, rows - top)))
    pixels, valid = source.read(window)
    whole, there = read_whole(source)
    np.testing.assert_array_equal(valid, there[window.toslices()])
    np.testing.assert_array_equal(pixels * valid, (whole * there)[:, *window.toslices()])


def test_holes_of_the_first_raster_show_the_next_one(uneven: list[Path]) -> None:
    first, second, *_ = uneven
    pixels, valid = read_whole(source_of(first, second))
    expected = np.zeros((3, 90, 130), np.uint8)
    expected[:, 10:, 40:] = (255 - PIXELS)[:, 10:, 40:]
    seen = np.zeros((90, 130), bool)
    seen[:60, :80] = True
    seen[20:30, 30:60] = False
    expected[:, seen] = PIXELS[:, seen]
    reached = seen.copy()
    reached[10:, 40:] = True
    np.testing.assert_array_equal(valid, reached)
    np.testing.assert_array_equal(pixels[:, valid], expected[:, valid])


def test_the_last_one_lies_on_top_if_asked_and_the_finest_with_best(uneven: list[Path]) -> None:
    first, second, coarse, _ = uneven
    last, _ = read_whole(source_of(first, second, rule="last"))
    np.testing.assert_array_equal(last[:, 10:60, 40:80], (255 - PIXELS)[:, 10:60, 40:80])
    best, _ = read_whole(source_of(coarse, second, rule="best"))
    np.testing.assert_array_equal(best[:, 10:90, 40:130], (255 - PIXELS)[:, 10:, 40:])
    top, _ = read_whole(source_of(coarse, second))
    assert (top[:, 10:90, 40:130] == 77).all()


def test_a_raster_in_another_crs_lies_where_it_was(uneven: list[Path]) -> None:
    *_, degrees = uneven
    corner = cut(degrees.parent, PIXELS, "corner", slice(0, 4), slice(0, 4))
    source = source_of(corner, degrees)
    row, col = (round(n) for n in (~source.geobox.transform @ (TRANSFORM.c, TRANSFORM.f))[::-1])
    pixels, valid = source.read(Window(col + 5, row + 5, 110, 75))
    expected = PIXELS[:, 5:80, 5:115]
    assert valid.all()
    # twice resampled
    assert np.abs(pixels.astype(int) - expected).mean() < 8
    shifted = PIXELS[:, 8:83, 8:118]
    assert np.abs(pixels.astype(int) - expected).mean() < np.abs(pixels.astype(int) - shifted).mean() / 1.3


def test_the_median_of_three_dates_forgets_the_cloud(tmp_path: Path) -> None:
    rasters = []
    for date in range(3):
        pixels = np.full((1, 20, 30), 100 + date, np.uint16)
        pixels[0, 5 * date : 5 * date + 5, :10] = 60_000
        pixels[0, 15:, 10 * date : 10 * date + 10] = 0
        rasters.append(write_raster(tmp_path / f"{date}.tif", pixels, nodata=0))
    pixels, valid = read_whole(source_of(*rasters, rule="median"))
    dates = []
    for path in rasters:
        with rasterio.open(path) as dataset:
            dates.append(dataset.read(1, masked=True))
    assert valid.all()
    np.testing.assert_array_equal(pixels[0], np.rint(np.ma.median(np.ma.stack(dates), axis=0)))
    assert pixels.max() == 102


def test_many_dates_on_one_spot_take_no_more_memory_than_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composite, "_MEDIAN_BYTES", 0)
    dates = [draw_blobs(150, 80, seed=n) for n in range(9)]
    source = source_of(*(write_raster(tmp_path / f"{n}.tif", pixels) for n, pixels in enumerate(dates)), rule="median")
    expected = np.rint(np.median(np.stack(dates), axis=0))
    tracemalloc.start()
    pixels, valid = read_whole(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(pixels, expected)
    assert valid.all()
    # all rows of all dates, in float32, would be more alone
    assert peak < 4 * expected.size * len(dates)


def test_rasters_that_call_their_bands_in_another_order_are_no_mosaic(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{name}.tif", draw_blobs(20, 30)) for name in ("first", "swapped", "other")]
    named = (("red", "green", "blue"), ("blue", "green", "red"), ("B04", "B03", "B02"))
    for path, names in zip(paths, named, strict=True):
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = names
    with pytest.raises(RasterError, match=r"swapped\.tif holds the bands blue, green, red, .*first\.tif red, green, blue"):
        gather(*paths[:2])
    assert gather(paths[0], paths[2]).bands == (("red",), ("green",), ("blue",))


def test_feathered_seams_are_smooth_and_cut_ones_are_not(tmp_path: Path) -> None:
    dark, bright = np.full((1, 20, 40), 50, np.uint8), np.full((1, 20, 40), 150, np.uint8)
    left = write_raster(tmp_path / "left.tif", dark)
    right = write_raster(tmp_path / "right.tif", bright, transform=TRANSFORM @ Affine.translation(20, 0))
    steps = {
        feather: np.abs(np.diff(read_whole(source_of(left, right, feather=feather))[0][0, 10].astype(int))).max() for feather in (0, 10)
    }
    assert steps[0] == 100
    assert steps[10] <= 15


def test_a_source_that_is_missing_or_damaged_is_named_while_planning(quarters: Path, tmp_path: Path) -> None:
    whole = sorted(quarters.glob("*.tif"))
    damaged = tmp_path / "damaged.tif"
    content = whole[0].read_bytes()
    damaged.write_bytes(content[: len(content) - 2000])
    with pytest.raises(MissingFileError, match=r"gone\.tif"):
        gather(*whole, tmp_path / "gone.tif")
    with pytest.raises(RasterError, match=r"damaged\.tif is damaged"):
        gather(*whole, damaged)
    with pytest.raises(MissingFileError, match=r"no_such_\*\.tif"):
        gather(tmp_path / "no_such_*.tif")


def test_a_source_that_goes_while_it_is_read_is_named(quarters: Path, tmp_path: Path) -> None:
    names = [tmp_path / path.name for path in sorted(quarters.glob("*.tif"))]
    for path in names:
        path.write_bytes((quarters / path.name).read_bytes())
    source = source_of(*names)
    names[2].unlink()
    with pytest.raises(RunError, match=names[2].name):
        read_whole(source)


def test_rasters_that_are_not_alike_are_refused(quarters: Path, tmp_path: Path) -> None:
    two = write_raster(tmp_path / "two.tif", PIXELS[:2])
    deep = write_raster(tmp_path / "deep.tif", PIXELS.astype(np.uint16))
    with pytest.raises(RasterError, match=r"two\.tif has 2 bands of uint8, .* 3 of uint8"):
        gather(quarters, two)
    with pytest.raises(RasterError, match=r"deep\.tif has 3 bands of uint16"):
        gather(quarters, deep)


def test_many_files_are_never_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[str] = []
    for number in range(12):
        cut(tmp_path, PIXELS, f"{number:02}", slice(0, 90), slice(number * 10, number * 10 + 10))
    source = source_of(tmp_path)
    from geoseg.io.sources import imagery as module

    opened, closed = module.hold_dataset, module.close_dataset
    most = 0

    def hold(name: str, options: RasterOptions) -> Any:
        nonlocal most
        held.append(name)
        most = max(most, len(held))
        return opened(name, options)

    def close(dataset: Any) -> None:
        held.remove(dataset.name)
        closed(dataset)

    monkeypatch.setattr(module, "hold_dataset", hold)
    monkeypatch.setattr(module, "close_dataset", close)
    np.testing.assert_array_equal(read_whole(source)[0], PIXELS[:, :, :120])
    assert most == 8
    assert held == []


def stack_of(folder: Path, *bands: tuple[str, NDArray[Any], float]) -> list[Path]:
    return [write_raster(folder / f"{name}.tif", pixels[None], transform=TRANSFORM @ Affine.scale(size)) for name, pixels, size in bands]


def test_single_bands_become_the_bands_of_one_input_by_the_names_of_their_files(tmp_path: Path) -> None:
    red, green, blue = PIXELS
    nir = np.kron(np.arange(45 * 65, dtype=np.uint8).reshape(45, 65), np.ones((1, 1), np.uint8))
    names = stack_of(tmp_path, ("blue", blue, 1), ("nir", nir, 2), ("red", red, 1), ("green", green, 1))
    imagery = gather(*names, stack=True)
    assert imagery.bands == (("blue",), ("nir",), ("red",), ("green",))
    assert tuple(imagery.geobox.shape) == (90, 130)
    source = place_source(imagery, None).choose((3, 4, 1))
    np.testing.assert_array_equal(read_whole(source)[0], PIXELS)
    infrared, valid = read_whole(place_source(imagery, None).choose((2,)))
    assert valid.all()
    inside = infrared[0, 1:-1:2, 1:-1:2].astype(int)
    assert np.median(np.abs(inside - nir[: inside.shape[0], : inside.shape[1]].astype(int))) <= 20


def test_a_pixel_of_a_stack_holds_data_where_all_of_its_rasters_do(tmp_path: Path) -> None:
    one, other = PIXELS[:1].copy(), PIXELS[1:2].copy()
    one[0, :20] = 0
    other[0, :, 100:] = 0
    first = write_raster(tmp_path / "one.tif", one, nodata=0)
    second = write_raster(tmp_path / "two.tif", other, nodata=0)
    short = write_raster(tmp_path / "short.tif", PIXELS[2:, :80])
    expected = np.zeros((90, 130), bool)
    expected[20:80, :100] = True
    np.testing.assert_array_equal(read_whole(source_of(first, second, short, stack=True))[1], expected)


def test_a_raster_of_a_stack_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    here = write_raster(tmp_path / "here.tif", PIXELS)
    there = write_raster(tmp_path / "there.tif", PIXELS, transform=TRANSFORM @ Affine.translation(500, 0))
    with pytest.raises(UsageError, match=r"there\.tif does not lie where"):
        gather(here, there, stack=True)


def infrared(path: Path, alpha: NDArray[np.uint8]) -> Path:
    write_raster(path, np.concatenate([PIXELS, alpha[None]]))
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    return path


@pytest.mark.parametrize("aligned", [True, False])
def test_infrared_that_is_called_alpha_is_imagery_and_opacity_is_not(tmp_path: Path, aligned: bool) -> None:
    near = draw_blobs(90, 130, seed=3)[0].copy()
    near[10:20] = 0
    opacity = np.full((90, 130), 255, np.uint8)
    opacity[:, :40] = 0
    rgbn, rgba = infrared(tmp_path / "rgbn.tif", near), infrared(tmp_path / "rgba.tif", opacity)
    other = (
        ()
        if aligned
        else (
            write_raster(tmp_path / "x.tif", draw_blobs(9, 9, seed=4)[[0, 0, 0, 0]], transform=TRANSFORM @ Affine(0.9, 0, 500, 0, 0.9, 0)),
        )
    )
    four = source_of(rgbn, *other).choose((1, 2, 3, 4))
    whole = Window(0, 0, 130, 90)
    assert gather(rgbn).opacity == ()
    assert four.read(whole)[1].all() if aligned else four.read(Window(2, 2, 120, 80))[1].all()
    assert gather(rgba).opacity == (4,)
    np.testing.assert_array_equal(source_of(rgba).choose((1, 2, 3)).read(whole)[1], opacity != 0)
    assert source_of(rgba).choose((1, 2, 3, 4)).read(whole)[1].all()


def test_nodata_and_mask_stay_where_alpha_is_imagery(tmp_path: Path) -> None:
    near = draw_blobs(90, 130, seed=3)[0]
    path = infrared(tmp_path / "rgbn.tif", near)
    mask = np.full((90, 130), 255, np.uint8)
    mask[50:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    np.testing.assert_array_equal(read_whole(source_of(path))[1], mask != 0)


def read_windows(source: RasterSource, windows: Sequence[Window]) -> list[NDArray[Any]]:
    with source.open() as raster:
        return [raster.read(window)[0] for window in windows]


def test_scale_and_offset_are_applied_if_asked(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "scaled.tif", PIXELS.astype(np.uint16))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5, 1.0, 2.0), (-10.0, 0.0, 3.0)
    source = place_source(gather(path).each_file(FileImagery.scaled), None).choose((3, 1))
    assert source.dtype == "float32"
    expected = [PIXELS[2] * 2.0 + 3, PIXELS[0] * 0.5 - 10]
    np.testing.assert_allclose(read_windows(source, [Window(3, 4, 50, 60)])[0], np.array(expected)[:, 4:64, 3:53])

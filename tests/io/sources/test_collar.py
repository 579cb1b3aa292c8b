"""The collar: what is uniform and connected to the border goes, to the pixel; dark water and bright roofs stay."""

import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import label, rotate

from geoseg.io.raster import has_data, open_raster, read_whole
from geoseg.io.sources import collar as module
from geoseg.io.sources.collar import find_collar
from geoseg.io.sources.imagery import FileImagery
from tests.doubles import draw_blobs, write_raster

_DATA = Path(__file__).parents[3] / "../shared/data"
BLOCK = 64


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_PX", BLOCK)


def flood_whole(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is connected to a uniform square of 16 px at the border, over the whole array at once."""
    labels, _ = label(found)
    height, width = found.shape
    inside = np.lib.stride_tricks.sliding_window_view(found, (16, 16)).all(axis=(2, 3))
    hit = {
        int(labels[top, left]) for top, left in zip(*np.nonzero(inside), strict=True) if top in (0, height - 16) or left in (0, width - 16)
    }
    return np.isin(labels, sorted(hit - {0}))


def mask_of(found: NDArray[np.bool_], window: Window | None = None) -> NDArray[np.bool_]:
    def look(window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return found[window.toslices()], np.zeros((window.height, window.width), bool)

    collar = find_collar(found.shape, look)
    window = window or Window(0, 0, found.shape[1], found.shape[0])
    valid = np.ones((window.height, window.width), bool)
    if collar is not None:
        collar.clear(window, valid)
    return ~valid


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(100, 230),
    width=st.integers(100, 230),
    angle=st.floats(0, 45),
    seed=st.integers(0, 9),
)
def test_the_flood_over_blocks_reaches_what_one_over_the_whole_does(height: int, width: int, angle: float, seed: int) -> None:
    frame = np.ones((height, width), bool)
    frame[30:-30, 40:-24] = False
    turned = rotate(frame.astype(np.uint8), angle, reshape=False, order=0, mode="constant", cval=1).astype(bool)
    # tongues and islands, but a margin that stays uniform
    found = turned | (np.random.default_rng(seed).random((height, width)) < 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_PX", BLOCK)
        reached = mask_of(found)
        np.testing.assert_array_equal(reached, flood_whole(found))
        window = Window(width // 3, height // 4, width // 2, height // 2)
        np.testing.assert_array_equal(mask_of(found, window), reached[window.toslices()])


def test_memory_hardly_grows_with_the_collar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_PX", 512)
    side = 512 * 12

    def look(window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return np.ones((window.height, window.width), bool), np.zeros((window.height, window.width), bool)

    tracemalloc.start()
    try:
        collar = find_collar((side, side), look)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert collar is not None
    assert len(collar.blocks) == 144
    assert most < 0.2 * side**2, "a byte a pixel is what masks take"


def test_a_flood_that_turns_around_a_wall_comes_back() -> None:
    """A spiral: the flood enters blocks again from other sides."""
    found = np.zeros((200, 200), bool)
    for inset in range(0, 90, 40):
        found[inset : 200 - inset, inset : 200 - inset] = True
        found[inset + 20 : 180 - inset, inset + 20 : 180 - inset] = False
    found[90:110, 20:40] = True
    found[100:120, 60:80] = True
    np.testing.assert_array_equal(mask_of(found), flood_whole(found))


def image_with(margin: int, value: int) -> NDArray[np.uint8]:
    """Imagery with a margin, and water and a roof of exactly the margin's value: within, and at the border of the imagery."""
    pixels = draw_blobs(240, 300).clip(2, 250)
    pixels[:, 100:140, 100:160] = value
    if margin:
        frame = np.ones((240, 300), bool)
        frame[margin:-margin, margin:-margin] = False
        pixels[:, frame] = value
    return pixels


@pytest.mark.parametrize("value", [0, 255])
def test_an_unflagged_margin_is_not_valid_and_what_looks_like_it_within_is(tmp_path: Path, value: int) -> None:
    path = write_raster(tmp_path / "town.tif", image_with(25, value))
    source = open_raster(path)
    assert read_whole(source)[1].all(), "only where it is asked for"
    bare = replace(source, imagery=source.imagery.each_file(FileImagery.without_collar))
    expected = np.zeros((240, 300), bool)
    expected[25:-25, 25:-25] = True
    np.testing.assert_array_equal(read_whole(bare)[1], expected)
    np.testing.assert_array_equal(bare.read(Window(10, 20, 111, 70))[1], expected[20:90, 10:121])
    assert len(pickle.dumps(bare)) < 4 * len(pickle.dumps(source))
    assert has_data(bare)


@pytest.mark.parametrize("value", [0, 255])
def test_imagery_without_a_margin_keeps_all_its_pixels(tmp_path: Path, value: int) -> None:
    pixels = image_with(0, value)
    # water that reaches the border, with the noise that a sensor gives it
    rng = np.random.default_rng(0)
    pixels[:, 60:120, :80] = np.abs(value - (rng.random((60, 80)) < 0.02))
    source = open_raster(write_raster(tmp_path / "town.tif", pixels))
    assert source.imagery.each_file(FileImagery.without_collar) == source.imagery


def test_a_margin_within_transparent_pixels_is_found(tmp_path: Path) -> None:
    alpha = np.full((1, 240, 300), 255, np.uint8)
    alpha[:, :30] = 0
    pixels = draw_blobs(240, 300)
    pixels[:, :45] = 0
    source = open_raster(write_raster(tmp_path / "town.tif", np.concatenate([pixels, alpha])))
    bare = replace(source, imagery=source.imagery.each_file(FileImagery.without_collar)).choose((1, 2, 3))
    valid = read_whole(bare)[1]
    assert not valid[:45].any()
    assert valid[46:].all()


def test_a_raster_of_one_color_holds_no_data(tmp_path: Path) -> None:
    source = open_raster(write_raster(tmp_path / "white.tif", np.full((3, 200, 90), 255, np.uint8)))
    assert not has_data(replace(source, imagery=source.imagery.each_file(FileImagery.without_collar)))


@pytest.mark.parametrize(
    ("dtype", "values", "compress"),
    [("int16", (-2000, -500), "deflate"), ("float32", (0.0, 1.0), "lerc_deflate"), ("float32", (-30.0, -5.0), "deflate")],
)
def test_imagery_of_small_or_negative_numbers_is_not_black(tmp_path: Path, dtype: str, values: tuple[float, float], compress: str) -> None:
    pixels = np.random.default_rng(0).uniform(*values, (1, 200, 90)).astype(dtype)
    pixels[:, :40] = 0
    source = open_raster(write_raster(tmp_path / "radar.tif", pixels, compress=compress))
    valid = read_whole(replace(source, imagery=source.imagery.each_file(FileImagery.without_collar)))[1]
    assert not valid[:40].any()
    assert valid[40:].all()


def test_the_collar_of_a_real_chip_is_that_of_a_flood_over_the_whole() -> None:
    path = _DATA / "buildings/test/spacenet_rio/3band/3band_013022223130_Public_img10.tif"
    if not path.exists():
        pytest.skip(f"no {path}")
    source = open_raster(path)
    with rasterio.open(path) as dataset:
        expected = flood_whole((dataset.read() == 0).all(axis=0))
    bare = replace(source, imagery=source.imagery.each_file(FileImagery.without_collar))
    np.testing.assert_array_equal(~read_whole(bare)[1], expected)
    assert expected.sum() == 121_394

"""Pictures of tiles: exact colors of classes, one stretch for all tiles, what lies over what."""

import io

import numpy as np
import pytest
from PIL import Image

from geoseg.pixels.classes import ClassScheme, LandClass
from geoseg.view.paint import (
    Stretch,
    encode,
    find_stretch,
    kind_of,
    lay_over,
    paint_classes,
    paint_imagery,
    paint_measure,
    paint_table,
    ramp,
)
from geoseg.view.rasters import TilePixels

SCHEME = ClassScheme(classes=(LandClass(value=3, name="a", color="#102030"), LandClass(value=7, name="b", color="#405060")))


def pixels_of(values: list[int], valid: list[bool] | None = None, dtype: str = "uint8") -> TilePixels:
    data = np.array(values, dtype)[None, None]
    return TilePixels(data=data, valid=np.ones(data.shape[1:], bool) if valid is None else np.array(valid)[None])


def test_classes_have_their_own_colors_to_the_bit_also_after_encoding() -> None:
    picture = paint_classes(pixels_of([3, 7, 3, 9], [True, True, False, True]), SCHEME)
    decoded = np.asarray(Image.open(io.BytesIO(encode(picture, exact=True))))
    assert decoded[0, :2].tolist() == [[16, 32, 48, 255], [64, 80, 96, 255]]
    assert decoded[0, 2:, 3].tolist() == [0, 0]


def test_a_hidden_class_is_transparent_and_the_others_stay() -> None:
    assert paint_classes(pixels_of([3, 7]), SCHEME, {"b"})[0, :, 3].tolist() == [255, 0]


def test_the_stretch_leaves_out_two_percent_at_each_end_and_keeps_the_colors_of_bytes() -> None:
    data = np.tile(np.arange(101, dtype=np.uint8), (3, 1, 1)) + np.array([0, 50, 100], np.uint8)[:, None, None]
    stretch = find_stretch(TilePixels(data=data, valid=np.ones((1, 101), bool)))
    everything = data.ravel()
    assert stretch.low == (np.percentile(everything, 2),) * 3
    assert stretch.high == (np.percentile(everything, 98),) * 3
    wide = find_stretch(TilePixels(data=data.astype(np.uint16) * [[[1]], [[10]], [[100]]], valid=np.ones((1, 101), bool)))
    assert wide.high == pytest.approx((98, 1480, 19800))


def test_pixels_without_data_decide_no_stretch_and_are_transparent() -> None:
    pixels = pixels_of([10, 20, 255], [True, True, False])
    assert find_stretch(pixels).high[0] <= 20
    assert paint_imagery(pixels, Stretch(low=(10,), high=(20,)))[0].tolist() == [[0, 0, 0, 255], [255, 255, 255, 255], [0, 0, 0, 0]]
    assert find_stretch(pixels_of([1], [False])) == Stretch(low=(0.0,), high=(1.0,))


@pytest.mark.parametrize("value", [0.0, 1e8, -1e8])
def test_imagery_of_one_large_value_has_a_stretch(value: float) -> None:
    pixels = TilePixels(data=np.full((1, 4, 4), value, np.float32), valid=np.ones((4, 4), bool))
    assert (paint_imagery(pixels, find_stretch(pixels))[0, 0] == [0, 0, 0, 255]).all()


def test_a_measure_runs_along_the_ramp() -> None:
    picture = paint_measure(pixels_of([0, 100, 255], [True, True, False]), 100)
    assert picture[0, 0].tolist() == ramp()[0].tolist()
    assert picture[0, 1].tolist() == ramp()[255].tolist()
    assert picture[0, 2, 3] == 0


def test_a_table_of_a_file_colors_its_values() -> None:
    assert paint_table(pixels_of([5, 6]), {5: (1, 2, 3, 255)})[0].tolist() == [[1, 2, 3, 255], [0, 0, 0, 0]]


def test_what_comes_first_lies_over_what_comes_later() -> None:
    over, below = (paint_classes(pixels_of(values), SCHEME) for values in ([3, 0], [7, 7]))
    assert lay_over([over, below])[0, :, 0].tolist() == [16, 64]
    assert lay_over([]) is None


def test_imagery_without_holes_is_a_jpeg_and_with_holes_a_picture_that_has_them() -> None:
    picture = np.full((8, 8, 4), 255, np.uint8)
    whole = encode(picture, exact=False)
    assert kind_of(whole) == "image/jpeg"
    assert Image.open(io.BytesIO(whole)).format == "JPEG"
    picture[:4] = 0
    holed = encode(picture, exact=False)
    assert kind_of(holed) == "image/webp"
    assert np.asarray(Image.open(io.BytesIO(holed)))[..., 3].tolist() == picture[..., 3].tolist()

"""The doubles keep the contract of a predictor."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.model.predictor import ConstantPredictor, NeighborhoodPredictor, Predictor, ThresholdPredictor, double_spec
from geoseg.pixels.classes import NODATA_CLASS

SPEC = double_spec()
DOUBLES: dict[str, Callable[[], Predictor]] = {
    "threshold": lambda: ThresholdPredictor(spec=SPEC),
    "constant": lambda: ConstantPredictor(spec=SPEC, channel=1),
    "neighborhood": lambda: NeighborhoodPredictor(spec=SPEC, radius_px=3),
}
every_double = pytest.mark.parametrize("make", DOUBLES.values(), ids=DOUBLES.keys())


def batch(dtype: Any, nodata: float | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (2, 3, 20, 33)).astype(dtype)
    valid = rng.random((2, 20, 33)) < 0.8
    if nodata is not None:
        pixels.swapaxes(0, 1)[:, ~valid] = nodata
    return pixels, valid


@every_double
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_layers_have_the_shape_and_dtype_of_the_spec(make: Callable[[], Predictor], dtype: Any) -> None:
    layers = make().predict(*batch(dtype))
    assert layers.shape == (2, len(SPEC.layers.names), 20, 33)
    assert layers.dtype == np.uint8


@every_double
@pytest.mark.parametrize(("dtype", "nodata"), [(np.uint8, 0), (np.uint8, 255), (np.float32, np.nan), (np.float32, -3.4028235e38)])
def test_nodata_in_is_nodata_out(make: Callable[[], Predictor], dtype: Any, nodata: float) -> None:
    pixels, valid = batch(dtype, nodata)
    layers = make().predict(pixels, valid)
    for index, fill in enumerate(SPEC.layers.fill_values().values()):
        assert (layers[:, index][~valid] == fill).all()
    assert np.isin(layers[:, 0][valid], SPEC.scheme.values).all()
    assert (layers[:, 1][valid] <= 100).all()
    assert NODATA_CLASS not in layers[:, 0][valid]


@every_double
def test_each_image_of_a_batch_is_inferred_on_its_own(make: Callable[[], Predictor]) -> None:
    pixels, valid = batch(np.uint8)
    together = make().predict(pixels, valid)
    for i in range(2):
        np.testing.assert_array_equal(make().predict(pixels[i : i + 1], valid[i : i + 1])[0], together[i])


def test_the_threshold_is_reached_by_the_mean_of_the_bands() -> None:
    means = np.array([0, 99, 100, 101, 255], np.uint8)
    pixels = np.stack([means, means, means])[None, :, None, :]
    layers = ThresholdPredictor(spec=SPEC, threshold=100).predict(pixels, np.ones((1, 1, 5), np.bool_))
    assert layers[0, 0, 0].tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("channel", [0, 1])
def test_a_constant_double_gives_its_class_everywhere(channel: int) -> None:
    pixels, valid = batch(np.uint8)
    layers = ConstantPredictor(spec=SPEC, channel=channel).predict(pixels, valid)
    assert set(np.unique(layers[:, 0][valid])) == {SPEC.scheme.values[channel]}


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), radius_px=st.integers(0, 9), height=st.integers(1, 30), width=st.integers(1, 30))
def test_the_neighborhood_double_sums_a_square_around_each_pixel(seed: int, radius_px: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (1, 3, height, width)).astype(np.uint8)
    valid = rng.random((1, height, width)) < 0.9
    layers = NeighborhoodPredictor(spec=SPEC, radius_px=radius_px).predict(pixels, valid)
    normalized = np.where(valid[0], (pixels[0].astype(np.float32) - np.float32(128)) / np.float32(64), 0)
    whole = np.rint(normalized.mean(axis=0) * 64).astype(np.int64)
    summed = ndimage.convolve(whole, np.ones((2 * radius_px + 1,) * 2, np.int64), mode="constant")
    np.testing.assert_array_equal(layers[0, 0][valid[0]], (summed > 0)[valid[0]])

"""Normalization: one linear map per band, 0 where there is no data."""

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.pixels.compiled import load_compiled
from geoseg.pixels.normalize import BandScaling, normalize, normalize_batch

SHAPE = (2, 5, 7)
SCALING = BandScaling(mean=(100.0, -3.5), std=(50.0, 0.25))


@settings(deadline=None, max_examples=60)
@given(
    pixels=st.sampled_from([np.uint8, np.int16, np.uint16]).flatmap(lambda dtype: hnp.arrays(dtype, SHAPE)),
    valid=hnp.arrays(np.bool_, SHAPE[1:]),
)
def test_valid_pixels_are_scaled_band_by_band_and_the_rest_is_zero(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    scaled = normalize(pixels, valid, SCALING)
    expected = np.stack([(pixels[0] - 100.0) / 50.0, (pixels[1] + 3.5) / 0.25])
    expected[:, ~valid] = 0
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("nodata", [np.float32("nan"), np.float32("inf"), np.float32(-3.4028235e38), np.float64(-1.7976931348623157e308)])
def test_values_that_stand_for_nodata_become_zero_without_a_warning(nodata: np.floating[Any]) -> None:
    pixels = np.ones(SHAPE, nodata.dtype)
    pixels[:, 0] = nodata
    valid = np.ones(SHAPE[1:], np.bool_)
    valid[0] = False
    scaled = normalize(pixels, valid, SCALING)
    assert (scaled[:, 0] == 0).all()
    assert (scaled[:, 1:] != 0).all()


@pytest.mark.parametrize(
    ("mean", "std", "named"),
    [((0.0, 1.0), (1.0,), "2 means and 1 stds"), ((0.0,), (0.0,), "0.0"), ((0.0,), (-2.5,), "-2.5"), ((0.0,), (float("nan"),), "nan")],
)
def test_scalings_that_cannot_work_are_refused(mean: tuple[float, ...], std: tuple[float, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        BandScaling(mean=mean, std=std)


def test_a_batch_is_the_same_before_and_after_compiled_code_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    pixels, valid = rng.integers(0, 255, (2, *SHAPE), np.uint8), rng.random((2, *SHAPE[1:])) < 0.7
    load_compiled().result(timeout=60)
    compiled = normalize_batch(pixels, valid, SCALING)
    monkeypatch.setattr("geoseg.pixels.normalize.load_compiled", Future)
    np.testing.assert_array_equal(normalize_batch(pixels, valid, SCALING), compiled)
    np.testing.assert_array_equal(compiled[1], normalize(pixels[1], valid[1], SCALING))

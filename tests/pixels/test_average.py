"""Averages of blocks are those of each block for itself; integers are rounded as float32 means are."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.pixels.average import average_blocks, whole_blocks


def blocks(height: int, width: int, k: int) -> list[tuple[int, int, tuple[slice, slice]]]:
    shape = -(-height // k), -(-width // k)
    return [(i, j, (slice(i * k, (i + 1) * k), slice(j * k, (j + 1) * k))) for i, j in np.ndindex(shape)]


def round_means(pixels: NDArray[Any], k: int) -> NDArray[Any]:
    """The slow way: exact sums, halves to even."""
    made = np.empty((len(pixels), -(-pixels.shape[1] // k), -(-pixels.shape[2] // k)), pixels.dtype)
    for i, j, at in blocks(*pixels.shape[1:], k):
        made[:, i, j] = np.rint(pixels[:, *at].mean(axis=(1, 2), dtype=np.float64))
    return made


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    k=st.integers(1, 18),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int16]),
    seed=st.integers(0, 99),
)
def test_means_of_integers_are_those_of_each_block_rounded_to_even(height: int, width: int, k: int, dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    pixels = rng.integers(limits.min, limits.max, (2, height, width), dtype, endpoint=True)
    # bright and narrow: the largest sums, and many means that end in a half
    pixels[1] = limits.max - rng.integers(0, 2, (height, width), dtype)
    averaged = average_blocks(pixels, k)
    assert averaged.dtype == dtype
    # float32, which larger sums and signed values are averaged in, may take a mean for a half
    tolerance = 0 if k <= 16 and dtype is not np.int16 else 1
    np.testing.assert_allclose(averaged.astype(np.int64), round_means(pixels, k).astype(np.int64), rtol=0, atol=tolerance)


def test_halves_go_to_the_even_neighbor() -> None:
    pixels = np.array([[[0, 1, 1, 2], [0, 1, 1, 2]]], np.uint8)
    assert average_blocks(pixels, 2).tolist() == [[[0, 2]]]


def test_means_of_floats_are_not_rounded() -> None:
    pixels = np.random.default_rng(0).random((2, 30, 41), np.float32)
    averaged = average_blocks(pixels, 2)
    assert averaged.dtype == np.float32
    np.testing.assert_allclose(averaged[:, :, :20], pixels[:, :, :40].reshape(2, 15, 2, 20, 2).mean(axis=(2, 4)), rtol=1e-5)


@pytest.mark.parametrize("nodata", [np.float32("nan"), np.float32(-3.4028235e38)])
def test_averaging_over_nodata_raises_no_warning_and_leaves_other_blocks_alone(nodata: np.float32) -> None:
    pixels = np.ones((1, 4, 4), np.float32)
    pixels[0, :2, :2] = nodata
    assert (average_blocks(pixels, 2)[0][[0, 1, 1], [1, 0, 1]] == 1).all()


@given(height=st.integers(1, 20), width=st.integers(1, 20), k=st.integers(1, 7), share=st.sampled_from([0, 0.02, 0.5]))
def test_a_block_is_whole_when_all_its_pixels_hold_data(height: int, width: int, k: int, share: float) -> None:
    valid = np.random.default_rng(height * width).random((height, width)) >= share
    whole = whole_blocks(valid, k)
    assert whole.shape == (-(-height // k), -(-width // k))
    for i, j, at in blocks(height, width, k):
        assert whole[i, j] == valid[at].all()

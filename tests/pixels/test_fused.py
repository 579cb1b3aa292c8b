"""Compiled scaling and decoding equal whole-array NumPy, whatever part is kept and however many threads share the rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.decode import Evidence, LayerPlan
from geoseg.pixels.fused import activate_scores, decode_scores, scale_batch
from geoseg.pixels.normalize import BandScaling, normalize

PLAN = LayerPlan(
    semantic=(1, 4),
    values=(7, 0, 254),
    evidence=(Evidence(name="building", channel=2, among=(1, 4)), Evidence(name="building_interior", channel=0, among=None)),
)
SCALING = BandScaling(mean=(100.5, 90.0, 3.25), std=(50.0, 3.0, 0.7))


def decode_by_numpy(logits: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The oracle: whole arrays, one operation after the other."""
    probability = special.softmax(logits[:, 1:4], axis=1)
    shares = [probability.max(axis=1) * 100, probability[:, 1] * 255, special.expit(logits[:, 0]) * 255]
    layers = np.stack([np.array(PLAN.values)[logits[:, 1:4].argmax(axis=1)], *(np.floor(s + np.float32(0.5)) for s in shares)], axis=1)
    fills = np.array([NODATA_CLASS, NODATA_CLASS, 0, 0])[:, None, None]
    return np.where(valid[:, None], layers, fills).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999),
    spread=st.sampled_from([0.1, 3, 90]),
    rows=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    cols=st.tuples(st.integers(0, 37), st.integers(0, 37)),
    threads=st.integers(1, 3),
)
def test_layers_equal_those_of_numpy(seed: int, spread: float, rows: tuple[int, int], cols: tuple[int, int], threads: int) -> None:
    rng = np.random.default_rng(seed)
    logits, valid = rng.normal(0, spread, (2, 4, 20, 37)).astype(np.float32), rng.random((2, 20, 37)) < 0.8
    keep = slice(*sorted(rows)), slice(*sorted(cols))
    expected = decode_by_numpy(logits, valid)[:, :, *keep]
    made = decode_scores(logits, valid, PLAN, keep, threads=threads)
    assert made.shape == expected.shape
    np.testing.assert_array_equal(made[:, 0], expected[:, 0])
    # the last bit of exp may round a probability to the next step
    difference = np.abs(made.astype(int) - expected)
    assert difference.max(initial=0) <= 1
    assert difference.sum() <= 1e-3 * made.size + 1


def test_the_exponential_is_right_to_a_hundredth_of_a_step_wherever_it_counts() -> None:
    gap = np.linspace(0, 200, 4001, dtype=np.float32)
    logits = np.stack([np.zeros_like(gap), np.zeros_like(gap), -gap, np.full_like(gap, -300)])[None, :, None]
    layers = decode_scores(logits, np.ones((1, 1, len(gap)), np.bool_), PLAN)
    share = np.exp(-gap.astype(np.float64)) / (1 + np.exp(-gap.astype(np.float64)))
    assert np.abs(layers[0, 2, 0] - 255 * share).max() <= 0.51
    assert np.abs(layers[0, 1, 0] - 100 * (1 - share)).max() <= 0.51


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float16", "float32", "float64", ">i2"])
@pytest.mark.parametrize("threads", [1, 2])
def test_scaling_equals_normalize_to_the_bit(dtype: str, threads: int) -> None:
    rng = np.random.default_rng(3)
    pixels, valid = rng.integers(0, 250, (2, 3, 9, 17)).astype(dtype), rng.random((2, 9, 17)) < 0.7
    made = scale_batch(pixels, valid, SCALING, threads=threads)
    expected = np.stack([normalize(p, v, SCALING) for p, v in zip(pixels, valid, strict=True)])
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, expected)


def test_values_without_data_do_not_reach_the_network() -> None:
    pixels, valid = np.full((1, 3, 4, 33), np.nan, np.float32), np.zeros((1, 4, 33), np.bool_)
    assert not scale_batch(pixels, valid, SCALING).any()


def test_arrays_with_gaps_are_taken_as_they_are() -> None:
    pixels = np.arange(2 * 3 * 8 * 30, dtype=np.uint16).reshape(2, 3, 8, 30)
    valid = np.ones((2, 8, 30), np.bool_)
    made = scale_batch(pixels[:, :, ::2, 3:], valid[:, ::2, 3:], SCALING)
    np.testing.assert_array_equal(made, scale_batch(pixels, valid, SCALING)[:, :, ::2, 3:])


@pytest.mark.parametrize("threads", [1, 3])
def test_probabilities_equal_those_of_scipy_and_channels_of_no_head_are_zero(threads: int) -> None:
    logits = np.random.default_rng(5).normal(0, 6, (2, 5, 7, 19)).astype(np.float32)
    made = activate_scores(logits, [(0, 1, False), (2, 5, True)], threads=threads)
    np.testing.assert_allclose(made[:, 0], special.expit(logits[:, 0]), atol=1e-6)
    np.testing.assert_allclose(made[:, 2:], special.softmax(logits[:, 2:], axis=1), atol=1e-6)
    assert not made[:, 1].any()

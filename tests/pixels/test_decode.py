"""Decoding: class, confidence and evidence equal those of SciPy's softmax and sigmoid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import special

from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.decode import Evidence, LayerPlan, decode, decode_probabilities
from geoseg.pixels.fused import activate_scores

PLAN = LayerPlan(
    semantic=(0, 3),
    values=(7, 0, 254),
    evidence=(Evidence(name="building", channel=2, among=(0, 3)), Evidence(name="building_interior", channel=3, among=None)),
)
HEADS = [(0, 3, True), (3, 4, False)]
SHAPE = (2, 4, 3, 5)
scores = hnp.arrays(np.float32, SHAPE, elements=st.floats(-60, 60, width=32))
huge = hnp.arrays(np.float32, (1, 3, 2, 2), elements=st.floats(-(2.0**100), 2.0**100, width=32))


def within_one_rounding(stored: NDArray[np.uint8], exact: NDArray[np.float64]) -> bool:
    """Half up, but for float32 ties."""
    return bool((np.abs(stored - exact) <= 0.5 + 1e-3).all())


@settings(deadline=None, max_examples=60)
@given(logits=scores)
def test_layers_equal_those_of_scipy(logits: NDArray[np.float32]) -> None:
    layers = decode(logits, np.ones((2, 3, 5), np.bool_), PLAN)
    probability = special.softmax(logits[:, :3].astype(np.float64), axis=1)
    assert layers.dtype == np.uint8
    assert layers.shape == (2, 4, 3, 5)
    np.testing.assert_array_equal(layers[:, 0], np.array(PLAN.values)[logits[:, :3].argmax(axis=1)])
    assert within_one_rounding(layers[:, 1], 100 * probability.max(axis=1))
    assert within_one_rounding(layers[:, 2], 255 * probability[:, 2])
    assert within_one_rounding(layers[:, 3], 255 * special.expit(logits[:, 3].astype(np.float64)))


@settings(deadline=None, max_examples=40)
@given(logits=scores, valid=hnp.arrays(np.bool_, (2, 3, 5)))
def test_nodata_in_is_nodata_out_and_confidence_is_never_below_chance(logits: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
    layers = decode(logits, valid, PLAN)
    for index, fill in enumerate([NODATA_CLASS, NODATA_CLASS, 0, 0]):
        assert (layers[:, index][~valid] == fill).all()
    assert np.isin(layers[:, 0][valid], PLAN.values).all()
    assert ((layers[:, 1][valid] >= 33) & (layers[:, 1][valid] <= 100)).all()


@settings(deadline=None, max_examples=40)
@given(logits=scores, valid=hnp.arrays(np.bool_, (2, 3, 5)))
def test_probabilities_decode_to_what_their_logits_do(logits: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
    probabilities = activate_scores(logits, HEADS)
    made, expected = decode_probabilities(probabilities, valid, PLAN), decode(logits, valid, PLAN)
    np.testing.assert_array_equal(made[:, 1:], expected[:, 1:])
    # logits that differ may be one probability
    ranked = np.sort(probabilities[:, :3], axis=1)
    sure = (ranked[:, 2] > ranked[:, 1]) | ~valid
    np.testing.assert_array_equal(made[:, 0][sure], expected[:, 0][sure])


@settings(deadline=None, max_examples=40)
@given(logits=huge)
def test_probabilities_of_huge_logits_are_those_of_scipy(logits: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(activate_scores(logits, [(0, 3, True)]), special.softmax(logits, axis=1), atol=1e-6)
    np.testing.assert_allclose(activate_scores(logits, [(0, 3, False)]), special.expit(logits), atol=1e-6)


def test_probabilities_are_rounded_half_up_and_reach_both_ends() -> None:
    shares = np.array([0, 0.004, 0.005, 0.5, 0.994, 1], np.float32)
    among = np.stack([shares, np.zeros_like(shares), np.zeros_like(shares), shares])[None, :, None]
    layers = decode_probabilities(among, np.ones((1, 1, 6), np.bool_), PLAN)
    assert layers[0, 1, 0].tolist() == [0, 0, 1, 50, 99, 100]
    assert layers[0, 3, 0].tolist() == [0, 1, 1, 128, 253, 255]


def test_of_equal_scores_the_first_channel_wins() -> None:
    layers = decode(np.zeros((1, 4, 2, 2), np.float32), np.ones((1, 2, 2), np.bool_), PLAN)
    assert (layers[0, 0] == PLAN.values[0]).all()
    assert (layers[0, 1] == 33).all()


def test_scores_that_are_no_numbers_give_no_confidence_and_no_evidence() -> None:
    layers = decode(np.full((1, 4, 2, 40), np.nan, np.float32), np.ones((1, 2, 40), np.bool_), PLAN)
    assert np.isin(layers[0, 0], PLAN.values).all()
    assert not layers[0, 1:].any()


def test_a_plan_names_its_layers_and_has_no_others() -> None:
    assert PLAN.names == ("class", "confidence", "building", "building_interior")
    assert PLAN.index("building") == 2
    with pytest.raises(ValueError, match="not in"):
        PLAN.index("road")

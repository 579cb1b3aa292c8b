"""Probability, entropy and margin of each pixel equal those of SciPy, on the processor and as the GPU computes them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import special

from geoseg.model.gpu import decode_on_device
from geoseg.model.predictor import double_spec
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.decode import MEASURE_SCALE, LayerPlan, Measure, decode, decode_probabilities
from geoseg.pixels.fused import activate_scores

MEASURES = (
    Measure(name="probability:b", kind="probability", channel=2),
    Measure(name="entropy", kind="entropy"),
    Measure(name="margin", kind="margin"),
)
PLAN = LayerPlan(semantic=(1, 4), values=(7, 0, 254), measures=MEASURES)
scores = hnp.arrays(np.float32, (2, 4, 3, 5), elements=st.floats(-60, 60, width=32))
valids = hnp.arrays(np.bool_, (2, 3, 5))


def exact(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, 3, H, W) measures by SciPy."""
    p = special.softmax(logits[:, 1:4].astype(np.float64), axis=1)
    ranked = np.sort(p, axis=1)
    return np.stack([p[:, 1], special.entr(p).sum(axis=1) / np.log(3), ranked[:, 2] - ranked[:, 1]], axis=1)


@settings(deadline=None, max_examples=60)
@given(logits=scores, valid=valids)
def test_measures_equal_those_of_scipy_and_nodata_stays_nodata(logits: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
    stored = decode(logits, valid, PLAN)[:, 2:]
    off = np.abs(stored - MEASURE_SCALE * exact(logits))
    assert (off[np.broadcast_to(valid[:, None], off.shape)] <= 0.5 + 0.01).all()
    assert (stored[np.broadcast_to(~valid[:, None], off.shape)] == NODATA_CLASS).all()


@settings(deadline=None, max_examples=30)
@given(logits=scores, valid=valids)
def test_blended_tiles_and_gpus_store_the_same_but_for_a_rounding(logits: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
    expected = decode(logits, valid, PLAN)[:, 2:].astype(int)
    blended = decode_probabilities(activate_scores(logits, [(1, 4, True)]), valid, PLAN)[:, 2:]
    values = torch.tensor(PLAN.values, dtype=torch.uint8)
    on_device = decode_on_device(torch.from_numpy(logits), torch.from_numpy(valid), PLAN, values).numpy()[:, 2:]
    assert np.abs(blended - expected).max() <= 1
    assert np.abs(on_device - expected).max() <= 1


def test_scores_that_are_no_numbers_are_as_unsure_as_can_be() -> None:
    logits = np.full((1, 4, 1, 1), np.nan, np.float32)
    everywhere = np.ones((1, 1, 1), np.bool_)
    assert decode(logits, everywhere, PLAN)[0, 2:, 0, 0].tolist() == [0, MEASURE_SCALE, 0]
    given_ = torch.from_numpy(logits), torch.from_numpy(everywhere)
    assert decode_on_device(*given_, PLAN, torch.zeros(3, dtype=torch.uint8))[0, 2:, 0, 0].tolist() == [0, MEASURE_SCALE, 0]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ((), ()),
        (("probabilities",), ("probability:ground", "probability:building")),
        (("probabilities", "uncertainty"), ("probability:ground", "probability:building", "entropy", "margin")),
    ],
)
def test_a_model_measures_what_a_run_asks_for_and_its_card_never_says_so(asked: tuple[str, ...], names: tuple[str, ...]) -> None:
    spec = double_spec().model_copy(update={"asked_layers": asked})
    assert tuple(m.name for m in spec.layers.measures) == names
    assert spec.layers.names[:5] == double_spec().layers.names
    assert spec.model_dump() == double_spec().model_dump()

"""Majority, opening, closing and smoothing equal plain loops over pixels and SciPy's own, and know nothing of nodata."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.filters import close_class, open_class, smooth_classes, take_majority

VALUES = (0, 3, 7)
maps = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([*VALUES, NODATA_CLASS]))


def around(classes: NDArray[np.uint8], y: int, x: int, r: int) -> NDArray[np.uint8]:
    return classes[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1]


@settings(deadline=None, max_examples=80)
@given(classes=maps, r=st.integers(1, 3))
def test_the_majority_is_the_most_frequent_class_around(classes: NDArray[np.uint8], r: int) -> None:
    made = take_majority(classes, VALUES, r)
    for (y, x), own in np.ndenumerate(classes):
        votes = {value: int((around(classes, y, x, r) == value).sum()) for value in VALUES}
        best = [value for value, count in votes.items() if count == max(votes.values())]
        assert made[y, x] == (NODATA_CLASS if own == NODATA_CLASS else own if own in best else best[0])


@settings(deadline=None, max_examples=80)
@given(classes=maps, r=st.integers(1, 2), value=st.sampled_from(VALUES))
def test_opening_takes_only_what_is_thin_and_closing_adds_only_what_is_narrow(classes: NDArray[np.uint8], r: int, value: int) -> None:
    opened, closed = open_class(classes, VALUES, value, r), close_class(classes, value, r)
    there = classes != NODATA_CLASS
    for made in (opened, closed):
        assert (made[~there] == NODATA_CLASS).all()
        assert np.isin(made[there], VALUES).all()
    assert ((opened != value) | (classes == value)).all()
    assert ((closed == value) | (classes == closed)).all()
    # doing it again changes nothing more where the class ends at no nodata
    np.testing.assert_array_equal(close_class(closed, value, r) == value, closed == value)
    if there.all():
        for (y, x), own in np.ndenumerate(classes):
            if own == value and (around(classes, y, x, r) == value).all():
                assert opened[y, x] == value


def test_a_bridge_of_two_pixels_is_opened_and_a_gap_of_two_is_closed() -> None:
    classes = np.zeros((20, 30), np.uint8)
    classes[3:17, 2:12] = classes[3:17, 14:28] = 3
    closed = close_class(classes, 3, 1)
    assert (closed[3:17, 12:14] == 3).all()
    assert np.count_nonzero(closed) == np.count_nonzero(classes) + 28
    classes[9:11, 12:14] = 3
    opened = open_class(classes, VALUES, 3, 1)
    assert (opened[9:11, 12:14] == 0).all()
    assert np.count_nonzero(opened) == 14 * 10 + 14 * 14


@pytest.mark.parametrize("radius_px", [0.7, 2.5])
def test_smoothing_takes_the_best_of_probabilities_that_scipy_smooths(radius_px: float) -> None:
    rng = np.random.default_rng(2)
    stored = rng.integers(0, 251, (3, 24, 31)).astype(np.uint8)
    exact = np.stack([gaussian_filter(layer.astype(float), radius_px, mode="constant", truncate=3.0) for layer in stored])
    np.testing.assert_array_equal(smooth_classes(stored, VALUES, radius_px), np.array(VALUES)[exact.argmax(axis=0)])
    stored[:, 5:9, 4:20] = NODATA_CLASS
    made = smooth_classes(stored, VALUES, radius_px)
    assert ((made == NODATA_CLASS) == (stored[0] == NODATA_CLASS)).all()
    # nodata counts for nothing: as if it were zero
    np.testing.assert_array_equal(made[0], smooth_classes(np.where(stored == NODATA_CLASS, 0, stored), VALUES, radius_px)[0])

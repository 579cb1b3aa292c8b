"""Scores of pixels are those of scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_jaccard_index

from geoseg.evaluation.boundary import boundary_region, count_boundary
from geoseg.evaluation.calibration import calibrate, count_confidence
from geoseg.evaluation.semantic import confusion_matrix, score_classes


def draw_classes(seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 500)
    return truth, np.where(rng.random(500) < 0.6, truth, rng.integers(0, classes, 500))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_scores_are_those_of_scikit_learn(seed: int, classes: int) -> None:
    truth, found = draw_classes(seed, classes)
    confusion = confusion_matrix(truth, found, classes)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(truth, found, labels=range(classes)))
    scores = score_classes(confusion)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, found, labels=range(classes), zero_division=0)
    np.testing.assert_allclose(np.nan_to_num(scores.precision), precision)
    np.testing.assert_allclose(np.nan_to_num(scores.recall), recall)
    np.testing.assert_allclose(np.nan_to_num(scores.f1), f1)
    assert scores.accuracy == pytest.approx(sk.accuracy_score(truth, found))
    assert scores.kappa == pytest.approx(sk.cohen_kappa_score(truth, found))


def test_the_mean_iou_is_that_of_torchmetrics() -> None:
    truth, found = draw_classes(3)
    oracle = multiclass_jaccard_index(torch.tensor(found), torch.tensor(truth), 4)
    assert score_classes(confusion_matrix(truth, found, 4)).mean_iou == pytest.approx(float(oracle), abs=1e-6)


def test_a_class_that_never_occurs_has_no_score() -> None:
    scores = score_classes(confusion_matrix(np.array([0, 1]), np.array([0, 0]), 3))
    assert np.isnan(scores.iou[2])
    assert scores.recall[1] == 0
    assert scores.mean_iou == pytest.approx((0.5 + 0) / 2)


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(5)
    # no percent on the edge of a bin, where rounding would decide
    percent = rng.choice([p for p in range(51, 100) if p % 10], 2000).astype(np.uint8)
    right = rng.random(2000) < percent / 100 - 0.1
    ours = calibrate(count_confidence(percent, right), bins=10)
    probabilities = torch.tensor(np.stack([percent / 100, 1 - percent / 100], axis=1))
    oracle = multiclass_calibration_error(probabilities, torch.tensor((~right).astype(int)), 2, n_bins=10, norm="l1")
    assert ours.ece == pytest.approx(float(oracle), abs=1e-6)
    assert ours.pixels.sum() == 2000


def test_confidence_without_data_is_left_out() -> None:
    assert count_confidence(np.array([100, 255], np.uint8), np.array([True, True])).sum() == 2
    assert np.isnan(calibrate(np.zeros((101, 2), np.int64)).ece)


def test_boundary_regions_are_those_of_repeated_erosion() -> None:
    """The authors' own code: mask minus mask eroded d times by 3 x 3."""
    inside = np.zeros((60, 60), bool)
    inside[8:40, 10:50] = True
    inside[20:24, 22:30] = False
    for d in (1, 2, 5):
        eroded = ndimage.binary_erosion(inside, np.ones((3, 3)), iterations=d)
        np.testing.assert_array_equal(boundary_region(inside, d), inside & ~eroded)


def test_boundary_iou_of_a_shifted_square_is_the_one_counted_by_hand() -> None:
    truth, found = np.zeros((2, 20, 20), bool)
    truth[5:15, 5:15] = True
    found[5:15, 6:16] = True
    both, either = count_boundary(truth, found, np.ones((20, 20), bool), 1)
    # two rims of 36 px, 9 + 9 px of the upper and lower rows in common
    assert (both, either) == (18, 54)


def test_the_edge_of_the_raster_is_no_contour() -> None:
    assert not boundary_region(np.ones((8, 8), bool), 2).any()

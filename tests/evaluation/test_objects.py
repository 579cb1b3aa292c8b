"""Objects are matched as COCO and the panoptic paper say, in cases small enough to count by hand."""

import numpy as np
import pytest
import shapely
import torch
from rasterio.features import rasterize
from torchmetrics.functional.detection import panoptic_quality

from geoseg.evaluation.objects import ObjectScores, Polygons, average_precision, match_objects, score_objects
from geoseg.evaluation.repair import repair_polygons


def polygons(*boxes: tuple[float, float, float, float], counts: tuple[bool, ...] | None = None) -> Polygons:
    shapes = np.array([shapely.box(*b) for b in boxes], dtype=object)
    return Polygons(shapes=shapes, counts=np.array(counts if counts is not None else [True] * len(boxes), bool))


def scored(found: Polygons, scores: list[float], reference: Polygons) -> ObjectScores:
    return score_objects(match_objects(found, np.array(scores, float), reference))


def test_what_is_perfect_scores_one() -> None:
    both = polygons((0, 0, 4, 4), (5, 5, 9, 9))
    scores = scored(both, [0.2, 0.9], both)
    assert [scores.precision, scores.recall, scores.f1, scores.pq, scores.sq, scores.ap50, scores.ap] == pytest.approx([1] * 7)


def test_one_right_one_wrong_and_one_missed() -> None:
    scores = scored(polygons((0, 0, 10, 8), (50, 50, 60, 60)), [0.9, 0.8], polygons((0, 0, 10, 10), (20, 20, 30, 30)))
    assert (scores.references, scores.found, scores.matched) == (2, 2, 1)
    assert scores.f1 == pytest.approx(0.5)
    assert scores.sq == pytest.approx(0.8)
    assert scores.pq == pytest.approx(0.4)
    # precision 1 up to recall 0.5: 51 of 101 levels; IoU 0.8 passes 7 of the 10 thresholds
    assert scores.ap50 == pytest.approx(51 / 101)
    assert scores.ap == pytest.approx(51 / 101 * 7 / 10)


def test_average_precision_takes_the_best_precision_at_a_recall_or_above() -> None:
    outcomes = np.array([1, 0, 1, 2], np.uint8)
    # recall 1/2 at precision 1, recall 1 at precision 2/3; the fourth is ignored
    expected = (51 * 1 + 50 * 2 / 3) / 101
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.6]), outcomes, 2) == pytest.approx(expected)
    assert np.isnan(average_precision(np.zeros(0), np.zeros(0, np.uint8), 0))


def test_a_second_find_of_the_same_building_is_wrong() -> None:
    scores = scored(polygons((0, 0, 10, 10), (0, 0, 10, 9)), [0.5, 0.9], polygons((0, 0, 10, 10)))
    assert (scores.matched, scores.found) == (1, 2)
    assert scores.sq == pytest.approx(1.0)
    # the surer one takes the building first, so average precision loses nothing
    assert scores.ap50 == pytest.approx(1.0)


def test_as_many_pairs_as_possible_are_matched() -> None:
    """Greedy matching by overlap would give the left reference to the first object and leave the second one alone."""
    found = polygons((0, 0, 10, 10), (0, 0, 8, 10))
    reference = polygons((0, 0, 9.5, 10), (0, 0, 12, 10))
    assert scored(found, [0.9, 0.9], reference).matched == 2


def test_what_lies_outside_the_labelled_area_is_neither_missed_nor_wrong() -> None:
    inside, outside = (0, 0, 10, 10), (50, 0, 60, 10)
    found = polygons(inside, outside, (70, 0, 80, 10), counts=(True, False, False))
    scores = scored(found, [0.9, 0.8, 0.95], polygons(inside, outside, counts=(True, False)))
    assert (scores.references, scores.found, scores.matched) == (1, 1, 1)
    assert scores.ap == pytest.approx(1.0)


def test_a_building_on_the_edge_of_the_area_is_found_by_one_that_lies_beyond_it() -> None:
    scores = scored(polygons((0, 0, 10, 10), counts=(False,)), [0.9], polygons((0, 0, 10, 9)))
    assert (scores.recall, scores.precision, scores.ap50) == pytest.approx((1, 1, 1))


def test_nothing_found_has_a_recall_of_zero_and_nothing_there_no_score() -> None:
    scores = scored(polygons(), [], polygons((0, 0, 1, 1)))
    assert (scores.recall, scores.f1, scores.pq, scores.ap) == (0, 0, 0, 0)
    assert np.isnan(scores.precision)
    assert np.isnan(scored(polygons(), [], polygons()).f1)


def test_two_rasters_pool_like_one() -> None:
    one = match_objects(polygons((0, 0, 10, 8)), np.array([0.9]), polygons((0, 0, 10, 10)))
    other = match_objects(polygons((50, 50, 60, 60)), np.array([0.8]), polygons((20, 20, 30, 30)))
    whole = scored(polygons((0, 0, 10, 8), (50, 50, 60, 60)), [0.9, 0.8], polygons((0, 0, 10, 10), (20, 20, 30, 30)))
    assert score_objects(one + other) == whole


def test_panoptic_quality_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(2)
    corners = np.array([(x, y) for x in range(0, 120, 20) for y in range(0, 120, 20)])
    truth = [(x + 2, y + 2, x + 16, y + 16) for x, y in corners]
    shifts = rng.integers(-3, 4, (len(truth), 2))
    found = [(a + i, b + j, c + i, d + j) for (a, b, c, d), (i, j) in zip(truth, shifts, strict=True)][4:]
    maps = []
    for boxes in (found, truth):
        ids = rasterize([(shapely.box(*b), i + 1) for i, b in enumerate(boxes)], (130, 130))
        maps.append(torch.tensor(np.stack([(ids > 0).astype(np.int64), ids], axis=-1))[None])
    table = panoptic_quality(*maps, things={1}, stuffs={0}, return_per_class=True, return_sq_and_rq=True)
    pq, sq, rq = table.reshape(2, 3)[0].tolist()  # the thing comes first
    scores = scored(polygons(*found), [0.5] * len(found), polygons(*truth))
    assert (scores.pq, scores.sq, scores.f1) == pytest.approx((pq, sq, rq), abs=1e-5)


def test_polygons_are_repaired_and_the_smaller_of_two_keeps_the_ground() -> None:
    bow = shapely.Polygon([(10, 0), (12, 2), (12, 0), (10, 2)])
    repaired = repair_polygons(np.array([shapely.box(0, 0, 4, 4), shapely.box(0, 0, 2, 2), bow, shapely.box(0, 0, 4, 4)], dtype=object))
    assert (repaired.invalid, repaired.overlapping, repaired.dropped) == (1, 2, 1)
    np.testing.assert_allclose(shapely.area(repaired.shapes), [12, 4, 2])
    assert shapely.is_valid(repaired.shapes).all()


def test_neighbors_that_share_a_wall_stay_as_they_are() -> None:
    shapes = np.array([shapely.box(0, 0, 4, 4), shapely.box(4, 0, 8, 4)], dtype=object)
    repaired = repair_polygons(shapes)
    assert (repaired.invalid, repaired.overlapping, repaired.dropped) == (0, 0, 0)
    assert (repaired.shapes == shapes).all()

"""The guard: what moved too far, agrees too little, is broken or reaches into others is named."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import translate

from geoseg.objects.outlines.guard import MIN_CLEARANCE_M, Drawn, find_faults, moved_beyond

HOUSE = shapely.box(0, 0, 10, 8)


def moves_beyond(old: shapely.Polygon, new: shapely.Polygon, limit_m: float, step_m: float = 0.01) -> bool:
    (beyond,) = moved_beyond(np.array([old], object), np.array([new], object), limit_m, step_m)
    return bool(beyond)


def faults(old: list[shapely.Polygon], new: list[shapely.Polygon], tolerance_m: float = 100.0, min_iou: float = 0.0) -> list[bool]:
    before, after = np.array(old, object), np.array(new, object)
    still = shapely.equals_identical(before, after)
    drawn = Drawn(after, ~shapely.is_empty(after), still, np.ones(len(after), np.bool_))
    return find_faults(before, drawn, tolerance_m, min_iou).tolist()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), step_m=st.sampled_from([0.05, 0.4]))
def test_what_moved_is_told_to_half_a_step(seed: int, step_m: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = (shapely.convex_hull(shapely.multipoints(rng.uniform(0, 10, (6, 2)))) for _ in range(2))
    exact = shapely.hausdorff_distance(one.exterior, other.exterior, densify=0.002)
    assert moves_beyond(one, other, exact - 0.02, step_m)
    assert not moves_beyond(one, other, exact + step_m / 2 + 0.03, step_m)


def test_a_hole_counts_as_boundary() -> None:
    court = HOUSE.difference(shapely.box(4, 3, 6, 5))
    shifted = HOUSE.difference(shapely.box(4.5, 3, 6.5, 5))
    assert moves_beyond(court, shifted, 0.49)
    assert not moves_beyond(court, shifted, 0.51)
    # a court that is gone, and one that is new
    assert moves_beyond(court, HOUSE, 0.9)
    assert moves_beyond(HOUSE, court, 0.9)


def test_a_quarter_grown_together_is_compared_in_all_its_courts() -> None:
    # 40,000 corners and 400 courts: each point with each edge would be ten thousand million comparisons
    comb = shapely.union_all([shapely.box(50 * i, 0, 50 * i + 50, 1000) for i in range(20)])
    courts = [shapely.box(50 * i + 10, 50 * k + 10, 50 * i + 40, 50 * k + 40) for i in range(20) for k in range(20)]
    quarter = shapely.segmentize(comb.difference(shapely.union_all(courts)), 1.3)
    assert shapely.get_num_coordinates(quarter) > 40_000
    assert not moves_beyond(quarter, translate(quarter, 0.5), 1.5, 0.2)
    assert moves_beyond(quarter, translate(quarter, 1.7), 1.5, 0.2)


def test_what_moved_beyond_the_tolerance_is_named() -> None:
    assert faults([HOUSE], [translate(HOUSE, 1.0)], tolerance_m=0.9) == [True]
    assert faults([HOUSE], [translate(HOUSE, 1.0)], tolerance_m=1.2) == [False]


def test_what_agrees_too_little_is_named() -> None:
    assert faults([HOUSE], [translate(HOUSE, 5.0)], min_iou=0.34) == [True]
    assert faults([HOUSE], [translate(HOUSE, 5.0)], min_iou=0.33) == [False]


def test_bow_ties_and_vanished_rings_are_named() -> None:
    assert faults([HOUSE, HOUSE], [shapely.Polygon([(0, 0), (10, 8), (10, 0), (0, 8)]), shapely.Polygon()]) == [True, True]


@pytest.mark.parametrize(("gap_m", "fault"), [(0.0, True), (0.9 * MIN_CLEARANCE_M, True), (1.1 * MIN_CLEARANCE_M, False)])
@pytest.mark.parametrize("part", ["notch", "court"])
def test_corners_that_all_but_touch_another_wall_are_named(part: str, gap_m: float, fault: bool) -> None:
    tip = (5, gap_m)
    notched = shapely.Polygon([(0, 0), (10, 0), (10, 8), (6, 8), tip, (4, 8), (0, 8)])
    hollow = shapely.Polygon(HOUSE.exterior, [[tip, (6, 2), (4, 2)]])
    assert faults([HOUSE], [notched if part == "notch" else hollow]) == [fault]


def test_only_the_one_that_reaches_into_the_other_is_named() -> None:
    neighbor = translate(HOUSE, 10.5)
    wide = shapely.box(0, 0, 11, 8)
    assert faults([HOUSE, neighbor], [wide, shapely.box(10.5, 0, 20, 8)]) == [True, False]
    assert faults([HOUSE, neighbor], [wide, neighbor]) == [True, False]


def test_two_that_meet_between_their_old_places_are_both_named() -> None:
    neighbor = translate(HOUSE, 11.0)
    assert faults([HOUSE, neighbor], [shapely.box(0, 0, 10.8, 8), shapely.box(10.4, 0, 21, 8)]) == [True, True]


def test_overlaps_that_were_there_may_stay_but_not_grow() -> None:
    other = translate(HOUSE, 9.0)
    smaller, larger = shapely.box(0, 0, 9.9, 8), shapely.box(0, 0, 10.2, 8)
    assert faults([HOUSE, other], [smaller, other]) == [False, False]
    assert faults([HOUSE, other], [larger, other]) == [True, False]


def test_a_neighbor_in_a_court_is_not_swallowed() -> None:
    court = HOUSE.difference(shapely.box(4, 3, 6, 5))
    assert faults([court, shapely.box(4.5, 3.5, 5.5, 4.5)], [HOUSE, shapely.box(4.5, 3.5, 5.5, 4.5)]) == [True, False]

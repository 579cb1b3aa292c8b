"""Buildings matched by overlap: every status and relation, on drawn boxes in metres."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.change.matching import Footprints, Lenience, Match, changed_ground, confirm, match_buildings, weigh

LENIENCE = Lenience(tolerance_m=1.0, min_area_m2=4.0, min_growth=0.1)


def boxes(*bounds: tuple[float, float, float, float]) -> NDArray[np.object_]:
    return np.array([*(shapely.box(*b) for b in bounds), None], dtype=object)[:-1]


def match(before: NDArray[np.object_], after: NDArray[np.object_], lenience: Lenience = LENIENCE) -> list[Match]:
    one, other = (Footprints(shapes=s, known=np.ones(len(s), bool)) for s in (before, after))
    return match_buildings(one, other, lenience)


def told(matches: list[Match]) -> list[tuple[str, str]]:
    return [(str(m.status), str(m.relation)) for m in matches]


def test_a_building_is_new_gone_grown_shrunk_or_the_same() -> None:
    before = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10))
    after = boxes((0.5, 0.5, 10.5, 10.5), (20, 0, 36, 10), (40, 0, 45, 10), (80, 0, 90, 10))
    matches = match(before, after)
    assert told(matches) == [
        ("same", "one_to_one"),
        ("grown", "one_to_one"),
        ("shrunk", "one_to_one"),
        ("gone", "none"),
        ("new", "none"),
    ]
    assert [m.before + m.after for m in matches] == [(0, 0), (1, 1), (2, 2), (3,), (3,)]
    assert matches[1].grown_m2 == pytest.approx(5 * 10, rel=0.01), "what lies farther from the old walls than a metre"
    assert matches[2].lost_m2 == pytest.approx(4 * 10, rel=0.01)
    assert matches[0].iou == pytest.approx(9.5**2 / (200 - 9.5**2))


def test_a_house_that_is_drawn_as_two_or_two_as_one_did_not_change() -> None:
    whole, halves = boxes((0, 0, 20, 10)), boxes((0, 0, 9.8, 10), (10.2, 0, 20, 10))
    assert told(match(whole, halves)) == [("same", "split")]
    assert told(match(halves, whole)) == [("same", "merged")]
    thirds = boxes((0, 0, 6.5, 10), (6.5, 0, 20, 10))
    assert told(match(halves, thirds)) == [("same", "regrouped")]


def test_half_of_a_double_house_that_is_pulled_down_is_gone() -> None:
    before = boxes((0, 0, 10, 10), (10, 0, 20, 10))
    assert told(match(before, boxes((0.7, 0.7, 10.7, 10.7)))) == [("same", "one_to_one"), ("gone", "none")]


def test_a_sliver_along_a_wall_belongs_to_the_building_behind_it() -> None:
    house, with_sliver = boxes((0, 0, 10, 10)), boxes((0, 0, 10, 10), (10, 0, 11, 10))
    assert told(match(house, with_sliver)) == [("same", "split")]
    assert told(match(house, with_sliver, Lenience(tolerance_m=0.1, min_area_m2=4.0, min_growth=0.1))) == [
        ("same", "one_to_one"),
        ("new", "none"),
    ]


def test_a_group_of_which_one_touches_unknown_ground_is_unknown() -> None:
    before = Footprints(shapes=boxes((0, 0, 20, 10), (40, 0, 50, 10)), known=np.array([True, False]))
    after = Footprints(shapes=boxes((0, 0, 9, 10), (11, 0, 20, 10)), known=np.array([True, False]))
    assert told(match_buildings(before, after, LENIENCE)) == [("unknown", "split"), ("unknown", "none")]


def test_what_the_class_maps_do_not_bear_out_is_the_same() -> None:
    before = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    after = boxes((0, 0, 16, 10), (20, 0, 25, 10), (60, 0, 70, 10))
    matches = match(before, after)
    assert told(matches) == [("grown", "one_to_one"), ("shrunk", "one_to_one"), ("gone", "none"), ("new", "none")]
    built, cleared = np.array([25.0, 0, 0, 50]), np.array([0, 20.0, 50, 0])
    assert confirm(matches, built, cleared) == matches, "half of it is enough"
    doubted = confirm(matches, built * 0.99, cleared * 0.99)
    assert [str(m.status) for m in doubted] == ["same", "same", "same", "same"]


def test_the_ground_that_changed_is_what_lies_farther_from_the_other_walls_than_the_tolerance() -> None:
    before = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10))
    after = boxes((0, 0, 16, 10), (20, 0, 25, 10), (60, 0, 70, 10), (80, 0, 90, 10))
    grown, shrunk, gone, same, new = (changed_ground(m, 1.0) for m in match(before, after))
    assert [shape.bounds for shape in (grown, shrunk, gone, new) if shape is not None] == [
        (11, 0, 16, 10),
        (26, 0, 30, 10),
        (40, 0, 50, 10),
        (80, 0, 90, 10),
    ]
    assert same is None


def test_a_change_counts_where_both_dates_are_sure_and_the_surer_the_smaller_it_is() -> None:
    before = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    after = boxes((0, 0, 16, 10), (20, 0, 25, 10), (60, 0, 64, 4))
    matches = match(before, after)
    areas = np.array([50.0, 40.0, 100.0, 16.0])
    lenience = Lenience(tolerance_m=1.0, min_area_m2=4.0, min_growth=0.1, min_evidence=0.5, min_sure_m2=12.0)
    cases = {
        (0.1, 0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.9): ["grown", "shrunk", "gone", "new"],
        (0.41, 0.9, 0.9, 0.41, 0.6, 0.15, 0.2, 0.9): ["unsure", "unsure", "unsure", "unsure"],
        (0.9, 0.1, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1): ["unsure", "unsure", "unsure", "unsure"],
        (np.nan, np.nan, 0.9, 0.41, 0.9, 0.41, 0.05, 0.85): ["unsure", "unsure", "unsure", "new"],
    }
    for evidence, expected in cases.items():
        weighed = weigh(matches, np.reshape(evidence, (4, 2)), areas, lenience)
        assert [str(m.status) for m in weighed] == expected
    assert weighed[3].evidence == (0.05, 0.85)


@pytest.mark.parametrize("evidence", [(0.9, 0.8), (np.nan, np.nan)])
def test_without_a_least_evidence_every_change_counts(evidence: tuple[float, float]) -> None:
    matches = match(boxes(), boxes((0, 0, 10, 10)))
    (taken,) = weigh(matches, np.array([evidence]), np.array([100.0]), replace(LENIENCE, min_sure_m2=12.0))
    assert taken.status == "new"
    assert taken.evidence == pytest.approx(evidence, nan_ok=True)


@given(
    at=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), unique=True, max_size=12),
    move=st.tuples(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7)),
    gone=st.sets(st.integers(0, 11)),
)
def test_a_misplaced_town_shows_its_edits_and_nothing_else(at: list[tuple[int, int]], move: tuple[float, float], gone: set[int]) -> None:
    whole = boxes(*((x * 15.0, y * 15.0, x * 15.0 + 8 + x, y * 15.0 + 7 + y) for x, y in at))
    kept = [n for n in range(len(at)) if n not in gone]
    moved = np.asarray(shapely.transform(whole[kept], lambda points: points + move))
    for before, after, lost in ((whole, moved, "gone"), (moved, whole, "new")):
        statuses = [str(m.status) for m in match(before, after)]
        assert statuses.count(lost) == len(at) - len(kept)
        assert statuses.count("same") == len(kept)


@given(st.permutations(range(5)))
def test_the_order_of_buildings_is_of_no_consequence(order: list[int]) -> None:
    before = boxes((0, 0, 10, 10), (11, 0, 20, 10), (0, 30, 10, 40), (30, 0, 40, 10), (50, 0, 60, 10))
    after = boxes((0, 0, 20, 10), (0, 30, 10, 47), (30.4, 0, 40.4, 10), (70, 0, 80, 10), (50, 0, 54, 10))
    usual, other = match(before, after), match(before[order], after[order])
    assert sorted(told(usual)) == sorted(told(other))

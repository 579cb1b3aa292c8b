"""Roads are scored as in cases small enough to do by hand."""

import math

import numpy as np
import pytest
import shapely
from shapely import LineString

from geoseg.evaluation.apls import AplsOptions, compare_networks
from geoseg.evaluation.roads import match_roads

STREET = LineString([(0, 0), (100, 0)])
SQUARE = [LineString(c) for c in ([(0, 0), (100, 0)], [(100, 0), (100, 100)], [(100, 100), (0, 100)], [(0, 100), (0, 0)])]
ENDS_ONLY = AplsOptions(interval_m=1000)


def test_identical_networks_score_one() -> None:
    matches = match_roads(SQUARE, SQUARE, 3)
    assert (matches.completeness, matches.correctness, matches.quality, matches.f1) == pytest.approx((1, 1, 1, 1))
    assert compare_networks(SQUARE, SQUARE).score == pytest.approx(1)


def test_an_empty_proposal_scores_zero() -> None:
    matches = match_roads([], SQUARE, 3)
    assert (matches.completeness, matches.correctness, matches.quality) == (0, 0, 0)
    assert compare_networks([], SQUARE).score == 0


def test_without_a_reference_there_is_no_score() -> None:
    assert math.isnan(compare_networks(SQUARE, []).score)
    assert math.isnan(match_roads([], [], 3).completeness)


def test_a_missing_half_and_an_invented_street_are_counted_in_metres() -> None:
    found = [LineString([(0, 1), (50, 1)]), LineString([(0, 500), (50, 500)])]
    matches = match_roads(found, [STREET], 2)
    # the end of the buffer is round: at 1 m aside it reaches sqrt(3) m further
    assert matches.completeness == pytest.approx((50 + 3**0.5) / 100, abs=1e-3)
    assert matches.correctness == pytest.approx(0.5)
    assert matches.quality == pytest.approx(50 / (100 + 50 - 3**0.5), abs=1e-3)


def test_a_road_beyond_the_buffer_does_not_match() -> None:
    found = [shapely.affinity.translate(STREET, 0, 2.5)]
    assert match_roads(found, [STREET], 2).completeness == 0
    assert match_roads(found, [STREET], 3).completeness == pytest.approx(1)


def test_many_pieces_of_a_line_match_like_one() -> None:
    pieces = [LineString([(x, 0), (x + 10, 0)]) for x in range(0, 100, 10)]
    assert match_roads(pieces, [STREET], 2) == match_roads([STREET], [STREET], 2)


def test_a_missing_link_costs_the_detours_it_causes() -> None:
    """A square of 100 m lacks one side: of six pairs of corners one takes 300 m for 100 m; all others keep their length."""
    reference = [*SQUARE, LineString([(0, 0), (-10, 0)]), LineString([(100, 0), (110, 0)])]
    spurs = [LineString([(100, 100), (110, 100)]), LineString([(0, 100), (-10, 100)])]
    # spurs keep the corners apart as junctions; nodes: 4 corners and 4 ends
    whole, cut = [*reference, *spurs], [*reference[1:], *spurs]
    apls = compare_networks(cut, whole, ENDS_ONLY)
    # ways across the missing side: corner-corner 100, corner-end 110 (two), end-end 120; each 200 m longer, so each costs 1
    # of the 28 pairs; diagonals keep the other way round at equal length
    assert apls.reference_to_found == pytest.approx(1 - 4 / 28)
    # in the cut network the lower corners are bends, not nodes: of 15 pairs only the way of 320 m between the lower ends is shorter
    assert apls.found_to_reference == pytest.approx(1 - (200 / 320) / 15)


def test_a_street_that_is_cut_in_two_loses_the_ways_across() -> None:
    """Two joined streets of 100 m; the second is missing: of three pairs of nodes one is left."""
    reference = [STREET, LineString([(100, 0), (100, 100)]), LineString([(100, 0), (200, 0)])]
    apls = compare_networks(reference[:1], reference, ENDS_ONLY)
    # nodes: middle and three ends, six pairs; only start to middle is left
    assert apls.reference_to_found == pytest.approx(1 / 6)
    assert apls.found_to_reference == pytest.approx(1)
    assert apls.score == pytest.approx(2 * (1 / 6) / (1 + 1 / 6))


def test_a_gap_that_no_buffer_sees_is_seen_by_apls() -> None:
    found = [LineString([(0, 0), (49, 0)]), LineString([(51, 0), (100, 0)])]
    assert match_roads(found, [STREET], 4).completeness == pytest.approx(1)
    assert compare_networks(found, [STREET], ENDS_ONLY).score < 0.6


def test_lines_that_cross_are_connected() -> None:
    cross = [LineString([(-50, 0), (50, 0)]), LineString([(0, -50), (0, 50)])]
    split = [LineString([(0, 0), end]) for end in ((-50, 0), (50, 0), (0, 50), (0, -50))]
    assert compare_networks(cross, split).score == pytest.approx(1)


def test_of_two_ways_between_the_same_nodes_the_shorter_counts() -> None:
    ring = [STREET, LineString([(0, 0), (50, 30), (100, 0)]), LineString([(100, 0), (150, 0)])]
    assert compare_networks(ring, ring, ENDS_ONLY).score == pytest.approx(1)
    direct = compare_networks(ring[1:], ring, ENDS_ONLY)
    assert direct.reference_to_found < 1


def test_drawn_sources_give_nearly_the_score_of_all() -> None:
    rng = np.random.default_rng(1)
    grid = [LineString([(x, 0), (x, 400)]) for x in range(0, 401, 100)] + [LineString([(0, y), (400, y)]) for y in range(0, 401, 100)]
    streets = shapely.get_parts(shapely.union_all(grid))
    kept = streets[rng.random(len(streets)) > 0.15]
    whole = compare_networks(kept, streets).score
    assert compare_networks(kept, streets, AplsOptions(sources=30)).score == pytest.approx(whole, abs=0.05)
    assert 0 < whole < 1

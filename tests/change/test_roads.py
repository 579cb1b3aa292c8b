"""Roads new and lost: lengths of drawn lines."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.change.roads import Lines, RoadPieces, find_pieces

NOWHERE = np.zeros(0, object)


def lines(*points: list[tuple[float, float]], width_m: float = 6.0, unknown: NDArray[np.object_] = NOWHERE) -> Lines:
    shapes = np.array([*(shapely.LineString(p) for p in points), None], dtype=object)[:-1]
    return Lines(shapes=shapes, width_m=np.full(len(shapes), width_m), unknown=unknown)


def length(pieces: RoadPieces, *, changed: bool) -> float:
    return float(shapely.length(pieces.shapes[pieces.changed == changed]).sum())


OLD = lines([(0, 0), (100, 0)])


def test_a_road_that_was_drawn_beside_its_place_is_the_same() -> None:
    pieces = find_pieces(lines([(0, 3.5), (100, 3.5)]), OLD, 1.0, 15.0)
    assert length(pieces, changed=True) == 0
    assert length(pieces, changed=False) == pytest.approx(100)


def test_a_new_road_begins_where_the_old_one_ends() -> None:
    pieces = find_pieces(lines([(0, 0), (100, 0)], [(50, 0), (50, 80)]), OLD, 1.0, 15.0)
    # half the width of the old road and the tolerance
    assert length(pieces, changed=True) == pytest.approx(80 - 4)
    assert pieces.source[pieces.changed].tolist() == [1]
    assert length(pieces, changed=False) == pytest.approx(104)


def test_short_pieces_count_together_or_not_at_all() -> None:
    own = lines([(110, 0), (122, 0)], [(122, 0), (134, 0)], [(0, 20), (12, 20)])
    pieces = find_pieces(own, OLD, 1.0, 15.0)
    assert length(pieces, changed=True) == pytest.approx(24), "two pieces of 12 m that meet; the third lies alone"
    assert length(pieces, changed=False) == pytest.approx(12)


def test_a_road_is_cut_where_the_other_date_has_no_data() -> None:
    own = lines([(0, 50), (100, 50)], unknown=np.array([shapely.box(40, 0, 60, 100)], dtype=object))
    pieces = find_pieces(own, OLD, 2.0, 15.0)
    assert pieces.unknown_m == pytest.approx(24)
    assert length(pieces, changed=True) == pytest.approx(76)
    assert shapely.distance(pieces.shapes, own.unknown[0]).min() == pytest.approx(2.0)


def test_a_date_without_roads_makes_all_of_the_other_change() -> None:
    none = lines()
    assert length(find_pieces(OLD, none, 1.0, 15.0), changed=True) == pytest.approx(100)
    assert len(find_pieces(none, OLD, 1.0, 15.0).shapes) == 0


@given(st.lists(st.tuples(st.floats(-150, 150), st.floats(-150, 150)), min_size=2, max_size=5, unique=True), st.floats(0, 40))
def test_changed_and_stayed_are_all_of_an_oblique_road(corners: list[tuple[float, float]], min_length_m: float) -> None:
    own = lines([(0, 0), (97, 31), (150, 90)], [(97, 31), (90, 130)])
    pieces = find_pieces(own, lines(corners), 1.0, min_length_m)
    assert length(pieces, changed=True) + length(pieces, changed=False) == pytest.approx(shapely.length(own.shapes).sum(), rel=1e-9)
    by_road = np.bincount(pieces.source, shapely.length(pieces.shapes), minlength=2)
    assert by_road == pytest.approx(shapely.length(own.shapes), rel=1e-9)


def test_what_an_oblique_road_lost_is_not_said_to_have_stayed() -> None:
    road = lines([(0, 0), (97, 31), (150, 90)])
    pieces = find_pieces(road, lines([(0, 0), (48.5, 15.5)]), 1.0, 15.0)
    # the road that is left reaches farther by half its width and the tolerance
    assert length(pieces, changed=False) == pytest.approx(np.hypot(48.5, 15.5) + 4)
    assert [shape.geom_type for shape in pieces.shapes] == ["LineString", "LineString"]

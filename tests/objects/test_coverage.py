"""Coverages: the verdict of GEOS, in time that grows with the number of points."""

from collections.abc import Callable

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely import Polygon, STRtree, box

from geoseg.objects import coverage
from geoseg.objects.coverage import find_misfits

Shapes = NDArray[np.object_]
Harm = Callable[[Shapes, np.random.Generator], Shapes]


def draw_coverage(rng: np.random.Generator) -> Shapes:
    """Draw a coverage with gaps, holes and polygons that touch at points; simplified and turned, or not."""
    values = rng.integers(0, 4, rng.integers(2, 8, 2)).astype(np.uint8)
    found = rasterio.features.shapes(values, connectivity=int(rng.choice([4, 8])))
    shapes = np.array([shapely.segmentize(shapely.geometry.shape(shape), 1.0) for shape, value in found if value], dtype=object)
    if len(shapes) and rng.random() < 0.5:
        shapes = shapely.get_parts(shapely.coverage_simplify(shapes, 2 * rng.random()))
    if rng.random() < 0.5:
        matrix = rng.normal(size=(2, 2))
        shapes = shapely.transform(shapes, lambda points: points @ matrix)
    return shapely.get_parts(shapes[shapely.is_valid(shapes)])


def change_points(shapes: Shapes, rng: np.random.Generator, change: Callable[[NDArray[np.float64], int], NDArray[np.float64]]) -> Shapes:
    which = int(rng.integers(len(shapes)))
    points = shapely.get_coordinates(shapes[which].exterior)
    shapes[which] = Polygon(change(points, int(rng.integers(1, len(points) - 1))), shapes[which].interiors)
    return shapes


def shift_one(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    """Cross neighbors, or leave slivers, down to the last bits."""
    by = rng.normal(size=2) * 10.0 ** -rng.integers(0, 15)
    which = int(rng.integers(len(shapes)))
    shapes[which] = shapely.transform(shapes[which], lambda points: points + by)
    return shapes


def move_point(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    def move(points: NDArray[np.float64], at: int) -> NDArray[np.float64]:
        points[at] += rng.normal(size=2) * 10.0 ** -rng.integers(0, 12)
        return points

    return change_points(shapes, rng, move)


def add_point(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    return change_points(shapes, rng, lambda points, at: np.insert(points, at, (points[at - 1] + points[at]) / 2, 0))


def drop_point(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    return change_points(shapes, rng, lambda points, at: np.delete(points, at, 0) if len(points) > 4 else points)


def fill_holes(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    return np.array([Polygon(shape.exterior) for shape in shapes], dtype=object)


def repeat_one(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    return np.append(shapes, rng.choice(shapes))


def leave_one_out(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    return np.delete(shapes, rng.integers(len(shapes)))


def nest_one(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    return np.append(shapes, shapely.affinity.scale(rng.choice(shapes), 0.5, 0.5))


def lay_triangle(shapes: Shapes, rng: np.random.Generator) -> Shapes:
    x, y = rng.uniform(0, 6, 2)
    return np.append(shapes, Polygon([(x, y), (x + 2, y), (x, y + 2)]))


HARMS: tuple[Harm, ...] = (shift_one, move_point, add_point, drop_point, fill_holes, repeat_one, leave_one_out, nest_one, lay_triangle)


def is_coverage(shapes: Shapes) -> bool:
    """Ask GEOS; where it denies, compare all pairs of polygons and of borders, since it takes a chord in a hole for an overlap."""
    if shapely.coverage_is_valid(shapes):
        return True
    one, two = np.triu_indices(len(shapes), 1)
    if shapely.relate_pattern(shapes[one], shapes[two], "T********").any():
        return False
    points, ring = shapely.get_coordinates(shapely.get_rings(shapes), return_index=True)
    owner = shapely.get_rings(shapes, return_index=True)[1]
    within = ring[:-1] == ring[1:]
    lines = shapely.linestrings(np.stack((points[:-1][within], points[1:][within]), axis=1))
    one, two = STRtree(lines).query(lines, predicate="intersects")
    other = owner[ring[:-1][within]][one] != owner[ring[:-1][within]][two]
    one, two = lines[one[other]], lines[two[other]]
    return bool((shapely.equals(one, two) | shapely.relate_pattern(one, two, "FF*F*****")).all())


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32), harms=st.lists(st.sampled_from(HARMS), max_size=3), batch=st.sampled_from([5, 250_000]))
def test_the_verdict_is_that_of_geos_but_for_its_chords(seed: int, harms: list[Harm], batch: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = draw_coverage(rng)
    for harm in harms:
        shapes = shapely.get_parts(harm(shapes, rng)) if len(shapes) else shapes
    shapes = shapes[shapely.is_valid(shapes) & ~shapely.is_empty(shapes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "_BATCH_SEGMENTS", batch)
        patch.setattr(coverage, "_MOST_SEGMENTS", 2 * batch)
        misfits = find_misfits(shapes)
    assert (len(misfits) == 0) == is_coverage(shapes)


SQUARE = box(0, 0, 4, 4)


@pytest.mark.parametrize(
    ("shapes", "misfits"),
    [
        pytest.param([SQUARE, box(4, 0, 8, 4)], [], id="a shared border"),
        pytest.param([SQUARE, box(4, 4, 8, 8)], [], id="a shared corner"),
        pytest.param([SQUARE.difference(box(1, 1, 2, 2)), box(1, 1, 2, 2)], [], id="one in the hole of another"),
        pytest.param([SQUARE.difference(box(1, 1, 2, 2))], [], id="a gap"),
        pytest.param([SQUARE.difference(box(1, 1, 2, 2)), Polygon([(1, 1), (1, 2), (2, 2)])], [], id="half of a hole"),
        pytest.param([SQUARE, box(1, 4, 2, 5)], [0, 1], id="a border along a longer one"),
        pytest.param([SQUARE, Polygon([(2, 4), (3, 6), (1, 6)])], [0, 1], id="a tip on a border"),
        pytest.param([SQUARE, box(3, 3, 5, 5)], [0, 1], id="crossing borders"),
        pytest.param([SQUARE, box(1, 1, 2, 2)], [0, 1], id="one inside another"),
        pytest.param([SQUARE, box(9, 9, 10, 10), SQUARE], [0, 2], id="the same twice"),
        pytest.param([box(9, 9, 10, 10), box(0, 0, 9, 9), Polygon([(9, 9), (1, 5), (5, 1)])], [1, 2], id="inside, from a shared corner"),
        pytest.param([SQUARE, Polygon([(4, 0), (8, 0), (8, 4), (4, 4), (4 - 1e-15, 2)])], [0, 1], id="an overlap of one bit"),
        pytest.param([Polygon(), None, SQUARE], [], id="some without a shape"),
        pytest.param([], [], id="none"),
    ],
)
def test_the_polygons_at_fault_are_named(shapes: list[Polygon], misfits: list[int]) -> None:
    assert find_misfits(np.array(shapes, dtype=object)).tolist() == misfits


def test_a_coverage_laid_over_another_is_found_by_their_borders_alone() -> None:
    cells = np.array([box(x, y, x + 1, y + 1) for x in range(6) for y in range(6)], dtype=object)
    below = shapely.transform(cells[:4], lambda points: points / 8 + 2.25)
    assert len(find_misfits(cells)) == 0
    assert len(find_misfits(np.r_[cells, below])) > 0


def test_segments_that_happen_to_have_one_key_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = np.array([box(x, y, x + 1, y + 1) for x in range(4) for y in range(4)], dtype=object)
    monkeypatch.setattr(coverage, "_hash", lambda ends: np.zeros(len(ends), np.uint64))
    assert len(find_misfits(cells)) == 0
    assert find_misfits(np.append(cells, box(0, 0, 1, 1))).tolist() == [0, 1, 4, 16]


def test_negative_zero_is_zero() -> None:
    assert len(find_misfits(np.array([box(-1, 0, -0.0, 1), box(0.0, 0, 1, 1)], dtype=object))) == 0

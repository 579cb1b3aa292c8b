"""Regularization: what is a rectangle becomes one, what is not stays, and nothing reaches into a neighbor."""

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.affinity import rotate, translate

from geoseg.errors import ConfigError
from geoseg.objects.regularize import RegularizeOptions, regularize

OPTIONS = RegularizeOptions()


def house(width: float, height: float, degrees: float, x: float = 0, y: float = 0) -> shapely.Polygon:
    return translate(rotate(shapely.box(-width / 2, -height / 2, width / 2, height / 2), degrees), x, y)


def roughen(polygon: shapely.Polygon, sigma: float, seed: int) -> shapely.Polygon:
    """Move points along the outline at random, as outlines of rasters are rough."""
    points = shapely.get_coordinates(shapely.segmentize(polygon, 1.0))[:-1]
    return shapely.make_valid(shapely.Polygon(points + np.random.default_rng(seed).normal(0, sigma, points.shape)))


def iou(one: shapely.Polygon, other: shapely.Polygon) -> float:
    return float(one.intersection(other).area / one.union(other).area)


def overlaps(polygons: NDArray[np.object_]) -> NDArray[np.float64]:
    """Area of overlap of each pair."""
    areas = shapely.area(shapely.intersection(polygons[:, None], polygons[None, :]))
    np.fill_diagonal(areas, 0)
    return areas


@settings(deadline=None, max_examples=60)
@given(
    width=st.floats(10, 40),
    height=st.floats(10, 40),
    degrees=st.floats(0, 180),
    sigma=st.sampled_from([0.0, 0.08, 0.15]),
    seed=st.integers(0),
)
@example(width=20, height=10, degrees=45, sigma=0.15, seed=1)
def test_a_rough_rectangle_becomes_a_rectangle_near_the_true_one(
    width: float, height: float, degrees: float, sigma: float, seed: int
) -> None:
    true = house(width, height, degrees, 100, 200)
    rough = roughen(true, sigma, seed)
    (found,) = regularize(np.array([rough]), OPTIONS)
    assert len(found.exterior.coords) == 5
    edges = np.diff(shapely.get_coordinates(found), axis=0)
    assert np.abs((edges * np.roll(edges, 1, axis=0)).sum(axis=1)).max() <= 1e-6 * found.area
    assert found.area == pytest.approx(rough.area, rel=1e-9)
    assert iou(found, true) >= 0.9
    assert iou(found, rough) >= OPTIONS.min_iou


@pytest.mark.parametrize(
    "shape",
    [
        shapely.Point(5, 5).buffer(10),
        shapely.Polygon([(0, 0), (20, 0), (20, 5), (5, 5), (5, 20), (0, 20)]),
        shapely.Polygon([(0, 0), (20, 0), (10, 15)]),
        shapely.box(0, 0, 20, 20).difference(shapely.box(4, 4, 16, 16)),
    ],
    ids=["circle", "angle", "triangle", "court"],
)
def test_what_is_no_rectangle_stays(shape: shapely.Polygon) -> None:
    (found,) = regularize(np.array([shape]), OPTIONS)
    assert found.equals(shape)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 14), min_iou=st.sampled_from([0.0, 0.6, 0.85, 1.0]))
def test_outlines_stay_valid_and_never_overlap_more_than_before(seed: int, count: int, min_iou: float) -> None:
    rng = np.random.default_rng(seed)
    draws = [
        roughen(house(*rng.uniform(4, 14, 2), rng.uniform(0, 180), *rng.uniform(0, 40, 2)), rng.uniform(0, 0.3), k) for k in range(count)
    ]
    outlines = np.array([shape for shape in draws if shape.geom_type == "Polygon"], object)
    found = regularize(outlines, RegularizeOptions(min_iou=min_iou))
    assert found.shape == outlines.shape
    assert shapely.is_valid(found).all()
    assert (shapely.get_type_id(found) == shapely.GeometryType.POLYGON).all()
    assert (overlaps(found) <= overlaps(outlines) + 2e-6).all()
    np.testing.assert_allclose(shapely.area(found), shapely.area(outlines), rtol=1e-6)
    worst = shapely.area(shapely.intersection(outlines, found)) / shapely.area(shapely.union(outlines, found))
    assert (worst >= min_iou - 1e-9).all()


def test_houses_in_a_row_share_walls_and_stay_apart() -> None:
    row = np.array([shapely.box(10 * k, 0, 10 * (k + 1), 12 + k % 2) for k in range(6)])
    found = regularize(row, OPTIONS)
    assert overlaps(found).max() <= 1e-6
    assert min(iou(a, b) for a, b in zip(found, row, strict=True)) >= 0.99


def test_a_rectangle_that_would_reach_into_a_neighbor_is_taken_back() -> None:
    notched = shapely.box(0, 0, 20, 20).difference(shapely.box(15, 15, 20, 20))
    shed = shapely.box(15.5, 15.5, 19, 19)
    assert len(regularize(np.array([notched]), OPTIONS)[0].exterior.coords) == 5
    found = regularize(np.array([notched, shed]), OPTIONS)
    assert found[0].equals(notched)
    assert overlaps(found).max() <= 1e-6


def test_no_outlines_are_no_outlines() -> None:
    assert regularize(np.empty(0, object), OPTIONS).shape == (0,)


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_shares_outside_0_to_1_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=str(share)):
        RegularizeOptions(min_iou=share)

"""Cutting off outlines what they must not cover: exact, however the forbidden ground is divided."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from shapely.affinity import rotate

from geoseg.objects.outlines.cut import cut_off, subdivide
from geoseg.objects.vectorize import VectorizeOptions, vectorize

SIDE = 128
RASTER = shapely.box(0, 0, SIDE, SIDE)


def draw_ragged(seed: int, share: float) -> NDArray[np.object_]:
    """Return pixel polygons of ragged patches with holes, some of which have thousands of vertices."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((SIDE, SIDE)), 0.8)
    ragged = (noise < np.quantile(noise, share)).astype(np.uint8)
    return vectorize(lambda w: ragged, ragged.shape, (1.0, 1.0), VectorizeOptions(background=0)).polygons


def draw_houses(seed: int, count: int = 12) -> NDArray[np.object_]:
    """Return boxes at any angle; some reach out of the raster."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-3, SIDE - 8, (count, 2))
    return np.array([rotate(shapely.box(x, y, x + 12, y + 8), rng.uniform(0, 90)) for x, y in corners], object)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.02, 0.3, 0.6]))
def test_what_stays_is_the_largest_part_of_the_difference(seed: int, share: float) -> None:
    houses, forbidden = draw_houses(seed), draw_ragged(seed, share)
    cut = cut_off(houses, forbidden, (SIDE, SIDE))
    rest = shapely.difference(shapely.intersection(houses, RASTER), shapely.union_all(forbidden))
    largest = np.array([max(shapely.area(shapely.get_parts(part))) for part in rest])
    assert shapely.is_valid(cut).all()
    assert (shapely.get_type_id(cut) == shapely.GeometryType.POLYGON).all()
    np.testing.assert_allclose(shapely.area(cut), largest, atol=1e-8)
    np.testing.assert_allclose(shapely.area(shapely.difference(cut, rest)), 0, atol=1e-8)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.6, 0.7]))
def test_pieces_are_small_and_cover_the_same_ground_near_the_boxes(seed: int, share: float) -> None:
    forbidden = draw_ragged(seed, share)
    assert shapely.get_num_coordinates(forbidden).max() > 1000
    pieces = subdivide(forbidden, np.array([[0, 0, SIDE, SIDE]], float))
    assert shapely.get_num_coordinates(pieces).max() <= 256
    assert shapely.area(pieces).sum() == shapely.area(forbidden).sum() == shapely.union_all(pieces).area
    box = shapely.box(40, 50, 60, 58)
    near = subdivide(forbidden, shapely.bounds(np.array([box])))
    assert len(near) < len(pieces)
    assert shapely.area(shapely.intersection(near, box)).sum() == shapely.area(shapely.intersection(forbidden, box)).sum()


def test_an_outline_that_lies_on_forbidden_ground_as_a_whole_stays() -> None:
    houses = np.array([shapely.box(10, 10, 20, 20), shapely.box(40, 40, 50, 50), shapely.box(60, 40, 70, 50)], object)
    cut = cut_off(houses, np.array([shapely.box(5, 5, 45, 45)]), (SIDE, SIDE))
    assert shapely.area(cut).tolist() == [100, 75, 100]


@pytest.mark.parametrize("count", [0, 2])
def test_without_forbidden_ground_only_the_raster_bounds(count: int) -> None:
    houses = np.array([shapely.box(-3, 10, 20, 20), shapely.box(100, 120, 110, 130)][:count], object)
    cut = cut_off(houses, np.empty(0, object), (SIDE, SIDE))
    assert shapely.area(cut).tolist() == [200, 80][:count]

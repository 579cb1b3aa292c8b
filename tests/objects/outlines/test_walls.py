"""Walls: what two polygons share stands there once, and polygons can be put together again."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.objects.outlines.corners import build, original_chains
from geoseg.objects.outlines.walls import Walls, find_walls
from geoseg.objects.vectorize import VectorizeOptions, vectorize


def polygons_of(labels: NDArray[np.int32], tolerance: float = 0.0) -> NDArray[np.object_]:
    options = VectorizeOptions(simplify_m=tolerance, background=0)
    return vectorize(lambda w: labels, labels.shape, (1.0, 1.0), options).polygons


def wall_lengths(walls: Walls) -> NDArray[np.float64]:
    return np.array([shapely.LineString(walls.points[a:b]).length for a, b in zip(walls.starts[:-1], walls.starts[1:], strict=True)])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), values=st.integers(2, 4), tolerance=st.sampled_from([0.0, 1.5]))
def test_any_coverage_can_be_taken_apart_and_put_together_again(seed: int, values: int, tolerance: float) -> None:
    labels = np.random.default_rng(seed).integers(0, values, (9, 11)).astype(np.int32)
    polygons = polygons_of(labels, tolerance)
    if len(polygons) == 0:
        return
    walls = find_walls(polygons)
    chains = original_chains(walls)
    built, whole = build(walls, chains, chains, np.zeros(len(walls.owners), np.bool_))
    assert whole.all()
    assert shapely.equals(shapely.normalize(built), shapely.normalize(polygons)).all()
    shared = walls.owners[:, 1] >= 0
    union = shapely.length(shapely.union_all(shapely.boundary(polygons)))
    assert np.isclose(wall_lengths(walls).sum(), union)
    assert np.isclose(wall_lengths(walls)[shared].sum(), shapely.length(shapely.boundary(polygons)).sum() - union)


def test_a_wall_between_two_houses_stands_there_once_with_both_owners() -> None:
    walls = find_walls(np.array([shapely.box(0, 0, 4, 4), shapely.box(4, 0, 9, 4)]))
    shared = np.flatnonzero(walls.owners[:, 1] >= 0)
    assert len(shared) == 1
    assert set(walls.owners[shared[0]]) == {0, 1}
    assert len(walls.owners) == 3
    assert {tuple(p) for p in walls.node_xy} == {(4, 0), (4, 4)}


def test_houses_that_touch_in_a_point_share_nothing() -> None:
    walls = find_walls(np.array([shapely.box(0, 0, 4, 4), shapely.box(4, 4, 9, 9)]))
    assert (walls.nodes == -1).all()
    assert (walls.owners[:, 1] == -1).all()


def test_four_houses_around_a_point_have_a_node_there() -> None:
    walls = find_walls(polygons_of(np.array([[1, 1, 2, 2], [3, 3, 4, 4]], np.int32)))
    assert (walls.owners[:, 1] >= 0).sum() == 4
    assert {tuple(p) for p in walls.node_xy} == {(2, 1), (2, 0), (2, 2), (0, 1), (4, 1)}


def test_a_house_in_a_court_shares_a_closed_wall() -> None:
    yard = shapely.box(0, 0, 9, 9).difference(shapely.box(3, 3, 6, 6))
    walls = find_walls(np.array([yard, shapely.box(3, 3, 6, 6)]))
    assert (walls.nodes == -1).all()
    assert sorted(walls.owners[:, 1]) == [-1, 1]


def test_only_rings_that_lose_all_their_corners_are_missing() -> None:
    polygons = np.array([shapely.box(0, 0, 4, 4), shapely.box(6, 0, 9, 4)])
    walls = find_walls(polygons)
    chains = original_chains(walls)
    gone = chains._replace(xy=chains.xy[4:], starts=np.array([0, 0, 4]))
    built, whole = build(walls, gone, chains, np.zeros(2, np.bool_))
    assert whole.tolist() == [False, True]
    assert built[0].is_empty
    assert built[1].equals(polygons[1])
    kept, whole = build(walls, gone, chains, np.ones(2, np.bool_))
    assert whole.all()
    assert shapely.equals(kept, polygons).all()

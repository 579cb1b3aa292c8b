"""Regularization: walls become straight and square, shared walls stay shared, and nothing leaves its bounds."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage
from shapely.affinity import rotate, translate

from geoseg.errors import ConfigError
from geoseg.objects.regularize import RegularizeMethod, RegularizeOptions, RegularizeStatus, regularize
from geoseg.objects.vectorize import VectorizeOptions, vectorize

PIXEL_M = 0.25
OPTIONS = RegularizeOptions()

BOX = shapely.box(0, 0, 14, 9)
ANGLE = shapely.Polygon([(0, 0), (16, 0), (16, 7), (7, 7), (7, 15), (0, 15)])
HORSESHOE = shapely.Polygon([(0, 0), (18, 0), (18, 14), (12, 14), (12, 6), (6, 6), (6, 14), (0, 14)])
COURT = shapely.box(0, 0, 18, 16).difference(shapely.box(6, 5, 12, 11))
TEE = shapely.Polygon([(0, 0), (18, 0), (18, 6), (12, 6), (12, 14), (6, 14), (6, 6), (0, 6)])
SLANT = shapely.Polygon([(0, 0), (16, 0), (16, 6), (10, 12), (0, 12)])


def see(shapes: list[shapely.Polygon], seed: int, noise_px: float = 0.7) -> NDArray[np.object_]:
    """Draw shapes on a raster, displace its pixels at random, blur, and vectorize: what a network's labels look like, in metres."""
    corner = shapely.total_bounds(shapes)[:2] - 3
    side = int(np.ceil((shapely.total_bounds(shapes)[2:] + 3 - corner).max() / PIXEL_M))
    on_grid = shapely.transform(np.asarray(shapes, object), lambda p: (p - corner) / PIXEL_M)
    labels = rasterize(zip(on_grid, range(1, len(shapes) + 1), strict=True), (side, side), fill=0, dtype="int32")
    fields = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((2, side, side)), (0, 4, 4))
    shift = np.indices(labels.shape) + fields * noise_px / np.sqrt((fields**2).sum(axis=0).mean())
    moved = ndimage.map_coordinates(labels, shift, order=0, mode="nearest")
    shares = np.stack([ndimage.gaussian_filter((moved == k).astype(float), 1) for k in range(len(shapes) + 1)])
    rough = shares.argmax(axis=0).astype(np.int32)
    options = VectorizeOptions(simplify_m=1.5 * PIXEL_M, background=0)
    patches = vectorize(lambda w: rough, (side, side), (PIXEL_M, PIXEL_M), options)
    return np.asarray(shapely.transform(patches.polygons[np.argsort(patches.values)], lambda p: p * PIXEL_M + corner))


def roughen(polygon: shapely.Polygon, sigma: float, seed: int) -> shapely.Polygon:
    """Move points along the outline at random."""
    points = shapely.get_coordinates(shapely.segmentize(polygon, 1.0))[:-1]
    return shapely.make_valid(shapely.Polygon(points + np.random.default_rng(seed).normal(0, sigma, points.shape)))


def corner_degrees(polygon: shapely.Polygon) -> NDArray[np.float64]:
    """Return how far each edge of the exterior and the holes turns against the first, degrees in 0..180."""
    edges = np.concatenate([np.diff(shapely.get_coordinates(ring), axis=0) for ring in shapely.get_rings(polygon)])
    turn = np.degrees(np.arctan2(edges[:, 1], edges[:, 0]))
    return np.mod(turn - turn[0] + 1e-7, 180) - 1e-7


def off_by(polygon: shapely.Polygon, step: float) -> float:
    """Return by how many degrees edges miss multiples of a step at most."""
    turn = corner_degrees(polygon)
    return float(np.abs(turn - step * np.round(turn / step)).max())


def iou(one: shapely.Polygon, other: shapely.Polygon) -> float:
    return float(one.intersection(other).area / one.union(other).area)


def overlaps(polygons: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return the area of overlap of each pair."""
    areas = shapely.area(shapely.intersection(polygons[:, None], polygons[None, :]))
    np.fill_diagonal(areas, 0)
    return np.asarray(areas)


@pytest.mark.parametrize("degrees", [0, 17, 45, 101.3])
@pytest.mark.parametrize(
    ("shape", "corners"), [(BOX, 4), (ANGLE, 6), (HORSESHOE, 8), (TEE, 8), (COURT, 8)], ids=["box", "angle", "horseshoe", "tee", "court"]
)
def test_rough_buildings_come_back_with_their_corners_and_right_angles(shape: shapely.Polygon, corners: int, degrees: float) -> None:
    true = rotate(shape, degrees)
    found = regularize(see([true], seed=3), OPTIONS)
    assert found.status[0] == RegularizeStatus.REGULARIZED
    (outline,) = found.outlines
    assert len(corner_degrees(outline)) == corners
    assert off_by(outline, 90) <= 1e-6
    assert len(outline.interiors) == len(shape.interiors)
    assert iou(outline, true) >= 0.93


@pytest.mark.parametrize("shape", [BOX, ANGLE, HORSESHOE, COURT, TEE])
def test_regular_buildings_stay_where_they_are(shape: shapely.Polygon) -> None:
    true = rotate(shape, 33)
    for method in (RegularizeMethod.RIGHT_ANGLES, RegularizeMethod.RIGHT_ANGLES_AND_DIAGONALS, RegularizeMethod.ANY_ANGLE):
        (found,) = regularize(np.array([true]), RegularizeOptions(method=method)).outlines
        assert shapely.hausdorff_distance(found, true) <= 1e-6
        assert shapely.get_num_coordinates(found) == shapely.get_num_coordinates(true)


@pytest.mark.parametrize("degrees", [0, 28])
def test_a_diagonal_wall_is_one_at_45_degrees_where_diagonals_are_allowed(degrees: float) -> None:
    true = rotate(SLANT, degrees)
    seen = see([true], seed=5)
    (found,) = regularize(seen, RegularizeOptions(method=RegularizeMethod.RIGHT_ANGLES_AND_DIAGONALS, diagonal_penalty=0.5)).outlines
    assert len(corner_degrees(found)) == 5
    assert off_by(found, 45) <= 1e-6
    assert off_by(found, 90) == pytest.approx(45)
    assert iou(found, true) >= 0.95


def test_a_dear_diagonal_is_not_drawn() -> None:
    seen = see([SLANT], seed=5)
    dear = RegularizeOptions(method=RegularizeMethod.RIGHT_ANGLES_AND_DIAGONALS, diagonal_penalty=1000, tolerance_m=3)
    found, square = regularize(seen, dear), regularize(seen, RegularizeOptions(tolerance_m=3))
    assert square.status[0] == RegularizeStatus.REGULARIZED
    assert off_by(found.outlines[0], 90) <= 1e-6
    assert shapely.hausdorff_distance(found.outlines[0], square.outlines[0]) <= 1e-6


def test_any_angle_finds_few_walls_in_any_direction() -> None:
    true = shapely.Polygon([(0, 0), (20, 2), (24, 14), (5, 16)])
    (found,) = regularize(see([true], seed=2), RegularizeOptions(method=RegularizeMethod.ANY_ANGLE)).outlines
    assert len(corner_degrees(found)) == 4
    assert iou(found, true) >= 0.95
    assert off_by(found, 45) > 1


def test_a_round_building_becomes_a_circle_of_its_area() -> None:
    true = shapely.Point(0, 0).buffer(6, quad_segs=64)
    seen = see([true], seed=1)
    found = regularize(seen, RegularizeOptions(method=RegularizeMethod.CIRCLE))
    assert found.status[0] == RegularizeStatus.CIRCLE
    center = shapely.centroid(found.outlines[0])
    radius = shapely.distance(center, shapely.points(shapely.get_coordinates(found.outlines[0])))
    assert np.ptp(radius) <= 1e-9
    assert found.outlines[0].area == pytest.approx(seen[0].area)
    assert iou(found.outlines[0], true) >= 0.95


@pytest.mark.parametrize("limits", [{"min_radius_m": 7.0}, {"max_radius_m": 5.0}])
def test_circles_outside_the_radii_are_not_drawn(limits: dict[str, float]) -> None:
    seen = see([shapely.Point(0, 0).buffer(6)], seed=1)
    found = regularize(seen, RegularizeOptions(method=RegularizeMethod.CIRCLE, **limits))
    assert found.status[0] == RegularizeStatus.SIMPLIFIED
    assert found.outlines[0].equals(seen[0])


@pytest.mark.parametrize(
    "shapes", [[BOX], [COURT], [shapely.Point(0, 0).buffer(6), shapely.box(0, -4, 14, 4)]], ids=["box", "court", "touching"]
)
def test_what_is_not_round_or_touches_others_becomes_no_circle(shapes: list[shapely.Polygon]) -> None:
    seen = see(shapes, seed=4)
    found = regularize(seen, RegularizeOptions(method=RegularizeMethod.CIRCLE))
    assert set(found.status) == {RegularizeStatus.SIMPLIFIED}
    assert shapely.equals(found.outlines, seen).all()


@pytest.mark.parametrize("degrees", [0, 23])
def test_houses_in_a_row_share_their_walls_after(degrees: float) -> None:
    row = [rotate(shapely.box(9 * k, 0, 9 * (k + 1), 11 + 3 * (k % 2)), degrees, origin=(0, 0)) for k in range(4)]
    seen = see(row, seed=7)
    found = regularize(seen, OPTIONS)
    assert set(found.status) == {RegularizeStatus.REGULARIZED}
    assert shapely.coverage_is_valid(found.outlines)
    for one, other in zip(found.outlines[:-1], found.outlines[1:], strict=True):
        shared = shapely.line_merge(shapely.intersection(one, other))
        assert shared.geom_type == "LineString"
        assert shared.length == pytest.approx(11, abs=1)
    assert max(off_by(outline, 90) for outline in found.outlines) <= 1e-6
    first_edges = [shapely.LineString(outline.exterior.coords[:2]) for outline in found.outlines]
    turns = [
        np.degrees(np.arctan2(*np.diff(edge.coords, axis=0)[0])) - np.degrees(np.arctan2(*np.diff(first_edges[0].coords, axis=0)[0]))
        for edge in first_edges
    ]
    assert np.abs(turns - 90 * np.round(np.array(turns) / 90)).max() <= 1e-6
    assert min(iou(a, b) for a, b in zip(found.outlines, row, strict=True)) >= 0.9


def test_a_house_in_a_court_keeps_all_four_walls_in_common() -> None:
    yard = shapely.box(0, 0, 24, 20).difference(shapely.box(7, 6, 17, 14))
    found = regularize(see([rotate(yard, 12, origin=(0, 0)), rotate(shapely.box(7, 6, 17, 14), 12, origin=(0, 0))], seed=2), OPTIONS)
    assert set(found.status) == {RegularizeStatus.REGULARIZED}
    hole = shapely.Polygon(found.outlines[0].interiors[0])
    assert hole.equals(found.outlines[1])
    assert len(corner_degrees(found.outlines[1])) == 4


def test_neighbors_of_two_directions_share_one_straight_wall() -> None:
    left = shapely.Polygon([(0, 0), (12, 0), (12, 12), (0, 12)])
    right = shapely.Polygon([(12, 0), (24, -6), (29, 5), (12, 12)])
    found = regularize(see([left, right], seed=6), OPTIONS)
    assert shapely.coverage_is_valid(found.outlines)
    shared = shapely.line_merge(shapely.intersection(*found.outlines))
    assert len(shapely.simplify(shared, 1e-6).coords) == 2


def test_an_outline_that_would_leave_the_tolerance_falls_back() -> None:
    spur = shapely.union(shapely.box(0, 0, 14, 9), shapely.box(6.9, 8, 7.1, 12))
    fallen = regularize(np.array([spur]), OPTIONS)
    assert fallen.status[0] == RegularizeStatus.SIMPLIFIED
    assert fallen.outlines[0].equals(spur)
    wide = regularize(np.array([spur]), RegularizeOptions(tolerance_m=4))
    assert wide.status[0] == RegularizeStatus.REGULARIZED
    assert len(corner_degrees(wide.outlines[0])) == 4


def test_a_wall_never_reaches_into_a_neighbor_that_lies_close() -> None:
    notched = shapely.box(0, 0, 20, 20).difference(shapely.box(19.5, 19.5, 20, 20))
    shed = shapely.box(19.6, 19.6, 21, 21)
    alone = regularize(np.array([notched]), OPTIONS)
    assert alone.status[0] == RegularizeStatus.REGULARIZED
    assert overlaps(np.array([alone.outlines[0], shed])).max() > 0.1
    found = regularize(np.array([notched, shed]), OPTIONS)
    assert found.status[0] == RegularizeStatus.SIMPLIFIED
    assert found.outlines[0].equals(notched)
    assert overlaps(found.outlines).max() <= 1e-6


def test_outlines_that_agree_too_little_fall_back() -> None:
    triangle = shapely.Polygon([(0, 0), (4, 0), (0, 4)])
    found = regularize(np.array([triangle]), RegularizeOptions(tolerance_m=3, min_iou=0.99))
    assert found.status[0] == RegularizeStatus.SIMPLIFIED
    assert found.outlines[0].equals(triangle)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 7),
    noise_px=st.sampled_from([0.0, 1.0, 2.5]),
    method=st.sampled_from([m for m in RegularizeMethod if m != RegularizeMethod.NONE]),
    tolerance_m=st.sampled_from([0.4, 1.5, 4.0]),
)
def test_any_labels_give_valid_outlines_within_bounds(
    seed: int, count: int, noise_px: float, method: RegularizeMethod, tolerance_m: float
) -> None:
    rng = np.random.default_rng(seed)
    shapes = [
        translate(rotate([BOX, ANGLE, COURT, SLANT][rng.integers(4)], rng.choice([0.0, 8.0, 30.0])), *rng.uniform(0, 24, 2))
        for _ in range(count)
    ]
    seen = see(shapes, int(rng.integers(1000)), noise_px)
    options = RegularizeOptions(method=method, tolerance_m=tolerance_m)
    found = regularize(seen, options)
    assert shapely.is_valid(found.outlines).all()
    assert (shapely.get_type_id(found.outlines) == shapely.GeometryType.POLYGON).all()
    assert (shapely.get_num_interior_rings(found.outlines) == shapely.get_num_interior_rings(seen)).all()
    assert overlaps(found.outlines).max(initial=0) <= 2e-6
    moved = shapely.hausdorff_distance(shapely.boundary(seen), shapely.boundary(found.outlines), densify=0.05)
    assert moved.max() <= tolerance_m + 1e-9
    agreement = shapely.area(shapely.intersection(seen, found.outlines)) / shapely.area(shapely.union(seen, found.outlines))
    assert agreement.min() >= options.min_iou - 1e-9
    ratio = shapely.area(found.outlines) / shapely.area(seen)
    assert options.min_iou <= ratio.min()
    assert ratio.max() <= 1 / options.min_iou
    touching = shapely.length(shapely.intersection(seen[:, None], seen[None, :])) > 0.5
    np.fill_diagonal(touching, val=False)
    still = shapely.intersects(found.outlines[:, None], found.outlines[None, :])
    assert still[touching].all()


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), method=st.sampled_from(list(RegularizeMethod)))
def test_the_order_of_outlines_does_not_matter(seed: int, method: RegularizeMethod) -> None:
    rng = np.random.default_rng(seed)
    shapes = [translate(rotate(BOX, rng.choice([0.0, 20.0])), *rng.uniform(0, 25, 2)) for _ in range(6)]
    seen = see(shapes, 1, 1.5)
    order = rng.permutation(len(seen))
    options = RegularizeOptions(method=method)
    found, shuffled = regularize(seen, options), regularize(seen[order], options)
    assert (found.status[order] == shuffled.status).all()
    assert shapely.equals_identical(found.outlines[order], shuffled.outlines).all()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    degrees=st.floats(0, 360),
    shift=st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
    method=st.sampled_from(list(RegularizeMethod)),
)
def test_turned_and_moved_outlines_give_turned_and_moved_results(
    seed: int, degrees: float, shift: tuple[float, float], method: RegularizeMethod
) -> None:
    rough = roughen(ANGLE, 0.15, seed)
    turned = translate(rotate(rough, degrees, origin=(0, 0)), *shift)
    options = RegularizeOptions(method=method)
    (here,), (there,) = regularize(np.array([rough]), options).outlines, regularize(np.array([turned]), options).outlines
    assert shapely.hausdorff_distance(translate(rotate(here, degrees, origin=(0, 0)), *shift), there) <= 1e-4


def test_a_small_shed_becomes_a_rectangle_of_its_area() -> None:
    shed = rotate(shapely.box(0, 0, 1.4, 1.2), 20)
    found = regularize(np.array([shed]), OPTIONS)
    assert found.status[0] == RegularizeStatus.REGULARIZED
    assert len(corner_degrees(found.outlines[0])) == 4
    assert found.outlines[0].area == pytest.approx(shed.area)


def test_nothing_is_changed_where_nothing_was_asked() -> None:
    found = regularize(np.array([SLANT]), RegularizeOptions(method=RegularizeMethod.NONE))
    assert found.outlines[0] is SLANT
    assert found.status[0] == RegularizeStatus.UNCHANGED


def test_what_is_no_valid_polygon_stays() -> None:
    bow_tie = shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)])
    parts = shapely.MultiPolygon([shapely.box(30, 0, 35, 5), shapely.box(40, 0, 45, 5)])
    given = np.array([bow_tie, rotate(BOX, 5), parts, shapely.Polygon()], object)
    found = regularize(given, OPTIONS)
    assert [found.outlines[k] is given[k] for k in range(4)] == [True, False, True, True]
    assert found.status.tolist() == ["unchanged", "regularized", "unchanged", "unchanged"]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 8), method=st.sampled_from(list(RegularizeMethod)))
def test_overlaps_that_come_in_never_grow(seed: int, count: int, method: RegularizeMethod) -> None:
    rng = np.random.default_rng(seed)
    draws = [roughen(translate(rotate(BOX, rng.uniform(0, 90)), *rng.uniform(0, 25, 2)), rng.uniform(0, 0.3), k) for k in range(count)]
    sound = [shape for shape in draws if shape.geom_type == "Polygon"]
    given = np.array([*sound, *sound[:1]], object)
    found = regularize(given, RegularizeOptions(method=method))
    assert (overlaps(found.outlines) <= overlaps(given) + 2e-6).all()


@pytest.mark.parametrize("method", list(RegularizeMethod))
def test_no_outlines_are_no_outlines(method: RegularizeMethod) -> None:
    found = regularize(np.empty(0, object), RegularizeOptions(method=method))
    assert found.outlines.shape == found.status.shape == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance_m": 0.0}, "tolerance_m must be 0.01 m or more; got 0.0"),
        ({"tolerance_m": 1e-4}, "tolerance_m must be 0.01 m or more; got 0.0001"),
        ({"tolerance_m": float("nan")}, "got nan"),
        ({"corner_price": -1.0}, "corner_price must be 0 or more; got -1.0"),
        ({"diagonal_penalty": -0.5}, "diagonal_penalty must be 0 or more; got -0.5"),
        ({"diagonal_penalty": float("inf")}, "got inf"),
        ({"min_iou": 1.01}, "share in 0..1; got 1.01"),
        ({"min_radius_m": 5.0, "max_radius_m": 4.0}, "got 5.0 to 4.0"),
        ({"min_radius_m": 0.0}, "got 0.0 to"),
    ],
)
def test_options_out_of_range_are_refused_with_the_number(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RegularizeOptions(**options)

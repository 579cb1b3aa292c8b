from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize, shapes
from scipy import ndimage
from scipy.ndimage import gaussian_filter

from geoseg.errors import ConfigError
from geoseg.objects.vectorize import Patches, VectorizeOptions, stream_polygons, vectorize

TOLERANCES_M = (0.3, 0.5, 1.0, 1.5, 4.0, 100.0)


def reader(values):
    return lambda window: values[window.toslices()]


def draw(values, pixel_m=(1.0, 1.0), lattice_px=1024, **options) -> Patches:
    return vectorize(reader(values), values.shape, pixel_m, VectorizeOptions(**options), lattice_px=lattice_px)


def natural_map(size: int = 384, classes: int = 5, seed: int = 0, shares: float = 0.0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((classes, size, size)), (0, 6, 6))
    noise += shares * noise.std() * np.arange(classes)[:, None, None]
    return noise.argmax(axis=0).astype(np.uint8)


def burn(patches: Patches, shape, background: int) -> np.ndarray:
    pairs = list(zip(patches.polygons, patches.values, strict=True))
    return rasterize(pairs, shape, fill=background, dtype="int64") if pairs else np.full(shape, background)


def is_coverage(patches: Patches) -> bool:
    return bool(shapely.is_valid(patches.polygons).all() and shapely.coverage_is_valid(patches.polygons))


@st.composite
def rasters(draw_value) -> np.ndarray:
    """Draw small rasters in which holes, holes in holes, checkerboards and diagonal touches are common."""
    shape = draw_value(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    dtype = draw_value(st.sampled_from([np.uint8, np.uint32]))
    kind = draw_value(st.sampled_from(["random", "checkerboard", "rings", "dots"]))
    rows, cols = np.indices(shape)
    if kind == "checkerboard":
        return ((rows + cols) % 2).astype(dtype)
    if kind == "rings":
        edge = np.minimum.reduce([rows, cols, shape[0] - 1 - rows, shape[1] - 1 - cols])
        return (edge % draw_value(st.integers(2, 3))).astype(dtype)
    values = draw_value(arrays(dtype, shape, elements=st.integers(0, 3)))
    return np.where(values == 0, 1, 2).astype(dtype) if kind == "dots" else values


lattices = st.integers(2, 8)
backgrounds = st.sampled_from([None, 0, 1])


@settings(deadline=None, max_examples=150)
@given(values=rasters(), background=backgrounds, lattice_px=lattices, connectivity=st.sampled_from([4, 8]))
def test_burning_the_polygons_gives_the_raster_back(values, background, lattice_px, connectivity) -> None:
    patches = draw(values, lattice_px=lattice_px, background=background, connectivity=connectivity)
    empty = -1 if background is None else background
    np.testing.assert_array_equal(burn(patches, values.shape, empty), values)
    np.testing.assert_array_equal(shapely.area(patches.polygons), patches.pixels)
    assert is_coverage(patches)


@settings(deadline=None, max_examples=100)
@given(values=rasters(), background=backgrounds, lattice_px=lattices, connectivity=st.sampled_from([4, 8]))
def test_unsimplified_polygons_do_not_depend_on_the_lattice(values, background, lattice_px, connectivity) -> None:
    whole = draw(values, background=background, connectivity=connectivity)
    parts = draw(values, lattice_px=lattice_px, background=background, connectivity=connectivity)
    np.testing.assert_array_equal(parts.values, whole.values)
    np.testing.assert_array_equal(parts.pixels, whole.pixels)
    np.testing.assert_array_equal(parts.first, whole.first)
    # the same vertices and no others; only where a ring starts may differ
    assert [shapely.normalize(p).wkb for p in parts.polygons] == [shapely.normalize(p).wkb for p in whole.polygons]


@settings(deadline=None, max_examples=200)
@given(
    values=rasters(),
    background=backgrounds,
    simplify_m=st.sampled_from((0.0, *TOLERANCES_M)),
    method=st.sampled_from(["douglas-peucker", "visvalingam"]),
    smooth_rounds=st.integers(0, 3),
    pixel_m=st.sampled_from([(1.0, 1.0), (0.3, 0.7), (2.0, 0.1)]),
    cover_background=st.booleans(),
    lattice_px=lattices,
    connectivity=st.sampled_from([4, 8]),
)
def test_simplified_and_smoothed_polygons_are_a_coverage(
    values, background, simplify_m, method, smooth_rounds, pixel_m, cover_background, lattice_px, connectivity
) -> None:
    exact = draw(values, background=background, connectivity=connectivity)
    how = {"background": background, "connectivity": connectivity, "cover_background": cover_background}
    patches = draw(values, pixel_m, lattice_px, simplify_m=simplify_m, method=method, smooth_rounds=smooth_rounds, **how)
    np.testing.assert_array_equal(patches.values, exact.values)
    np.testing.assert_array_equal(patches.pixels, exact.pixels)
    assert is_coverage(patches)
    assert (shapely.area(patches.polygons) > 0).all()
    if background is None:
        assert shapely.area(patches.polygons).sum() == values.size
    if not cover_background:
        assert shapely.difference(shapely.union_all(patches.polygons), shapely.union_all(exact.polygons)).area < 1e-9


def map_with_holes(seed: int) -> np.ndarray:
    """Return a map of 40 to 120 px of speckles or patches, with such nodata (255) among them."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 121, 2)
    noise = rng.standard_normal((rng.integers(2, 5), height, width))
    values = gaussian_filter(noise, (0, *[rng.choice([0.3, 1.0, 3.0])] * 2)).argmax(axis=0).astype(np.uint8)
    holes = gaussian_filter(rng.standard_normal((height, width)), rng.choice([0.3, 1.0, 2.0]))
    values[holes > np.quantile(holes, rng.choice([0.6, 0.86, 0.95]))] = 255
    return values


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    simplify_m=st.sampled_from([0.0, 1.5, 3.0]),
    smooth_rounds=st.sampled_from([0, 2]),
    cover_background=st.booleans(),
    lattice_px=st.integers(8, 39),
    connectivity=st.sampled_from([4, 8]),
)
def test_maps_with_nodata_are_a_coverage_in_pixels_and_rounded_on_the_ground(
    seed, simplify_m, smooth_rounds, cover_background, lattice_px, connectivity
) -> None:
    how = {"smooth_rounds": smooth_rounds, "cover_background": cover_background, "connectivity": connectivity}
    patches = draw(map_with_holes(seed), lattice_px=lattice_px, simplify_m=simplify_m, background=255, **how)
    assert is_coverage(patches)
    # a vertex on the edge of another border would now lie on one side of it or the other
    placed = shapely.transform(patches.polygons, lambda xy: xy * (0.298582141740302, -0.298582141740302) + (9519793.3, 3203476.1))
    assert is_coverage(replace(patches, polygons=placed))


def test_patches_that_meet_diagonally_share_that_vertex_though_one_border_goes_straight_there() -> None:
    values = np.array([[0, 1, 1], [1, 1, 0], [1, 0, 1]], np.uint8)
    patches = draw(values, simplify_m=1.5, background=0)
    assert [(2.0, 2.0) in p.exterior.coords for p in patches.polygons] == [True, True]
    assert is_coverage(patches)


@settings(deadline=None, max_examples=60)
@given(values=rasters(), background=backgrounds, simplify_m=st.sampled_from([0.0, 1.0]), lattice_px=lattices)
def test_streamed_batches_are_all_polygons_each_once(values, background, simplify_m, lattice_px) -> None:
    options = VectorizeOptions(background=background, simplify_m=simplify_m)
    batches = list(stream_polygons(reader(values), values.shape, (1.0, 1.0), options, lattice_px=lattice_px))
    whole = draw(values, lattice_px=lattice_px, background=background, simplify_m=simplify_m)
    assert all((np.diff(batch.first) > 0).all() for batch in batches)
    streamed = sorted((f, p.wkb) for batch in batches for f, p in zip(batch.first.tolist(), batch.polygons, strict=True))
    assert streamed == [(f, p.wkb) for f, p in zip(whole.first.tolist(), whole.polygons, strict=True)]


@settings(deadline=None, max_examples=60)
@given(values=rasters(), background=backgrounds, lattice_px=lattices)
def test_8_connected_patches_are_those_of_scipy(values, background, lattice_px) -> None:
    patches = draw(values, lattice_px=lattice_px, background=background, connectivity=8)
    expected = []
    for value in np.unique(values):
        if value != background:
            labels, count = ndimage.label(values == value, np.ones((3, 3)))
            expected += [(int(np.flatnonzero(labels == k)[0]), int(value), int((labels == k).sum())) for k in range(1, count + 1)]
    found = zip(patches.first.tolist(), patches.values.tolist(), patches.pixels.tolist(), strict=True)
    assert list(found) == sorted(expected)


@settings(deadline=None, max_examples=100)
@given(values=rasters())
def test_polygons_are_those_of_rasterio(values) -> None:
    def bag(polygons, of_values) -> Counter[tuple[int, bytes]]:
        plain = shapely.normalize(shapely.simplify(polygons, 0, preserve_topology=False))
        return Counter(zip((int(v) for v in of_values), shapely.to_wkb(plain), strict=True))

    found = [(shapely.geometry.shape(geometry), value) for geometry, value in shapes(values.astype(np.int32), connectivity=4)]
    patches = draw(values)
    assert bag(patches.polygons, patches.values) == bag([g for g, _ in found], [v for _, v in found])


@pytest.mark.parametrize("pixel_m", [(1.0, 1.0), (0.5, 0.8)])
@pytest.mark.parametrize("simplify_m", [0.0, *TOLERANCES_M])
def test_a_natural_map_stays_a_coverage_at_any_tolerance(simplify_m, pixel_m) -> None:
    values = natural_map()
    patches = draw(values, pixel_m, simplify_m=simplify_m)
    assert is_coverage(patches)
    assert shapely.area(patches.polygons).sum() == values.size


@pytest.mark.parametrize("options", [{"simplify_m": 1.0}, {"simplify_m": 1.5}, {"simplify_m": 1.5, "method": "visvalingam"}])
def test_simplifying_keeps_the_area_of_each_class_and_drops_most_vertices(options) -> None:
    # classes of unequal shares: islands of the small ones are convex, and would shrink
    values = natural_map(size=1024, shares=0.3)
    exact, simple = draw(values), draw(values, **options)
    areas = shapely.area(simple.polygons)
    assert areas.sum() == values.size
    for value in np.unique(values):
        of_class = exact.values == value
        assert areas[of_class].sum() == pytest.approx(exact.pixels[of_class].sum(), rel=1e-3)
    assert shapely.get_num_coordinates(simple.polygons).sum() < 0.5 * shapely.get_num_coordinates(exact.polygons).sum()


@pytest.mark.parametrize("simplify_m", [0.5, 1.0, 3.0])
def test_borders_move_at_most_twice_the_tolerance(simplify_m) -> None:
    values = natural_map(size=256)
    exact, simple = draw(values), draw(values, simplify_m=simplify_m)
    moved = shapely.hausdorff_distance(shapely.boundary(exact.polygons), shapely.boundary(simple.polygons))
    assert moved.max() <= 2 * simplify_m
    assert np.mean(moved <= simplify_m + 1e-9) > 0.9


def test_a_slanted_border_becomes_one_line() -> None:
    rows, cols = np.indices((60, 90))
    patches = draw((3 * rows > 2 * cols + 20).astype(np.uint8), (0.5, 0.5), simplify_m=0.75)
    vertices = {tuple(point) for point in shapely.get_coordinates(patches.polygons).tolist()}
    on_frame = {(x, y) for x, y in vertices if x in (0, 90) or y in (0, 60)}
    assert len(patches.values) == 2
    assert vertices == on_frame
    assert len(vertices) == 6


def test_order_is_that_of_first_pixels_and_exteriors_turn_one_way() -> None:
    patches = draw(natural_map(size=128))
    starts = [min((y, x) for x, y in p.exterior.coords) for p in patches.polygons]
    assert starts == sorted(starts)
    assert shapely.is_ccw(shapely.get_exterior_ring(patches.polygons)).all()
    assert not any(hole.is_ccw for p in patches.polygons for hole in p.interiors)


def test_pixels_that_touch_diagonally_are_two_polygons() -> None:
    patches = draw(np.array([[1, 0], [0, 1]], np.uint8), background=0)
    assert [p.bounds for p in patches.polygons] == [(0, 0, 1, 1), (1, 1, 2, 2)]


def test_a_ring_closed_by_a_diagonal_touch_has_a_hole() -> None:
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.uint8)
    patches = draw(ring, background=0)
    assert patches.pixels.tolist() == [7]
    assert patches.polygons[0].is_valid
    assert [hole.bounds for hole in patches.polygons[0].interiors] == [(1, 1, 2, 2)]


def test_an_island_keeps_four_corners_at_any_tolerance() -> None:
    values = np.zeros((9, 9), np.uint8)
    values[4, 4] = 1
    island = draw(values, simplify_m=50.0).polygons[1]
    assert island.equals(shapely.box(4, 4, 5, 5))


@pytest.mark.parametrize("simplify_m", [0.0, 1.0])
def test_a_raster_of_background_has_no_polygons(simplify_m) -> None:
    patches = draw(np.full((5, 7), 255, np.uint8), background=255, simplify_m=simplify_m)
    assert len(patches.values) == len(patches.polygons) == len(patches.pixels) == 0
    assert patches.polygons.dtype == object


@pytest.mark.parametrize("simplify_m", [0.0, 1.0])
def test_one_pixel_is_one_square(simplify_m) -> None:
    patches = draw(np.array([[7]], np.uint32), background=0, simplify_m=simplify_m)
    assert patches.values.tolist() == [7]
    assert patches.pixels.tolist() == [1]
    assert patches.polygons[0].equals(shapely.box(0, 0, 1, 1))


def test_every_pixel_is_read_once() -> None:
    values, seen = natural_map(size=40), np.zeros((40, 40), int)

    def read(window) -> np.ndarray:
        seen[window.toslices()] += 1
        return values[window.toslices()]

    vectorize(read, values.shape, (1.0, 1.0), VectorizeOptions(), lattice_px=16)
    assert (seen == 1).all()


def test_a_border_that_crosses_the_lattice_straight_has_no_vertex_there() -> None:
    values = np.zeros((12, 12), np.uint8)
    values[:, 6:] = 1
    patches = draw(values, lattice_px=5)
    assert shapely.get_num_coordinates(patches.polygons).tolist() == [5, 5]


def test_an_arc_over_a_lattice_line_does_not_collapse_onto_what_lies_behind_it() -> None:
    # a bump over the line, and below the line another patch that reaches up to it
    values = np.zeros((8, 12), np.uint8)
    values[3, 2:9], values[4, 4:6] = 1, 2
    assert is_coverage(draw(values, lattice_px=4, simplify_m=100.0))


def test_the_tolerance_is_in_metres_where_pixels_shrink_from_row_to_row() -> None:
    rows, cols = np.indices((32, 40))
    values = (cols > 10 + 5 * np.sin(rows)).astype(np.uint8)
    options = VectorizeOptions(simplify_m=1.5)
    patches = vectorize(reader(values), values.shape, lambda row: (1.0, 1.0) if row < 16 else (0.1, 0.1), options, lattice_px=16)
    y = shapely.get_coordinates(patches.polygons[0])[:, 1]
    assert (y < 16).sum() > 10
    assert ((y > 16) & (y < 32)).sum() == 0


def test_smoothing_rounds_an_island_from_all_sides() -> None:
    values = np.zeros((40, 40), np.uint8)
    values[10:30, 10:30] = 1
    island = draw(values, smooth_rounds=4).polygons[1]
    edges = np.diff(shapely.get_coordinates(island), axis=0)
    turns = np.diff(np.unwrap(np.arctan2(edges[:, 1], edges[:, 0])))
    assert np.abs(turns).max() < np.radians(15)
    assert island.area == pytest.approx(400 * (1 - (1 - 0.25**4) / 12 * 2), rel=1e-6)


@pytest.mark.parametrize("tolerance", [-0.5, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_length_is_refused(tolerance) -> None:
    with pytest.raises(ConfigError, match=str(tolerance)):
        VectorizeOptions(simplify_m=tolerance)


@pytest.mark.parametrize(("option", "value"), [("method", "spline"), ("smooth_rounds", 6), ("connectivity", 6), ("min_area_m2", -2.0)])
def test_options_that_mean_nothing_are_refused(option, value) -> None:
    with pytest.raises(ConfigError, match=str(value)):
        VectorizeOptions(**{option: value})


@pytest.mark.parametrize("seed", range(12))
def test_a_map_with_holes_of_nodata_is_a_valid_coverage_on_the_ground_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    side = int(rng.integers(40, 110))
    raster = np.argmax([gaussian_filter(rng.standard_normal((side, side)), 1.5) for _ in range(3)], axis=0).astype(np.uint8)
    raster[gaussian_filter(rng.standard_normal((side, side)), 1.5) > 0.25] = 255
    for simplify_m, rounds in ((0, 0), (1.5, 0), (3, 2)):
        options = VectorizeOptions(simplify_m=simplify_m, smooth_rounds=rounds, background=255, cover_background=False)
        polygons = vectorize(lambda w: raster[w.toslices()], raster.shape, (1.0, 1.0), options, lattice_px=32).polygons
        assert shapely.coverage_is_valid(polygons)
        placed = shapely.transform(polygons, lambda points: points * (0.29858214, -0.29858214) + (9520000.123, 3202000.456))
        assert shapely.is_valid(placed).all()

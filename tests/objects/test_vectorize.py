from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize, shapes
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

from geoseg.errors import ConfigError, MemoryLimitError
from geoseg.objects import vectorize as module
from geoseg.objects.vectorize import Patches, VectorizeOptions, vectorize

TOLERANCES_M = (0.3, 0.5, 1.0, 1.5, 4.0, 100.0)


def draw(values, blocks=None, pixel_m=(1.0, 1.0), **options) -> Patches:
    height, width = values.shape

    def read(window: Window) -> np.ndarray:
        return values[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    return vectorize(read, values.shape, blocks or [Window(0, 0, width, height)], pixel_m, VectorizeOptions(**options))


def natural_map(size: int = 384, classes: int = 5, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((classes, size, size))
    return gaussian_filter(noise, (0, 6, 6)).argmax(axis=0).astype(np.uint8)


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


@st.composite
def cuts(draw_value, length: int) -> list[tuple[int, int]]:
    inner = draw_value(st.sets(st.integers(1, length - 1), max_size=4)) if length > 1 else set()
    return list(pairwise([0, *sorted(inner), length]))


@st.composite
def cut_rasters(draw_value) -> tuple[np.ndarray, list[Window]]:
    values = draw_value(rasters())
    rows, cols = draw_value(cuts(values.shape[0])), draw_value(cuts(values.shape[1]))
    blocks = [Window(left, top, right - left, bottom - top) for top, bottom in rows for left, right in cols]
    return values, draw_value(st.permutations(blocks))


backgrounds = st.sampled_from([None, 0, 1])


@settings(deadline=None, max_examples=150)
@given(values=rasters(), background=backgrounds)
def test_burning_the_polygons_gives_the_raster_back(values, background) -> None:
    patches = draw(values, background=background)
    empty = -1 if background is None else background
    np.testing.assert_array_equal(burn(patches, values.shape, empty), values)
    np.testing.assert_array_equal(shapely.area(patches.polygons), patches.pixels)
    assert is_coverage(patches)


@settings(deadline=None, max_examples=150)
@given(cut=cut_rasters(), background=backgrounds, simplify_m=st.sampled_from([0.0, *TOLERANCES_M]))
def test_polygons_do_not_depend_on_the_blocks(cut, background, simplify_m) -> None:
    values, blocks = cut
    whole = draw(values, background=background, simplify_m=simplify_m)
    parts = draw(values, blocks, background=background, simplify_m=simplify_m)
    np.testing.assert_array_equal(parts.values, whole.values)
    np.testing.assert_array_equal(parts.pixels, whole.pixels)
    assert [p.wkb for p in parts.polygons] == [p.wkb for p in whole.polygons]


@settings(deadline=None, max_examples=150)
@given(
    values=rasters(),
    background=backgrounds,
    simplify_m=st.sampled_from(TOLERANCES_M),
    pixel_m=st.sampled_from([(1.0, 1.0), (0.3, 0.7), (2.0, 0.1)]),
    cover_background=st.booleans(),
)
def test_simplified_polygons_are_a_coverage(values, background, simplify_m, pixel_m, cover_background) -> None:
    exact = draw(values, background=background)
    patches = draw(values, None, pixel_m, background=background, simplify_m=simplify_m, cover_background=cover_background)
    np.testing.assert_array_equal(patches.values, exact.values)
    np.testing.assert_array_equal(patches.pixels, exact.pixels)
    assert is_coverage(patches)
    assert (shapely.area(patches.polygons) > 0).all()
    if background is None:
        assert shapely.area(patches.polygons).sum() == values.size
    if not cover_background:
        assert shapely.difference(shapely.union_all(patches.polygons), shapely.union_all(exact.polygons)).area < 1e-9


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
    patches = draw(values, None, pixel_m, simplify_m=simplify_m)
    assert is_coverage(patches)
    assert shapely.area(patches.polygons).sum() == values.size


def test_one_pixel_of_tolerance_keeps_areas_and_drops_most_vertices() -> None:
    values = natural_map(size=1024)
    exact, simple = draw(values), draw(values, simplify_m=1.0)
    areas = shapely.area(simple.polygons)
    assert areas.sum() == pytest.approx(exact.pixels.sum(), rel=1e-3)
    for value in np.unique(values):
        of_class = exact.values == value
        assert areas[of_class].sum() == pytest.approx(exact.pixels[of_class].sum(), rel=5e-3)
    assert shapely.get_num_coordinates(simple.polygons).sum() < 0.4 * shapely.get_num_coordinates(exact.polygons).sum()


@pytest.mark.parametrize("simplify_m", [0.5, 1.0, 3.0])
def test_borders_move_at_most_twice_the_tolerance(simplify_m) -> None:
    values = natural_map(size=256)
    exact, simple = draw(values), draw(values, simplify_m=simplify_m)
    moved = shapely.hausdorff_distance(shapely.boundary(exact.polygons), shapely.boundary(simple.polygons))
    assert moved.max() <= 2 * simplify_m
    assert np.mean(moved <= simplify_m + 1e-9) > 0.9


def test_a_slanted_border_becomes_one_line() -> None:
    rows, cols = np.indices((60, 90))
    patches = draw((3 * rows > 2 * cols + 20).astype(np.uint8), None, (0.5, 0.5), simplify_m=0.75)
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

    def read(window: Window) -> np.ndarray:
        seen[window.toslices()] += 1
        return values[window.toslices()]

    blocks = [Window(col, row, 16 if col < 32 else 8, 10) for row in range(0, 40, 10) for col in range(0, 40, 16)]
    vectorize(read, values.shape, blocks, (1.0, 1.0), VectorizeOptions())
    assert (seen == 1).all()


@pytest.mark.parametrize("tolerance", [-0.5, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_length_is_refused(tolerance) -> None:
    with pytest.raises(ConfigError, match=str(tolerance)):
        VectorizeOptions(simplify_m=tolerance)


def test_more_corners_than_fit_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(module, "_MAX_CORNERS", 3)
    with pytest.raises(MemoryLimitError, match="4 or more"):
        draw(np.zeros((2, 2), np.uint8))

"""Small patches are merged: the rules, an independent implementation of them, and errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.windows import Window
from scipy import ndimage

from geoseg.objects.borders.sieve import SieveOptions, sieve
from geoseg.objects.vectorize import VectorizeOptions, vectorize

FOUR, EIGHT = ndimage.generate_binary_structure(2, 1), np.ones((3, 3), int)


def merged(values, min_area_m2, pixel_m=(1.0, 1.0), lattice_px=1024, row_areas_m2=None, **options):
    settled = SieveOptions(min_area_m2=min_area_m2, **options)
    height, width = values.shape
    read = sieve(lambda w: values[w.toslices()], values.shape, pixel_m, settled, row_areas_m2=row_areas_m2, lattice_px=lattice_px)
    return read(Window(0, 0, width, height))


def patches_of(values, structure):
    """Return (H, W) patches numbered in the order of their first pixels, from 0."""
    labels, count = np.zeros(values.shape, int), 0
    for value in np.unique(values):
        found, n = ndimage.label(values == value, structure)
        labels[found > 0] = found[found > 0] + count
        count += n
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(values.shape)


def merge_one_by_one(values, min_area, connectivity, background, pixel_m):
    """Merge the smallest patch, look at the whole raster again, and so on."""
    values = values.copy()
    while True:
        patches = patches_of(values, EIGHT if connectivity == 8 else FOUR)
        area = np.bincount(patches.ravel())
        for patch in np.argsort(area, kind="stable"):
            where = patches == patch
            if area[patch] * pixel_m[0] * pixel_m[1] >= min_area or values[where][0] == background:
                continue
            shared = np.zeros(len(area))
            for axis, length_m in ((0, pixel_m[0]), (1, pixel_m[1])):
                one, other = (patches.take(range(k, patches.shape[axis] - 1 + k), axis) for k in (0, 1))
                for a, b in ((one, other), (other, one)):
                    np.add.at(shared, b[(a == patch) & (b != patch)], length_m)
            shared[np.unique(patches[values == background])] = 0
            if shared.max() > 0:
                best = max(np.flatnonzero(np.isclose(shared, shared.max(), rtol=1e-9)), key=lambda p: (area[p], -p))
                values[where] = values[patches == best][0]
                break
        else:
            return values


small = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))


@settings(deadline=None, max_examples=120)
@given(
    values=small,
    min_area=st.sampled_from([1.5, 3.0, 6.0, 100.0]),
    connectivity=st.sampled_from([4, 8]),
    background=st.sampled_from([None, 0]),
    pixel_m=st.sampled_from([(1.0, 1.0), (0.5, 2.0)]),
    lattice_px=st.integers(2, 7),
)
def test_the_result_is_that_of_merging_one_by_one(values, min_area, connectivity, background, pixel_m, lattice_px) -> None:
    found = merged(values, min_area, pixel_m, lattice_px, connectivity=connectivity, background=background)
    np.testing.assert_array_equal(found, merge_one_by_one(values, min_area, connectivity, background, pixel_m))


@settings(deadline=None, max_examples=60)
@given(values=small, lattice_px=st.integers(2, 7), connectivity=st.sampled_from([4, 8]))
def test_sieved_polygons_are_those_of_the_sieved_raster(values, lattice_px, connectivity) -> None:
    options = {"connectivity": connectivity, "background": 0}
    raster = merged(values, 4.0, **options)
    plain = vectorize(lambda w: raster[w.toslices()], raster.shape, (1.0, 1.0), VectorizeOptions(**options))
    sieving = VectorizeOptions(min_area_m2=4.0, **options)
    patches = vectorize(lambda w: values[w.toslices()], values.shape, (1.0, 1.0), sieving, lattice_px=lattice_px)
    np.testing.assert_array_equal(patches.values, plain.values)
    np.testing.assert_array_equal(patches.pixels, plain.pixels)


def test_the_longest_border_counts_on_the_ground_and_not_in_pixels() -> None:
    values = np.array([[1, 1, 1], [2, 0, 3], [2, 2, 3]], np.uint8)
    values[1, 1] = 9
    assert merged(values, 1.5, (1.0, 1.0))[1, 1] == 2
    assert merged(values, 3.0, (2.0, 1.0))[1, 1] in (1, 2)
    wide = np.array([[1, 1, 1, 1], [1, 9, 2, 2], [1, 1, 1, 2]], np.uint8)
    assert merged(wide, 1.5)[1, 1] == 1


def test_a_patch_between_nodata_stays() -> None:
    values = np.zeros((5, 5), np.uint8)
    values[2, 2] = 7
    np.testing.assert_array_equal(merged(values, 50.0, background=0), values)


def test_nodata_takes_nothing_however_long_its_border() -> None:
    values = np.array([[0, 0, 0], [0, 7, 5], [0, 5, 5]], np.uint8)
    values[0] = 0
    assert merged(values, 1.5, background=0)[1, 1] == 5


def test_areas_of_rows_decide_where_pixels_differ() -> None:
    values = np.zeros((6, 3), np.uint8)
    values[1, 1], values[4, 1] = 1, 1
    found = merged(values, 1.0, row_areas_m2=np.array([2.0, 2.0, 2.0, 0.5, 0.5, 0.5]))
    assert found[1, 1] == 1
    assert found[4, 1] == 0


@pytest.mark.parametrize("window", [Window(0, 0, 5, 5), Window(3, 2, 9, 11), Window(7, 0, 1, 13)])
def test_any_window_reads_the_same_pixels(window) -> None:
    values = np.random.default_rng(3).integers(0, 3, (13, 12)).astype(np.int32)
    read = sieve(lambda w: values[w.toslices()], values.shape, (1.0, 1.0), SieveOptions(min_area_m2=4.0), lattice_px=5)
    np.testing.assert_array_equal(read(window), merged(values, 4.0)[window.toslices()])
    assert read(window).dtype == values.dtype

"""Instances: those of a plain decoding of the whole raster, whatever the blocks (law 5)."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from geoseg.errors import ConfigError
from geoseg.objects.instances import InstanceLayers, InstanceOptions, InstanceTable, MemoryLabels, label_instances

U8 = NDArray[np.uint8]


def read_from(raster: U8) -> object:
    def read(window: Window) -> U8:
        assert window.row_off >= 0
        assert window.col_off >= 0
        assert window.row_off + window.height <= raster.shape[0]
        assert window.col_off + window.width <= raster.shape[1]
        return raster[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    return read


def label(interior: U8, building: U8, options: InstanceOptions) -> tuple[NDArray[np.uint32], InstanceTable]:
    layers = InstanceLayers(shape=interior.shape, seed=read_from(interior), building=read_from(building))
    labels = MemoryLabels(np.full(interior.shape, 77, np.uint32))
    table = label_instances(layers, MemoryLabels(np.full(interior.shape, 99, np.uint32)), labels, options)
    return labels.array, table


def renumber(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number labels 1..n by their first pixel in row-major order."""
    found, first = np.unique(labels, return_index=True)
    order = found[np.argsort(first)]
    order = order[order > 0]
    numbers = np.zeros(labels.max(initial=0) + 1, np.int64)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[labels]


def decode_whole(interior: U8, building: U8, options: InstanceOptions) -> NDArray[np.int64]:
    """Label seeds, grow them by whole-array steps, drop small ones: no blocks, no joins."""
    labels = renumber(ndimage.label(interior / 255 >= options.seed_threshold)[0].astype(np.int64))
    free = building / 255 >= options.mask_threshold
    none = np.iinfo(np.int64).max
    for _ in range(options.growth_px):
        around = np.pad(np.where(labels > 0, labels, none), 1, constant_values=none)
        lowest = np.minimum.reduce([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
        labels = np.where((labels == 0) & free & (lowest < none), lowest, labels)
    area = np.bincount(labels.ravel())
    total = np.bincount(labels.ravel(), building.ravel())
    kept = (area >= options.min_area_px) & (total >= options.min_score * 255 * area)
    return renumber(np.where(kept[labels], labels, 0))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> U8:
    noise = ndimage.gaussian_filter(rng.random(shape), sigma)
    return (255 * (noise - noise.min()) / max(np.ptp(noise), 1e-9)).astype(np.uint8)


@settings(deadline=None, max_examples=120)
@given(
    height=st.integers(1, 48),
    width=st.integers(1, 48),
    sigma=st.sampled_from([0.0, 0.8, 2.0]),
    seed=st.integers(0, 2**32 - 1),
    options=st.builds(
        InstanceOptions,
        seed_threshold=st.sampled_from([0.3, 0.5, 0.62, 1.0]),
        mask_threshold=st.sampled_from([0.25, 0.5]),
        growth_px=st.integers(0, 9),
        min_area_px=st.integers(0, 12),
        min_score=st.floats(0, 1),
        block_px=st.integers(1, 60),
    ),
)
def test_labels_equal_those_of_the_whole_raster_for_any_blocks(
    height: int, width: int, sigma: float, seed: int, options: InstanceOptions
) -> None:
    rng = np.random.default_rng(seed)
    interior, building = smooth_noise(rng, (height, width), sigma), smooth_noise(rng, (height, width), sigma)
    labels, table = label(interior, building, options)
    expected = decode_whole(interior, building, options)
    np.testing.assert_array_equal(labels, expected)

    count = expected.max()
    area = np.bincount(expected.ravel(), minlength=count + 1)[1:]
    summed = np.bincount(expected.ravel(), building.ravel().astype(np.float64), minlength=count + 1)[1:]
    assert len(table) == count
    np.testing.assert_array_equal(table.area_px, area)
    np.testing.assert_allclose(table.score, summed / np.maximum(area, 1) / 255, rtol=1e-12)


def test_ids_are_the_rank_of_the_first_pixel_without_gaps() -> None:
    interior = np.zeros((30, 30), np.uint8)
    interior[20:25, 2:6] = 255
    interior[3:6, 20:24] = 255
    interior[3:6, 4:7] = 255
    interior[10, 10] = 255
    labels, table = label(interior, interior, InstanceOptions(block_px=7, min_area_px=2))
    assert [labels[3, 4], labels[3, 20], labels[10, 10], labels[20, 2]] == [1, 2, 0, 3]
    assert table.area_px.tolist() == [9, 12, 20]
    assert table.score.tolist() == [1, 1, 1]


@pytest.mark.parametrize("block_px", [8, 10, 16, 17, 40])
def test_a_building_over_four_blocks_is_one(block_px: int) -> None:
    interior = np.zeros((40, 40), np.uint8)
    interior[12:22, 11:24] = 200
    building = np.zeros_like(interior)
    building[10:24, 9:26] = 153
    labels, table = label(interior, building, InstanceOptions(block_px=block_px, growth_px=4))
    np.testing.assert_array_equal(labels, building > 0)
    assert table.area_px.tolist() == [14 * 17]
    assert table.score.tolist() == [0.6]


@pytest.mark.parametrize("block_px", [3, 5, 100])
def test_a_winding_building_is_joined_over_many_faces(block_px: int) -> None:
    interior = np.zeros((21, 21), np.uint8)
    interior[::4] = 255
    interior[:, 20][0:4] = interior[:, 20][8:12] = interior[:, 0][4:8] = interior[:, 0][12:16] = 255
    interior[:, 20][16:20] = 255
    assert ndimage.label(interior)[1] == 1
    labels, table = label(interior, np.zeros_like(interior), InstanceOptions(block_px=block_px))
    np.testing.assert_array_equal(labels, interior > 0)
    assert table.score.tolist() == [0]


def test_neighbors_that_touch_stay_two_and_share_the_ground_between_them() -> None:
    interior = np.zeros((9, 21), np.uint8)
    interior[2:7, 2:8] = interior[2:7, 13:19] = 255
    building = np.full_like(interior, 255)
    labels, table = label(interior, building, InstanceOptions(growth_px=9, block_px=4))
    assert (labels > 0).all()
    assert (labels[4] == [1] * 11 + [2] * 10).all(), "the middle column goes to the lower id"
    assert table.area_px.sum() == labels.size


def test_seeds_grow_no_farther_than_the_reach_and_only_into_buildings() -> None:
    interior = np.zeros((21, 21), np.uint8)
    interior[10, 10] = 255
    building = np.full_like(interior, 255)
    building[:, 12:] = 127
    labels, _ = label(interior, building, InstanceOptions(growth_px=4, block_px=5))
    y, x = np.mgrid[:21, :21]
    np.testing.assert_array_equal(labels > 0, (abs(y - 10) + abs(x - 10) <= 4) & (x < 12))


def test_an_empty_raster_has_no_instances() -> None:
    labels, table = label(np.zeros((5, 6), np.uint8), np.full((5, 6), 255, np.uint8), InstanceOptions(block_px=4))
    assert not labels.any()
    assert len(table) == len(table.score) == 0


def test_pixels_of_probability_zero_are_never_building() -> None:
    nothing = np.zeros((8, 9), np.uint8)
    for options in (InstanceOptions(seed_threshold=0), InstanceOptions(seed_threshold=0, mask_threshold=0)):
        assert not label(nothing, nothing, options)[0].any()
    seed = nothing.copy()
    seed[4, 4] = 255
    assert label(seed, nothing, InstanceOptions(mask_threshold=0))[0].sum() == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed_threshold", -0.1),
        ("seed_threshold", 1.5),
        ("mask_threshold", float("nan")),
        ("mask_threshold", 2.0),
        ("growth_px", -1),
        ("min_area_px", -7),
        ("block_px", 0),
    ],
)
def test_options_refuse_nonsense_and_name_the_number(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*{value}"):
        replace(InstanceOptions(), **{name: value})

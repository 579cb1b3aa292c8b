"""Instances: those of a plain decoding of the whole raster, whatever the blocks (law 5)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.errors import ConfigError
from geoseg.objects.instances import InstanceLayers, InstanceOptions, InstanceTable, label_instances
from geoseg.objects.rasters import MemoryLabels
from tests.objects.detector import SETS, draw_objects, panoptic_quality
from tests.objects.oracle import LabelledTown, comes_out_as_one, draw_evidence, label_arrays, read_from, read_towns, run_options

U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]


def label(interior: U8, building: U8, options: InstanceOptions, valid: Bool | None = None) -> tuple[NDArray[np.uint32], InstanceTable]:
    layers = InstanceLayers(
        shape=interior.shape,
        seed=read_from(interior),
        building=read_from(building),
        valid=None if valid is None else read_from(valid),
    )
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


def decode_whole(interior: U8, building: U8, options: InstanceOptions, valid: Bool) -> NDArray[np.int64]:
    """Label seeds, grow them by whole-array steps, drop small ones, fill holes: no blocks, no joins."""
    reached = (interior / 255 >= options.seed_threshold) & valid
    labels = np.zeros(interior.shape, np.int64)
    for number, piece in enumerate(part for one in components(reached) for part in take_apart(one, interior, options, 1)):
        labels[piece] = number + 1
    labels = grow_whole(renumber(labels), reached, options.growth_px if options.min_part_px else 0)
    rest, left = labels.max(initial=0), components(reached & (labels == 0))
    left = [piece for piece in left if piece.sum() >= options.min_part_px]
    for number, piece in enumerate(sorted(left, key=lambda piece: np.flatnonzero(piece)[0])):
        labels[piece] = rest + number + 1
    labels = grow_whole(labels, (building / 255 >= options.mask_threshold) & valid, options.growth_px)
    area = np.bincount(labels.ravel())
    total = np.bincount(labels.ravel(), building.ravel())
    kept = (area >= options.min_area_px) & (total >= options.min_score * 255 * area)
    return renumber(fill_whole(np.where(kept[labels], labels, 0), options.fill_holes_px, valid))


def components(mask: Bool) -> list[Bool]:
    """Return the 4-connected components of a mask, one mask each."""
    labels, count = ndimage.label(mask)
    return [labels == number for number in range(1, count + 1)]


def take_apart(piece: Bool, interior: U8, options: InstanceOptions, level: int) -> list[Bool]:
    """Take a piece apart from a level on, by the words of the documentation."""
    if level >= len(options.levels):
        return [piece]
    large = [part for part in components(piece & (interior / 255 >= options.levels[level])) if part.sum() >= options.min_part_px]
    if len(large) < 2 or sum(part.sum() for part in large) < options.min_part_share * piece.sum():
        return take_apart(piece, interior, options, level + 1)
    return [smaller for part in large for smaller in take_apart(part, interior, options, level + 1)]


def grow_whole(labels: NDArray[np.int64], free: Bool, steps: int) -> NDArray[np.int64]:
    """Grow labels by whole-array steps."""
    none = np.iinfo(np.int64).max
    for _ in range(steps):
        around = np.pad(np.where(labels > 0, labels, none), 1, constant_values=none)
        lowest = np.minimum.reduce([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
        labels = np.where((labels == 0) & free & (lowest < none), lowest, labels)
    return labels


def fill_whole(labels: NDArray[np.int64], max_px: int, valid: Bool) -> NDArray[np.int64]:
    """Fill what one instance encloses, one piece of background after the other."""
    filled = labels.copy()
    outside = -1
    framed = np.pad(np.where(valid, labels, outside), 1, constant_values=outside)
    pieces, count = ndimage.label(labels == 0)
    for piece in range(1, count + 1):
        here = pieces == piece
        around = np.unique(framed[ndimage.binary_dilation(np.pad(here, 1))])
        around = around[around != 0]
        if here.sum() <= max_px and len(around) == 1 and around[0] != outside:
            filled[here] = around[0]
    return filled


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> U8:
    noise = ndimage.gaussian_filter(rng.random(shape), sigma)
    return (255 * (noise - noise.min()) / max(np.ptp(noise), 1e-9)).astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 48),
    width=st.integers(1, 48),
    sigma=st.sampled_from([0.0, 0.8, 2.0]),
    nodata=st.sampled_from([0.0, 0.01, 0.1]),
    seed=st.integers(0, 2**32 - 1),
    options=st.builds(
        InstanceOptions,
        seed_threshold=st.sampled_from([0.3, 0.5, 0.62, 1.0]),
        min_part_px=st.sampled_from([0, 1, 3, 8]),
        min_part_share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        mask_threshold=st.sampled_from([0.25, 0.5]),
        growth_px=st.integers(0, 9),
        min_area_px=st.integers(0, 12),
        min_score=st.floats(0, 1),
        fill_holes_px=st.integers(0, 40),
        block_px=st.integers(1, 60),
    ),
)
def test_labels_equal_those_of_the_whole_raster_for_any_blocks(
    height: int, width: int, sigma: float, nodata: float, seed: int, options: InstanceOptions
) -> None:
    rng = np.random.default_rng(seed)
    interior, building = smooth_noise(rng, (height, width), sigma), smooth_noise(rng, (height, width), sigma)
    valid = rng.random((height, width)) >= nodata
    labels, table = label(interior, building, options, valid if nodata else None)
    expected = decode_whole(interior, building, options, valid)
    np.testing.assert_array_equal(labels, expected)

    count = expected.max()
    area = np.bincount(expected.ravel(), minlength=count + 1)[1:]
    summed = np.bincount(expected.ravel(), building.ravel().astype(np.float64), minlength=count + 1)[1:]
    assert len(table) == count
    np.testing.assert_array_equal(table.area_px, area)
    np.testing.assert_allclose(table.score, summed / np.maximum(area, 1) / 255, rtol=1e-12)
    frame = np.ones_like(valid)
    frame[1:-1, 1:-1] = False
    everyone = np.arange(1, count + 1)
    np.testing.assert_array_equal(table.touches_edge, np.isin(everyone, expected[frame]))
    np.testing.assert_array_equal(table.touches_nodata, np.isin(everyone, expected[ndimage.binary_dilation(~valid)]))


@settings(deadline=None, max_examples=50)
@given(
    rings=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14), st.integers(3, 10), st.integers(3, 10), st.booleans()), max_size=4),
    seed=st.integers(0, 2**32 - 1),
    nodata=st.booleans(),
    max_px=st.integers(1, 70),
    block_px=st.integers(2, 24),
)
def test_filled_holes_are_those_of_the_whole_raster_for_any_blocks(
    rings: list[tuple[int, int, int, int, bool]], seed: int, nodata: bool, max_px: int, block_px: int
) -> None:
    rng = np.random.default_rng(seed)
    seeds = np.zeros((21, 23), np.uint8)
    for top, left, height, width, gap in rings:
        seeds[top : top + height, left : left + width] = 255
        inside = seeds[top + 1 : top + height - 1, left + 1 : left + width - 1]
        inside[:] = 255 * (rng.random(inside.shape) < 0.2)
        if gap:
            seeds[top + 1, left] = 0
    valid = rng.random(seeds.shape) > (0.004 if nodata else -1)
    options = InstanceOptions(growth_px=0, fill_holes_px=max_px, block_px=block_px)
    labels, table = label(seeds, seeds, options, valid)
    expected = decode_whole(seeds, seeds, options, valid)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(table.area_px, np.bincount(expected.ravel())[1:])


@pytest.mark.parametrize("block_px", [5, 64])
def test_what_is_left_of_a_seed_where_no_part_arrives_stays_if_it_is_large(block_px: int) -> None:
    """Two sure houses, and a faint wing that hangs on them by a bridge."""
    seed = np.zeros((9, 60), np.uint8)
    seed[:, :20] = 250
    seed[:, 9:11] = 140
    seed[4, 20:50] = 140
    seed[2:7, 50:56] = 150
    building = np.where(seed > 0, 255, 0).astype(np.uint8)
    options = InstanceOptions(min_part_px=50, growth_px=4, block_px=block_px)
    labels, table = label(seed, building, options)
    assert len(table) == 3
    assert (labels[building > 0] > 0).all()
    assert len(set(labels[2:7, 50:56].ravel().tolist())) == 1
    assert len(label(seed, building, replace(options, min_part_px=60))[1]) == 2


@pytest.mark.parametrize("block_px", [4, 7, 64])
def test_a_row_of_houses_comes_apart_where_the_wall_shows_and_parts_are_large(block_px: int) -> None:
    """A row of three; their walls look like walls to higher thresholds only. A shed beside it is faint, a dip in a roof is small."""
    seed = np.zeros((12, 40), np.uint8)
    seed[2:10, 2:32] = 250
    seed[2:10, 11] = seed[2:10, 21] = 190
    seed[4:6, 4:6] = 190
    seed[3:7, 35:38] = 140
    building = np.where(seed > 0, 255, 0).astype(np.uint8)
    options = InstanceOptions(min_part_px=40, growth_px=3, block_px=block_px)
    labels, table = label(seed, building, options)
    assert len(table) == 4
    assert (labels[building > 0] > 0).all()
    assert sorted(table.area_px.tolist()) == [12, 80, 80, 80]
    assert len(label(seed, building, replace(options, min_part_px=0))[1]) == 2
    assert len(label(seed, building, replace(options, min_part_px=81))[1]) == 2
    assert len(label(seed, building, replace(options, min_part_share=0.95))[1]) == 2


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


def ring(shape: tuple[int, int], hole: tuple[slice, slice]) -> U8:
    """A building around a hole, one pixel wide."""
    rows, cols = hole
    drawn = np.zeros(shape, np.uint8)
    drawn[rows.start - 1 : rows.stop + 1, cols.start - 1 : cols.stop + 1] = 255
    drawn[hole] = 0
    return drawn


@pytest.mark.parametrize("block_px", [1, 3, 5, 8, 30])
@pytest.mark.parametrize(("fill_px", "filled"), [(19, False), (20, True)])
def test_a_hole_over_block_faces_is_filled_up_to_its_size(block_px: int, fill_px: int, filled: bool) -> None:
    hole = np.s_[5:9, 6:11]
    building = ring((16, 18), hole)
    labels, table = label(building, building, InstanceOptions(fill_holes_px=fill_px, block_px=block_px, growth_px=0))
    assert (labels[hole] == int(filled)).all()
    assert table.area_px.tolist() == [6 * 7 - (0 if filled else 20)]
    assert table.score[0] == pytest.approx(22 / 42 if filled else 1)


@pytest.mark.parametrize("block_px", [4, 30])
def test_a_hole_with_another_instance_a_gap_or_nodata_in_it_stays(block_px: int) -> None:
    hole = np.s_[5:9, 6:11]
    options = InstanceOptions(fill_holes_px=100, block_px=block_px, growth_px=0)
    island = ring((16, 18), hole)
    island[7, 8] = 255
    assert label(island, island, options)[0][5, 6] == 0
    gap = ring((16, 18), hole)
    gap[4, 8] = 0
    assert label(gap, gap, options)[0][5, 6] == 0
    valid = np.ones((16, 18), bool)
    valid[7, 8] = False
    labels, table = label(ring((16, 18), hole), ring((16, 18), hole), options, valid)
    assert labels[5, 6] == 0
    assert table.touches_nodata.tolist() == [False], "the ring itself is two pixels away"


def test_a_speck_that_is_dropped_leaves_no_hole_behind() -> None:
    hole = np.s_[5:9, 6:11]
    building = ring((16, 18), hole)
    building[7, 8] = 255
    labels, table = label(building, building, InstanceOptions(fill_holes_px=20, min_area_px=2, growth_px=0))
    assert (labels[hole] == 1).all()
    assert len(table) == 1


def test_flags_tell_who_is_cut_by_the_edge_and_who_lies_beside_nodata() -> None:
    building = np.zeros((12, 20), np.uint8)
    building[0:3, 2:5] = building[5:8, 8:11] = building[5:8, 14:17] = 255
    valid = np.ones(building.shape, bool)
    valid[6, 7] = False
    valid[8, 17] = False
    _, table = label(building, building, InstanceOptions(block_px=7), valid)
    assert table.touches_edge.tolist() == [True, False, False]
    assert table.touches_nodata.tolist() == [False, True, False], "a corner is no neighbor"


def test_pixels_without_data_are_never_building() -> None:
    building = np.full((9, 9), 255, np.uint8)
    valid = np.ones(building.shape, bool)
    valid[3:5, 3:5] = False
    labels, _ = label(building, building, InstanceOptions(block_px=4, fill_holes_px=50), valid)
    np.testing.assert_array_equal(labels > 0, valid)


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
        ("min_part_px", -2),
        ("min_part_share", 1.01),
        ("growth_px", -1),
        ("min_area_px", -7),
        ("fill_holes_px", -3),
        ("block_px", 0),
    ],
)
def test_options_refuse_nonsense_and_name_the_number(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*{value}"):
        replace(InstanceOptions(), **{name: value})


@pytest.mark.parametrize("name", sorted(SETS))
def test_perfect_evidence_of_any_objects_gives_them_back(name: str) -> None:
    truth = draw_objects(replace(SETS[name], count=min(SETS[name].count // 5, 10), long_px=(10, 250)), (420, 420), seed=5)
    found = []
    for block_px in (2048, 200, 77):
        options = InstanceOptions(seed_threshold=0.7, min_score=0.7, growth_px=10, block_px=block_px)
        found.append(label_arrays(*draw_evidence(truth), options)[0])
        np.testing.assert_array_equal(found[0], found[-1])
    scores = panoptic_quality(found[0], truth)
    assert scores.matched == scores.found == truth.max() >= 3
    assert scores.pq == pytest.approx(1, abs=0.005)


@pytest.fixture(scope="module", params=[0.3, None], ids=["run grid", "native"])
def kampala(shared_data: Path, request: pytest.FixtureRequest) -> list[LabelledTown]:
    return read_towns(shared_data, "kampala", request.param)


def test_the_buildings_of_kampala_come_out_as_one_instance_each(kampala: list[LabelledTown]) -> None:
    one, fair = 0, 0
    for town in kampala:
        options = run_options(town.pixel_m, block_px=190)
        labels, _ = label_arrays(town.building, town.boundary, options)
        large = np.array([int(mask.sum()) >= options.min_area_px for mask in town.masks])
        one += int((comes_out_as_one(labels, town.masks) & large).sum())
        fair += int(large.sum())
    assert fair > 190, "of 206 labelled ones, the others are below 6 m2"
    assert one >= 0.95 * fair


def test_without_boundaries_touching_buildings_are_not_one_each(kampala: list[LabelledTown]) -> None:
    for town in kampala:
        options = run_options(town.pixel_m)
        seen, blind = (label_arrays(town.building, edges, options)[0] for edges in (town.boundary, np.zeros_like(town.boundary)))
        assert comes_out_as_one(blind, town.masks).sum() < comes_out_as_one(seen, town.masks).sum()

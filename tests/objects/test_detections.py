"""Masks of overlapping tiles become the objects that were there, whatever the tiles and their order."""

import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from geoseg.errors import ConfigError, ModelError
from geoseg.objects.detections import DetectionOptions, Detections, DetectionStore, DetectionTable, merge_detections
from geoseg.objects.rasters import MemoryLabels
from tests.objects.detector import RULES, SETS, Found, Labels, Noise, draw_objects, panoptic_quality, see, see_badly, tile_windows

SMALL_SETS = {
    "small": replace(SETS["small"], count=60),
    "mixed": replace(SETS["mixed"], count=20),
    "large": replace(SETS["large"], count=4, long_px=(200, 300)),
    "long": replace(SETS["long"], count=10, long_px=(300, 700)),
}
SHAPE = (768, 768)


def merge(found: Found, shape: tuple[int, int], options: DetectionOptions | None = None) -> tuple[Labels, DetectionTable]:
    store = DetectionStore()
    for window, detections in found:
        store.add(window, detections)
    labels = MemoryLabels(np.full(shape, 99, np.uint32))
    table = merge_detections(store.windows, store.read, labels, shape, options or DetectionOptions())
    return labels.array, table


def seen(*masks: NDArray[np.bool_], scores: tuple[float, ...] | None = None, classes: tuple[int, ...] | None = None) -> Detections:
    count = len(masks)
    return Detections(scores=np.array(scores or (0.9,) * count), masks=np.stack(masks), classes=np.array(classes or (1,) * count))


def cover(rows: slice, cols: slice, shape: tuple[int, int] = (40, 40)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[rows, cols] = True
    return mask


def by_first_pixel(labels: Labels) -> Labels:
    found, first = np.unique(labels, return_index=True)
    numbers = np.zeros(int(labels.max()) + 1, np.uint32)
    order = found[np.argsort(first)]
    order = order[order > 0]
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[labels]


@pytest.fixture(scope="module", params=sorted(SMALL_SETS))
def truth(request: pytest.FixtureRequest) -> Labels:
    return draw_objects(SMALL_SETS[request.param], SHAPE, seed=3)


@pytest.mark.parametrize(("tile_px", "overlap_px", "block_px"), [(512, 128, 2048), (256, 64, 300), (200, 40, 111)])
def test_perfect_masks_of_tiles_give_back_the_objects_pixel_by_pixel(truth: Labels, tile_px: int, overlap_px: int, block_px: int) -> None:
    found = [(w, see(truth, w)) for w in tile_windows(SHAPE, tile_px, overlap_px)]
    labels, table = merge(found, SHAPE, DetectionOptions(block_px=block_px))
    np.testing.assert_array_equal(labels, by_first_pixel(truth))
    np.testing.assert_array_equal(table.area_px, np.bincount(labels.ravel())[1:])
    assert panoptic_quality(labels, truth).pq == pytest.approx(1)


def test_with_noise_geoseg_leads_the_rules_of_others_in_every_set(truth: Labels) -> None:
    rng = np.random.default_rng(4)
    found = [(w, see_badly(truth, w, Noise(), rng)) for w in tile_windows(SHAPE, 256, 64)]
    ours = panoptic_quality(merge(found, SHAPE)[0], truth).pq
    others = {name: panoptic_quality(rule(found, SHAPE), truth).pq for name, rule in RULES.items()}
    assert ours > max(others.values()), f"{ours:.3f} against {others}"


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(5, 60),
    width=st.integers(5, 60),
    tile_px=st.integers(6, 30),
    overlap_px=st.integers(2, 5),
    block_px=st.integers(3, 70),
)
def test_any_objects_come_back_from_any_tiles_in_any_order(
    seed: int, height: int, width: int, tile_px: int, overlap_px: int, block_px: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = ndimage.label(ndimage.gaussian_filter(rng.random((height, width)), 1.0) > 0.5)[0].astype(np.uint32)
    found = [(w, see(truth, w)) for w in tile_windows(truth.shape, tile_px, overlap_px)]
    order = rng.permutation(len(found))
    labels, table = merge([found[i] for i in order], truth.shape, DetectionOptions(block_px=block_px))
    np.testing.assert_array_equal(labels, by_first_pixel(truth))
    assert len(table) == truth.max()
    assert (table.score == 1).all()


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_noisy_masks_give_the_same_whatever_the_order_of_tiles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = ndimage.label(ndimage.gaussian_filter(rng.random((50, 50)), 2.0) > 0.5)[0].astype(np.uint32)
    found = [(w, see_badly(truth, w, Noise(), rng)) for w in tile_windows(truth.shape, 24, 8)]
    labels, table = merge(found, truth.shape)
    again, other = merge([found[i] for i in rng.permutation(len(found))], truth.shape)
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_array_equal(table.score, other.score)


LEFT, RIGHT = Window(0, 0, 40, 40), Window(30, 0, 40, 40)


def test_objects_that_touch_in_different_tiles_stay_two() -> None:
    found = [(LEFT, seen(cover(np.s_[5:20], np.s_[10:35]))), (RIGHT, seen(cover(np.s_[5:20], np.s_[5:30])))]
    labels, table = merge(found, (40, 70))
    assert (labels[10, 10:35] == 1).all()
    assert (labels[10, 35:60] == 2).all()
    assert table.masks.tolist() == [1, 1]


def test_a_mask_whose_other_half_was_not_seen_stays_as_it_is() -> None:
    half = cover(np.s_[5:20], np.s_[10:40])
    labels, table = merge([(LEFT, seen(half)), (RIGHT, seen(cover(np.s_[30:35], np.s_[20:25])))], (40, 70))
    np.testing.assert_array_equal(labels[:, :40] == 1, half)
    assert table.area_px.tolist() == [450, 25]


def test_masks_of_other_classes_are_never_joined_and_the_higher_score_has_the_pixels() -> None:
    one, other = cover(np.s_[5:20], np.s_[10:40]), cover(np.s_[5:20], np.s_[0:25])
    found = [(LEFT, seen(one, scores=(0.8,), classes=(1,))), (RIGHT, seen(other, scores=(0.7,), classes=(2,)))]
    labels, table = merge(found, (40, 70))
    assert table.classes.tolist() == [1, 2]
    assert table.area_px.tolist() == [15 * 30, 15 * 15]
    assert (labels[10, 30:40] == 1).all()
    _, table = merge([found[0], (RIGHT, seen(other, scores=(0.9,), classes=(2,)))], (40, 70))
    assert table.area_px.tolist() == [15 * 20, 15 * 25]


def test_the_score_is_the_mean_weighted_by_pixels() -> None:
    one, other = cover(np.s_[5:20], np.s_[10:40]), cover(np.s_[5:20], np.s_[0:10])
    _, table = merge([(LEFT, seen(one, scores=(1.0,))), (RIGHT, seen(other, scores=(0.6,)))], (40, 70))
    assert table.score.tolist() == [pytest.approx((450 * 1.0 + 150 * 0.6) / 600)]
    assert table.masks.tolist() == [2]


def test_duplicates_in_one_tile_are_one_and_the_better_mask_stays() -> None:
    better, worse = cover(np.s_[5:20], np.s_[5:20]), cover(np.s_[6:21], np.s_[5:20])
    labels, table = merge([(LEFT, seen(worse, better, scores=(0.6, 0.9)))], (40, 40))
    np.testing.assert_array_equal(labels == 1, better)
    assert len(table) == 1


def test_pieces_of_what_the_other_tile_saw_whole_are_joined_by_it() -> None:
    upper, lower = cover(np.s_[2:9], np.s_[20:40]), cover(np.s_[10:20], np.s_[20:40])
    whole = cover(np.s_[2:20], np.s_[0:15])
    labels, table = merge([(LEFT, seen(upper, lower)), (RIGHT, seen(whole))], (40, 70))
    assert len(table) == 1
    assert table.masks.tolist() == [3]
    assert labels[9, 20:30].sum() == 0, "nothing is drawn that no mask covers"


def test_a_sliver_at_the_end_of_a_tile_joins_the_mask_that_holds_most_of_it() -> None:
    sliver = cover(np.s_[5:20], np.s_[37:40])
    whole, neighbor = cover(np.s_[6:21], np.s_[8:25]), cover(np.s_[0:6], np.s_[5:25])
    _, table = merge([(LEFT, seen(sliver)), (RIGHT, seen(whole, neighbor))], (40, 70))
    assert sorted(table.masks.tolist()) == [1, 2]
    assert len(table) == 2


@pytest.mark.parametrize("tile_px", [48, 64])
def test_a_thin_wall_that_winds_through_many_tiles_is_one(tile_px: int) -> None:
    truth = np.zeros((200, 300), np.uint32)
    rows = (90 + 60 * np.sin(np.arange(300) / 25)).astype(int)
    for col, (row, before) in enumerate(zip(rows, [rows[0], *rows], strict=False)):
        truth[min(row, before) : max(row, before) + 1, col] = 1
    found = [(w, see(truth, w)) for w in tile_windows(truth.shape, tile_px, 8)]
    labels, table = merge(found, truth.shape)
    np.testing.assert_array_equal(labels, truth)
    assert table.masks[0] > 8


def test_what_is_mostly_hidden_is_dropped() -> None:
    front, behind = cover(np.s_[5:20], np.s_[5:20]), cover(np.s_[5:25], np.s_[5:18])
    found = [(LEFT, seen(front, behind, scores=(0.9, 0.6)))]
    options = DetectionOptions(duplicate_iou=1)
    _, table = merge(found, (40, 40), options)
    assert table.area_px.tolist() == [225]
    _, table = merge(found, (40, 40), replace(options, min_visible=0.2))
    assert table.area_px.tolist() == [225, 5 * 13]


def test_unlikely_and_tiny_detections_are_dropped() -> None:
    masks = cover(np.s_[5:10], np.s_[5:10]), cover(np.s_[20:22], np.s_[5:7]), cover(np.s_[30:35], np.s_[5:10])
    labels, table = merge([(LEFT, seen(*masks, scores=(0.9, 0.9, 0.3)))], (40, 40), DetectionOptions(min_area_px=5))
    assert table.area_px.tolist() == [25]
    assert labels.sum() == 25


@pytest.mark.parametrize("block_px", [3, 7, 2048])
def test_of_an_object_in_several_parts_the_largest_stays_whatever_the_blocks(block_px: int) -> None:
    """A speck beside the raster's upper left corner, and two halves of equal size that touch in a corner only."""
    house, speck = cover(np.s_[8:20], np.s_[10:30]), cover(np.s_[1:2], np.s_[2:3])
    halves = cover(np.s_[25:30], np.s_[5:12]) | cover(np.s_[30:35], np.s_[12:19])
    options = DetectionOptions(block_px=block_px)
    labels, table = merge([(LEFT, seen(house | speck, halves))], (40, 40), options)
    np.testing.assert_array_equal(labels, house + 2 * cover(np.s_[25:30], np.s_[5:12]))
    assert table.area_px.tolist() == [240, 35]
    _, table = merge([(LEFT, seen(house | speck, halves))], (40, 40), replace(options, min_area_px=36))
    assert table.area_px.tolist() == [240], "two parts of 35 pixels are no object of 36"


@pytest.mark.parametrize("block_px", [9, 2048])
def test_what_is_dropped_takes_nothing_from_others(block_px: int) -> None:
    """A house with a speck on it, and a third object below a second one that is dropped itself."""
    options = DetectionOptions(duplicate_iou=1, match_iou=1, match_share=1, min_area_px=5, block_px=block_px)
    house, speck = cover(np.s_[5:20], np.s_[5:20]), cover(np.s_[10:12], np.s_[10:12])
    labels, table = merge([(LEFT, seen(house, speck, scores=(0.6, 0.9)))], (40, 40), options)
    np.testing.assert_array_equal(labels > 0, house)
    assert (table.area_px.tolist(), table.score.tolist()) == ([225], [0.6])
    # the second lies mostly below the first, and hides most of the third
    first, second, third = (cover(np.s_[5:15], np.s_[left:right]) for left, right in ((0, 20), (7, 31), (20, 40)))
    found = [(LEFT, seen(first, second, third, scores=(0.9, 0.8, 0.7)))]
    labels, table = merge(found, (40, 40), options)
    assert (table.area_px.tolist(), table.score.tolist()) == ([200, 200], [0.9, 0.7])
    np.testing.assert_array_equal(labels, first + 2 * third)


def test_mask_pixels_outside_their_box_and_outside_the_raster_do_not_count() -> None:
    leaking = replace(seen(np.ones((40, 40), bool)), boxes=np.array([[9.6, 4, 20.2, 50]]))
    labels, table = merge([(Window(0, 10, 40, 40), leaking)], (30, 25))
    expected = np.zeros((30, 25), np.uint32)
    expected[14:30, 9:21] = 1
    np.testing.assert_array_equal(labels, expected)
    assert table.area_px.tolist() == [16 * 12]


def test_a_tile_that_starts_before_the_raster_is_cut() -> None:
    labels, _ = merge([(Window(-10, -5, 40, 40), seen(cover(np.s_[0:15], np.s_[0:15])))], (30, 30))
    np.testing.assert_array_equal(labels > 0, cover(np.s_[0:10], np.s_[0:5], (30, 30)))


def test_nothing_seen_gives_nothing() -> None:
    empty = Detections(scores=np.zeros(0), masks=np.zeros((0, 40, 40), bool), classes=np.zeros(0, int))
    for found in ([], [(LEFT, empty), (RIGHT, empty)]):
        labels, table = merge(found, (40, 70))
        assert not labels.any()
        assert len(table) == len(table.score) == 0


def peak_bytes(rows: int) -> int:
    """Return the most memory that merging takes for a raster of 256 columns and many rows of tiles."""
    shape, mask = (48 * rows + 16, 256), cover(np.s_[2:60], np.s_[2:60], (64, 64))
    labels = MemoryLabels(np.zeros(shape, np.uint32))
    tracemalloc.start()
    merge_detections(tile_windows(shape, 64, 16), lambda _: seen(mask), labels, shape, DetectionOptions(block_px=64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_tile_rows() -> None:
    peak_bytes(3)
    assert peak_bytes(40) < 1.5 * peak_bytes(10)


def test_masks_of_another_size_than_their_tile_are_refused_with_both_sizes() -> None:
    with pytest.raises(ModelError, match=re.escape("row 7, column 30 need 40 x 50 pixels; got 28 x 28")):
        merge([(Window(30, 7, 50, 40), seen(np.ones((28, 28), bool)))], (100, 100))


def test_a_reader_that_answers_otherwise_the_second_time_is_refused() -> None:
    answers = [seen(cover(np.s_[5:20], np.s_[5:20])), seen(cover(np.s_[5:9], np.s_[5:9]), cover(np.s_[20:25], np.s_[20:25]))]
    for first, second in (answers, answers[::-1]):
        left = [second, first]
        with pytest.raises(ModelError, match=f"read again: {len(second.masks)} masks, {len(first.masks)} before"):
            merge_detections(
                [LEFT], lambda _, left=left: left.pop(), MemoryLabels(np.zeros((40, 40), np.uint32)), (40, 40), DetectionOptions()
            )


def test_two_tiles_in_one_place_are_refused() -> None:
    found = seen(cover(np.s_[5:20], np.s_[5:20]))
    with pytest.raises(ConfigError, match=r"same window.*width=40"):
        merge([(LEFT, found)] * 2, (40, 40))
    with pytest.raises(ConfigError, match=r"same window.*width=40"):
        merge_detections([LEFT, LEFT], lambda _: found, MemoryLabels(np.zeros((40, 40), np.uint32)), (40, 40), DetectionOptions())


MASKS = np.zeros((2, 4, 5), bool)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"masks": MASKS.astype(np.float32)}, r"bool of shape \(n, H, W\); got float32 of shape \(2, 4, 5\).*> 0.5"),
        ({"masks": MASKS[:, None]}, r"got bool of shape \(2, 1, 4, 5\)"),
        ({"scores": np.array([0.5])}, r"2 masks need as many.*\(1,\)"),
        ({"classes": np.array([1, 2, 3])}, r"2 masks need as many.*\(3,\)"),
        ({"scores": np.array([0.5, 1.2])}, r"lie in 0..1; got 1.2"),
        ({"scores": np.array([0.5, np.nan])}, r"lie in 0..1; got nan"),
        ({"boxes": np.zeros((3, 4))}, r"boxes of shape \(2, 4\); got \(3, 4\)"),
        ({"boxes": np.array([[0, 0, 2, 2], [3, 0, 1, 2.0]])}, r"left, top, right, bottom in pixels; got \[3.0, 0.0, 1.0, 2.0\]"),
    ],
)
def test_detections_that_do_not_fit_are_refused_with_what_came(wrong: dict[str, NDArray[np.generic]], message: str) -> None:
    fitting = {"scores": np.array([0.5, 0.6]), "masks": MASKS, "classes": np.array([1, 1])}
    with pytest.raises(ModelError, match=message):
        Detections(**{**fitting, **wrong})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_score", -0.1),
        ("match_iou", 0.0),
        ("match_share", 1.5),
        ("duplicate_iou", 0.0),
        ("min_visible", 2.0),
        ("min_area_px", -1),
        ("block_px", 0),
    ],
)
def test_options_refuse_nonsense_and_name_the_number(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*{value}"):
        replace(DetectionOptions(), **{name: value})

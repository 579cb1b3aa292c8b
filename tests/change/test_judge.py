"""Which differences are changes: laws on drawn class maps, against an oracle that follows the definition pixel by pixel."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.change.classes import code_transitions
from geoseg.change.judge import judge_differences, reach_of, spread
from geoseg.pixels.classes import NODATA_CLASS

LAND, WATER, BUILDING = 0, 1, 2
CLASSES = arrays.arrays(np.uint8, (14, 17), elements=st.sampled_from([LAND, WATER, BUILDING, NODATA_CLASS]))


def draw(*boxes: tuple[int, int, int, int], value: int = BUILDING, size: int = 40) -> NDArray[np.uint8]:
    """Land with boxes: top, left, bottom, right."""
    classes = np.full((size, size), LAND, np.uint8)
    for top, left, bottom, right in boxes:
        classes[top:bottom, left:right] = value
    return classes


def changed(before: NDArray[np.uint8], after: NDArray[np.uint8], tolerance_px: float) -> NDArray[np.bool_]:
    codes = judge_differences(before, after, reach_of(tolerance_px, (1.0, 1.0)))
    return (codes // 16 != codes % 16) & (codes != NODATA_CLASS)


@given(bits=arrays.arrays(np.uint16, (9, 12), elements=st.integers(0, 7)), tolerance=st.floats(0, 4))
def test_spread_bits_are_those_within_the_tolerance(bits: NDArray[np.uint16], tolerance: float) -> None:
    pixel_m = (1.0, 1.3)
    got = spread(bits, reach_of(tolerance, pixel_m))
    down, right = np.mgrid[-4:5, -4:5]
    disk = np.hypot(right * pixel_m[0], down * pixel_m[1]) <= tolerance + 1e-6
    for bit in (1, 2, 4):
        near = ndimage.binary_dilation(bits & bit > 0, structure=disk, border_value=1)
        np.testing.assert_array_equal(got & bit > 0, near)


@given(before=CLASSES, after=CLASSES, tolerance=st.floats(0, 3))
def test_there_is_never_a_change_where_either_date_has_no_data(
    before: NDArray[np.uint8], after: NDArray[np.uint8], tolerance: float
) -> None:
    codes = judge_differences(before, after, reach_of(tolerance, (1.0, 1.0)))
    unknown = (before == NODATA_CLASS) | (after == NODATA_CLASS)
    np.testing.assert_array_equal(codes == NODATA_CLASS, unknown)
    # the class before is always the true one, that after is true where something changed
    np.testing.assert_array_equal((codes // 16)[~unknown], before[~unknown])
    is_change = (codes // 16 != codes % 16) & ~unknown
    np.testing.assert_array_equal((codes % 16)[is_change], after[is_change])


@given(before=CLASSES, after=CLASSES)
def test_without_a_tolerance_every_difference_is_a_change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(judge_differences(before, after, reach_of(0, (1.0, 1.0))), code_transitions(before, after))


def test_a_town_that_moved_by_less_than_the_tolerance_did_not_change() -> None:
    boxes = [(5, 5, 15, 12), (20, 8, 30, 30), (8, 20, 10, 22)]
    before = draw(*boxes)
    after = draw(*((top + 1, left + 1, bottom + 1, right + 1) for top, left, bottom, right in boxes))
    assert (before != after).sum() > 50
    assert not changed(before, after, 2.0).any()
    assert changed(before, after, 1.0).any()


def test_what_is_new_or_gone_keeps_all_its_pixels() -> None:
    box = draw((10, 10, 20, 25))
    for before, after in ((draw(), box), (box, draw())):
        np.testing.assert_array_equal(changed(before, after, 3.0), box == BUILDING)


def test_a_strip_counts_as_soon_as_it_is_wider_than_the_tolerance() -> None:
    before = draw((10, 10, 20, 20))
    for width in range(1, 8):
        after = draw((10, 10, 20, 20 + width))
        strip = changed(before, after, 3.0)
        assert strip.sum() == (0 if width <= 3 else 10 * width), width
        assert not strip[before == after].any()


def test_a_gap_in_the_data_hides_what_could_lie_in_it() -> None:
    before, after = draw((10, 10, 20, 20)), draw((10, 10, 20, 22))
    before[:, 22:26] = NODATA_CLASS
    assert not changed(before, after, 2.0).any()

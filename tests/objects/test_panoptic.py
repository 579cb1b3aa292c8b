"""Surfaces and things in one answer: things win, every pixel is counted once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from geoseg.objects.panoptic import Segments, SegmentTally, merge_panoptic
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.tiling import partition

THING, OTHER = 4, 6
THINGS = np.array([NODATA_CLASS, THING, OTHER, THING])
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def maps(draw: st.DrawFn) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint8]]:
    shape = draw(SHAPES)
    classes = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 2, THING, OTHER, NODATA_CLASS])))
    labels = draw(arrays(np.uint32, shape, elements=st.integers(0, 3)))
    labels[classes == NODATA_CLASS] = 0
    return classes, labels, draw(arrays(np.uint8, shape, elements=st.integers(0, 100)))


def tally(classes: NDArray[np.uint8], labels: NDArray[np.uint32], confidence: NDArray[np.uint8], block_px: int) -> Segments:
    areas = np.arange(1, len(classes) + 1) * 0.25
    found = SegmentTally(THINGS)
    for window in partition(classes.shape, block_px):
        rows, cols = window.toslices()
        found.add(merge_panoptic(classes[rows, cols], labels[rows, cols], THINGS), confidence[rows, cols], areas[rows])
    return found.finish()


@given(maps())
def test_things_win_and_the_rest_keeps_its_class(drawn: tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint8]]) -> None:
    classes, labels, _ = drawn
    merged = merge_panoptic(classes, labels, THINGS)
    assert (merged[1] == labels).all()
    assert (merged[0][labels == 2] == OTHER).all()
    assert (merged[0][(labels > 0) & (labels != 2)] == THING).all()
    assert (merged[0][labels == 0] == classes[labels == 0]).all()


@given(maps(), st.integers(1, 9))
def test_the_table_equals_counting_each_segment_for_any_blocks(
    drawn: tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint8]], block_px: int
) -> None:
    classes, labels, confidence = drawn
    table = tally(classes, labels, confidence, block_px)
    area = np.broadcast_to(np.arange(1, len(classes) + 1)[:, None] * 0.25, classes.shape)
    expected = [(value, 0, (labels == 0) & (classes == value)) for value in np.unique(classes[labels == 0]) if value != NODATA_CLASS]
    expected += [(THINGS[number], number, labels == number) for number in np.unique(labels[labels > 0])]
    assert [(v, i) for v, i, _ in expected] == list(zip(table.class_value, table.instance_id, strict=True))
    for row, (_, _, inside) in enumerate(expected):
        assert table.pixels[row] == inside.sum()
        assert table.area_m2[row] == pytest.approx(area[inside].sum())
        assert table.score[row] == pytest.approx(confidence[inside].mean() / 100)
    assert table.pixels.sum() == (classes != NODATA_CLASS).sum()

"""A halved class map holds the most frequent value of each block."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geoseg.pixels.mode import halve_by_mode


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    classes=st.integers(1, 5),
    nodata=st.sampled_from([None, 0, 3]),
    seed=st.integers(0, 999),
)
def test_each_pixel_is_the_most_frequent_value_of_its_block(height: int, width: int, classes: int, nodata: int | None, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, classes, (height, width), np.uint8)
    halved = halve_by_mode(values, nodata)
    assert halved.dtype == np.uint8
    assert halved.shape == (-(-height // 2), -(-width // 2))
    for i, j in np.ndindex(halved.shape):
        block = values[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel().tolist()
        # Counter keeps the order in which values came, so that the first of equally many wins
        counts = Counter(value for value in block if value != nodata)
        assert halved[i, j] == (counts.most_common(1)[0][0] if counts else nodata)


def test_nodata_neither_wins_nor_grows() -> None:
    values = np.array([[255, 255, 255, 255], [255, 7, 255, 255]], np.uint8)
    assert halve_by_mode(values, 255).tolist() == [[7, 255]]
    assert halve_by_mode(values, None).tolist() == [[255, 255]]

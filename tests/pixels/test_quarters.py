"""Quarters of a tile: together they are its kept part, each with its halo, and smaller than the tile."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from geoseg.pixels.quarters import quarter_tile


@st.composite
def kept(draw: st.DrawFn, size: int) -> slice:
    begin = draw(st.integers(0, size - 1))
    return slice(begin, draw(st.integers(begin + 1, size)))


@given(data=st.data(), stride=st.sampled_from([1, 4, 16]), halo=st.integers(0, 40))
def test_quarters_make_up_the_kept_part_and_see_their_halo(data: st.DataObject, stride: int, halo: int) -> None:
    shape = (stride * data.draw(st.integers(1, 12)), stride * data.draw(st.integers(1, 12)))
    keep = (data.draw(kept(shape[0])), data.draw(kept(shape[1])))
    parts = quarter_tile(shape, keep, halo, stride)
    assume(parts is not None)
    assert parts is not None
    tile = np.arange(shape[0] * shape[1]).reshape(shape)
    whole, times = np.zeros(parts[0].whole, int), np.zeros(parts[0].whole, int)
    for part in parts:
        seen = tile[part.window]
        assert seen.size < tile.size
        whole[part.place] = seen[part.keep]
        times[part.place] += 1
        for window, inner, size in zip(part.window, part.keep, shape, strict=True):
            assert window.start % stride == 0
            assert inner.start >= min(halo, window.start + inner.start)
            assert window.stop == size or window.stop - (window.start + inner.stop) >= halo
    assert (times == 1).all()
    np.testing.assert_array_equal(whole, tile[keep])


def test_a_tile_that_is_all_halo_cannot_be_quartered() -> None:
    assert quarter_tile((64, 64), (slice(24, 40), slice(24, 40)), 24, 16) is None


def test_a_tile_without_halo_falls_in_four_equal_parts() -> None:
    parts = quarter_tile((64, 96), (slice(0, 64), slice(0, 96)), 0, 16)
    assert parts is not None
    assert [(p.window[0].start, p.window[1].start) for p in parts] == [(0, 0), (0, 48), (32, 0), (32, 48)]
    assert {(p.keep[0].stop, p.keep[1].stop) for p in parts} == {(32, 48)}

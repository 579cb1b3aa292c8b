"""Lines through pixels: every metre lies in exactly one pixel, whatever the windows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.impact.walk import walk_pixels
from geoseg.tiling import partition

COORDINATE = st.one_of(st.integers(-3, 14).map(float), st.floats(-3, 14, allow_nan=False, width=32))


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (5, 2, 2), elements=COORDINATE), st.integers(2, 12))
def test_windows_share_segments_out_and_each_part_lies_in_its_pixel(ends: np.ndarray, block_px: int) -> None:
    shape = (9, 11)
    found = [walk_pixels(ends, window) for window in partition(shape, block_px)]
    segment, t, pixel = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # a third of the way along a part is as much in its pixel as the middle is
    at = ends[segment, 0] + (t[:, :1] * 2 + t[:, 1:]) / 3 * (ends[segment, 1] - ends[segment, 0])
    assert (np.abs(at[:, ::-1] - pixel - 0.5) <= 0.5 + 1e-6).all()
    assert (pixel >= 0).all()
    assert (pixel < shape).all()
    samples = (np.arange(2000) + 0.5) / 2000
    for number in range(len(ends)):
        if (ends[number, 0] == ends[number, 1]).all():
            continue
        mine = np.sort(t[segment == number], axis=0)
        assert (mine[1:, 0] >= mine[:-1, 1] - 1e-9).all(), "no part is in two pixels"
        points = ends[number, 0] + samples[:, None] * (ends[number, 1] - ends[number, 0])
        inside = ((points >= 0) & (points < (shape[1], shape[0]))).all(axis=1).mean()
        assert abs(np.diff(mine, axis=1).sum() - inside) < 3e-3

"""Smooth lines: within the tolerance, ends fixed, nothing crosses."""

from itertools import combinations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.objects.network.smooth import smooth_tracks
from geoseg.objects.network.tracks import Tracks


def make_tracks(lines: list[NDArray[np.float64]]) -> Tracks:
    """Lines each with nodes of their own."""
    ends = np.arange(2 * len(lines)).reshape(-1, 2)
    return Tracks(
        node_xy=np.concatenate([line[[0, -1]] for line in lines]),
        from_node=ends[:, 0],
        to_node=ends[:, 1],
        xy=np.concatenate(lines),
        starts=np.concatenate([[0], np.cumsum([len(line) for line in lines])]),
        width_m=np.ones(len(lines)),
        score=np.ones(len(lines)),
        bridged_m=np.zeros(len(lines)),
    )


def walk(seed: int, steps: int) -> NDArray[np.float64]:
    """A path of pixels that mostly goes east."""
    rng = np.random.default_rng(seed)
    return np.concatenate([[[0, 0]], np.cumsum(np.column_stack([np.ones(steps), rng.integers(-1, 2, steps)]), axis=0)]).astype(float)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 80),
    smooth_m=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    simplify_m=st.sampled_from([0.0, 0.7]),
)
def test_a_line_stays_within_the_tolerance_of_its_pixels_and_keeps_its_ends(
    seed: int, steps: int, smooth_m: float, simplify_m: float
) -> None:
    raw = walk(seed, steps)
    smooth = smooth_tracks(make_tracks([raw]), smooth_m, simplify_m, 1.5)
    (line,) = smooth.lines
    distance = shapely.hausdorff_distance(shapely.LineString(raw), line, densify=0.05)
    assert distance <= smooth_m + simplify_m + 0.05
    np.testing.assert_array_equal(smooth.xy[[0, -1]], raw[[0, -1]])
    assert line.length <= shapely.LineString(raw).length + 1e-9


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.45, 0.7, 1.0])
def test_stairs_of_a_straight_road_become_straight(slope: float) -> None:
    x = np.arange(200.0)
    raw = np.column_stack([x, np.round(slope * x)])
    line = smooth_tracks(make_tracks([raw]), 1.0, 0.5, np.sqrt(2)).lines[0]
    assert line.length == pytest.approx(199 * np.hypot(1, slope), rel=0.005)
    assert len(line.coords) <= 6


def test_lines_that_would_cross_keep_their_pixels() -> None:
    bay = np.array([(0, 0), (0, 6), (10, 6), (10, 0)], float)
    inside = np.array([(1, 5), (9, 5), (9, 0)], float)
    smooth = smooth_tracks(make_tracks([bay, inside]), 6.0, 3.0, 1.0)
    assert not any(shapely.crosses(a, b) for a, b in combinations(smooth.lines, 2))


def test_no_lines_are_smoothed_to_no_lines() -> None:
    nothing = make_tracks([walk(0, 3)]).take(np.zeros(0, np.int64))
    assert len(smooth_tracks(nothing, 1.0, 0.5, 1.0).xy) == 0

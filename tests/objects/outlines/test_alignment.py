"""Alignment: the lines found cost no more than any others, and fit exactly what is straight."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.objects.outlines.alignment import Directions, Lines, Prices, Samples, align, sample


def sampled(points: NDArray[np.float64], closed: bool = False, step_m: float = 100.0) -> Samples:
    return sample(points, np.array([0, len(points)], np.int64), np.array([closed]), step_m, 1000)


def cut(samples: Samples, angles: list[float], price: float, tolerance_m: float = 1e9, penalty: float = 0.0) -> Lines:
    penalties = np.array([0.0, *[penalty] * (len(angles) - 1)])
    directions = Directions(np.array(angles), penalties, np.array([0, len(angles)], np.int64))
    return align(samples, directions, Prices(line=price, tolerance_m=tolerance_m))


def squared_distance(points: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """Integrate by brute force along fine pieces of each edge."""
    at = (np.arange(400) + 0.5) / 400
    along = points[:-1, None] + (points[1:, None] - points[:-1, None]) * at[None, :, None]
    weight = np.repeat(np.linalg.norm(np.diff(points, axis=0), axis=1) / 400, 400)
    height = (along @ normal).ravel()
    return float((weight * (height - np.average(height, weights=weight)) ** 2).sum())


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), price=st.sampled_from([0.01, 0.3, 3.0]))
def test_no_other_cut_is_cheaper(seed: int, price: float) -> None:
    points = np.cumsum(np.random.default_rng(seed).normal(0, 1, (7, 2)), axis=0)
    angles = [0.3, 0.3 + np.pi / 2]
    normals = [np.array([-np.sin(a), np.cos(a)]) for a in angles]
    cost = {(i, j, d): squared_distance(points[i : j + 1], normals[d]) for i in range(7) for j in range(i + 1, 7) for d in range(2)}
    cheapest = min(
        sum(cost[i, j, (k + first) % 2] + price for k, (i, j) in enumerate(itertools.pairwise([0, *inner, 6])))
        for count in range(6)
        for inner in itertools.combinations(range(1, 6), count)
        for first in range(2)
    )
    lines = cut(sampled(points), angles, price)
    found = sum(cost[int(i), int(j), int(d)] + price for (i, j), d in zip(lines.span, lines.direction, strict=True))
    assert found == pytest.approx(cheapest, rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), tolerance_m=st.sampled_from([0.5, 1.0, 2.0]))
def test_no_sample_lies_farther_from_its_line_than_the_tolerance(seed: int, tolerance_m: float) -> None:
    points = np.cumsum(np.random.default_rng(seed).normal(0, 1, (30, 2)), axis=0)
    samples = sampled(points, step_m=0.2)
    lines = cut(samples, [0.0, np.pi / 2], 1e3, tolerance_m)
    for normal, offset, (first, last) in zip(lines.normal, lines.offset, lines.span, strict=True):
        assert np.abs(samples.xy[first : last + 1] @ normal - offset).max() <= tolerance_m + 1e-9


@pytest.mark.parametrize("begin", [0, 1, 3])
def test_a_ring_is_cut_at_its_corners_wherever_it_starts(begin: int) -> None:
    ring = np.array([(0, 0), (5, 0), (10, 0), (10, 6), (0, 6)], float)
    ring = np.roll(ring, -begin, axis=0)
    lines = cut(sampled(np.vstack([ring, ring[:1]]) + 1e5, closed=True, step_m=0.5), [0.0, np.pi / 2], 0.1)
    assert sorted(lines.length.round(6)) == [6, 6, 10, 10]
    scatter = lines.scatter[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
    assert np.einsum("li,lij,lj->l", lines.normal, scatter, lines.normal) == pytest.approx(0, abs=1e-9)


def test_lines_that_run_anywhere_follow_the_chain() -> None:
    chain = np.array([(0, 0), (8, 2), (10, 10)], float)
    lines = cut(sampled(chain, step_m=0.5), [np.nan], 0.1, 1.0)
    assert lines.length == pytest.approx([np.hypot(8, 2), np.hypot(2, 8)])
    turn = np.arctan2(-lines.normal[:, 0], lines.normal[:, 1])
    assert np.tan(turn) == pytest.approx([0.25, 4.0])


def test_a_penalty_keeps_lines_out_of_a_direction() -> None:
    chain = np.array([(0, 0), (5, 5), (10, 5)], float)
    cheap = cut(sampled(chain, step_m=0.25), [0.0, np.pi / 4], 0.5, penalty=0.0)
    dear = cut(sampled(chain, step_m=0.25), [0.0, np.pi / 4], 0.5, penalty=1e4)
    assert cheap.direction.tolist() == [1, 0]
    assert dear.direction.tolist() == [0]


def test_samples_hold_the_integrals_along_the_chain() -> None:
    chain = np.array([(3, 1), (7, 4), (7, 9), (2, 9)], float)
    samples = sampled(chain, step_m=0.7)
    steps = np.linalg.norm(np.diff(samples.xy, axis=0), axis=1)
    assert samples.integrals[1:, 0] == pytest.approx(steps)
    assert steps.max() <= 1.05
    assert {tuple(p) for p in (samples.xy + samples.origin).round(9)} >= {tuple(p) for p in chain}
    middle = (samples.xy[1:] + samples.xy[:-1]) / 2
    assert samples.integrals[1:, 1:3] == pytest.approx(middle * steps[:, None])
    assert samples.integrals[:, 3].sum() == pytest.approx(5 * 16 / 3 + 5 * 16 + (64 + 1) / 3, rel=1e-9)

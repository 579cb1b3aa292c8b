"""Chains of points to few straight lines in given directions, by dynamic programming.

The chain is cut where squared distance to the lines plus a price per line is least: the segmentation of Perez and Vidal (1994,
"Optimum polygonal approximation of digitized curves"), with directions restricted to a frame as in rectilinear simplification. The
distance is integrated along the chain, not summed over its points, so that the result does not depend on how points are spread.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.kernel import entry, kernel

ANY = -1
_TERMS = 6
_MIN_SINE = 0.34


class Samples(NamedTuple):
    """Chains sampled along their edges, with what is integrated along each step."""

    xy: NDArray[np.float64]
    """(m, 2) points, chain after chain, the ends among them; relative to ``origin``."""
    integrals: NDArray[np.float64]
    """(m, 6) length and the integrals of x, y, xx, xy, yy over the step that ends at each point; 0 at a chain's first."""
    starts: NDArray[np.int64]
    """(w + 1,) where each chain starts."""
    closed: NDArray[np.bool_]
    """(w,) whether the chain is a ring."""
    origin: NDArray[np.float64]
    """(2,) what was taken off the coordinates, which keeps their squares exact."""


class Directions(NamedTuple):
    """Directions in which the lines of each chain may run."""

    angle: NDArray[np.float64]
    """(d,) radians; NaN lets lines run anywhere."""
    penalty: NDArray[np.float64]
    """(d,) price of a line in that direction, in units of the price of a line."""
    starts: NDArray[np.int64]
    """(w + 1,) where the directions of each chain start."""


class Lines(NamedTuple):
    """Lines along chains: ``nx * x + ny * y = offset``."""

    normal: NDArray[np.float64]
    """(l, 2) unit normals."""
    offset: NDArray[np.float64]
    """(l,) relative to the samples' origin."""
    length: NDArray[np.float64]
    """(l,) metres of chain that speak for the line."""
    direction: NDArray[np.int64]
    """(l,) row in the directions."""
    span: NDArray[np.int64]
    """(l, 2) first and last sample."""
    scatter: NDArray[np.float64]
    """(l, 3) xx, xy, yy about their mean, integrated along the span."""
    starts: NDArray[np.int64]
    """(w + 1,) where the lines of each chain start."""


class Prices(NamedTuple):
    """What the cut is chosen by."""

    line: float
    """What one more line costs, m3: squared distance integrated along the chain."""
    tolerance_m: float
    """No sample lies farther from its line; not promised where lines run anywhere."""


@entry
def sample(points: NDArray[np.float64], starts: NDArray[np.int64], closed: NDArray[np.bool_], step_m: float, most: int) -> Samples:
    """Sample chains at their points and between them, about every ``step_m``, on chains longer than ``most`` steps less often."""
    chains = len(closed)
    pieces = np.ones(len(points), np.int64)
    offsets = np.zeros(chains + 1, np.int64)
    for w in range(chains):
        length = 0.0
        for k in range(starts[w] + 1, starts[w + 1]):
            length += np.hypot(points[k, 0] - points[k - 1, 0], points[k, 1] - points[k - 1, 1])
        step = max(step_m, length / most)
        for k in range(starts[w] + 1, starts[w + 1]):
            edge = np.hypot(points[k, 0] - points[k - 1, 0], points[k, 1] - points[k - 1, 1])
            pieces[k] = max(round(edge / step), 1)
        offsets[w + 1] = offsets[w] + pieces[starts[w] : starts[w + 1]].sum()
    origin = points[0].copy()
    xy = np.empty((offsets[-1], 2), np.float64)
    integrals = np.zeros((offsets[-1], _TERMS), np.float64)
    n = 0
    for w in range(chains):
        xy[n] = points[starts[w]] - origin
        n += 1
        for k in range(starts[w] + 1, starts[w + 1]):
            a, b = points[k - 1] - origin, points[k] - origin
            for m in range(1, pieces[k] + 1):
                # the last piece ends at the point itself, without rounding
                xy[n] = b if m == pieces[k] else a + (b - a) * (m / pieces[k])
                _integrate(integrals[n], xy[n - 1], xy[n])
                n += 1
    return Samples(xy, integrals, offsets, closed, origin)


@kernel
def _integrate(sums: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    """Write the integrals along one straight piece."""
    mx, my, dx, dy = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, b[0] - a[0], b[1] - a[1]
    length = np.hypot(dx, dy)
    sums[0] = length
    sums[1] = length * mx
    sums[2] = length * my
    sums[3] = length * (mx * mx + dx * dx / 12)
    sums[4] = length * (mx * my + dx * dy / 12)
    sums[5] = length * (my * my + dy * dy / 12)


@entry
def align(samples: Samples, directions: Directions, prices: Prices) -> Lines:
    """Cut each chain into lines.

    Args:
        samples: Chains.
        directions: Where lines may run.
        prices: What the cut is chosen by.

    Returns:
        Lines, chain after chain; two that follow one another meet at an angle of at least 20 degrees, save where a ring closes.
    """
    chains = len(samples.closed)
    size = samples.starts[-1]
    cuts, chosen = np.empty(size, np.int64), np.empty(size, np.int64)
    counts = np.zeros(chains + 1, np.int64)
    begin = np.zeros(chains, np.int64)
    for w in range(chains):
        first, last = samples.starts[w], samples.starts[w + 1]
        xy, integrals = samples.xy[first:last], samples.integrals[first:last]
        options = slice(directions.starts[w], directions.starts[w + 1])
        angle, penalty = directions.angle[options], directions.penalty[options]
        if samples.closed[w]:
            begin[w] = _farthest(xy)
            found, _, _ = _cut(xy, integrals, begin[w], (angle, penalty), prices)
            # begun at a corner for certain, the second pass has no false cut
            begin[w] = (begin[w] + found[len(found) // 2]) % (len(xy) - 1)
        found, which, n = _cut(xy, integrals, begin[w], (angle, penalty), prices)
        cuts[first : first + n] = found
        chosen[first : first + n] = which
        counts[w + 1] = n
    starts = np.cumsum(counts)
    return _measure(samples, directions, (cuts, chosen), starts, begin)


@kernel
def _farthest(xy: NDArray[np.float64]) -> int:
    """Return the sample farthest from the mean of all."""
    mx, my = xy[:-1, 0].mean(), xy[:-1, 1].mean()
    return int(np.argmax((xy[:-1, 0] - mx) ** 2 + (xy[:-1, 1] - my) ** 2))


@kernel
def _turned(values: NDArray[np.float64], begin: int) -> NDArray[np.float64]:
    """Return the samples of a ring, or what was integrated up to each, counted from another start."""
    n = len(values) - 1
    turned = np.empty_like(values)
    for k in range(n + 1):
        source = (begin + k) % n
        turned[k] = values[n if source == 0 else source]
    return turned


@kernel
def _sums(integrals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return integrals from the start to each sample."""
    sums = np.zeros_like(integrals)
    for k in range(1, len(integrals)):
        sums[k] = sums[k - 1] + integrals[k]
    return sums


@kernel
def _cut(
    xy: NDArray[np.float64],
    integrals: NDArray[np.float64],
    begin: int,
    options: tuple[NDArray[np.float64], NDArray[np.float64]],
    prices: Prices,
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return where the lines of one chain end, counted in samples from ``begin``, and their directions."""
    angle, penalty = options
    tolerance_m = prices.tolerance_m
    points = _turned(xy, begin) if begin > 0 else xy
    local = points - points[0]
    sums = _sums(_shifted(_turned(integrals, begin) if begin > 0 else integrals, points[0]))
    n, k = len(points) - 1, len(angle)
    normals = np.column_stack((-np.sin(angle), np.cos(angle)))
    best = np.full((n + 1, k), np.inf)
    came, via = np.zeros((n + 1, k), np.int64), np.zeros((n + 1, k), np.int64)
    ready = np.full((n + 1, k), np.inf)
    ready[0] = 0.0
    low, high = np.empty(k), np.empty(k)
    for j in range(1, n + 1):
        for d in range(k):
            low[d] = high[d] = normals[d, 0] * local[j, 0] + normals[d, 1] * local[j, 1]
        for i in range(j - 1, -1, -1):
            alive = False
            for d in range(k):
                if np.isnan(angle[d]):
                    cost, near = _free_cost(sums, i, j, tolerance_m)
                    alive = alive or near
                    near = near or j == i + 1
                else:
                    at = normals[d, 0] * local[i, 0] + normals[d, 1] * local[i, 1]
                    low[d], high[d] = min(low[d], at), max(high[d], at)
                    if high[d] - low[d] > 2 * tolerance_m:
                        continue
                    alive = True
                    cost, mean = _cost(sums, i, j, normals[d])
                    near = high[d] - mean <= tolerance_m and mean - low[d] <= tolerance_m
                total = ready[i, d] + cost + prices.line * (1 + penalty[d])
                if near and total < best[j, d]:
                    best[j, d], came[j, d] = total, i
            if not alive:
                break
        _make_ready(best[j], angle, ready[j], via[j])
    return _trace_back(best, came, via)


@kernel
def _shifted(integrals: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return integrals of coordinates relative to another origin."""
    x, y = origin
    moved = integrals.copy()
    length, ix, iy = integrals[:, 0], integrals[:, 1], integrals[:, 2]
    moved[:, 1] = ix - x * length
    moved[:, 2] = iy - y * length
    moved[:, 3] = integrals[:, 3] - 2 * x * ix + x * x * length
    moved[:, 4] = integrals[:, 4] - x * iy - y * ix + x * y * length
    moved[:, 5] = integrals[:, 5] - 2 * y * iy + y * y * length
    return moved


@kernel
def _scatter(sums: NDArray[np.float64], i: int, j: int) -> tuple[float, float, float]:
    """Return the integrals of xx, xy, yy about their mean between two samples."""
    length = sums[j, 0] - sums[i, 0]
    sx, sy = sums[j, 1] - sums[i, 1], sums[j, 2] - sums[i, 2]
    xx = sums[j, 3] - sums[i, 3] - sx * sx / length
    xy = sums[j, 4] - sums[i, 4] - sx * sy / length
    yy = sums[j, 5] - sums[i, 5] - sy * sy / length
    return xx, xy, yy


@kernel
def _cost(sums: NDArray[np.float64], i: int, j: int, normal: NDArray[np.float64]) -> tuple[float, float]:
    """Return squared distance to the best line with a given normal, integrated, and the line's offset."""
    xx, xy, yy = _scatter(sums, i, j)
    mean = (normal[0] * (sums[j, 1] - sums[i, 1]) + normal[1] * (sums[j, 2] - sums[i, 2])) / (sums[j, 0] - sums[i, 0])
    return max(normal[0] ** 2 * xx + 2 * normal[0] * normal[1] * xy + normal[1] ** 2 * yy, 0.0), mean


@kernel
def _free_cost(sums: NDArray[np.float64], i: int, j: int, tolerance_m: float) -> tuple[float, bool]:
    """Return squared distance to the best line, integrated, and whether its mean is within half the tolerance."""
    xx, xy, yy = _scatter(sums, i, j)
    cost = max((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy), 0.0)
    return cost, cost <= (sums[j, 0] - sums[i, 0]) * tolerance_m**2 / 4


@kernel
def _make_ready(best: NDArray[np.float64], angle: NDArray[np.float64], ready: NDArray[np.float64], via: NDArray[np.int64]) -> None:
    """For each direction, find the cheapest way to have come here in a direction that meets it at an angle."""
    for d in range(len(angle)):
        for e in range(len(angle)):
            meets = np.isnan(angle[d]) or np.isnan(angle[e]) or abs(np.sin(angle[d] - angle[e])) >= _MIN_SINE
            if meets and best[e] < ready[d]:
                ready[d], via[d] = best[e], e


@kernel
def _trace_back(
    best: NDArray[np.float64], came: NDArray[np.int64], via: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Follow the cheapest way back to the start."""
    n = len(best) - 1
    ends, which = np.empty(n, np.int64), np.empty(n, np.int64)
    j, d, count = n, int(np.argmin(best[n])), 0
    while j > 0:
        ends[count], which[count] = j, d
        count += 1
        i = came[j, d]
        d = via[i, d]
        j = i
    return ends[:count][::-1].copy(), which[:count][::-1].copy(), count


@kernel
def _measure(
    samples: Samples,
    directions: Directions,
    found: tuple[NDArray[np.int64], NDArray[np.int64]],
    starts: NDArray[np.int64],
    begin: NDArray[np.int64],
) -> Lines:
    """Fit the lines to their spans."""
    total = starts[-1]
    normal, offset, length = np.empty((total, 2)), np.empty(total), np.empty(total)
    direction, span, scatter = np.empty(total, np.int64), np.empty((total, 2), np.int64), np.empty((total, 3))
    for w in range(len(samples.closed)):
        first, last = samples.starts[w], samples.starts[w + 1]
        points, integrals = samples.xy[first:last], samples.integrals[first:last]
        if begin[w] > 0:
            points, integrals = _turned(points, begin[w]), _turned(integrals, begin[w])
        sums = _sums(_shifted(integrals, points[0]))
        i = 0
        for m in range(starts[w + 1] - starts[w]):
            j, row, at = found[0][first + m], directions.starts[w] + found[1][first + m], starts[w] + m
            scatter[at] = _scatter(sums, i, j)
            angle = directions.angle[row]
            if np.isnan(angle):
                angle = 0.5 * np.arctan2(2 * scatter[at, 1], scatter[at, 0] - scatter[at, 2])
            normal[at, 0], normal[at, 1] = -np.sin(angle), np.cos(angle)
            length[at] = sums[j, 0] - sums[i, 0]
            mx, my = (sums[j, 1] - sums[i, 1]) / length[at], (sums[j, 2] - sums[i, 2]) / length[at]
            offset[at] = normal[at, 0] * (mx + points[0, 0]) + normal[at, 1] * (my + points[0, 1])
            n = last - first - 1
            direction[at], span[at, 0], span[at, 1] = row, (begin[w] + i) % n, (begin[w] + j) % n
            if not samples.closed[w]:
                span[at, 0], span[at, 1] = i, j
            i = j
    return Lines(normal, offset, length, direction, span, scatter, starts)

"""Batches scaled and decoded in one pass over memory each, compiled; :mod:`geoseg.pixels.decode` says what the layers are."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.decode import CONFIDENCE_SCALE, EVIDENCE_SCALE, MEASURE_SCALE, LayerPlan
from geoseg.pixels.normalize import BandScaling

_F = TypeVar("_F", bound=Callable[..., Any])
_SIGMOID, _SOFTMAX, _PROBABILITY = 0, 1, 2

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_CONFIDENCE, _EVIDENCE, _MEASURE = np.float32(CONFIDENCE_SCALE), np.float32(EVIDENCE_SCALE), np.float32(MEASURE_SCALE)
_ENTROPY, _MARGIN = -1, -2
"""What stands in place of the channel of a measure that has none."""
_LOWEST, _LOG2_E = np.float32(-87), np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1, _P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


def _compile(function: _F) -> _F:
    # multiplications and additions may be fused; sums keep their order, so that rows give the same in any band
    return cast(_F, njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(function))


class _Coding(NamedTuple):
    """A layer plan as compiled code reads it."""

    first: int
    """First channel of the class scores."""
    values: NDArray[np.uint8]
    """Class value of each of them."""
    evidence: NDArray[np.int64]
    """(E, 2): channel, and what makes it a probability."""
    measures: NDArray[np.int64]
    """(M,) channel of each measure, or what it is."""
    fill: np.uint8
    """Class, confidence and measures without data."""
    activated: bool
    """Whether scores are probabilities."""


def warm_up() -> None:
    """Load what a run of a network on 8-bit pixels takes, by one pixel of everything."""
    pixels, valid = np.zeros((1, 1, 1, 1), np.uint8), np.ones((1, 1, 1), np.bool_)
    scores = scale_batch(pixels, valid, BandScaling(mean=(0.0,), std=(1.0,)))
    decode_scores(scores, valid, LayerPlan(semantic=(0, 1), values=(0,)))


def scale_batch(pixels: NDArray[Any], valid: NDArray[np.bool_], scaling: BandScaling, *, threads: int = 1) -> NDArray[np.float32]:
    """Do for a batch what :func:`geoseg.pixels.normalize.normalize` does for one image, to the bit.

    Args:
        pixels: (N, C, H, W), any real dtype.
        valid: (N, H, W), True = data.
        scaling: One mean and std per band.
        threads: Processor threads.

    Returns:
        (N, C, H, W) float32, 0 where nothing is valid.
    """
    if pixels.dtype == np.float16 or not pixels.dtype.isnative:
        pixels = pixels.astype(np.float32)
    given, there = np.ascontiguousarray(pixels), np.ascontiguousarray(valid)
    bands = np.asarray([scaling.mean, scaling.std], np.float32)
    scaled = np.empty(pixels.shape, np.float32)
    _in_bands(lambda start, stop: _scale_rows(given, there, bands, scaled, (start, stop)), len(pixels) * pixels.shape[2], threads)
    return scaled


def decode_scores(
    scores: NDArray[np.float32],
    valid: NDArray[np.bool_],
    plan: LayerPlan,
    keep: tuple[slice, slice] | None = None,
    *,
    threads: int = 1,
    activated: bool = False,
) -> NDArray[np.uint8]:
    """Turn logits, or probabilities, into stored layers.

    Args:
        scores: (N, C, H, W) logits.
        valid: (N, H, W), True = data.
        plan: Layers and the channels that they come from.
        keep: Rows and columns that are decoded; None takes all.
        threads: Processor threads; without influence on the result.
        activated: Whether the scores are probabilities already.

    Returns:
        (N, L, h, w) uint8. Of equal scores the first channel wins; scores that are no numbers give 0 % and no evidence.
    """
    top, bottom, left, right = _bounds(scores, keep)
    given, there = np.ascontiguousarray(scores, np.float32), np.ascontiguousarray(valid)
    layers = np.empty((len(scores), len(plan.names), bottom - top, right - left), np.uint8)
    coding = _encode(plan, activated)
    _in_bands(
        lambda start, stop: _decode_rows(given, there, coding, layers, (start, stop, top, left)), len(scores) * (bottom - top), threads
    )
    return layers


def activate_scores(logits: NDArray[np.float32], heads: Sequence[tuple[int, int, bool]], *, threads: int = 1) -> NDArray[np.float32]:
    """Turn logits into probabilities.

    Args:
        logits: (N, C, H, W).
        heads: First channel, one past the last, and whether they are a softmax; sigmoids otherwise.
        threads: Processor threads; without influence on the result.

    Returns:
        (N, C, H, W) in [0, 1]; 0 in channels of no head.
    """
    given, table = np.ascontiguousarray(logits, np.float32), np.asarray(heads, np.int64).reshape(-1, 3)
    made = np.zeros(logits.shape, np.float32)
    _in_bands(lambda start, stop: _activate_rows(given, table, made, (start, stop)), len(logits) * logits.shape[2], threads)
    return made


def _bounds(scores: NDArray[np.float32], keep: tuple[slice, slice] | None) -> tuple[int, int, int, int]:
    rows, cols = keep or (slice(None), slice(None))
    top, bottom, _ = rows.indices(scores.shape[2])
    left, right, _ = cols.indices(scores.shape[3])
    return top, max(top, bottom), left, max(left, right)


def _encode(plan: LayerPlan, activated: bool) -> _Coding:
    evidence = []
    for layer in plan.evidence:
        assert layer.among in (None, plan.semantic)
        kind = _PROBABILITY if activated else _SIGMOID if layer.among is None else _SOFTMAX
        evidence.append((layer.channel, kind))
    return _Coding(
        first=plan.semantic[0],
        values=np.asarray(plan.values, np.uint8),
        evidence=np.asarray(evidence, np.int64).reshape(-1, 2),
        measures=np.asarray([{"entropy": _ENTROPY, "margin": _MARGIN}.get(m.kind, m.channel) for m in plan.measures], np.int64),
        fill=np.uint8(NODATA_CLASS),
        activated=activated,
    )


def _in_bands(work: Callable[[int, int], None], rows: int, threads: int) -> None:
    """Share rows out among threads, in bands of equal height."""
    if threads <= 1:
        return work(0, rows)
    edges = [rows * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))
    return None


@_compile
def _scale_rows(
    pixels: NDArray[Any], valid: NDArray[np.bool_], scaling: NDArray[np.float32], scaled: NDArray[np.float32], span: tuple[int, int]
) -> None:
    bands, height, width = pixels.shape[1:]
    for row in range(span[0], span[1]):
        n, y = row // height, row % height
        there = valid[n, y]
        for c in range(bands):
            source, target = pixels[n, c, y], scaled[n, c, y]
            mean, std = scaling[0, c], scaling[1, c]
            for x in range(width):
                value = (np.float32(source[x]) - mean) / std
                target[x] = value if there[x] else _ZERO


@_compile
def _exp(x: Any) -> Any:
    """Return the exponential of numbers of at most 0, to two units in the last place (Cephes' expf), without branches."""
    x = _LOWEST if x < _LOWEST else x
    whole = np.floor(x * _LOG2_E + _HALF)
    rest = x - whole * _LN2_HIGH - whole * _LN2_LOW
    series = ((((_P0 * rest + _P1) * rest + _P2) * rest + _P3) * rest + _P4) * rest + _P5
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    return (series * rest * rest + rest + _ONE) * power.view(np.float32)


@_compile
def _sigmoid(x: Any) -> Any:
    small = _exp(-abs(x))
    return (_ONE if x >= _ZERO else small) / (_ONE + small)


@_compile
def _activate_rows(logits: NDArray[np.float32], heads: NDArray[np.int64], made: NDArray[np.float32], span: tuple[int, int]) -> None:
    height, width = logits.shape[2:]
    best, total = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(span[0], span[1]):
        n, y = row // height, row % height
        for h in range(len(heads)):
            first, last, among = heads[h]
            if among:
                _share_row(logits[n], (first, last, y), made[n], best, total)
                continue
            for k in range(first, last):
                source, target = logits[n, k, y], made[n, k, y]
                for x in range(width):
                    target[x] = _sigmoid(source[x])


@_compile
def _share_row(
    tile: NDArray[np.float32], at: tuple[int, int, int], made: NDArray[np.float32], best: NDArray[np.float32], total: NDArray[np.float32]
) -> None:
    """Write the softmax of one row of a head."""
    first, last, y = at
    best[:] = tile[first, y]
    total[:] = _ZERO
    for k in range(first + 1, last):
        source = tile[k, y]
        for x in range(len(best)):
            best[x] = source[x] if source[x] > best[x] else best[x]
    for k in range(first, last):
        source, target = tile[k, y], made[k, y]
        for x in range(len(best)):
            target[x] = _exp(source[x] - best[x])
            total[x] += target[x]
    for k in range(first, last):
        target = made[k, y]
        for x in range(len(best)):
            target[x] /= total[x]


@_compile
def _store(p: Any, scale: Any) -> Any:
    stored = np.floor(p * scale + _HALF)
    return np.uint8(np.int32(stored if stored >= _ZERO else _ZERO))


@_compile
def _decode_rows(
    scores: NDArray[np.float32], valid: NDArray[np.bool_], coding: _Coding, layers: NDArray[np.uint8], span: tuple[int, int, int, int]
) -> None:
    start, stop, top, left = span
    height, width = layers.shape[2:]
    ranked = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.int32)
    for row in range(start, stop):
        n, y = row // height, row % height
        there = valid[n, top + y][left : left + width]
        tile = scores[n]
        _rank_row(tile, (top + y, left), coding, ranked)
        _write_classes(coding, there, ranked, layers[n, 0, y], layers[n, 1, y])
        for e in range(len(coding.evidence)):
            channel, kind = coding.evidence[e]
            _write_evidence(tile[channel, top + y][left : left + width], kind, there, ranked, layers[n, 2 + e, y])
        first = 2 + len(coding.evidence)
        for m in range(len(coding.measures)):
            _write_measure(tile, (top + y, left), (coding, coding.measures[m]), (there, ranked), layers[n, first + m, y])


@_compile
def _rank_row(tile: NDArray[np.float32], corner: tuple[int, int], coding: _Coding, ranked: Any) -> None:
    """Find the largest score of each pixel of a row and its channel, and sum the exponentials."""
    best, total, index = ranked
    (y, left), first, width = corner, coding.first, len(best)
    source = tile[first, y][left : left + width]
    for x in range(width):
        best[x] = source[x]
        index[x] = 0
        total[x] = _ZERO
    for k in range(1, len(coding.values)):
        source = tile[first + k, y][left : left + width]
        for x in range(width):
            more = source[x] > best[x]
            best[x] = source[x] if more else best[x]
            index[x] = np.int32(k) if more else index[x]
    if coding.activated:
        return
    for k in range(len(coding.values)):
        source = tile[first + k, y][left : left + width]
        for x in range(width):
            total[x] += _exp(source[x] - best[x])


@_compile
def _write_classes(
    coding: _Coding, there: NDArray[np.bool_], ranked: Any, labels: NDArray[np.uint8], confidence: NDArray[np.uint8]
) -> None:
    best, total, index = ranked
    fill = coding.fill
    for x in range(len(best)):
        value = coding.values[index[x]]
        labels[x] = value if there[x] else fill
    if coding.activated:
        for x in range(len(best)):
            stored = _store(best[x], _CONFIDENCE)
            confidence[x] = stored if there[x] else fill
    else:
        for x in range(len(best)):
            stored = _store(_ONE / total[x], _CONFIDENCE)
            confidence[x] = stored if there[x] else fill


@_compile
def _write_evidence(source: NDArray[np.float32], kind: int, there: NDArray[np.bool_], ranked: Any, layer: NDArray[np.uint8]) -> None:
    best, total, _ = ranked
    if kind == _SOFTMAX:
        for x in range(len(source)):
            stored = _store(_exp(source[x] - best[x]) / total[x], _EVIDENCE)
            layer[x] = stored if there[x] else np.uint8(0)
    elif kind == _SIGMOID:
        for x in range(len(source)):
            stored = _store(_sigmoid(source[x]), _EVIDENCE)
            layer[x] = stored if there[x] else np.uint8(0)
    else:
        for x in range(len(source)):
            stored = _store(source[x], _EVIDENCE)
            layer[x] = stored if there[x] else np.uint8(0)


@_compile
def _write_measure(tile: NDArray[np.float32], corner: tuple[int, int], wanted: Any, at: Any, layer: NDArray[np.uint8]) -> None:
    coding, which = wanted
    there, (best, total, index) = at
    y, left = corner
    width = len(best)
    if which >= 0:
        source = tile[which, y][left : left + width]
        for x in range(width):
            p = source[x] if coding.activated else _exp(source[x] - best[x]) / total[x]
            layer[x] = _store(p, _MEASURE) if there[x] else coding.fill
        return
    for x in range(width):
        if not there[x]:
            layer[x] = coding.fill
            continue
        value = _measure_pixel(tile[:, y, left + x], coding, (best[x], total[x], index[x]), which)
        layer[x] = _store(value, _MEASURE)


@_compile
def _measure_pixel(scores: NDArray[np.float32], coding: _Coding, ranked: Any, which: int) -> Any:
    """Return the entropy of a pixel as a share of the largest possible, or its margin; of scores that are no numbers 1 and 0."""
    best, total, index = ranked
    entropy, second = _ZERO, _ZERO
    for k in range(len(coding.values)):
        score = scores[coding.first + k]
        p = score if coding.activated else _exp(score - best) / total
        if np.isnan(p):
            return _ONE if which == _ENTROPY else _ZERO
        entropy -= p * np.log(p) if p > _ZERO else _ZERO
        if k != index:
            second = max(second, p)
    if which == _MARGIN:
        return (best if coding.activated else _ONE / total) - second
    return min(_ONE, entropy / np.log(np.float32(len(coding.values)))) if len(coding.values) > 1 else _ZERO

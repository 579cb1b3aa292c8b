"""The main directions of buildings, and those in which their walls may run."""

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.objects.outlines.alignment import Directions, Lines, Samples
from geoseg.pixels.kernel import kernel

_QUARTER = np.pi / 2
_SAME_RAD = np.radians(10)
_WEAK = 0.3
_NEIGHBORHOOD_M = 30.0


class Frames(NamedTuple):
    """Pairs of perpendicular directions that touching buildings of about one direction share."""

    angle: NDArray[np.float64]
    """(f,) radians, one of the directions of each frame."""
    of: NDArray[np.int64]
    """(n,) the frame of each polygon."""


class Kinds(NamedTuple):
    """To which frame a direction belongs; lines of one kind that meet may become one."""

    frame: NDArray[np.int64]
    """(d,) the frame; numbers past the frames for directions that belong to none."""
    turn: NDArray[np.float64]
    """(d,) radians from the frame's direction; NaN = runs anywhere."""


def find_frames(samples: Samples, owners: NDArray[np.int64], polygons: NDArray[np.object_], chord_m: float) -> Frames:
    """Estimate the main direction of each building and join those that share a wall.

    Chords of the outlines vote with their squared length, angles taken modulo 90 degrees as phases of a fourth harmonic. Where a
    building has no clear direction, buildings around it have a say.

    Args:
        samples: Walls.
        owners: (w, 2) polygons on the two sides of each wall, -1 = none.
        polygons: (n,) the outlines.
        chord_m: Length of the chords, longer than the stairs of a raster.

    Returns:
        Frames; buildings that share a wall share one if their directions agree within 10 degrees.
    """
    votes = _vote(samples, chord_m)
    sums = np.zeros((len(polygons), 3))
    for side in range(2):
        there = owners[:, side] >= 0
        np.add.at(sums, owners[there, side], votes[there])
    phase = np.asarray((sums[:, 0] + 1j * sums[:, 1]) / np.maximum(sums[:, 2], 1e-300), np.complex128)
    phase = _ask_neighbors(phase, polygons)
    shared = owners[owners[:, 1] >= 0]
    alike = _apart(phase[shared[:, 0]], phase[shared[:, 1]]) <= _SAME_RAD
    frame = _components(shared[alike], len(polygons))
    weighted = phase * sums[:, 2]
    # along a bent row of houses the mean is nobody's direction
    far = _apart(_sum_by(frame, weighted, len(polygons))[frame], phase) > _SAME_RAD
    frame[far] = len(polygons) + np.flatnonzero(far)
    _, frame = np.unique(frame, return_inverse=True)
    return Frames(angle=np.angle(_sum_by(frame, weighted, int(frame.max()) + 1)) / 4, of=frame.astype(np.int64))


def refine(frames: Frames, lines: Lines, kinds: Kinds) -> Frames:
    """Turn each frame so that the squared distances to its lines are least: the main axis of all their scatters together.

    Args:
        frames: Frames so far.
        lines: Lines.
        kinds: What each line belongs to.

    Returns:
        The same frames with better angles; those without lines stay.
    """
    bound = ~np.isnan(kinds.turn)
    xx, xy, yy = lines.scatter[bound].T
    cos, sin = np.cos(2 * kinds.turn[bound]), np.sin(2 * kinds.turn[bound])
    # a line turned back by its angle against the frame speaks for the frame's own direction
    difference = ((xx - yy) * cos + 2 * xy * sin) / 2
    mixed = xy * cos - (xx - yy) * sin / 2
    axis = _sum_by(kinds.frame[bound], difference + 1j * mixed, len(frames.angle))
    return frames._replace(angle=np.where(np.abs(axis) > 0, np.angle(axis) / 2, frames.angle))


def allow_directions(frames: Frames, owners: NDArray[np.int64], diagonal_penalty: float | None) -> tuple[Directions, Kinds]:
    """List the directions that walls may have: those of the frame on their two sides.

    A wall between two frames may run anywhere too: it can be square to one of them only, and stairs are no compromise.

    Args:
        frames: Frames.
        owners: (w, 2) polygons on the two sides of each wall, -1 = none.
        diagonal_penalty: Extra price of a diagonal in units of the price of a line; None allows no diagonals.

    Returns:
        Directions, and what they belong to.
    """
    turns = np.array([0, 2] if diagonal_penalty is None else [0, 2, 1, 3]) * np.pi / 4
    frame = np.where(owners >= 0, frames.of[owners], -1)
    frame[frame[:, 1] == frame[:, 0], 1] = -1
    wall, side = np.nonzero(frame >= 0)
    between = np.flatnonzero(frame[:, 1] >= 0)
    kinds = Kinds(
        frame=np.concatenate([np.repeat(frame[wall, side], len(turns)), len(frames.angle) + between]),
        turn=np.concatenate([np.tile(turns, len(wall)), np.full(len(between), np.nan)]),
    )
    wall = np.concatenate([np.repeat(wall, len(turns)), between])
    order = np.argsort(wall, kind="stable")
    starts = np.searchsorted(wall[order], np.arange(len(owners) + 1))
    kinds = Kinds(kinds.frame[order], kinds.turn[order])
    known = ~np.isnan(kinds.turn)
    angle = np.full(len(wall), np.nan)
    angle[known] = frames.angle[kinds.frame[known]] + kinds.turn[known]
    penalty = np.where(np.isclose(np.sin(2 * kinds.turn) ** 2, 1), diagonal_penalty or 0.0, 0.0)
    return Directions(angle, penalty, starts.astype(np.int64)), kinds


def allow_any(walls: int) -> Directions:
    """Let the lines of all walls run anywhere."""
    return Directions(np.full(walls, np.nan), np.zeros(walls), np.arange(walls + 1))


@kernel
def _vote(samples: Samples, chord_m: float) -> NDArray[np.float64]:
    """Return (w, 3) cosine, sine and weight of the votes of each wall's chords."""
    votes = np.zeros((len(samples.closed), 3))
    for w in range(len(votes)):
        span = slice(samples.starts[w], samples.starts[w + 1])
        xy, steps = samples.xy[span], samples.integrals[span, 0]
        n = len(xy) - 1
        chord = min(chord_m, steps.sum() / 8)
        end, reached, passed = 0, 0.0, 0.0
        for k in range(n):
            passed += steps[k]
            while reached - passed < chord and (samples.closed[w] or end < n):
                end += 1
                reached += steps[(end - 1) % n + 1]
            last = end % n if samples.closed[w] else end
            dx, dy = xy[last, 0] - xy[k, 0], xy[last, 1] - xy[k, 1]
            angle, weight = 4 * np.arctan2(dy, dx), (dx * dx + dy * dy) * (steps[k + 1])
            votes[w, 0] += weight * np.cos(angle)
            votes[w, 1] += weight * np.sin(angle)
            votes[w, 2] += weight
    return votes


def _ask_neighbors(phase: NDArray[np.complex128], polygons: NDArray[np.object_]) -> NDArray[np.complex128]:
    """Add the mean phase of the buildings around to that of buildings without a clear direction."""
    weak = np.flatnonzero(np.abs(phase) < _WEAK)
    if len(weak) == 0:
        return phase
    one, other = shapely.STRtree(polygons).query(polygons[weak], predicate="dwithin", distance=_NEIGHBORHOOD_M)
    known = np.abs(phase[other]) >= _WEAK
    around = _sum_by(one[known], phase[other[known]], len(weak))
    count = np.bincount(one[known], minlength=len(weak))
    mixed = phase.copy()
    mixed[weak] += _WEAK * around / np.maximum(count, 1)
    return mixed


def _apart(one: NDArray[np.complex128], other: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the angles between directions modulo 90 degrees, radians."""
    return np.asarray(np.abs(np.angle(one * np.conj(other))) / 4)


def _sum_by(group: NDArray[np.int64], values: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
    return np.bincount(group, values.real, count) + 1j * np.bincount(group, values.imag, count)


def _components(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)

"""Building outlines with right angles, diagonals or few straight edges, or as circles; touching buildings keep their common walls."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.objects.options import RegularizeMethod, RegularizeOptions
from geoseg.objects.outlines.alignment import Directions, Prices, Samples, align, sample
from geoseg.objects.outlines.corners import Chains, as_chains, build, equal_circles, find_corners, mix, original_chains
from geoseg.objects.outlines.frames import Kinds, allow_any, allow_directions, find_frames, refine
from geoseg.objects.outlines.guard import Drawn, find_faults
from geoseg.objects.outlines.walls import Walls, find_walls

_STEPS_PER_TOLERANCE = 4
# how far lines may lie from the outline, and how far apart two that meet at a node may lie to become one, in tolerances: the first
# draft gives the plainest outlines; for groups of buildings in which it fails, the second follows closer and makes no steps
_DRAFTS = ((0.6, 0.4), (0.4, np.inf))
_MOST_STEPS = 400
_TURNS = 2
_CIRCLE_IOU = 0.9


class RegularizeStatus(StrEnum):
    """What became of an outline."""

    REGULARIZED = "regularized"
    """It has the walls that were asked for."""
    CIRCLE = "circle"
    """It is a circle now, of equal area."""
    SIMPLIFIED = "simplified"
    """The result would have left the tolerance, been invalid or almost so, or reached into a neighbor: it fell back to the outline
    that came in, save for walls that it shares with a regularized neighbor. Also an outline that was repaired in the raster's CRS."""
    UNCHANGED = "unchanged"
    """Nothing was asked for, or what came in is no valid polygon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regularized:
    """Outlines in the order in which they came."""

    outlines: NDArray[np.object_]
    """(n,) valid polygons."""
    status: NDArray[np.object_]
    """(n,) RegularizeStatus of each."""


def regularize(outlines: NDArray[np.object_], options: RegularizeOptions) -> Regularized:
    """Straighten outlines; never let one leave the tolerance, become invalid or reach into a neighbor.

    Outlines are cut into walls, chains of edges with the same polygons on their two sides. Each building gets a main direction from its
    edges, buildings that share a wall and agree get a common one. Each wall is cut into lines along and across it by dynamic
    programming (``geoseg.objects.outlines.alignment``), least squares turn the main direction to fit those lines, and corners are where
    lines meet. A shared wall is made once, for both. An outline that fails a check takes back the walls of its own, then
    its neighbors do, until all checks hold. The result does not depend on the order of the outlines.

    Args:
        outlines: (n,) valid polygons in coordinates where angles are true and lengths are metres. Polygons that touch share
            vertices exactly, as those of ``vectorize`` do; overlaps are allowed, but never grow. What is no valid polygon stays,
            and nothing minds it.
        options: How.

    Returns:
        Outlines and what became of each.
    """
    found = np.array(outlines, dtype=np.object_)
    status = np.full(len(found), RegularizeStatus.UNCHANGED, np.object_)
    if options.method != RegularizeMethod.NONE:
        order = _canonical_order(found)
        found[order], status[order] = _regularize(found[order], options)
    return Regularized(outlines=found, status=status)


def _canonical_order(outlines: NDArray[np.object_]) -> NDArray[np.int64]:
    """Sort valid polygons by place, so that rounding does not depend on the order in which they came; leave out all else."""
    sound = (shapely.get_type_id(outlines) == shapely.GeometryType.POLYGON) & shapely.is_valid(outlines) & ~shapely.is_empty(outlines)
    rows = np.flatnonzero(sound)
    x, y = shapely.get_coordinates(shapely.point_on_surface(outlines[rows])).T
    return np.asarray(rows[np.lexsort((shapely.area(outlines[rows]), y, x))])


def _regularize(outlines: NDArray[np.object_], options: RegularizeOptions) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    if len(outlines) == 0:
        return outlines, outlines
    walls = find_walls(outlines)
    if options.method == RegularizeMethod.CIRCLE:
        chains, wanted = _as_circles(walls, outlines, options)
        done = RegularizeStatus.CIRCLE
    else:
        chains, wanted = _as_lines(walls, outlines, options), np.ones(len(outlines), np.bool_)
        done = RegularizeStatus.REGULARIZED
    drawn, taken_back = _settle(walls, outlines, chains, ~wanted, options)
    return drawn, np.where(taken_back, RegularizeStatus.SIMPLIFIED, done)


def _as_lines(walls: Walls, outlines: NDArray[np.object_], options: RegularizeOptions) -> Chains:
    """Draw all walls with straight lines; of two drafts, groups of touching buildings take the one that fails in fewer of them."""
    samples, directions, kinds = _find_directions(walls, outlines, options)
    group = _groups(walls, len(outlines))
    chains: Chains | None = None
    failing = np.ones(len(outlines), np.bool_)
    fewest = np.zeros(0, np.int64)
    for line_share, step_share in _DRAFTS:
        lines = align(samples, directions, _prices(options, line_share))
        used = None if kinds is None else Kinds(kinds.frame[lines.direction], kinds.turn[lines.direction])
        draft = find_corners(walls, samples, lines, used, step_share * options.tolerance_m)
        faults = np.bincount(group[_check(walls, outlines, draft, failing, options)], minlength=group.max() + 1)
        if chains is None:
            chains, fewest = draft, faults
        else:
            better = failing & (faults < fewest)[group]
            chains, fewest = mix(chains, draft, walls, better[walls.owners[:, 0]]), np.minimum(fewest, faults)
        failing = (fewest > 0)[group]
        if not failing.any():
            break
    assert chains is not None
    return chains


def _prices(options: RegularizeOptions, line_share: float) -> Prices:
    return Prices(line=options.corner_price * options.tolerance_m**3, tolerance_m=line_share * options.tolerance_m)


def _find_directions(walls: Walls, outlines: NDArray[np.object_], options: RegularizeOptions) -> tuple[Samples, Directions, Kinds | None]:
    """Sample the walls and find in which directions their lines may run, and to which frames these belong."""
    closed = walls.nodes[:, 0] < 0
    samples = sample(walls.points, walls.starts, closed, options.tolerance_m / _STEPS_PER_TOLERANCE, _MOST_STEPS)
    if options.method == RegularizeMethod.ANY_ANGLE:
        return samples, allow_any(len(closed)), None
    diagonal = options.diagonal_penalty if options.method == RegularizeMethod.RIGHT_ANGLES_AND_DIAGONALS else None
    frames = find_frames(samples, walls.owners, outlines, 2 * options.tolerance_m)
    directions, kinds = allow_directions(frames, walls.owners, diagonal)
    for _ in range(_TURNS):
        lines = align(samples, directions, _prices(options, _DRAFTS[0][0]))
        frames = refine(frames, lines, Kinds(kinds.frame[lines.direction], kinds.turn[lines.direction]))
        directions, kinds = allow_directions(frames, walls.owners, diagonal)
    return samples, directions, kinds


def _groups(walls: Walls, count: int) -> NDArray[np.int64]:
    """Return (n,) numbers, equal for buildings that are connected by shared walls or by nodes."""
    shared = walls.owners[walls.owners[:, 1] >= 0]
    ends = [np.column_stack([walls.owners[:, side], count + walls.nodes[:, end]]) for side in range(2) for end in range(2)]
    held = np.concatenate([pairs[(pairs[:, 0] >= 0) & (walls.nodes[:, 0] >= 0)] for pairs in ends])
    one, other = np.concatenate([shared, held]).T
    size = count + len(walls.node_xy)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:count], np.int64)


def _check(
    walls: Walls, outlines: NDArray[np.object_], draft: Chains, asked: NDArray[np.bool_], options: RegularizeOptions
) -> NDArray[np.bool_]:
    """Return (n,) which outlines fail as drafted; those not asked for do not."""
    drawn, whole = build(walls, draft, draft, np.zeros(len(walls.owners), np.bool_))
    still = np.zeros(len(outlines), np.bool_)
    return find_faults(outlines, Drawn(drawn, whole, still, asked), options.tolerance_m, options.min_iou)


def _as_circles(walls: Walls, outlines: NDArray[np.object_], options: RegularizeOptions) -> tuple[Chains, NDArray[np.bool_]]:
    """Draw circles of equal area around round outlines that stand alone; return the walls, and which outlines are round."""
    circles = equal_circles(outlines)
    common = shapely.area(shapely.intersection(outlines, circles))
    iou = common / (shapely.area(outlines) + shapely.area(circles) - common)
    radius_m = np.sqrt(shapely.area(outlines) / np.pi)
    alone = np.zeros(len(outlines), np.bool_)
    alone[walls.owners[(walls.nodes[:, 0] < 0) & (walls.owners[:, 1] < 0), 0]] = True
    alone &= np.diff(walls.shells) == 1
    fits = (radius_m >= options.min_radius_m) & (radius_m <= options.max_radius_m) & (iou >= _CIRCLE_IOU)
    round_ = alone & fits
    return mix(original_chains(walls), as_chains(circles, walls), walls, round_[walls.owners[:, 0]]), round_


def _settle(
    walls: Walls, outlines: NDArray[np.object_], chains: Chains, taken_back: NDArray[np.bool_], options: RegularizeOptions
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Take back what fails a check until nothing does; return polygons and which fell back.

    An outline that fails takes back the walls that are only its own; if it fails still, those with whom it shares walls do so
    too, and with them the common walls.
    """
    original = original_chains(walls)
    back = taken_back.copy()
    faults, before = np.ones(len(outlines), np.bool_), outlines
    while True:
        kept = back[walls.owners[:, 0]] & (back[walls.owners[:, 1]] | (walls.owners[:, 1] < 0))
        drawn, whole = build(walls, chains, original, kept)
        still = _all_walls_kept(walls, kept)
        drawn[still] = outlines[still]
        new = faults | ~shapely.equals_identical(drawn, before)
        before = drawn
        faults = find_faults(outlines, Drawn(drawn, whole, still, new), options.tolerance_m, options.min_iou)
        if not faults.any():
            return drawn, back
        more = back | faults | _around(walls, faults & back)
        assert (more != back).any(), "an outline that stayed as it was failed a check"
        back = more


def _around(walls: Walls, polygons: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (n,) which polygons have a wall that is one of some polygons, or ends at a node of one of these."""
    here = (polygons[walls.owners] & (walls.owners >= 0)).any(axis=1)
    nodes = np.zeros(len(walls.node_xy) + 1, np.bool_)
    nodes[walls.nodes[here]] = True
    nodes[-1] = False
    around = np.zeros(len(polygons) + 1, np.bool_)
    around[walls.owners[here | nodes[walls.nodes].any(axis=1)]] = True
    return around[:-1]


def _all_walls_kept(walls: Walls, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (n,) whether all walls of a polygon, and all walls that end at its nodes, stay."""
    moves = np.zeros(len(walls.node_xy) + 1, np.bool_)
    moves[walls.nodes[~kept]] = True
    moves[-1] = False
    wall_moves = ~kept | moves[walls.nodes].any(axis=1)
    return np.asarray(np.add.reduceat(wall_moves[walls.steps].astype(np.int64), walls.rings[walls.shells[:-1]]) == 0)

"""How instances, outlines, roads and polygons are made; apart from what makes them, so that a run is checked without loading that."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from geoseg.errors import ConfigError

MIN_TOLERANCE_M = 0.01
"""Outlines are sampled in steps of a quarter of the tolerance, so time and memory grow as it shrinks."""
MAX_ROUNDS = 5
"""How often corners may be cut: the vertices double each time."""

SPLIT_LEVELS = (0.62, 0.73, 0.82, 0.88, 0.92, 0.95)
"""Thresholds at which pieces may come apart: half a step of log-odds each, from even odds on."""

SimplifyMethod = Literal["douglas-peucker", "visvalingam"]
"""How borders are simplified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """What counts as a building of its own.

    Raises:
        ConfigError: If a threshold is outside 0..1 or a size is negative.
    """

    seed_threshold: float = 0.5
    """Probability from which a pixel belongs to a seed, in [0, 1]."""
    min_part_px: int = 0
    """Smallest part that a seed may be taken apart into, where a threshold of :data:`SPLIT_LEVELS` parts it; 0 takes none apart."""
    min_part_share: float = 0.5
    """Share of what is taken apart that its parts must make up together, in [0, 1]."""
    mask_threshold: float = 0.5
    """Building probability up to which seeds grow, in [0, 1]."""
    growth_px: int = 6
    """How far seeds grow at most, and parts within their seed before; also the margin that is read around a block."""
    min_area_px: int = 1
    """Smaller instances are dropped; holes do not count."""
    min_score: float = 0.0
    """Instances whose mean building probability is lower are dropped, in [0, 1]; holes do not count."""
    fill_holes_px: int = 0
    """Holes up to this many pixels that one instance encloses become part of it; 0 keeps all holes."""
    block_px: int = 2048
    """Side of the blocks that are held in memory; without influence on the result."""

    def __post_init__(self) -> None:
        for name in ("seed_threshold", "min_part_share", "mask_threshold", "min_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a number in 0..1; got {getattr(self, name)}.")
        for name, least in (("min_part_px", 0), ("growth_px", 0), ("min_area_px", 0), ("fill_holes_px", 0), ("block_px", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is a number of pixels from {least} on; got {getattr(self, name)}.")

    @property
    def levels(self) -> tuple[float, ...]:
        """Thresholds of seeds, rising: that from which a pixel belongs to one, then those that may take pieces apart."""
        higher = SPLIT_LEVELS if self.min_part_px else ()
        return self.seed_threshold, *(level for level in higher if level > self.seed_threshold)


class RegularizeMethod(StrEnum):
    """What outlines become."""

    RIGHT_ANGLES = "right_angles"
    """Walls run along or across the building's main direction."""
    RIGHT_ANGLES_AND_DIAGONALS = "right_angles_and_diagonals"
    """Also at 45 degrees to it, where that pays for the diagonal penalty."""
    ANY_ANGLE = "any_angle"
    """Few straight walls in any direction."""
    CIRCLE = "circle"
    """Round outlines become circles, others stay."""
    NONE = "none"
    """Outlines stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularizeOptions:
    """How outlines are straightened.

    Raises:
        ConfigError: If a number is out of its range.
    """

    method: RegularizeMethod = RegularizeMethod.RIGHT_ANGLES
    """What outlines become."""
    tolerance_m: float = 1.5
    """How far the outline may move anywhere, metres, 0.01 at least; an outline that would move farther falls back."""
    corner_price: float = 0.3
    """How much a wall must gain: squared distance to the outline along its length, in units of tolerance_m cubed. More gives
    plainer outlines, less follows small wings."""
    diagonal_penalty: float = 1.5
    """Extra price of a diagonal wall, in units of the price of a wall; 0 makes diagonals as likely as right angles."""
    min_radius_m: float = 0.5
    """Smaller circles are not drawn, metres."""
    max_radius_m: float = 100.0
    """Larger circles are not drawn, metres."""
    min_iou: float = 0.7
    """Intersection over union with the outline that came in, below which it falls back."""

    def __post_init__(self) -> None:
        if not MIN_TOLERANCE_M <= self.tolerance_m < math.inf:
            raise ConfigError(f"The regularization tolerance tolerance_m must be {MIN_TOLERANCE_M} m or more; got {self.tolerance_m}.")
        for name, value in (("corner_price", self.corner_price), ("diagonal_penalty", self.diagonal_penalty)):
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be 0 or more; got {value}.")
        if not 0 < self.min_radius_m <= self.max_radius_m:
            raise ConfigError(
                f"Radii of circles must be more than 0 m and in ascending order; got {self.min_radius_m} to {self.max_radius_m}."
            )
        if not 0 <= self.min_iou <= 1:
            raise ConfigError(f"min_iou is a share in 0..1; got {self.min_iou}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadOptions:
    """What counts as a road, and how its line is cleaned.

    Raises:
        ConfigError: If the threshold is outside 0..1, or a length is negative or not finite.
    """

    threshold: float = 0.5
    """Probability from which a pixel is road, 0..1; pixels of probability 0 never are."""
    max_width_m: float = 40.0
    """Widest road that is thinned to a line. A wider place becomes one node, in which the roads around it meet."""
    min_length_m: float = 15.0
    """Shorter dead ends, loops and isolated pieces are removed; so are dead ends shorter than the road is wide that they leave."""
    simplify_m: float = 0.5
    """Douglas-Peucker tolerance of the smoothed lines on the ground, at least half a pixel's diagonal; 0 keeps every point."""
    smooth_m: float = 1.0
    """How far smoothing may move a line on the ground, at least half a pixel's diagonal; 0 smooths nothing."""
    max_gap_m: float = 20.0
    """Longest gap that is closed between dead ends, or from a dead end to the side of a road; 0 closes none."""
    max_turn_deg: float = 30.0
    """Largest angle between the direction in which a road ends and the way over a gap, 0..90."""
    min_gap_score: float = 0.4
    """Least mean road probability over a gap, 0..1."""
    max_way_m: float = 60.0
    """Longest way that is followed from a dead end along weak road probability to the next road; 0 follows none."""
    min_way_score: float = 0.3
    """Least harmonic mean of the road probability along such a way, 0..1."""
    min_part_m: float = 50.0
    """Connected parts of the network of which less than this was seen are removed; isolated pieces, at least ``min_length_m``."""
    parallel_m: float = 10.0
    """Two lines between the same two nodes that are never farther apart become one, or where wider roads are than that; 0 keeps both."""
    min_hole_m: float = 6.0
    """Closed gaps in a road, such as cars, are filled up to this far across; the road goes round a larger one."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"The road threshold is a probability from 0 to 1; {self.threshold} was given.")
        if not 0 < self.max_width_m < math.inf:
            raise ConfigError(f"The greatest road width must be more than 0 m; max_width_m = {self.max_width_m} was given.")
        for name in ("min_gap_score", "min_way_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"The probability over a gap is from 0 to 1; {name} = {getattr(self, name)} was given.")
        if not 0 <= self.max_turn_deg <= 90:
            raise ConfigError(f"A gap is closed at angles from 0 to 90 degrees; max_turn_deg = {self.max_turn_deg} was given.")
        for name in ("min_length_m", "simplify_m", "smooth_m", "max_gap_m", "max_way_m", "min_part_m", "parallel_m", "min_hole_m"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"Lengths of roads are 0 m or more; {name} = {getattr(self, name)} was given.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizeOptions:
    """How polygons are drawn.

    Raises:
        ConfigError: If a number is negative or not finite, or a word unknown.
    """

    simplify_m: float = 0.0
    """How far a border may move when it is simplified, metres on the ground; 0 keeps the pixel edges.
    From 1.5 pixels on, slanted borders lose all their stairs."""
    method: SimplifyMethod = "douglas-peucker"
    """``douglas-peucker`` bounds how far a border moves; ``visvalingam`` takes out corners whose triangle with their neighbors
    is smaller than ``simplify_m`` squared, which suits natural borders."""
    smooth_rounds: int = 0
    """How often corners are cut (Chaikin), 0 to 5; each round doubles the vertices."""
    connectivity: Literal[4, 8] = 4
    """8: pixels that touch diagonally belong to one patch, which is then a multipolygon."""
    min_area_m2: float = 0.0
    """Smaller patches are merged into the neighbor with the longest shared border, m2 on the ground."""
    background: int | None = None
    """Value that gets no polygons: 255 for class maps, 0 for instance labels; None draws every value."""
    cover_background: bool = True
    """False: simplified polygons never cover background pixels; borders on background are then simplified inwards only."""

    def __post_init__(self) -> None:
        if not 0 <= self.simplify_m < math.inf:
            raise ConfigError(f"The simplification tolerance must be 0 m or more; got {self.simplify_m}.")
        if not 0 <= self.min_area_m2 < math.inf:
            raise ConfigError(f"The minimum area must be 0 m2 or more; got {self.min_area_m2}.")
        if self.method not in get_args(SimplifyMethod):
            raise ConfigError(f"Borders are simplified by {' or '.join(get_args(SimplifyMethod))}; got {self.method!r}.")
        if self.smooth_rounds not in range(MAX_ROUNDS + 1):
            raise ConfigError(f"Corners are cut 0 to {MAX_ROUNDS} times; got {self.smooth_rounds}.")
        if self.connectivity not in (4, 8):
            raise ConfigError(f"Pixels have 4 or 8 neighbors; got {self.connectivity}.")

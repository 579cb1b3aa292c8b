"""How objects are made, as users say it: in metres and square metres on the ground, and in probabilities."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from geoseg.objects.options import (
    MIN_TOLERANCE_M,
    InstanceOptions,
    RegularizeMethod,
    RegularizeOptions,
    RoadOptions,
    VectorizeOptions,
)
from geoseg.pixels.classes import NODATA_CLASS

_MIN_PART_M2, _MIN_SCORE = 20.0, 0.7
"""For models that know boundaries: picked on the training sites; see docs/instances.md."""
_OUTLINE_PX = 1.5
"""How far borders may move by default: from here on slanted ones lose their stairs."""
_GROWTH_PX = (2, 32)
"""Bounds of growth, whatever the pixels: it is also the margin that is read around a block."""


_REGULARIZE = ("method", "tolerance_m", "corner_price", "diagonal_penalty", "min_radius_m", "max_radius_m", "min_iou")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BuildingSettings(_Settings):
    """From building probability to instances and their outlines."""

    seed_threshold: float = Field(default=0.5, ge=0, le=1)
    """Probability of being inside one building, and not between two, from which a pixel belongs to a seed."""
    min_part_m2: float | None = Field(default=None, ge=0)
    """Seeds are taken apart where higher thresholds part them into pieces of this size or more; 0 takes none apart, None takes 20 for
    models that know boundaries, else 0."""
    min_part_share: float = Field(default=0.5, ge=0, le=1)
    """Share of what is taken apart that these pieces must make up together."""
    mask_threshold: float = Field(default=0.5, ge=0, le=1)
    """Building probability up to which seeds grow."""
    growth_m: float = Field(default=3.0, ge=0, le=50)
    """How far seeds grow at most, and parts of one within it before."""
    min_score: float | None = Field(default=None, ge=0, le=1)
    """Instances whose mean probability is lower are dropped; None takes 0.7 for models that know boundaries, else 0."""
    min_area_m2: float = Field(default=5.0, ge=0)
    """Smaller instances are dropped."""
    fill_holes_m2: float = Field(default=2.0, ge=0)
    """Holes up to this size that one building encloses are filled."""
    simplify_m: float | None = Field(default=None, ge=0)
    """How far an outline may move when its stairs are taken out; None takes one and a half pixels."""
    method: RegularizeMethod = RegularizeMethod.RIGHT_ANGLES
    """What outlines become."""
    tolerance_m: float = Field(default=1.5, ge=MIN_TOLERANCE_M)
    """How far an outline may move when it is regularized; one that would move farther stays simplified."""
    corner_price: float = Field(default=0.3, ge=0)
    """More gives plainer outlines, less follows small wings."""
    diagonal_penalty: float = Field(default=1.5, ge=0)
    """Extra price of a diagonal wall, in prices of a wall."""
    min_radius_m: float = Field(default=0.5, gt=0)
    """Smaller circles are not drawn."""
    max_radius_m: float = Field(default=100.0, gt=0)
    """Larger circles are not drawn."""
    min_iou: float = Field(default=0.7, ge=0, le=1)
    """Intersection over union with what was seen, below which an outline stays simplified."""

    @model_validator(mode="after")
    def _fits(self) -> "BuildingSettings":
        # what would fail after the network has done its work is refused before
        self.regularize_options()
        return self

    def instance_options(self, pixel_m: tuple[float, float], *, knows_boundary: bool, block_px: int) -> InstanceOptions:
        """Return what labels instances.

        Args:
            pixel_m: Width and height of a pixel on the ground.
            knows_boundary: Whether the model tells where one building ends and the next begins.
            block_px: Side of the blocks that are held in memory.
        """
        pixel_m2 = pixel_m[0] * pixel_m[1]
        fewest, most = _GROWTH_PX
        return InstanceOptions(
            seed_threshold=self.seed_threshold,
            min_part_px=math.ceil(_either(self.min_part_m2, _MIN_PART_M2 if knows_boundary else 0.0) / pixel_m2),
            min_part_share=self.min_part_share,
            mask_threshold=self.mask_threshold,
            min_score=_either(self.min_score, _MIN_SCORE if knows_boundary else 0.0),
            growth_px=min(max(round(self.growth_m / math.sqrt(pixel_m2)), fewest), most),
            min_area_px=max(1, round(self.min_area_m2 / pixel_m2)),
            fill_holes_px=round(self.fill_holes_m2 / pixel_m2),
            block_px=block_px,
        )

    def vectorize_options(self, pixel_m: tuple[float, float]) -> VectorizeOptions:
        """Return what draws instances."""
        return VectorizeOptions(simplify_m=_either(self.simplify_m, _default_tolerance_m(pixel_m)), background=0)

    def regularize_options(self) -> RegularizeOptions:
        """Return what straightens outlines."""
        return RegularizeOptions(**{name: getattr(self, name) for name in _REGULARIZE})


class LandcoverSettings(_Settings):
    """From the class map to polygons."""

    simplify_m: float | None = Field(default=None, ge=0)
    """How far a border may move; 0 keeps pixel edges, None takes one and a half pixels."""
    method: Literal["douglas-peucker", "visvalingam"] = "douglas-peucker"
    """How borders are simplified."""
    smooth_rounds: int = Field(default=0, ge=0, le=5)
    """How often corners are cut."""
    min_area_m2: float = Field(default=0.0, ge=0)
    """Smaller patches go to the neighbor with the longest shared border."""

    def vectorize_options(self, pixel_m: tuple[float, float]) -> VectorizeOptions:
        """Return what draws the class map."""
        return VectorizeOptions(
            simplify_m=_either(self.simplify_m, _default_tolerance_m(pixel_m)),
            method=self.method,
            smooth_rounds=self.smooth_rounds,
            min_area_m2=self.min_area_m2,
            background=NODATA_CLASS,
            cover_background=False,
        )


class RoadSettings(_Settings):
    """From road probability to a network of centerlines."""

    threshold: float = Field(default=0.5, ge=0, le=1)
    """Probability from which a pixel is road."""
    max_width_m: float = Field(default=40.0, gt=0, le=200)
    """Widest road that becomes a line; wider places become a node."""
    min_length_m: float = Field(default=15.0, ge=0)
    """Shorter dead ends, loops and isolated pieces are removed."""
    min_hole_m: float = Field(default=6.0, ge=0)
    """Closed gaps in a road, such as cars, are filled up to this far across."""
    parallel_m: float = Field(default=10.0, ge=0)
    """Two lines between the same nodes that are never farther apart become one; 0 keeps both."""
    max_gap_m: float = Field(default=20.0, ge=0, le=500)
    """Longest gap that is closed; 0 closes none."""
    max_turn_deg: float = Field(default=30.0, ge=0, le=90)
    """Largest turn on the way over a gap."""
    min_gap_score: float = Field(default=0.4, ge=0, le=1)
    """Least mean road probability over a gap; 0 for masks without probabilities."""
    max_way_m: float = Field(default=60.0, ge=0, le=500)
    """Longest way that is followed from a dead end along weak road probability to the next road; 0 follows none."""
    min_way_score: float = Field(default=0.3, ge=0, le=1)
    """Least harmonic mean of the road probability along such a way."""
    min_part_m: float = Field(default=50.0, ge=0)
    """Connected parts of the network of which less than this was seen are removed."""
    smooth_m: float = Field(default=1.0, ge=0)
    """How far smoothing may move a line; 0 does not smooth."""
    simplify_m: float = Field(default=0.5, ge=0)
    """How far simplification may move a smoothed line; 0 keeps every point."""

    def road_options(self) -> RoadOptions:
        """Return what extracts roads."""
        return RoadOptions(**self.model_dump())


class ObjectSettings(_Settings):
    """How a run's objects are made from its stitched rasters; ``geoseg objects`` can change it afterwards."""

    buildings: BuildingSettings = BuildingSettings()
    """Building instances and their outlines."""
    landcover: LandcoverSettings = LandcoverSettings()
    """Class polygons."""
    roads: RoadSettings = RoadSettings()
    """Road network."""


def _either(asked: float | None, default: float) -> float:
    return default if asked is None else asked


def _default_tolerance_m(pixel_m: tuple[float, float]) -> float:
    return _OUTLINE_PX * math.sqrt(pixel_m[0] * pixel_m[1])

"""How objects are made, as users say it: on the ground in metres and square metres, in probabilities."""

from pydantic import BaseModel, ConfigDict, Field


class BuildingSettings(BaseModel):
    """From building probability to instances."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed_threshold: float | None = Field(default=None, ge=0, le=1)
    """Probability of being inside one building, and not between two, from which a pixel belongs to a seed; None takes 0.7 for models
    that know boundaries, else 0.5."""
    mask_threshold: float = Field(default=0.5, ge=0, le=1)
    """Building probability up to which seeds grow."""
    min_score: float | None = Field(default=None, ge=0, le=1)
    """Instances whose mean probability is lower are dropped; None takes 0.7 for models that know boundaries, else 0."""
    growth_m: float = Field(default=3.0, ge=0, le=50)
    """How far seeds grow at most."""
    min_area_m2: float = Field(default=5.0, ge=0)
    """Smaller instances are dropped."""
    fill_holes_m2: float = Field(default=2.0, ge=0)
    """Holes up to this size that one building encloses are filled."""
    simplify_m: float | None = Field(default=None, ge=0)
    """How far an outline may move when it is simplified; None takes one and a half pixels."""


class LandcoverSettings(BaseModel):
    """From the class map to polygons."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    simplify_m: float | None = Field(default=None, ge=0)
    """How far a border may move; 0 keeps pixel edges, None takes one and a half pixels."""


class RoadSettings(BaseModel):
    """From road probability to centerlines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    smooth_m: float = Field(default=1.0, ge=0)
    """How far smoothing may move a line; 0 does not smooth."""
    simplify_m: float = Field(default=0.5, ge=0)
    """How far simplification may move a smoothed line; 0 keeps every point."""


class ObjectSettings(BaseModel):
    """How a run's objects are made from its stitched rasters; ``geoseg objects`` can change it afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    buildings: BuildingSettings = BuildingSettings()
    """Building instances and their outlines."""
    landcover: LandcoverSettings = LandcoverSettings()
    """Class polygons."""
    roads: RoadSettings = RoadSettings()
    """Road network."""

"""What an impact is measured from, and how."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from geoseg.errors import ConfigError

PopulationUnit = Literal["count", "density"]
"""What a pixel of a population raster holds: people in it, or people per square kilometre."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodInput:
    """Where water stands, and where it stood before."""

    path: Path
    """Run folder, class raster, raster of water and no water, raster of depths, or polygons."""
    water: str | None = None
    """Name or value of the class that is water; None takes the class of a run that is called so, or the only value beside 0."""
    nodata: float | None = None
    """Value of the raster of which nothing is known, beside its own nodata."""
    area: Path | None = None
    """Polygons that were looked at; beyond them nothing is known. None: all of a raster, and everywhere around polygons."""
    before: Path | None = None
    """The same place before the flood; water that was there then is permanent."""
    before_water: str | None = None
    """Class that is water there; None takes ``water``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactInputs:
    """What is given.

    Raises:
        ConfigError: If there is nothing that a flood could do something to.
    """

    flood: FloodInput
    """The water."""
    buildings: Path | None = None
    """Polygons, or a run folder."""
    roads: Path | None = None
    """Lines, or a run folder."""
    zones: Path | None = None
    """Polygons such as districts."""
    dem: Path | None = None
    """Heights of the ground, metres."""
    population: Path | None = None
    """Raster of people."""
    origins: tuple[tuple[float, float] | Path, ...] = ()
    """Places that must stay within reach: longitude and latitude in degrees, or vector files of points."""

    def __post_init__(self) -> None:
        if self.buildings is None and self.roads is None and self.zones is None:
            raise ConfigError("An impact needs something to be flooded; none was given. Name --buildings, --roads or --zones.")
        for name, needed in (("dem", "buildings"), ("population", "buildings"), ("origins", "roads")):
            if getattr(self, name) and getattr(self, needed) is None:
                spelled = "from" if name == "origins" else name
                raise ConfigError(f"--{spelled} tells nothing without --{needed}. Name them, or leave it out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactOptions:
    """What counts as flooded, cut and cut off.

    Raises:
        ConfigError: If a number is out of its range.
    """

    flooded_from: float = 0.1
    """Share of a footprint, or of the ring around it, from which a building is flooded, above 0 and up to 1."""
    around_m: float | None = None
    """Width of the ring around a footprint where water counts too, since roofs hide it; None takes 2 m for classes of a run, else 0."""
    min_cut_m: float = 1.0
    """Length of a flooded stretch from which it cuts a road, metres."""
    snap_m: float = 1.0
    """Ends of lines that are nearer to each other, or to another line, are joined, metres. Roads of a run are joined already."""
    reach_m: float = 250.0
    """How far a building may stand from a road that it is reached by, metres."""
    min_place_m: float = 25.0
    """Road that a place without buildings needs to be listed, metres."""
    bridge_column: str = "bridge"
    """Column of the roads that tells bridges, which water below does not cut."""
    population_unit: PopulationUnit = "count"
    """What the population raster holds."""

    def __post_init__(self) -> None:
        if not 0 < self.flooded_from <= 1:
            raise ConfigError(f"A building is flooded from a share above 0 and up to 1; got {self.flooded_from}.")
        given = {name: getattr(self, name) for name in ("min_cut_m", "snap_m", "reach_m", "min_place_m")} | {
            "around_m": self.around_m or 0.0
        }
        for name, value in given.items():
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} is a length of 0 m or more; got {value}.")
        if self.population_unit not in get_args(PopulationUnit):
            raise ConfigError(f"A population raster holds {' or '.join(get_args(PopulationUnit))}; got {self.population_unit!r}.")

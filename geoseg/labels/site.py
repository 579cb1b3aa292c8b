"""A site: rasters with labels of one kind, as it stands in training configurations."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Site(BaseModel):
    """Rasters with labels of one kind, sampled as a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Shown in reports."""
    kind: Literal["class_raster", "building_polygons", "drawn_scenes"]
    """Rasters of class values, polygons that tell buildings from everything else, or scenes that geoseg draws."""
    rasters: str = ""
    """Glob below the data folder."""
    labels: str = ""
    """Label file below the data folder; ``{parent}`` and ``{stem}`` of the raster are filled in."""
    seeds: tuple[int, ...] = ()
    """Scenes to draw, of 1024 x 1024 px at the model's resolution."""
    labelled_area: str | None = None
    """Vector file whose polygons bound the complete labels; None means everywhere."""
    labelled_names: tuple[str, ...] = ()
    """Values of the area's ``name`` column to keep; empty keeps all."""
    labelled_lonlat: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees of the complete labels."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the windows, relative to the other sites."""
    resolution_m: float | None = None
    """Grid that the site is read at; None takes the model's."""

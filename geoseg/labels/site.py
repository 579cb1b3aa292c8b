"""A site: rasters with labels of one kind, as it stands in training configurations."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from geoseg.errors import LabelError

Kind = Literal["class_raster", "building_polygons", "vectors", "run", "drawn_scenes"]
_ONLY_FOR: dict[str, tuple[Kind, ...]] = {
    "values": ("class_raster", "vectors", "run", "drawn_scenes"),
    "ignore": ("class_raster", "vectors", "run"),
    "native_resolution": ("class_raster",),
    "class_labels": ("vectors",),
    "column": ("vectors",),
    "background": ("vectors",),
    "width_m": ("vectors",),
    "width_column": ("vectors",),
    "layer": ("vectors", "building_polygons"),
    "learn": ("run",),
    "sure": ("run",),
    "seeds": ("drawn_scenes",),
}


class Blocks(BaseModel):
    """A split of each raster into square blocks, drawn by lot, of which one part is kept.

    The part of the test blocks is whole; the part of the training blocks ends a buffer before them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int | None = Field(default=None, gt=0)
    """Side of a block in pixels at the model's resolution, whatever the site is read at."""
    size_m: float | None = Field(default=None, gt=0)
    """Side of a block on the ground, instead."""
    buffer_px: int = Field(default=0, ge=0)
    """Training pixels this near to a test block are unlabelled; in pixels at the model's resolution."""
    keep: Literal["train", "test"]
    """Which part stays labelled."""
    share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the blocks that are test blocks, rounded; at least one where there are two."""
    seed: int = Field(default=0, ge=0)
    """Of the lot."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.size_px is None) == (self.size_m is None):
            raise ValueError("blocks need either size_px or size_m")
        return self


class Site(BaseModel):
    """Rasters with labels of one kind, sampled as a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Shown in reports."""
    kind: Kind
    """Rasters of class values, polygons that tell buildings from everything else, polygons and lines of several classes,
    what a model was sure of in a finished run (self-training), or scenes that geoseg draws."""
    rasters: str | tuple[str, ...] = ""
    """Globs below the data folder."""
    exclude: tuple[str, ...] = ()
    """Globs below the data folder of rasters to leave out."""
    labels: str = ""
    """Label file, or run folder, below the data folder; ``{parent}`` and ``{stem}`` of the raster are filled in."""
    replace: dict[str, str] = {}
    """Text in ``{parent}`` and ``{stem}`` to replace first, for labels that are named otherwise: ``{ image = "mask" }``."""
    learn: Literal["classes", "buildings"] | None = None
    """Whether a run teaches its classes, which None means too, or only buildings and what is none."""
    sure: float | None = Field(default=None, gt=0.5, lt=1)
    """Probability from which on what a run says is taken for true; None means 0.9."""
    seeds: tuple[int, ...] = ()
    """Scenes to draw, of 1024 x 1024 px at the model's resolution."""
    labelled_area: str | None = None
    """Vector file whose polygons bound the complete labels; ``{parent}`` and ``{stem}`` are filled in; None means everywhere."""
    labelled_names: tuple[str, ...] = ()
    """Values of the area's ``name`` column to keep; empty keeps all."""
    labelled_lonlat: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees of the complete labels."""
    values: dict[str, str] = {}
    """Class name of each value in the labels, ``{ 10 = "building" }``, or of each color, ``{ "#ff0000" = "building" }``.
    Empty takes the values of the class scheme; in a column also its names, in drawn scenes only those and kinds."""
    ignore: tuple[int | str, ...] = ()
    """Values in the labels that say nothing; their pixels are unlabelled. So is 255 in a raster unless it has a class."""
    layer: str | None = None
    """Layer of the label file; None takes the first."""
    column: str | None = None
    """Column that tells the class of a polygon or line."""
    class_labels: dict[str, str] = {}
    """One label file per class name, instead of ``labels``; later ones are drawn over earlier ones."""
    background: str | None = None
    """Class of what no polygon or line covers; None leaves it unlabelled."""
    width_m: float | dict[str, float] | None = None
    """Width on the ground that lines are drawn with, of all classes or by class name."""
    width_column: str | None = None
    """Column with the width of each line in metres; where it is empty, ``width_m`` counts."""
    bands: tuple[int, ...] = ()
    """1-based bands of the rasters in the model's order; empty takes the first ones."""
    native_resolution: bool = False
    """Keep rasters with a georeference at their own resolution, instead of bringing them to the model's."""
    blocks: Blocks | None = None
    """Keep only some blocks of each raster, for a split by place."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the windows, relative to the other sites."""
    resolution_m: float | None = None
    """Grid that the site is read at; None takes the model's."""

    @property
    def globs(self) -> tuple[str, ...]:
        """The globs of the rasters."""
        return (self.rasters,) if isinstance(self.rasters, str) else self.rasters

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field, kinds in _ONLY_FOR.items():
            if getattr(self, field) and self.kind not in kinds:
                raise ValueError(f"'{field}' is for kind {' or '.join(kinds)}; site '{self.name}' is of kind {self.kind}")
        if self.kind == "vectors" and bool(self.class_labels) == bool(self.labels and self.column):
            raise ValueError(f"site '{self.name}' needs either labels and column, or class_labels, one file per class")
        if self.learn == "buildings" and (self.values or self.ignore):
            raise ValueError(f"site '{self.name}' learns buildings alone; values and ignore are for classes")
        if self.kind == "run" and not self.labels:
            raise ValueError(f"site '{self.name}' needs labels, the folder of a finished run")
        if self.kind in ("class_raster", "run", "drawn_scenes"):
            for key in (*self.values, *map(str, self.ignore)):
                parse_value(key)
        return self


def as_measured(site: Site) -> Site:
    """Return a site as a model is measured on it: at the model's resolution, as a run reads, whatever it is trained at.

    Raises:
        LabelError: If the site is drawn.
    """
    if site.kind == "drawn_scenes":
        raise LabelError(f"Site '{site.name}' is drawn; a model is measured on real imagery. Remove it from the tests.")
    return site.model_copy(update={"resolution_m": None, "native_resolution": False})


def parse_value(text: str) -> int:
    """Return the whole number that a key of ``values`` or an entry of ``ignore`` stands for; colors become ``0xrrggbb``.

    Raises:
        ValueError: If it is neither.
    """
    try:
        return int(text[1:], 16) if len(text) == 7 and text.startswith("#") else int(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} in values or ignore is neither a whole number nor a color like #ff0000") from exc

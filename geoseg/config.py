"""The configuration of a run: what the command line, TOML files and ``run.toml`` say, in the same words."""

import json
import math
import re
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_cache_dir
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from geoseg.checkrules import CheckRule
from geoseg.errors import ConfigError, MissingFileError
from geoseg.io.sources.arrangement import Rule
from geoseg.model.execution import Backend, Precision, Views
from geoseg.poststeps import PostStep
from geoseg.redact import redact
from geoseg.settings import ObjectSettings
from geoseg.tiling import Stitch

Output = Literal[
    "classes", "confidence", "evidence", "landcover", "buildings", "panoptic", "roads", "report", "probabilities", "uncertainty"
]
ALL_OUTPUTS: tuple[Output, ...] = ("classes", "confidence", "evidence", "landcover", "buildings", "panoptic", "roads", "report")
"""What is made unless something else is asked for: measures of each class take much room."""

CHOSEN = ("tile_size", "chunk_size", "batch_size", "device", "backend", "precision")
"""Keys that geoseg chooses for the model, the machine and the length of the job where they are not given."""
_RESULT_KEYS = (
    "raster",
    "model",
    "bands",
    "assume_crs",
    "warp",
    "aoi",
    "tile_size",
    "halo",
    "stitch",
    "batch_size",
    "backend",
    "precision",
    "outputs",
    "post",
    "objects",
)
"""Keys that change the result; a run only goes on under the same ones."""
_RESULT_KEYS_SINCE = ("mosaic", "feather", "stack", "bbox", "exclude", "collar", "tta", "tta_scales", "checks")
"""Those that runs of earlier versions did not have; they count where they are not left at their default."""


class RunConfig(BaseModel):
    """Everything that decides what a run does. Lengths are pixels of the run's grid unless they say otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raster: str | tuple[str, ...]
    """File name, address or GDAL connection string; a folder, a pattern or several names are one mosaic, or the bands of one input."""
    output: Path
    """The run folder."""
    model: str = "aerial"
    """Name of a shipped model, or the folder of a package."""
    mosaic: Rule = "first"
    """Which of several rasters is seen where they overlap: the first or last, the finest, or the median of all."""
    feather: int = Field(default=0, ge=0)
    """Pixels of the finest raster over which the others fade into each other at their edges; 0 cuts."""
    stack: bool = False
    """Take several rasters for the bands of one input."""
    bands: tuple[int | str, ...] = ()
    """1-based bands, or their names, in the model's order; empty takes those called as the model calls its own, else the first ones."""
    assume_crs: str | None = None
    """CRS of a raster that declares none."""
    warp: bool = False
    """Warp a rotated or GCP-only raster to north-up."""
    trust_vrt: bool = False
    """Open a virtual raster that points out of its folder, or at an address."""
    stac_sign: str | None = None
    """What signs the addresses of STAC assets: the address of a service, or the name of a plugin; None leaves them as they are."""
    aoi: Path | None = None
    """Vector file; only pixels inside its polygons are segmented."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east and north in degrees; only pixels inside are segmented."""
    exclude: Path | None = None
    """Vector file; pixels inside its polygons are not segmented."""
    collar: Literal["auto", "none"] = "none"
    """``auto`` takes a uniform white or black margin around a raster for nodata, though the file does not say so."""
    tile_size: int | None = Field(default=None, gt=0)
    """Side of a tile, at most; None takes what was measured on this machine, else the model's."""
    halo: int | Literal["exact"] | None = None
    """Margin of a tile; ``exact`` and None take what was measured for the model."""
    stitch: Stitch | None = None
    """``crop`` throws halos away, ``blend`` weights overlapping tiles; None blends models with global context, crops the others."""
    chunk_size: int | None = Field(default=None, gt=0)
    """Side of a chunk; rounded to whole tiles. None takes 1536, on a GPU 4096; less where memory is short, more from 10^12 pixels."""
    batch_size: int | None = Field(default=None, gt=0)
    """Tiles in one forward pass; None takes what was measured on this machine, else 1, on a GPU 8."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """``auto``, ``cpu`` or ``cuda``."""
    backend: Backend | Literal["auto"] = "auto"
    """Library that runs the network; ``auto`` takes the fastest for the length of the job."""
    precision: Precision | None = None
    """What the network computes with; None takes float32, or on a GPU what was measured to be faster with the same labels."""
    tta: Views = "none"
    """Test-time augmentation: the mean of probabilities over four mirrored views of each tile (``flips``), or all eight (``d4``)."""
    tta_scales: tuple[Annotated[float, Field(ge=0.5, le=2)], ...] = Field(default=(), max_length=4)
    """Further sizes at which each view is seen, for example ``[0.75, 1.25]``."""
    threads: int = Field(default=0, ge=0)
    """Processor threads for the network, of each worker; 0 shares the cores among the workers."""
    workers: int = Field(default=0, ge=0)
    """Worker processes on this machine; 0 works in this process."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, or the file that one wrote with ``--scheduler-file``."""
    resources: dict[str, float] = Field(default={})
    """What a worker must declare to get chunks, for example ``{GPU = 1}``."""
    patience: float = Field(default=600.0, ge=0)
    """Seconds to wait for workers, or for a scheduler that was lost, before the run ends."""
    allow_missing: bool = False
    """Finish with nodata where chunks fail again and again, instead of ending with an error."""
    chunks_at: str | None = None
    """Folder or address of an object store that takes finished chunks while the run goes on; None takes the run folder."""
    memory: str | None = None
    """Memory that the run may take, for example ``4GB``; None takes what the machine, or its container, has free."""
    cache: Path | None = None
    """Folder for what is measured and exported once; None takes ``geoseg`` in the user's cache folder."""
    outputs: tuple[Output, ...] = ALL_OUTPUTS
    """What is made."""
    formats: tuple[str, ...] = ()
    """Further formats that it is written in, by name."""
    zones: Path | None = None
    """Vector file; the areas of classes are added up in each of its polygons."""
    post: tuple[PostStep, ...] | None = None
    """Steps of post-processing of the class map, in order; None does none."""
    checks: tuple[CheckRule, ...] = ()
    """Rules that single out features to look at; they fill the column ``check``."""
    objects: ObjectSettings = ObjectSettings()
    """How buildings, land cover and roads are made of what was found."""

    @field_validator("bands", mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        """Read numbers that are written as text."""
        given = value if isinstance(value, list | tuple) else (value,)
        return tuple(int(band) if isinstance(band, str) and band.strip().isdecimal() else band for band in given)

    @field_validator("tta_scales")
    @classmethod
    def _different(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if 1.0 in value or len(set(value)) < len(value):
            raise ValueError("scales are other sizes than 1, each named once")
        return value

    @field_validator("memory")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            parse_bytes(value)
        return value

    @field_validator("stac_sign")
    @classmethod
    def _open_service(cls, value: str | None) -> str | None:
        return _refuse_secrets(value)

    @field_validator("chunks_at")
    @classmethod
    def _without_secrets(cls, value: str | None) -> str | None:
        _refuse_secrets(value)
        # a run goes on from any folder
        return value if value is None or "://" in value else str(Path(value).absolute())

    @field_validator("zones")
    @classmethod
    def _anchored(cls, value: Path | None) -> Path | None:
        # what run.toml names is found from any folder
        return None if value is None else value.absolute()

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes."""
        return None if self.memory is None else parse_bytes(self.memory)

    @property
    def cache_folder(self) -> Path:
        """Where what is measured and exported once is kept."""
        return self.cache or Path(user_cache_dir("geoseg", appauthor=False))

    @property
    def rasters(self) -> tuple[str, ...]:
        """Names of the rasters."""
        return (self.raster,) if isinstance(self.raster, str) else self.raster

    def result_keys(self) -> dict[str, Any]:
        """Return the part that decides the result."""
        dumped = self.model_dump(mode="json")
        # runs of earlier versions have no report, and are none the worse
        dumped["outputs"] = [output for output in self.outputs if output != "report"]
        # TOML has no word for what a rule leaves out
        dumped["checks"] = [rule.model_dump(mode="json", exclude_none=True) for rule in self.checks]
        return {key: dumped[key] for key in _RESULT_KEYS} | {
            key: dumped[key] for key, default in RESULT_DEFAULTS.items() if getattr(self, key) != default
        }


RESULT_DEFAULTS: dict[str, Any] = {key: RunConfig.model_fields[key].default for key in _RESULT_KEYS_SINCE}
"""What the keys are that :meth:`RunConfig.result_keys` leaves out."""


def _refuse_secrets(address: str | None) -> str | None:
    if address is not None and redact(address) != address:
        raise ValueError("secrets do not belong into an address; set them in the environment, as for the store's own programs")
    return address


def make_config(values: dict[str, Any], toml: Path | None = None) -> RunConfig:
    """Build a configuration from a TOML file and values that override it.

    Args:
        values: By field name; None means not given.
        toml: A ``run.toml`` or one written by hand. Its ``[run]`` table is read, or its top level.

    Raises:
        MissingFileError: If the TOML file does not exist.
        ConfigError: If a key is unknown or a value does not fit; a near name is suggested.
    """
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return RunConfig.model_validate(_merge(_read_toml(toml) if toml else {}, given))
    except ValidationError as exc:
        raise ConfigError(f"The run cannot be configured so: {'; '.join(_fault(f) for f in exc.errors())}.") from exc


def _merge(table: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return a table with values, and values of tables within it, replaced."""
    tables = {name: value for name, value in over.items() if isinstance(value, dict) and isinstance(table.get(name), dict)}
    return {**table, **over, **{name: _merge(table[name], value) for name, value in tables.items()}}


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(f"There is no configuration {path}. Check --config.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}.") from exc
    run = table.get("run", table)
    return run if isinstance(run, dict) else table


def _fault(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(str(fault["loc"][-1]), _fields_at(fault["loc"][:-1]), n=1)
        return f"there is no option '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")
    return f"{name}: {fault['msg']} (got {fault['input']!r})"


def _fields_at(path: tuple[str, ...]) -> list[str]:
    """Return the names of the options of a table, given the names of the tables that it stands in."""
    model: Any = RunConfig
    for name in path:
        model = model.model_fields[name].annotation
    return list(model.model_fields)


def parse_bytes(text: str) -> int:
    """Read a size such as ``4GB``, ``512 MiB`` or ``2e9``.

    Raises:
        ConfigError: If it is no size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]{1,2})?)\s*([kMGT]?)(i?)B?\s*", text, flags=re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{text!r} is no size of memory; write for example 4GB or 512MiB.")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(float(number) * base ** " KMGT".index(prefix.upper() or " "))


def to_toml(table: dict[str, Any]) -> str:
    """Write tables of plain values, and tables within them, as TOML; None is left out, as TOML has none."""
    return "\n".join(_toml_lines(table, "")).lstrip("\n") + "\n"


def _toml_lines(table: dict[str, Any], path: str) -> Iterator[str]:
    tables = {name: value for name, value in table.items() if isinstance(value, dict)}
    for name, value in table.items():
        if name not in tables and value is not None:
            yield f"{_toml_key(name)} = {_toml_value(value)}"
    for name, inner in tables.items():
        whole = f"{path}{_toml_key(name)}"
        yield from ("", f"[{whole}]", *_toml_lines(inner, f"{whole}."))


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml_value(name)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(name)} = {_toml_value(v)}" for name, v in value.items() if v is not None) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(v) for v in value)}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # JSON and TOML write strings alike, but for this one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

"""Options of the command line, each spelled once."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geoseg.errors import UsageError

HELP: Literal["markdown"] = "markdown"
"""How help is written; in rich's own markup ``[default: 3]`` is a style, which vanishes."""

Rasters = Annotated[
    list[str],
    typer.Argument(help="Rasters to segment: files, addresses, a folder or a pattern; several are one mosaic.", show_default=False),
]
Mosaic = Annotated[
    Literal["first", "last", "best", "median"] | None,
    typer.Option("--mosaic", help="Which raster is seen where several overlap.  [default: first]", show_default=False),
]
Feather = Annotated[
    int | None, typer.Option("--feather", metavar="PX", help="Fade rasters of a mosaic into each other at their edges.  [default: 0]")
]
Stack = Annotated[bool | None, typer.Option("--stack", help="Take several rasters for the bands of one input.", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option("-m", "--model", help="Shipped model, package, or model from elsewhere (docs/model-packages.md).  [default: aerial]"),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="Run folder; made if it does not exist.", show_default=False)]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file with the same words, for example an earlier run.toml.")]
Bands = Annotated[str | None, typer.Option("--bands", help="Bands in the model's order, by number or name: 4,3,2 or red,green,blue.")]
AssumeCrs = Annotated[str | None, typer.Option("--assume-crs", help="CRS of a raster that declares none, for example EPSG:32645.")]
Warp = Annotated[bool | None, typer.Option("--warp", help="Warp a rotated or GCP-only raster to north-up.", show_default=False)]
TrustVrt = Annotated[
    bool | None, typer.Option("--trust-vrt", help="Open a virtual raster that points out of its folder.", show_default=False)
]
StacSign = Annotated[
    str | None,
    typer.Option("--stac-sign", metavar="SERVICE", help="Signs addresses of STAC assets: address of a service (?href=), or a plugin."),
]
LogJson = Annotated[Path | None, typer.Option("--log-json", metavar="FILE", help="Also write structured log lines, outside OUT.")]
Aoi = Annotated[Path | None, typer.Option("--aoi", help="Vector file; only inside its polygons is segmented.")]
Bbox = Annotated[str | None, typer.Option("--bbox", metavar="W,S,E,N", help="Only inside a box in degrees: west, south, east, north.")]
Exclude = Annotated[Path | None, typer.Option("--exclude", metavar="FILE", help="Vector file; inside its polygons nothing is segmented.")]
Collar = Annotated[
    Literal["auto", "none"] | None,
    typer.Option("--collar", help="Take a uniform white or black margin for nodata: auto or none.  [default: none]", show_default=False),
]
TileSize = Annotated[
    int | None, typer.Option("--tile-size", metavar="PX", help="Side of a tile, at most.  [default: as measured, or the model's]")
]
HaloSize = Annotated[
    str | None, typer.Option("--halo", metavar="PX", help="Margin of a tile in pixels, or 'exact'.  [default: the model's]")
]
Stitch = Annotated[
    Literal["crop", "blend"] | None,
    typer.Option("--stitch", help="Throw halos away or blend overlapping tiles.  [default: the model's]", show_default=False),
]
ChunkSize = Annotated[
    int | None, typer.Option("--chunk-size", metavar="PX", help="Side of the unit of work.  [default: 1536, 4096 on a GPU]")
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Tiles in one forward pass.  [default: as measured, or 1, 8 on a GPU]")
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.  [default: auto]")]
Backend = Annotated[
    Literal["auto", "torch", "compile", "onnx"] | None,
    typer.Option(
        "--backend", help="Library that runs the network.  [default: auto, the fastest for the length of the job]", show_default=False
    ),
]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(
        "--precision", help="Numbers that the network computes with.  [default: as measured on a GPU, or float32]", show_default=False
    ),
]
Tta = Annotated[
    Literal["none", "flips", "d4"] | None,
    typer.Option(
        "--tta", help="Test-time augmentation: the mean over 4 mirrored (flips) or all 8 (d4) views.  [default: none]", show_default=False
    ),
]
TtaScales = Annotated[
    str | None, typer.Option("--tta-scales", metavar="LIST", help="Further sizes of each view, for example 0.75,1.25.  [default: none]")
]
Resources = Annotated[
    str | None,
    typer.Option("--resources", metavar="NAME=N", help="What a worker must declare to get chunks, for example GPU=1.", show_default=False),
]
Patience = Annotated[
    float | None, typer.Option("--patience", metavar="S", help="Seconds to wait for workers or a lost scheduler.  [default: 600]")
]
AllowMissing = Annotated[
    bool | None,
    typer.Option("--allow-missing", help="Finish with nodata where chunks fail again and again; exit code 3.", show_default=False),
]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="Processor threads of each worker.  [default: all cores]")]
Workers = Annotated[int | None, typer.Option("--workers", metavar="N", help="Worker processes; 0 works in this one.  [default: 0]")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Running Dask scheduler, for example tcp://host:8786, or its file.")
]
ChunksAt = Annotated[
    str | None,
    typer.Option(
        "--chunks-at", metavar="PLACE", help="Shared folder or s3://, gs:// or az:// prefix for finished chunks.  [default: the run folder]"
    ),
]
Memory = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="Memory that may be used, for example 4GB.  [default: what is free]")
]
Outputs = Annotated[
    str | None,
    typer.Option(
        "--outputs",
        metavar="LIST",
        help="Of classes,confidence,evidence,landcover,buildings,panoptic,roads,report,probabilities,uncertainty.  [default: all but two]",
    ),
]
Formats = Annotated[
    str | None,
    typer.Option(
        "--formats",
        metavar="LIST",
        help="Beside: of geoparquet,flatgeobuf,geojson,pmtiles,osm,coco,coco-rle,zarr,styles, and other packages'.  [default: none]",
    ),
]
Zones = Annotated[
    Path | None, typer.Option("--zones", metavar="FILE", help="Vector file; areas of classes are added up in each of its polygons.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TABLE.NAME=VALUE",
        help="How objects are made, for example buildings.min_area_m2=20; may be given several times. docs/objects.md lists all.",
        show_default=False,
    ),
]
Tune = Annotated[
    bool, typer.Option("--tune", help="Measure backends, tiles and batches now, however short the job is; later runs remember.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove an earlier run in the output folder first.")]
Progress = Annotated[
    Literal["auto", "rich", "json", "none"], typer.Option("--progress", help="auto takes a bar on a terminal, else lines of text.")
]
Data = Annotated[Path, typer.Option("--data", help="Folder that the paths of the recipe start from.", show_default=False)]


def collect(**given: object) -> dict[str, object]:
    """Turn option values into fields of :class:`geoseg.config.RunConfig`; None means not given."""
    values = dict(given)
    halo = values.pop("halo", None)
    for name in ("bands", "bbox", "outputs", "formats", "tta_scales"):
        listed = values.get(name)
        if isinstance(listed, str):
            values[name] = split_list(listed)
    rasters = values.get("raster")
    if isinstance(rasters, list):
        values["raster"] = rasters[0] if len(rasters) == 1 else tuple(rasters)
    settings = values.pop("objects", None)
    if isinstance(settings, list):
        values["objects"] = parse_settings(settings)
    resources = values.pop("resources", None)
    if isinstance(resources, str):
        values["resources"] = parse_resources(resources)
    if isinstance(halo, str):
        values["halo"] = int(halo) if halo.isdigit() else halo
    return {key: value for key, value in values.items() if value is not None}


def split_list(text: str) -> tuple[str, ...]:
    """Return the parts of a list that is written with commas."""
    return tuple(part.strip() for part in text.split(","))


def parse_resources(text: str) -> dict[str, float]:
    """Turn ``GPU=1,MEMORY=8e9`` into numbers by name.

    Raises:
        UsageError: If it is written otherwise.
    """
    found = re.fullmatch(r"\s*[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*\s*", text)
    try:
        pairs = [part.split("=") for part in text.split(",")] if found else []
        resources = {name.strip(): float(number) for name, number in pairs}
    except ValueError:
        resources = {}
    if not resources:
        raise UsageError(f"--resources takes NAME=NUMBER, for example GPU=1; got {text!r}.")
    return resources


def parse_settings(given: list[str]) -> dict[str, Any]:
    """Turn ``table.name=value`` into tables; values are written as in TOML, text may go without quotes.

    Raises:
        UsageError: If one is written otherwise, or stands there twice.
    """
    tables: dict[str, dict[str, Any]] = {}
    for text in given:
        match = re.fullmatch(r"\s*(\w+)\.(\w+)\s*=\s*(.+?)\s*", text)
        if match is None:
            raise UsageError(f"--set takes TABLE.NAME=VALUE, for example buildings.min_area_m2=20; got {text!r}.")
        table, name, value = match.groups()
        if name in tables.setdefault(table, {}):
            raise UsageError(f"--set names {table}.{name} twice: {tables[table][name]} and {value}. Give it once.")
        tables[table][name] = _plain_value(value)
    return tables


def _plain_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text

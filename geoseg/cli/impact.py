"""``geoseg impact``: what a flood does."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from geoseg.cli import options as o
from geoseg.errors import UsageError

Flood = Annotated[Path, typer.Option("--flood", metavar="FLOOD", help="Run folder, raster, or polygons of the water.", show_default=False)]
FloodClass = Annotated[
    str | None,
    typer.Option("--flood-class", metavar="NAME", help="Class that is water, by name or value.  [default: water, or all beside 0]"),
]
FloodNodata = Annotated[
    float | None, typer.Option("--flood-nodata", metavar="V", help="Value of which nothing is known, beside the raster's nodata.")
]
FloodArea = Annotated[
    Path | None, typer.Option("--flood-area", metavar="FILE", help="Polygons that were looked at; beyond nothing is known.")
]
FloodBefore = Annotated[
    Path | None, typer.Option("--flood-before", metavar="BEFORE", help="The same before the flood; water that was there floods nothing.")
]
BeforeClass = Annotated[
    str | None, typer.Option("--before-class", metavar="NAME", help="Class that is water there.  [default: that of --flood-class]")
]
Buildings = Annotated[Path | None, typer.Option("--buildings", metavar="FILE|RUN", help="Polygons, or a run folder.")]
Roads = Annotated[Path | None, typer.Option("--roads", metavar="FILE|RUN", help="Lines, or a run folder.")]
Zones = Annotated[Path | None, typer.Option("--zones", metavar="FILE", help="Polygons such as districts, to add up by.")]
Dem = Annotated[Path | None, typer.Option("--dem", metavar="RASTER", help="Heights of the ground in metres, for depths at walls.")]
Population = Annotated[Path | None, typer.Option("--population", metavar="RASTER", help="Raster of people.")]
PopulationUnit = Annotated[
    Literal["count", "density"], typer.Option("--population-unit", help="People in a pixel, or people per square kilometre.")
]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="LON,LAT|FILE",
        help="What must stay within reach, such as a hospital; repeat it.  [default: the largest part of the roads]",
    ),
]
FloodedFrom = Annotated[float, typer.Option("--flooded-from", metavar="SHARE", help="Share under water from which a building is flooded.")]
Around = Annotated[
    float | None,
    typer.Option(
        "--around", metavar="M", help="Also look at a ring around footprints: roofs hide water.  [default: 2 for classes of a run, else 0]"
    ),
]
MinCut = Annotated[float, typer.Option("--min-cut-m", metavar="M", help="Length of a flooded stretch from which it cuts a road.")]
Snap = Annotated[float, typer.Option("--snap-m", metavar="M", help="Ends of lines that are nearer are joined.")]
Reach = Annotated[float, typer.Option("--reach-m", metavar="M", help="How far a building may stand from its road.")]
BridgeColumn = Annotated[str, typer.Option("--bridge-column", metavar="NAME", help="Column of the roads that tells bridges.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier impact in the folder.")]


def impact(
    flood: Flood,
    output: Output,
    buildings: Buildings = None,
    roads: Roads = None,
    zones: Zones = None,
    dem: Dem = None,
    population: Population = None,
    origins: Origins = None,
    flood_class: FloodClass = None,
    flood_nodata: FloodNodata = None,
    flood_area: FloodArea = None,
    flood_before: FloodBefore = None,
    before_class: BeforeClass = None,
    flooded_from: FloodedFrom = 0.1,
    around: Around = None,
    min_cut: MinCut = 1.0,
    snap: Snap = 1.0,
    reach: Reach = 250.0,
    bridge_column: BridgeColumn = "bridge",
    population_unit: PopulationUnit = "count",
    overwrite: Overwrite = False,
    progress: o.Progress = "auto",
) -> None:
    """List flooded buildings, cut roads and places that a flood cuts off: OUT/impact.gpkg, tables and a report."""
    from geoseg.cli.progress import show_progress
    from geoseg.impact.measure import measure_impact
    from geoseg.impact.options import FloodInput, ImpactInputs, ImpactOptions

    water = FloodInput(path=flood, water=flood_class, nodata=flood_nodata, area=flood_area, before=flood_before, before_water=before_class)
    inputs = ImpactInputs(
        flood=water,
        buildings=buildings,
        roads=roads,
        zones=zones,
        dem=dem,
        population=population,
        origins=tuple(parse_origin(text) for text in origins or []),
    )
    options = ImpactOptions(
        flooded_from=flooded_from,
        around_m=around,
        min_cut_m=min_cut,
        snap_m=snap,
        reach_m=reach,
        bridge_column=bridge_column,
        population_unit=population_unit,
    )
    with show_progress(progress) as listener:
        found = measure_impact(inputs, output, options, overwrite=overwrite, listener=listener)
    if progress != "json":
        typer.echo(_describe(found.totals, output))


def parse_origin(text: str) -> tuple[float, float] | Path:
    """Read ``LON,LAT`` in degrees, or the name of a file.

    Raises:
        UsageError: If it is neither.
    """
    parts = text.split(",")
    try:
        lon, lat = map(float, parts)
    except ValueError as exc:
        if Path(text).exists():
            return Path(text)
        raise UsageError(f"--from takes LON,LAT in degrees, for example 85.52,27.63, or a file of points; got {text!r}.") from exc
    return lon, lat


def _describe(totals: dict[str, dict[str, float]], output: Path) -> str:
    said = []
    if "buildings" in totals:
        found = totals["buildings"]
        said.append(f"{found['flooded']} of {found['count']} buildings flooded")
        said += [f"{found['cut_off']} cut off"] if "cut_off" in found else []
        said += [f"{found['unknown']} unknown"] if found["unknown"] else []
    if "roads" in totals:
        said.append(f"{totals['roads']['cut']} of {totals['roads']['count']} roads cut")
    if "places" in totals:
        said.append(f"{totals['places']['count']} places cut off")
    return f"{', '.join(said) or 'Zones measured'}: {output / 'impact.html'}"

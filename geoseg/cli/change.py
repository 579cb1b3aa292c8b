"""``geoseg change``: what changed between two dates."""

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import options as o

Before = Annotated[str, typer.Argument(metavar="BEFORE", help="Run folder of the earlier date, or its raster.", show_default=False)]
After = Annotated[str, typer.Argument(metavar="AFTER", help="Run folder of the later date, or its raster.", show_default=False)]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the comparison; made if it does not exist.", show_default=False)]
Align = Annotated[bool, typer.Option("--align", help="Move AFTER by the misregistration that is measured.")]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="M",
        help="How far borders may lie apart, metres on the ground.  [default: 2 pixels, or 1 of the coarser date more than the dates do]",
    ),
]
MinArea = Annotated[
    float | None,
    typer.Option("--min-area", metavar="M2", help="Smaller changes are left out.  [default: the square of twice the tolerance]"),
]
MinGrowth = Annotated[float, typer.Option("--min-growth", metavar="SHARE", help="By which buildings grow or shrink at least.")]
MinEvidence = Annotated[
    float,
    typer.Option("--min-evidence", metavar="SHARE", help="By which the probability of building rises or falls at least; 0 takes all."),
]
MinSure = Annotated[
    float, typer.Option("--min-sure-area", metavar="M2", help="Least ground built up or cleared, times the change of that probability.")
]
MinRoad = Annotated[float, typer.Option("--min-road", metavar="M", help="Shorter pieces of road are no change.")]
Match = Annotated[
    list[str] | None,
    typer.Option("--match", metavar="NAME=NAME", help="Take a class of either date for another one; NAME= for no data. Repeat it."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier comparison in the output folder.")]


def change(
    before: Before,
    after: After,
    output: Output,
    align: Align = False,
    tolerance: Tolerance = None,
    min_area: MinArea = None,
    min_growth: MinGrowth = 0.1,
    min_evidence: MinEvidence = 0.5,
    min_sure_area: MinSure = 12.0,
    min_road: MinRoad = 15.0,
    match: Match = None,
    zones: o.Zones = None,
    model: o.Model = None,
    config: o.Config = None,
    bands: o.Bands = None,
    device: o.Device = None,
    memory: o.Memory = None,
    overwrite: Overwrite = False,
    progress: o.Progress = "auto",
) -> None:
    """Tell what changed from BEFORE to AFTER: classes, buildings and roads. Rasters are segmented first, into OUT/before and OUT/after."""
    from geoseg.change.compare import change_runs
    from geoseg.change.dates import make_runs
    from geoseg.change.options import ChangeOptions, parse_matches
    from geoseg.cli.progress import show_progress

    options = ChangeOptions(
        tolerance_m=tolerance,
        min_area_m2=min_area,
        min_growth=min_growth,
        min_evidence=min_evidence,
        min_sure_m2=min_sure_area,
        min_road_m=min_road,
        align=align,
        match=parse_matches(match or []),
        zones=zones,
    )
    given = o.collect(model=model, config=config, bands=bands, device=device, memory=memory)
    with show_progress(progress) as listener:
        runs = make_runs((before, after), output, options, given, listener, overwrite=overwrite)
        change_runs(*runs, output, options, listener, overwrite=overwrite)

"""``geoseg areas``: what a finished run found, by zone."""

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import options as o

Zones = Annotated[Path, typer.Option("--zones", metavar="FILE", help="Vector file of polygons, such as districts.", show_default=False)]


def areas(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a finished run.", show_default=False)],
    zones: Zones,
    progress: o.Progress = "auto",
) -> None:
    """Add up the area of each class in each zone, in m2 on the ground: OUT/zones.csv, and the layer 'zones' of OUT/features.gpkg."""
    from geoseg.cli.progress import show_progress
    from geoseg.products.exports import export_run

    with show_progress(progress) as listener:
        export_run(output, zones=zones, listener=listener)

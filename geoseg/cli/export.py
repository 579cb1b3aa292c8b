"""``geoseg export``: a finished run in further formats."""

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import options as o

Formats = Annotated[
    str,
    typer.Option(
        "--formats",
        metavar="LIST",
        help="Of geoparquet,flatgeobuf,geojson,pmtiles,osm,coco,coco-rle,zarr,styles, and those of other packages.",
        show_default=False,
    ),
]


def export(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a finished run.", show_default=False)],
    formats: Formats,
    progress: o.Progress = "auto",
) -> None:
    """Write the run in OUT in further formats, into the same folder. Formats that are there are written again."""
    from geoseg.cli.progress import show_progress
    from geoseg.products.exports import export_run

    with show_progress(progress) as listener:
        export_run(output, formats=o.split_list(formats), listener=listener)

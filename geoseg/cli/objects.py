"""``geoseg objects``: buildings, land cover and roads of a finished run, made anew."""

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import options as o


def objects(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a finished run.", show_default=False)],
    settings: o.Settings = None,
    progress: o.Progress = "auto",
) -> None:
    """Make the objects of the run in OUT again with other settings, from its rasters alone: no model, no imagery, no GPU."""
    from geoseg.cli.progress import show_progress
    from geoseg.redo import redo_objects

    with show_progress(progress) as listener:
        redo_objects(output, o.parse_settings(settings or []), listener)

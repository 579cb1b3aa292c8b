"""``geoseg report``: a finished run as one page."""

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import options as o

Accuracy = Annotated[
    Path | None,
    typer.Option("--accuracy", metavar="FILE", help="What geoseg accuracy area -o wrote: areas get intervals. It is kept in OUT."),
]
Evaluation = Annotated[
    Path | None, typer.Option("--evaluation", metavar="FOLDER", help="What geoseg evaluate OUT --labels -o wrote: scores against labels.")
]


def report(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a finished run.", show_default=False)],
    accuracy: Accuracy = None,
    evaluation: Evaluation = None,
    progress: o.Progress = "auto",
) -> None:
    """Write OUT/report.html: maps, areas, buildings and roads, least certain places, origin. One file, to print or pass on."""
    from geoseg.cli.progress import show_progress
    from geoseg.products.exports import report_run

    with show_progress(progress) as listener:
        made = report_run(output, accuracy, evaluation, listener)
    typer.echo(f"Report: {made}")

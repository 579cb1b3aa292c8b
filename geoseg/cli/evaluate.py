"""``geoseg evaluate``: a model, a run folder or a class raster against labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli import options as o
from geoseg.errors import UsageError

if TYPE_CHECKING:
    from geoseg.evaluation.measure import EvaluateOptions
    from geoseg.evaluation.reference import ReferenceFiles
    from geoseg.evaluation.result import Evaluation

What = Annotated[
    Path,
    typer.Argument(metavar="RECIPE|RUN|CLASSMAP", help="Recipe (.toml) whose test sites are measured, run folder, or class raster."),
]
Data = Annotated[Path | None, typer.Option("--data", help="With a recipe: folder that its paths start from.")]
Folder = Annotated[Path | None, typer.Option("-o", "--output", help="Folder for evaluation.json and evaluation.html.")]
Labels = Annotated[Path | None, typer.Option("--labels", help="Raster of class values, or polygons with a class column.")]
Buildings = Annotated[Path | None, typer.Option("--buildings", help="Polygons of single buildings.")]
Roads = Annotated[Path | None, typer.Option("--roads", help="Centrelines of roads.")]
Area = Annotated[Path | None, typer.Option("--aoi", help="Polygons inside which the labels are complete; without, everywhere.")]
ClassColumn = Annotated[str | None, typer.Option("--class-column", help="Column of class names or values; without, class or class_value.")]
Ignore = Annotated[list[int] | None, typer.Option("--ignore", metavar="VALUE", help="Label value that stands for 'not known'; repeatable.")]
BoundaryM = Annotated[float, typer.Option("--boundary", metavar="M", min=0, help="Width of the region of boundary IoU.")]
BufferM = Annotated[float, typer.Option("--buffer", metavar="M", min=0, help="Distance up to which road lines match.")]


def evaluate(
    what: What,
    data: Data = None,
    model: o.Model = None,
    output: Folder = None,
    labels: Labels = None,
    buildings: Buildings = None,
    roads: Roads = None,
    aoi: Area = None,
    class_column: ClassColumn = None,
    ignore: Ignore = None,
    boundary_m: BoundaryM = 1.0,
    buffer_m: BufferM = 4.0,
    device: o.Device = None,
) -> None:
    """Measure a model on the labelled test sites of a recipe, or a finished result against labels."""
    from geoseg.evaluation.measure import EvaluateOptions
    from geoseg.evaluation.reference import ReferenceFiles

    options = EvaluateOptions(boundary_m=boundary_m, buffer_m=buffer_m, pictures=6 if output is not None else 0)
    files = ReferenceFiles(labels=labels, buildings=buildings, roads=roads, aoi=aoi, class_column=class_column, ignore=tuple(ignore or ()))
    if what.suffix.lower() == ".toml":
        if files != ReferenceFiles():
            raise UsageError("A recipe names its own labels; --labels, --buildings, --roads, --aoi and --ignore go with a run folder.")
        _evaluate_model(what, data, model, options, device or "auto", output)
    else:
        if data is not None or model is not None:
            raise UsageError(
                f"--data and -m go with a recipe (.toml); {what} is a result, which is compared with --labels, --buildings or --roads."
            )
        _evaluate_result(what, files, options, output)


def _evaluate_model(
    recipe: Path, data: Path | None, model: str | None, options: "EvaluateOptions", device: str, output: Path | None
) -> None:
    from geoseg.evaluation.evaluate import evaluate_site
    from geoseg.model.package import DEFAULT_MODEL
    from geoseg.model.source import find_model
    from geoseg.training.recipe import read_recipe

    if data is None:
        raise UsageError("A recipe names its data below a folder; name the folder with --data.")
    package = find_model(model or DEFAULT_MODEL)
    tests = read_recipe(recipe).tests
    if not tests:
        raise UsageError(f"{recipe} has no [[tests]]; add the sites to measure on.")
    evaluations = [evaluate_site(package, site, data, options, device) for site in tests]
    _show(f"{package.spec.name} {package.spec.version}", evaluations, output)


def _evaluate_result(path: Path, files: "ReferenceFiles", options: "EvaluateOptions", output: Path | None) -> None:
    from geoseg.evaluation.evaluate import evaluate_result

    _show(str(path), [evaluate_result(path, files, options)], output)


def _show(title: str, evaluations: Sequence["Evaluation"], output: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("data", "metric", "value", title=title, title_justify="left")
    for evaluation in evaluations:
        for name, value in evaluation.rows():
            table.add_row(evaluation.name, name, f"{value:.4f}")
    Console().print(table)
    for note in dict.fromkeys(note for e in evaluations for note in e.tally.notes):
        typer.echo(note)
    if output is not None:
        from geoseg.evaluation.report import write_report

        typer.echo(f"Report: {write_report(output, title, evaluations)}")

"""``geoseg evaluate``: a model, a run folder or a class raster against labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli import options as o
from geoseg.cli.tables import print_table
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
Classes = Annotated[
    str | None,
    typer.Option("--classes", help="Classes of a class raster, also those that it lacks: a TOML file with classes, a recipe or a model."),
]
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
    classes: Classes = None,
    boundary_m: BoundaryM = 1.0,
    buffer_m: BufferM = 4.0,
    device: o.Device = None,
    tta: o.Tta = None,
    tta_scales: o.TtaScales = None,
) -> None:
    """Measure a model on the labelled test sites of a recipe, or a finished result against labels."""
    from geoseg.evaluation.measure import EvaluateOptions
    from geoseg.evaluation.reference import ReferenceFiles

    options = EvaluateOptions(boundary_m=boundary_m, buffer_m=buffer_m, pictures=6 if output is not None else 0)
    files = ReferenceFiles(labels=labels, buildings=buildings, roads=roads, aoi=aoi, class_column=class_column, ignore=tuple(ignore or ()))
    if what.suffix.lower() == ".toml":
        if files != ReferenceFiles() or classes is not None:
            raise UsageError(
                "A recipe names its own labels; --labels, --buildings, --roads, --aoi, --ignore and --classes go with a result."
            )
        if data is None:
            raise UsageError("A recipe names its data below a folder; name the folder with --data.")
        given = o.collect(tta=tta, tta_scales=tta_scales)
        _evaluate_model(what, model, _Asked(data=data, options=options, device=device or "auto", views=given), output)
    else:
        if any(option is not None for option in (data, model, device, tta, tta_scales)):
            raise UsageError(
                f"--data, -m, --device and --tta go with a recipe (.toml); {what} is a result: compare it with --labels, --buildings "
                "or --roads."
            )
        _evaluate_result(what, files, options, classes, output)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    data: Path
    options: "EvaluateOptions"
    device: str
    views: dict[str, object]


def _evaluate_model(recipe: Path, model: str | None, asked: _Asked, output: Path | None) -> None:
    from geoseg.config import make_config
    from geoseg.evaluation.evaluate import Judge
    from geoseg.model.package import DEFAULT_MODEL
    from geoseg.model.source import find_model
    from geoseg.training.recipe import read_recipe

    # what does not fit is said before anything is measured
    run = make_config({"raster": "", "output": Path(), **asked.views})
    package = find_model(model or DEFAULT_MODEL)
    tests = read_recipe(recipe).tests
    if not tests:
        raise UsageError(f"{recipe} has no [[tests]]; add the sites to measure on.")
    judge = Judge(package=package, data_dir=asked.data, device=asked.device, options=asked.options)
    title = f"{package.spec.name} {package.spec.version}"
    once = [judge.evaluate(site) for site in tests]
    if run.tta == "none" and not run.tta_scales:
        _show(title, once, output)
        return
    averaging = replace(judge, tta=run.tta, tta_scales=run.tta_scales)
    _show_gain(title, once, [averaging.evaluate(site) for site in tests], output)


def _evaluate_result(path: Path, files: "ReferenceFiles", options: "EvaluateOptions", classes: str | None, output: Path | None) -> None:
    from geoseg.evaluation.evaluate import evaluate_result
    from geoseg.labels.scheme import find_scheme

    scheme = find_scheme(classes) if classes else None
    _show(str(path), [evaluate_result(path, files, options, scheme)], output)


def _show(title: str, evaluations: Sequence["Evaluation"], output: Path | None) -> None:
    _print_rows(title, ("value",), [(e.name, name, (f"{value:.4f}",)) for e in evaluations for name, value in e.rows()])
    _tell(title, evaluations, output)


def _show_gain(title: str, once: Sequence["Evaluation"], averaged: Sequence["Evaluation"], output: Path | None) -> None:
    """Show scores without and with test-time augmentation, and what it gains."""
    rows = []
    for plain, better in zip(once, averaged, strict=True):
        after = dict(better.rows())
        rows += [
            (plain.name, name, (f"{value:.4f}", f"{after[name]:.4f}", f"{after[name] - value:+.4f}"))
            for name, value in plain.rows()
            if name in after
        ]
    _print_rows(title, ("without", "with tta", "gain"), rows)
    _tell(title, [*once, *(replace(e, name=f"{e.name}, test-time augmentation") for e in averaged)], output)


def _print_rows(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, str, tuple[str, ...]]]) -> None:
    print_table(title, ("data", "metric", *columns), [(data, metric, *values) for data, metric, values in rows])


def _tell(title: str, evaluations: Sequence["Evaluation"], output: Path | None) -> None:
    for note in dict.fromkeys(note for e in evaluations for note in e.tally.notes):
        typer.echo(note)
    if output is not None:
        from geoseg.evaluation.report import write_report

        typer.echo(f"Report: {write_report(output, title, evaluations)}")

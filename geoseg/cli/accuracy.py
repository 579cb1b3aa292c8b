"""``geoseg accuracy``: area and accuracy of a class map from points that a person looked at."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geoseg.cli import options as o
from geoseg.cli.tables import print_table

if TYPE_CHECKING:
    from geoseg.evaluation.points import AccuracyTable

accuracy = typer.Typer(
    help="Accuracy and class areas of a map with confidence intervals, from a stratified sample (Olofsson et al. 2014).",
    no_args_is_help=True,
    rich_markup_mode=o.HELP,
)
ClassMap = Annotated[Path, typer.Argument(metavar="CLASSMAP", help="Class raster or run folder.", show_default=False)]


@accuracy.command()
def sample(
    classmap: ClassMap,
    output: Annotated[Path, typer.Option("-o", "--output", help="GeoPackage of points, to be filled in.", show_default=False)],
    points: Annotated[int, typer.Option("-n", "--points", min=1, help="Points in all.")] = 500,
    allocation: Annotated[
        Literal["proportional", "equal", "optimal"],
        typer.Option(help="By area; the same for each class; or by area and expected accuracy (Neyman)."),
    ] = "proportional",
    minimum: Annotated[int, typer.Option("--minimum", min=0, help="Points of each class at least.")] = 50,
    expected: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=SHARE", help="For optimal: expected user's accuracy; 0.8 where none is given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same points.")] = 0,
    hide: Annotated[bool, typer.Option("--hide", help="Leave the mapped class out of the file, for blind interpretation.")] = False,
) -> None:
    """Draw random points within each class of CLASSMAP, with an empty column 'reference' to fill in."""
    from geoseg.evaluation.points import draw_sample, parse_expected
    from geoseg.evaluation.sampling import SampleOptions

    options = SampleOptions(points=points, allocation=allocation, minimum=minimum, seed=seed)
    drawn = draw_sample(classmap, output, options, parse_expected(expected or []), hide=hide)
    for name, count in drawn.items():
        typer.echo(f"{name}: {count} points")
    typer.echo(f"Points: {output}. Write the true class, by name or value, into the column 'reference'.")


@accuracy.command()
def area(
    points: Annotated[Path, typer.Argument(help="Points with the column 'reference' filled in.", show_default=False)],
    classmap: Annotated[Path, typer.Option("--classmap", help="The class raster or run folder that they were drawn from.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON file.")] = None,
) -> None:
    """Estimate accuracies and class areas with 95 % confidence intervals from interpreted POINTS."""
    from geoseg.evaluation.points import evaluate_points

    table = evaluate_points(points, classmap)
    _show(table)
    if output is not None:
        table.write(output)
        typer.echo(f"Numbers: {output}")


def _show(table: "AccuracyTable") -> None:
    columns = ("class", "points", "user's accuracy", "producer's accuracy", "mapped ha", "estimated ha", "estimated m2")
    rows = [
        (
            *(row["class"], str(row["points"])),
            *(_interval(row[key], row[f"{key}_margin"], ".3f") for key in ("users", "producers")),
            f"{row['mapped_m2'] / 1e4:,.2f}",
            _interval(row["area_m2"] / 1e4, row["area_m2_margin"] / 1e4, ",.2f"),
            _interval(row["area_m2"], row["area_m2_margin"], ",.0f"),
        )
        for row in table.rows()
    ]
    print_table("95 % confidence intervals", columns, rows)
    overall = table.estimate.overall
    typer.echo(f"Overall accuracy: {_interval(float(overall.value[0]), float(overall.margin[0]), '.3f')}")
    for note in table.notes:
        typer.echo(note)


def _interval(value: float, margin: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}} ± {margin:{form}}"

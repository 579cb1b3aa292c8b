"""``geoseg labels``: labels from one form to another, and what is wrong with them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli import options as o
from geoseg.cli.tables import print_table
from geoseg.errors import UsageError

if TYPE_CHECKING:
    from geoseg.labels.check import LabelReport, Part
    from geoseg.labels.site import Site
    from geoseg.runfolder.page import Page

app = typer.Typer(help="Convert, look at and check labels.", no_args_is_help=True, rich_markup_mode=o.HELP)

Recipe = Annotated[Path, typer.Argument(help="Training configuration with [[sites]] and [[tests]].", show_default=False)]
File = Annotated[Path, typer.Option("-o", "--output", help="File to write.", show_default=False)]
Classes = Annotated[str | None, typer.Option("--classes", help="Where the classes stand: a TOML file with classes, a recipe or a model.")]
Column = Annotated[str | None, typer.Option("--column", help="Column with class names or values.")]


@app.command()
def rasterize(
    polygons: Annotated[Path, typer.Argument(help="Vector file, in any CRS.", show_default=False)],
    like: Annotated[Path, typer.Option("--like", help="Raster that gives the grid.", show_default=False)],
    output: File,
    column: Column = None,
    classes: Classes = None,
    all_touched: Annotated[bool, typer.Option("--all-touched", help="Count every pixel that is touched.")] = False,
) -> None:
    """Draw POLYGONS into a mask on the grid of a raster."""
    from geoseg.labels.masks import rasterize_file
    from geoseg.labels.scheme import find_scheme

    scheme = find_scheme(classes) if classes else None
    for note in rasterize_file(polygons, like, output, scheme=scheme, column=column, all_touched=all_touched):
        typer.echo(note)
    typer.echo(f"Mask: {output}")


@app.command()
def vectorize(
    mask: Annotated[Path, typer.Argument(help="Raster of class values or instance labels.", show_default=False)],
    output: File,
    tolerance: Annotated[float, typer.Option("--tolerance", metavar="M", help="How far borders may move, metres on the ground.")] = 0.0,
    classes: Classes = None,
) -> None:
    """Draw polygons around the patches of MASK."""
    from geoseg.labels.masks import vectorize_file
    from geoseg.labels.scheme import find_scheme

    count = vectorize_file(mask, output, tolerance_m=tolerance, scheme=find_scheme(classes) if classes else None)
    typer.echo(f"{count} polygons: {output}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="COCO .json, CVAT .xml or any vector file.", show_default=False)],
    output: Annotated[Path, typer.Argument(metavar="OUT", help=".json, .xml, .gpkg, .geojson or .fgb.", show_default=False)],
    images: Annotated[Path | None, typer.Option("--images", help="Georeferenced image or folder of images.")] = None,
    column: Column = None,
) -> None:
    """Convert labels to and from COCO and CVAT; the endings tell the forms."""
    from geoseg.labels.convert import convert as convert_labels

    for note in convert_labels(source, output, images=images, column=column):
        typer.echo(note)
    typer.echo(f"Labels: {output}")


@app.command("recipe")
def write_draft(
    raster: Annotated[Path, typer.Argument(help="Imagery that the polygons lie on.", show_default=False)],
    labels: Annotated[Path, typer.Option("--labels", help="Vector file of polygons.", show_default=False)],
    column: Annotated[str, typer.Option("--column", help="Column with class names.", show_default=False)],
    output: File,
    model: Annotated[str, typer.Option("-m", "--model", help="Model to start from; gives bands, resolution and network.")] = "base",
    background: Annotated[str | None, typer.Option("--background", help="Class of what no polygon covers.")] = None,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="Length of the training.")] = 30,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Steps of an epoch.")] = 50,
    test_share: Annotated[float, typer.Option("--test-share", min=0, max=0.5, help="Share of the area kept for the test.")] = 0.2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a training configuration for RASTER and polygons; train with --data and the folder of RASTER."""
    from geoseg.model.source import find_model
    from geoseg.training.draft import DraftOptions, draft_recipe, write_recipe

    options = DraftOptions(column=column, background=background, epochs=epochs, steps_per_epoch=steps, test_share=test_share)
    recipe = draft_recipe(raster, labels, find_model(model), model, options)
    write_recipe(recipe, output, overwrite)
    typer.echo(f"{len(recipe.model.classes)} classes ({', '.join(c.name for c in recipe.model.classes)}): {output}")


@app.command()
def preview(
    recipe: Recipe,
    data: o.Data,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG of one raster per site, or a folder for all.", show_default=False)],
) -> None:
    """Draw the labels of RECIPE over their imagery."""
    from geoseg.labels.preview import draw_preview, write_preview
    from geoseg.labels.site import as_measured
    from geoseg.labels.targets import iterate_site
    from geoseg.training.recipe import read_recipe

    what = read_recipe(recipe)
    pictures = []
    single = output.suffix.lower() == ".png"
    parts = {"train": what.sites, "validation": what.validation, "test": what.tests}
    for part, site in ((part, site) for part, sites in parts.items() for site in sites):
        shown = as_measured(site) if part == "test" else site
        for number, raster in enumerate(iterate_site(shown, what.model, data)):
            picture = draw_preview(raster, what.model.scheme)
            if single:
                pictures.append(picture)
                break
            output.mkdir(parents=True, exist_ok=True)
            write_preview([picture], output / f"{part}-{site.name.replace('/', '_')}-{number:03d}.png")
    if single:
        write_preview(pictures, output)
    typer.echo(f"Preview: {output}")


@app.command()
def check(
    recipe: Recipe,
    data: o.Data,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="HTML report to write.")] = None,
) -> None:
    """Find offsets, empty sites, holes, missing classes, and test data that is learned from. Exits with 1 if there are errors."""
    from geoseg.labels.check import check_labels
    from geoseg.training.recipe import read_recipe

    what = read_recipe(recipe)
    parts: dict[Part, tuple[Site, ...]] = {"train": what.sites, "validation": what.validation, "test": what.tests}
    report = check_labels(parts, what.model, data, lambda name: typer.echo(f"read {name}", err=True))
    _print(report)
    if output is not None:
        if output.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"The report is an HTML page; {output} should end in .html.")
        _page(report, recipe).write(output)
    raise typer.Exit(1 if report.errors else 0)


def _print(report: "LabelReport") -> None:
    for title, columns, rows in _tables(report):
        print_table(title, columns, rows)


def _page(report: "LabelReport", recipe: Path) -> "Page":
    from geoseg.runfolder.page import Page

    page = Page(f"Labels of {recipe.name}")
    for title, columns, rows in _tables(report):
        page.heading(title).table(columns, list(rows))
    return page


def _tables(report: "LabelReport") -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    names = list(dict.fromkeys(name for site in report.sites for name in site.shares))
    sites: list[tuple[str, ...]] = [
        (s.name, s.part, str(s.rasters), f"{s.pixels / 1e6:.1f}", f"{s.unlabelled:.1%}", *(f"{s.shares.get(n, 0.0):.2%}" for n in names))
        for s in report.sites
    ]
    offsets: list[tuple[str, ...]] = [
        (s.name, name, f"{f.rows_px:+.1f}", f"{f.cols_px:+.1f}", "-" if m is None else f"{f.distance_px * m:.1f}", f"{f.strength:.1f}")
        for s in report.sites
        for name, f, m in s.offsets
        if f.distance_px > 1
    ]
    findings: list[tuple[str, ...]] = [(f.severity, f.fault, f.site, f.text) for f in report.findings]
    return [
        ("Sites", ("site", "part", "rasters", "Mpx", "unlabelled", *names), sites),
        ("Offsets above one pixel", ("site", "raster", "rows", "columns", "m", "strength"), offsets),
        ("Findings", ("severity", "fault", "site", "what"), findings or [("", "", "", "nothing was found")]),
    ]

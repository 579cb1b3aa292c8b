"""``geoseg evaluate``: a model against labels."""

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import options as o


def evaluate(
    recipe: Annotated[Path, typer.Argument(help="Training configuration whose [[tests]] are measured.")],
    data: o.Data,
    model: o.Model = None,
    device: o.Device = None,
) -> None:
    """Measure a model on the labelled test sites of RECIPE and print a table."""
    from rich.console import Console
    from rich.table import Table

    from geoseg.evaluation.evaluate import evaluate_site
    from geoseg.model.load import load_predictor
    from geoseg.model.package import DEFAULT_MODEL, find_package
    from geoseg.training.recipe import read_recipe

    predictor = load_predictor(find_package(model or DEFAULT_MODEL), device or "auto")
    table = Table("data", "metric", "value", title=f"{predictor.spec.name} {predictor.spec.version}", title_justify="left")
    for site in read_recipe(recipe).tests:
        for metric in evaluate_site(predictor, site, data):
            table.add_row(metric.dataset, metric.name, f"{metric.value:.4f}")
    Console().print(table)

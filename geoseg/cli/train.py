"""``geoseg train``: a recipe into a model package."""

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import options as o
from geoseg.errors import UsageError


def train(
    recipe: Annotated[Path, typer.Argument(help="Training configuration, for example configs/train-aerial.toml.")],
    data: o.Data,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model package.", show_default=False)],
    deadline: Annotated[float | None, typer.Option(help="Minutes by which training shall end; the schedule follows the clock.")] = None,
) -> None:
    """Train the model of RECIPE, measure it, and write its package. The same command again goes on after the last epoch."""
    from geoseg.training.recipe import read_recipe

    what = read_recipe(recipe)
    if what.model.network.library == "sklearn":
        from geoseg.training.baseline import fit_baseline

        typer.echo(f"Model package: {fit_baseline(what, data, output, typer.echo).folder}")
        return
    try:
        from geoseg.training.loop import fit
        from geoseg.training.publish import publish
    except ModuleNotFoundError as exc:
        raise UsageError(f"Training needs {exc.name}: pip install 'geoseg[train]'.") from exc

    def report(epoch: int, numbers: dict[str, float]) -> None:
        losses = "  ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in numbers.items() if name.startswith("loss_"))
        typer.echo(f"epoch {epoch}/{what.schedule.epochs}  {losses}")

    work = output / ".training"
    module = fit(what, data, work, deadline_s=deadline * 60 if deadline else None, report=report)
    package = publish(module, what, data, output, typer.echo)
    typer.echo(f"Model package: {package.folder}")

"""``geoseg train``: a recipe into a model package."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from geoseg.cli import options as o
from geoseg.cli.tables import open_console
from geoseg.errors import UsageError
from geoseg.events import Warned

if TYPE_CHECKING:
    from geoseg.training.history import EpochDone, TrainingEvent, TrainingListener

_SHOWN_EPOCHS = 15


def train(
    recipe: Annotated[Path, typer.Argument(help="Training configuration, for example configs/train-aerial.toml.")],
    data: o.Data,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model package.", show_default=False)],
    deadline: Annotated[float | None, typer.Option(help="Minutes by which training shall end; the schedule follows the clock.")] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=0, help="Processes that prepare windows; 0 prepares them in line.")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    devices: Annotated[int | None, typer.Option(metavar="N", min=1, help="GPUs that share a batch.  [default: all]")] = None,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Numbers that the network computes in.  [default: 16 bits on a GPU, else float32]", show_default=False),
    ] = None,
    progress: o.Progress = "auto",
) -> None:
    """Train the model of RECIPE, measure it, and write its package. The same command again goes on after the last epoch."""
    from geoseg.evaluation.evaluate import check_test
    from geoseg.training.recipe import read_recipe

    what = read_recipe(recipe)
    for site in what.tests:
        check_test(site, what.model, data)

    def say(text: str) -> None:
        if progress != "none":
            typer.echo(text, err=progress == "json")

    if what.model.network.library == "sklearn":
        if deadline is not None or devices is not None or precision is not None or device == "cuda":
            raise UsageError(
                "Per-pixel models are trained on the processor in one go: --deadline, --devices, --precision and cuda do not apply."
            )
        from geoseg.training.baseline import fit_baseline

        say(f"Model package: {fit_baseline(what, data, output, say).folder}")
        return
    try:
        from geoseg.training.loop import FitOptions, fit, is_first_process
        from geoseg.training.publish import publish
    except ModuleNotFoundError as exc:
        raise UsageError(f"Training needs {exc.name}: pip install 'geoseg[train]'.") from exc
    # after the import, which sets levels of its own
    _keep_lightning_quiet()

    how = FitOptions(
        deadline_s=deadline * 60 if deadline else None,
        workers=workers,
        accelerator=device,
        devices=devices,
        precision=precision,
        page=output / "training.html",
    )
    with _show(progress) as listener:
        module = fit(what, data, output / ".training", how, listener)
    if not is_first_process():
        return
    package = publish(module, what, data, output, say, device)
    say(f"Model package: {package.folder}")


def _keep_lightning_quiet() -> None:
    """Leave the terminal to what geoseg reports; Lightning and torch tell developers more than users want."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for category in (UserWarning, FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(lightning|torch)\..*")


@contextmanager
def _show(style: str) -> "Iterator[TrainingListener]":
    if style == "none":
        yield lambda event: None
    elif style == "json":
        yield lambda event: print(json.dumps({"event": type(event).__name__, **asdict(event)}), flush=True)
    elif style == "rich" or sys.stdout.isatty():
        with _live_table() as listener:
            yield listener
    else:
        yield lambda event: print(_line(event), flush=True)


def _line(event: "TrainingEvent") -> str:
    if isinstance(event, Warned):
        return f"Warning: {event.message}"
    losses = "  ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
    score = "" if event.score is None else f"  validation {event.score:.3f}"
    return f"epoch {event.epoch}/{event.epochs}  {losses}{score}  {event.mpx_per_s:.2f} Mpx/s  {_clock(event.left_s)} left"


@contextmanager
def _live_table() -> "Iterator[TrainingListener]":
    from rich.live import Live

    rows: list[EpochDone] = []
    console = open_console()
    with Live("Reading the sites and beginning the first epoch ...", console=console, auto_refresh=False) as live:

        def listen(event: "TrainingEvent") -> None:
            if isinstance(event, Warned):
                live.console.print(_line(event))
                return
            rows.append(event)
            live.update(_table(rows[-_SHOWN_EPOCHS:]), refresh=True)

        yield listen


def _table(rows: "list[EpochDone]") -> Table:
    names = list(rows[-1].losses)
    table = Table("epoch", *names, "learning rate", "validation", "Mpx/s", "left")
    for row in rows:
        losses = [f"{row.losses.get(name, float('nan')):.3f}" for name in names]
        score = "-" if row.score is None else f"{row.score:.3f}"
        table.add_row(f"{row.epoch}/{row.epochs}", *losses, f"{row.learning_rate:.1e}", score, f"{row.mpx_per_s:.2f}", _clock(row.left_s))
    return table


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min" if minutes else f"{seconds:.0f} s"

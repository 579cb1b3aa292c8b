"""The command line: one file per command; errors become one paragraph and an exit code."""

import sys
import traceback
from typing import Annotated, NoReturn

import typer

from geoseg import __version__
from geoseg.cli import options as o
from geoseg.cli.accuracy import accuracy
from geoseg.cli.areas import areas
from geoseg.cli.batch import batch
from geoseg.cli.change import change
from geoseg.cli.demo import demo
from geoseg.cli.doctor import doctor
from geoseg.cli.evaluate import evaluate
from geoseg.cli.export import export
from geoseg.cli.impact import impact
from geoseg.cli.labels import app as labels
from geoseg.cli.models import models
from geoseg.cli.objects import objects
from geoseg.cli.plan import plan
from geoseg.cli.qgis import qgis
from geoseg.cli.regularize import regularize
from geoseg.cli.report import report
from geoseg.cli.segment import segment
from geoseg.cli.status import status
from geoseg.cli.stop import STOPPED, end_on_signals, ignore_signals, leave
from geoseg.cli.train import train
from geoseg.cli.vectorize import vectorize
from geoseg.cli.verify import verify
from geoseg.cli.view import view
from geoseg.cli.watch import watch
from geoseg.errors import GeosegError, MissingFileError, UsageError
from geoseg.redact import redact

FAILED, USAGE = 1, 2
_TYPERS_INTERRUPT = 130

app = typer.Typer(
    help="Turn large satellite, aerial and drone rasters into maps: land cover, buildings and roads.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=o.HELP,
)
for command in (
    segment,
    batch,
    watch,
    objects,
    export,
    areas,
    report,
    vectorize,
    regularize,
    change,
    impact,
    plan,
    demo,
    train,
    evaluate,
    verify,
    status,
    view,
    doctor,
):
    app.command()(command)
app.add_typer(models, name="models")
app.add_typer(labels, name="labels")
app.add_typer(accuracy, name="accuracy")
app.add_typer(qgis, name="qgis")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"geoseg {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Take the options that every command has."""


def main() -> None:
    """Run the command line and exit with 0 done, 1 failed, 2 usage."""
    debug = "--debug" in sys.argv
    sys.argv = [sys.argv[0], *(["--debug"] if debug else []), *(a for a in sys.argv[1:] if a != "--debug")]
    end_on_signals()
    try:
        app()
    except (UsageError, MissingFileError) as exc:
        _fail(exc, USAGE, debug)
    except GeosegError as exc:
        _fail(exc, FAILED, debug)
    except KeyboardInterrupt as exc:
        _fail(exc, FAILED, debug)
    except SystemExit as exc:
        # typer turns Ctrl-C into an exit of its own
        if exc.code == _TYPERS_INTERRUPT:
            _fail(KeyboardInterrupt(), FAILED, debug)
        ignore_signals()
        raise


def _fail(exc: BaseException, code: int, debug: bool) -> NoReturn:
    if debug:
        leave(code, redact("".join(traceback.format_exception(exc))))
    leave(code, STOPPED if isinstance(exc, KeyboardInterrupt) else f"Error: {exc}")

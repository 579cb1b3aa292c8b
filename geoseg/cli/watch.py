"""``geoseg watch``: a folder in which rasters appear."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geoseg.cli import options as o

if TYPE_CHECKING:
    from geoseg.config import RunConfig


def watch(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where rasters, and folders of pictures, lie and appear.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run folders and of watch.gpkg.", show_default=False)],
    priority: Annotated[
        Literal["oldest", "newest", "smallest", "largest", "name"], typer.Option("--priority", help="Which raster comes first.")
    ] = "oldest",
    order: Annotated[
        Path | None,
        typer.Option("--order", metavar="FILE", help="Text file: names and patterns that come before, the most urgent first."),
    ] = None,
    settle: Annotated[
        float, typer.Option("--settle", metavar="S", min=0, help="Seconds without change after which a raster is taken for whole.")
    ] = 10.0,
    every: Annotated[float, typer.Option("--every", metavar="S", min=0.05, help="Seconds between two looks into FOLDER.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="End when all that lies there is done.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Put a coarse map of each raster up first, then refine it.")] = False,
    show: Annotated[bool, typer.Option("--view", help="Also show the map in the browser, as geoseg view does.")] = False,
    model: o.Model = None,
    config: o.Config = None,
    bands: o.Bands = None,
    assume_crs: o.AssumeCrs = None,
    warp: o.Warp = None,
    mosaic: o.Mosaic = None,
    collar: o.Collar = None,
    device: o.Device = None,
    backend: o.Backend = None,
    threads: o.Threads = None,
    allow_missing: o.AllowMissing = None,
    memory: o.Memory = None,
    outputs: o.Outputs = None,
    formats: o.Formats = None,
    zones: o.Zones = None,
    settings: o.Settings = None,
    progress: o.Progress = "auto",
) -> None:
    """Segment rasters that appear in FOLDER, each once, and gather their layers; Ctrl-C ends it, and the same command goes on."""
    from geoseg.cli.progress import show_progress
    from geoseg.config import make_config
    from geoseg.model.source import find_model
    from geoseg.runs.batch import BatchOptions
    from geoseg.watch.watcher import WatchOptions, watch_folder

    given = o.collect(
        model=model,
        bands=bands,
        assume_crs=assume_crs,
        warp=warp,
        mosaic=mosaic,
        collar=collar,
        device=device,
        backend=backend,
        threads=threads,
        allow_missing=allow_missing,
        memory=memory,
        outputs=outputs,
        formats=formats,
        zones=zones,
        objects=settings,
    )

    def configure(raster: str, run: Path) -> "RunConfig":
        return make_config({**given, "raster": raster, "output": run}, config)

    # what does not fit any raster is said once, and before there is one
    first = configure(str(folder), output)
    find_model(first.model, first.cache_folder)
    chosen = WatchOptions(
        rule=priority,
        order=order,
        settle_s=settle,
        every_s=every,
        once=once,
        quick=quick,
        batch=BatchOptions(memory_bytes=first.memory_bytes),
    )
    with show_progress(progress) as listener, _map_of(output, show):
        watch_folder(folder, output, configure, chosen, listener)


@contextmanager
def _map_of(output: Path, wanted: bool) -> Iterator[None]:
    """Show a folder in the browser by a process of its own, which ends with this one.

    Raises:
        UsageError: If the web map is not installed.
    """
    import subprocess
    from importlib.util import find_spec

    from geoseg.errors import UsageError
    from geoseg.interpreter import python_command
    from geoseg.watch.book import BOOK_NAME, WatchBook

    if not wanted:
        yield
        return
    if find_spec("geoseg.view") is None or find_spec("starlette") is None:
        raise UsageError("--view needs the web map. Install it with: pip install 'geoseg[view]', or leave --view out.")
    output.mkdir(parents=True, exist_ok=True)
    if not (output / BOOK_NAME).exists():
        # a folder that holds nothing is no map
        WatchBook(output).write()
    # its input ends with this process, even with one that is killed
    shown = subprocess.Popen(python_command("-m", "geoseg", "view", "--attended", str(output)), stdin=subprocess.PIPE)
    try:
        yield
    finally:
        shown.terminate()

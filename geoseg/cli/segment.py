"""``geoseg segment``: a raster into a run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli import options as o

if TYPE_CHECKING:
    from geoseg.events import Event

MISSING = 3
"""Exit code of a run that is finished but for some chunks, and of a list of which some rasters are missing."""


def segment(
    raster: o.Rasters,
    output: o.Output,
    model: o.Model = None,
    config: o.Config = None,
    bands: o.Bands = None,
    mosaic: o.Mosaic = None,
    feather: o.Feather = None,
    stack: o.Stack = None,
    assume_crs: o.AssumeCrs = None,
    warp: o.Warp = None,
    trust_vrt: o.TrustVrt = None,
    stac_sign: o.StacSign = None,
    aoi: o.Aoi = None,
    bbox: o.Bbox = None,
    exclude: o.Exclude = None,
    collar: o.Collar = None,
    tile_size: o.TileSize = None,
    halo: o.HaloSize = None,
    stitch: o.Stitch = None,
    chunk_size: o.ChunkSize = None,
    batch_size: o.BatchSize = None,
    device: o.Device = None,
    backend: o.Backend = None,
    precision: o.Precision = None,
    tta: o.Tta = None,
    tta_scales: o.TtaScales = None,
    threads: o.Threads = None,
    workers: o.Workers = None,
    scheduler: o.Scheduler = None,
    resources: o.Resources = None,
    patience: o.Patience = None,
    allow_missing: o.AllowMissing = None,
    chunks_at: o.ChunksAt = None,
    memory: o.Memory = None,
    outputs: o.Outputs = None,
    formats: o.Formats = None,
    zones: o.Zones = None,
    settings: o.Settings = None,
    quick: Annotated[bool, typer.Option("--quick", help="Put a coarse map of all of RASTER into OUT first, then refine it.")] = False,
    first: Annotated[
        Path | None, typer.Option("--first", metavar="FILE", help="With --quick: vector file; what lies in its polygons is refined first.")
    ] = None,
    overwrite: o.Overwrite = False,
    progress: o.Progress = "auto",
    log_json: o.LogJson = None,
) -> None:
    """Segment RASTER into classes, buildings and roads. The same command again goes on where it stopped."""
    # the command line starts fast: the pipeline is only loaded by the commands that need it
    from geoseg.cli.log import log_to
    from geoseg.cli.progress import show_progress
    from geoseg.config import make_config
    from geoseg.errors import UsageError
    from geoseg.events import Finished
    from geoseg.inference.planning import plan_run
    from geoseg.pipeline import segment_raster
    from geoseg.runfolder.folder import RunFolder

    given = o.collect(
        raster=raster,
        output=output,
        model=model,
        bands=bands,
        mosaic=mosaic,
        feather=feather,
        stack=stack,
        assume_crs=assume_crs,
        warp=warp,
        trust_vrt=trust_vrt,
        stac_sign=stac_sign,
        aoi=aoi,
        bbox=bbox,
        exclude=exclude,
        collar=collar,
        tile_size=tile_size,
        halo=halo,
        stitch=stitch,
        chunk_size=chunk_size,
        batch_size=batch_size,
        device=device,
        backend=backend,
        precision=precision,
        tta=tta,
        tta_scales=tta_scales,
        threads=threads,
        workers=workers,
        scheduler=scheduler,
        resources=resources,
        patience=patience,
        allow_missing=allow_missing,
        chunks_at=chunks_at,
        memory=memory,
        outputs=outputs,
        formats=formats,
        zones=zones,
        objects=settings,
    )
    if first is not None and not quick:
        raise UsageError("--first says what is refined first, which only --quick does. Add --quick, or leave --first out.")
    run = make_config(given, config)
    if overwrite:
        plan_run(run)
        folder = RunFolder(Path(run.output))
        with folder.hold():
            folder.clear()
    missing = 0

    def hear(event: "Event") -> None:
        nonlocal missing
        if isinstance(event, Finished):
            missing = event.missing
        listener(event)

    with show_progress(progress) as shown, log_to(log_json, shown) as listener:
        if quick:
            from geoseg.quick.look import QuickOptions, segment_quick

            segment_quick(run, hear, options=QuickOptions(first=first))
        else:
            segment_raster(run, hear)
    if missing:
        raise typer.Exit(MISSING)

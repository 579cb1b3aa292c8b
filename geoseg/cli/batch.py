"""``geoseg batch``: many rasters, one after the other and several at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli import options as o
from geoseg.cli.segment import MISSING

if TYPE_CHECKING:
    from geoseg.config import RunConfig


def batch(
    rasters: Annotated[
        str,
        typer.Argument(metavar="LIST|FOLDER|GLOB|STAC", help="Rasters: a list (.txt, .csv), a folder, a pattern, STAC items or a search."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run folders and the ledger.", show_default=False)],
    model: o.Model = None,
    config: o.Config = None,
    bands: o.Bands = None,
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
    at_once: Annotated[int, typer.Option("--at-once", metavar="N", min=1, help="Rasters under way at a time.")] = 4,
    retries: Annotated[int, typer.Option("--retries", metavar="N", min=0, help="How often one that failed is tried again.")] = 2,
) -> None:
    """Segment many rasters, each into a run folder below OUTPUT; one failure never stops the rest, and the same command again goes on."""
    from geoseg.cli.progress import describe
    from geoseg.config import make_config
    from geoseg.events import ClusterReady, Warned
    from geoseg.runs.batch import LEDGER_NAME, BatchOptions, find_workplace, segment_list
    from geoseg.runs.ledger import Entry
    from geoseg.runs.runlist import read_run_list

    items = read_run_list(rasters)
    given = o.collect(
        model=model,
        bands=bands,
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

    def configure(raster: str, folder: Path) -> "RunConfig":
        return make_config({**given, "raster": raster, "output": folder}, config)

    # an option that does not fit is said once, not for every raster
    first = configure(items[0].raster, output / items[0].name)
    ended = 0

    def show(said: Entry | ClusterReady | Warned) -> None:
        nonlocal ended
        if not isinstance(said, Entry):
            typer.echo(describe(said), err=True)
            return
        ended += 1
        typer.echo(f"{ended}/{len(items)} {said.name}: {said.error or f'done in {said.elapsed_s:.1f} s'}", err=said.error is not None)

    cluster = find_workplace(items, configure, output) if first.workers or first.scheduler is not None else None
    chosen = BatchOptions(rasters_at_once=at_once, retries=retries, memory_bytes=first.memory_bytes, cluster=cluster)
    result = segment_list(items, output, configure, chosen, show)
    numbers = {"incomplete": len(result.incomplete), "at work elsewhere": len(result.elsewhere)}
    more = "".join(f", {number} {what}" for what, number in numbers.items() if number)
    typer.echo(f"{len(result.done)} of {len(items)} done, {len(result.failed)} failed{more}: {output / LEDGER_NAME}")
    if result.elsewhere:
        typer.echo(f"Another command is still at work on {', '.join(result.elsewhere)}.", err=True)
    if result.failed or result.incomplete or result.elsewhere:
        raise typer.Exit(MISSING)

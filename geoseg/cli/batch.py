"""``geoseg batch``: many rasters, one after the other and several at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli import options as o

if TYPE_CHECKING:
    from geoseg.config import RunConfig

MISSING = 3
"""Exit code of a list of which some rasters are missing."""


def batch(
    rasters: Annotated[
        str, typer.Argument(metavar="LIST|FOLDER|GLOB", help="Rasters to segment: a list (.txt, .csv), a folder or a pattern.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run folders and the ledger.", show_default=False)],
    model: o.Model = None,
    config: o.Config = None,
    bands: o.Bands = None,
    assume_crs: o.AssumeCrs = None,
    warp: o.Warp = None,
    trust_vrt: o.TrustVrt = None,
    aoi: o.Aoi = None,
    tile_size: o.TileSize = None,
    halo: o.HaloSize = None,
    stitch: o.Stitch = None,
    batch_size: o.BatchSize = None,
    device: o.Device = None,
    backend: o.Backend = None,
    precision: o.Precision = None,
    threads: o.Threads = None,
    memory: o.Memory = None,
    outputs: o.Outputs = None,
    formats: o.Formats = None,
    zones: o.Zones = None,
    settings: o.Settings = None,
    at_once: Annotated[int, typer.Option("--at-once", metavar="N", min=1, help="Rasters under way at a time.")] = 4,
    retries: Annotated[int, typer.Option("--retries", metavar="N", min=0, help="How often one that failed is tried again.")] = 2,
) -> None:
    """Segment many rasters, each into a run folder below OUTPUT; one failure never stops the rest, and the same command again goes on."""
    from geoseg.config import make_config
    from geoseg.ledger import Entry
    from geoseg.runlist import read_run_list
    from geoseg.runs import LEDGER_NAME, BatchOptions, segment_list

    items = read_run_list(rasters)
    given = o.collect(
        model=model,
        bands=bands,
        assume_crs=assume_crs,
        warp=warp,
        trust_vrt=trust_vrt,
        aoi=aoi,
        tile_size=tile_size,
        halo=halo,
        stitch=stitch,
        batch_size=batch_size,
        device=device,
        backend=backend,
        precision=precision,
        threads=threads,
        memory=memory,
        outputs=outputs,
        formats=formats,
        zones=zones,
        objects=settings,
    )

    def configure(raster: str, folder: Path) -> "RunConfig":
        return make_config({**given, "raster": raster, "output": folder}, config)

    # an option that does not fit is said once, not for every raster
    configure(items[0].raster, output / items[0].name)
    ended = 0

    def show(entry: Entry) -> None:
        nonlocal ended
        ended += 1
        typer.echo(f"{ended}/{len(items)} {entry.name}: {entry.error or f'done in {entry.elapsed_s:.1f} s'}", err=entry.error is not None)

    result = segment_list(items, output, configure, BatchOptions(rasters_at_once=at_once, retries=retries), show)
    elsewhere = f", {len(result.elsewhere)} at work elsewhere" if result.elsewhere else ""
    typer.echo(f"{len(result.done)} of {len(items)} done, {len(result.failed)} failed{elsewhere}: {output / LEDGER_NAME}")
    if result.failed:
        raise typer.Exit(MISSING)

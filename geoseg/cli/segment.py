"""``geoseg segment``: a raster into a run folder."""

from pathlib import Path

from geoseg.cli import options as o


def segment(
    raster: o.Raster,
    output: o.Output,
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
    chunk_size: o.ChunkSize = None,
    batch_size: o.BatchSize = None,
    device: o.Device = None,
    backend: o.Backend = None,
    precision: o.Precision = None,
    threads: o.Threads = None,
    workers: o.Workers = None,
    scheduler: o.Scheduler = None,
    memory: o.Memory = None,
    outputs: o.Outputs = None,
    formats: o.Formats = None,
    zones: o.Zones = None,
    settings: o.Settings = None,
    overwrite: o.Overwrite = False,
    progress: o.Progress = "auto",
    log_json: o.LogJson = None,
) -> None:
    """Segment RASTER into classes, buildings and roads. The same command again goes on where it stopped."""
    # the command line starts fast: the pipeline is only loaded by the commands that need it
    from geoseg.cli.log import log_to
    from geoseg.cli.progress import show_progress
    from geoseg.config import make_config
    from geoseg.pipeline import segment_raster
    from geoseg.planning import plan_run
    from geoseg.runfolder import RunFolder

    given = o.collect(
        raster=raster,
        output=output,
        model=model,
        bands=bands,
        assume_crs=assume_crs,
        warp=warp,
        trust_vrt=trust_vrt,
        aoi=aoi,
        tile_size=tile_size,
        halo=halo,
        stitch=stitch,
        chunk_size=chunk_size,
        batch_size=batch_size,
        device=device,
        backend=backend,
        precision=precision,
        threads=threads,
        workers=workers,
        scheduler=scheduler,
        memory=memory,
        outputs=outputs,
        formats=formats,
        zones=zones,
        objects=settings,
    )
    run = make_config(given, config)
    if overwrite:
        plan_run(run)
        folder = RunFolder(Path(run.output))
        with folder.hold():
            folder.clear()
    with show_progress(progress) as shown, log_to(log_json, shown) as listener:
        segment_raster(run, listener)

"""``geoseg plan``: the dry run."""

from pathlib import Path

from geoseg.cli import options as o
from geoseg.cli.tables import print_table


def plan(
    raster: o.Rasters,
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
    memory: o.Memory = None,
    tune: o.Tune = False,
) -> None:
    """Say what segmenting RASTER would take: tiles, halo work, memory, disk and time. Writes nothing but what --tune measures."""
    from geoseg.config import make_config
    from geoseg.dryrun import estimate
    from geoseg.redact import redact

    given = o.collect(
        raster=raster,
        output=Path("out"),
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
        memory=memory,
    )
    rows = estimate(make_config(given, config), tune_now=tune).rows()
    print_table(f"Plan for {redact(', '.join(raster))}", ("what", "value"), rows)

"""The straight line: a raster goes in, rasters and features come out."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from geoseg.config import RunConfig
from geoseg.errors import UsageError
from geoseg.events import ChunkDone, Finished, Listener, Warned, ignore_events
from geoseg.exports import add_exports, make_exports
from geoseg.inference import LoadPredictor, network_loader
from geoseg.io.chunks import ChunkStore, check_complete
from geoseg.io.files import write_whole
from geoseg.io.ground import row_areas_m2
from geoseg.item import describe_item
from geoseg.performance import Performance
from geoseg.planning import RunPlan, check_disk, describe_plan, plan_run
from geoseg.products import StageLog, make_objects
from geoseg.report import count_classes, describe_run
from geoseg.runfolder import RunFolder
from geoseg.runtime import ClusterOptions, map_chunks
from geoseg.stitched import stitch_run
from geoseg.tuning.tune import tune
from geoseg.work import ChunkKey, ChunkResult, SegmentJob

MapChunks = Callable[[SegmentJob, Iterable[ChunkKey], ClusterOptions], Iterator[tuple[ChunkKey, ChunkResult]]]
"""Does a job on chunks and yields their results as they come."""


def segment_raster(
    config: RunConfig, listener: Listener = ignore_events, load: LoadPredictor | None = None, mapping: MapChunks = map_chunks
) -> Path:
    """Segment a raster into a run folder, going on where an earlier run of the same configuration stopped.

    Args:
        config: What to do.
        listener: Takes events as they come.
        load: Makes the predictor on each worker; None loads the network of the configured model.
        mapping: Does the chunks; by default over Dask.

    Returns:
        The run folder.

    Raises:
        UsageError: If something does not fit; nothing was changed on disk.
        RunError: If the run could not be finished; what is done stays, and the same call goes on.
    """
    began = time.monotonic()
    folder = RunFolder(config.output)
    plan = plan_run(folder.recall(config))
    with folder.hold():
        folder.settle()
        if folder.is_finished(plan.fingerprint()):
            folder.finish()
            add_exports(folder, plan.config, listener)
            listener(Finished(output=str(config.output), elapsed_s=0.0))
            return config.output
        check_disk(plan, config.output)
        if load is None and not folder.is_begun():
            plan = tune(plan, config, listener)
        folder.begin(plan.config, plan.fingerprint())
        load = load or network_loader(plan.package, plan.execution)
        try:
            performance = segment_chunks(plan, folder.chunks(plan), load, listener, mapping)
        except UsageError:
            folder.abandon()
            raise
        log = StageLog(listener)
        log.timing_s["chunks"] = round(time.monotonic() - began, 3)
        finish_run(plan, folder, log, performance, began)
    listener(Finished(output=str(config.output), elapsed_s=time.monotonic() - began))
    return config.output


def finish_run(plan: RunPlan, folder: RunFolder, log: StageLog, performance: Performance, began_s: float) -> None:
    """Turn finished chunks into the products of a run, and remove the work in progress.

    Args:
        plan: The run; all its chunks are done.
        folder: Where they lie and the products go.
        log: Takes times and counts.
        performance: What the network did.
        began_s: Monotonic time at which the run began.

    Raises:
        RunError: If a product could not be made; the chunks stay.
    """
    with log.stage("rasters"):
        stitched = stitch_run(plan, folder)
    made = folder.begin_objects()
    make_objects(stitched, plan.config.objects, plan.config.outputs, made, log)
    formats = make_exports(plan, folder, made, log)
    with stitched.open("class") as read:
        classes = count_classes(read, stitched.scheme, row_areas_m2(stitched.geobox), stitched.shape)
    log.timing_s["total"] = round(time.monotonic() - began_s, 3)
    log.counts |= {"tiles": plan.tiles.tile_count, "chunks": plan.tiles.chunk_count}
    write_whole(made / folder.summary.name, describe_run(plan, classes, log.counts, log.timing_s, performance))
    # the item is last: it holds the checksums of all others
    write_whole(made / folder.item.name, describe_item(plan, folder.path, folder.products(made), formats))
    folder.adopt_objects()


def segment_chunks(
    plan: RunPlan, store: ChunkStore, load: LoadPredictor, listener: Listener = ignore_events, mapping: MapChunks = map_chunks
) -> Performance:
    """Infer every chunk that is not done yet.

    Raises:
        ChunkError: If a chunk failed three times.
    """
    began = time.monotonic()
    tiles, config = plan.tiles, plan.config
    missing = [(chunk.row, chunk.col) for chunk in tiles.chunks() if not store.is_done(chunk)]
    done = tiles.chunk_count - len(missing)
    listener(describe_plan(plan, done))
    for warning in plan.warnings:
        listener(Warned(message=warning))
    performance = Performance()
    if missing:
        job = SegmentJob(
            source=plan.source,
            tiles=tiles,
            store=store,
            batch_size=plan.batch_size,
            lanes=plan.lanes,
            read_threads=plan.read_threads,
            load=load,
        )
        options = ClusterOptions(workers=min(config.workers, len(missing)), scheduler=config.scheduler, chunks_at_once=plan.chunks_at_once)
        for (row, col), result in mapping(job, missing, options):
            done += 1
            performance.add(result)
            for note in result.notes:
                listener(Warned(message=note))
            name = tiles.chunk(row, col).name
            listener(ChunkDone(chunk=name, done=done, chunks=tiles.chunk_count, elapsed_s=time.monotonic() - began))
    check_complete(store, tiles.chunks())
    return performance

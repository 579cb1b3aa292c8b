"""The straight line: a raster goes in, rasters and features come out."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from geoseg.config import RunConfig
from geoseg.errors import UsageError
from geoseg.events import ChunkDone, Finished, Listener, RunPlanned, Warned, ignore_events
from geoseg.inference import LoadPredictor, infer_chunk, network_loader, read_padded
from geoseg.io.chunks import ChunkStore, check_complete
from geoseg.io.files import write_whole
from geoseg.io.ground import row_areas_m2
from geoseg.io.raster import RasterSource
from geoseg.planning import RunPlan, check_disk, plan_run
from geoseg.products import StageLog, make_objects
from geoseg.report import count_classes, describe_item, describe_run
from geoseg.runfolder import RunFolder
from geoseg.runtime import ClusterOptions, map_chunks
from geoseg.stitched import stitch_run
from geoseg.tiling import TilePlan


def segment_raster(config: RunConfig, listener: Listener = ignore_events, load: LoadPredictor | None = None) -> Path:
    """Segment a raster into a run folder, going on where an earlier run of the same configuration stopped.

    Args:
        config: What to do.
        listener: Takes events as they come.
        load: Makes the predictor on each worker; None loads the network of the configured model.

    Returns:
        The run folder.

    Raises:
        UsageError: If something does not fit; nothing was changed on disk.
        RunError: If the run could not be finished; what is done stays, and the same call goes on.
    """
    began = time.monotonic()
    plan = plan_run(config)
    folder = RunFolder(config.output)
    with folder.hold():
        folder.settle()
        if folder.is_finished(plan.fingerprint()):
            folder.finish()
            listener(Finished(output=str(config.output), elapsed_s=0.0))
            return config.output
        check_disk(plan, config.output)
        folder.begin(plan.config, plan.fingerprint())
        load = load or network_loader(plan.package, config.device)
        try:
            segment_chunks(plan, folder.chunks(plan), load, listener)
        except UsageError:
            folder.abandon()
            raise
        log = StageLog(listener)
        log.timing_s["chunks"] = round(time.monotonic() - began, 3)
        finish_run(plan, folder, log, began)
    listener(Finished(output=str(config.output), elapsed_s=time.monotonic() - began))
    return config.output


def finish_run(plan: RunPlan, folder: RunFolder, log: StageLog, began_s: float) -> None:
    """Turn finished chunks into the products of a run, and remove the work in progress.

    Args:
        plan: The run; all its chunks are done.
        folder: Where they lie and the products go.
        log: Takes times and counts.
        began_s: Monotonic time at which the run began.

    Raises:
        RunError: If a product could not be made; the chunks stay.
    """
    with log.stage("rasters"):
        stitched = stitch_run(plan, folder)
    made = folder.begin_objects()
    make_objects(stitched, plan.config.objects, plan.config.outputs, made, log)
    with stitched.open("class") as read:
        classes = count_classes(read, stitched.scheme, row_areas_m2(stitched.geobox), stitched.shape)
    log.timing_s["total"] = round(time.monotonic() - began_s, 3)
    log.counts |= {"tiles": plan.tiles.tile_count, "chunks": plan.tiles.chunk_count}
    write_whole(made / folder.summary.name, describe_run(plan, classes, log.counts, log.timing_s))
    # the item is last: it holds the checksums of all others
    write_whole(made / folder.item.name, describe_item(plan, folder.path, folder.products(made)))
    folder.adopt_objects()


def segment_chunks(plan: RunPlan, store: ChunkStore, load: LoadPredictor, listener: Listener) -> None:
    """Infer every chunk that is not done yet.

    Raises:
        ChunkError: If a chunk failed three times.
    """
    began = time.monotonic()
    tiles, config = plan.tiles, plan.config
    missing = [chunk for chunk in tiles.chunks() if not store.is_done(chunk)]
    done = tiles.chunk_count - len(missing)
    listener(
        RunPlanned(
            source=plan.source.path,
            model=f"{plan.package.spec.name} {plan.package.spec.version}",
            height_px=tiles.height,
            width_px=tiles.width,
            tiles=tiles.tile_count,
            chunks=tiles.chunk_count,
            chunks_done=done,
            memory_bytes=plan.memory_bytes,
        )
    )
    for warning in plan.warnings:
        listener(Warned(message=warning))
    if missing:
        job = SegmentJob(source=plan.source, tiles=tiles, store=store, batch_size=config.batch_size, load=load)
        options = ClusterOptions(workers=min(config.workers, len(missing)), scheduler=config.scheduler)
        for (row, col), _ in map_chunks(job, [(c.row, c.col) for c in missing], options):
            done += 1
            name = tiles.chunk(row, col).name
            listener(ChunkDone(chunk=name, done=done, chunks=tiles.chunk_count, elapsed_s=time.monotonic() - began))
    check_complete(store, tiles.chunks())


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentJob:
    """Read, infer, stitch and write chunks; what a worker needs to do so."""

    source: RasterSource
    """The raster."""
    tiles: TilePlan
    """Its tiles."""
    store: ChunkStore
    """Where finished chunks go."""
    batch_size: int
    """Tiles in one forward pass; short batches are padded, so that the same kernels run (law 2)."""
    load: LoadPredictor
    """Makes the predictor."""

    def prepare(self, threads: int) -> Callable[[tuple[int, int]], int]:
        """Load the predictor and return the function that does one chunk."""
        return _ChunkWorker(self, threads)


class _ChunkWorker:
    """Does chunks in several threads: while one of them waits for the network, others read and write.

    The network runs in a thread of its own, always the same, so that its thread pool and its memory exist once.
    """

    def __init__(self, job: SegmentJob, threads: int) -> None:
        self._job = job
        self._network = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        self._predictor = self._network.submit(job.load, threads).result()

    def __call__(self, key: tuple[int, int]) -> int:
        """Do the chunk at a row and column; return its number of valid pixels."""
        job = self._job
        chunk = job.tiles.chunk(*key)
        pixels, valid = read_padded(job.source, chunk.footprint)
        stitched = self._network.submit(infer_chunk, self._predictor, (pixels, valid), chunk, job.batch_size).result()
        job.store.write(chunk, stitched)
        return int(valid.sum())

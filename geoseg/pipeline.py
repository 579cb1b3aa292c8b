"""The straight line: a raster goes in, rasters and features come out."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from geoseg.config import RunConfig
from geoseg.errors import ChunkError, RunError, UsageError
from geoseg.events import ChunkDone, ChunkFailed, Finished, Listener, Warned, ignore_events
from geoseg.inference.performance import Performance
from geoseg.inference.planning import check_disk, describe_plan, plan_run
from geoseg.inference.runplan import RunPlan, identify_inputs, identify_source
from geoseg.inference.tuning.tune import tune
from geoseg.inference.whole import LoadPredictor, averaging, network_loader
from geoseg.inference.work import ChunkResult, SegmentJob
from geoseg.io.files import write_whole
from geoseg.io.ground import row_areas_m2
from geoseg.io.store.chunks import ChunkStore, check_complete, holds_chunks
from geoseg.products.exports import add_exports, describe_products, make_exports, make_report
from geoseg.products.make import StageLog, make_objects
from geoseg.products.stitched import Stitched, stitch_run
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.item import describe_item
from geoseg.runfolder.names import DETECTIONS
from geoseg.runfolder.provenance import find_differences
from geoseg.runfolder.report import count_classes, describe_run
from geoseg.runtime.faults import TRIES, ChunkFailure
from geoseg.runtime.mapping import map_chunks
from geoseg.runtime.workplace import ClusterOptions
from geoseg.tiling import Chunk, ChunkKey, name_chunk

MapChunks = Callable[[SegmentJob, Iterable[ChunkKey], ClusterOptions, Listener], Iterator[tuple[ChunkKey, ChunkResult | ChunkFailure]]]
"""Does a job on chunks and yields as they come their results, or why there are none; see :func:`geoseg.runtime.mapping.map_chunks`."""
_NAMED = 3
"""Chunks that an error names; the others are counted."""
_HOPELESS = 8
"""Chunks that were given up, with none done by this command or an earlier one, after which the others are not tried."""
_KEPT = {"chunks", "found", "quick"}
"""Folders below ``.work`` that a run goes on with; the rest it makes anew."""


class Preview(Protocol):
    """What stands in a run folder before the run is finished; see :mod:`geoseg.quick`."""

    def begin(self, plan: RunPlan, folder: RunFolder, mapping: MapChunks, listener: Listener) -> MapChunks:
        """Put a first map into a folder whose run has begun.

        Returns:
            What does the chunks of the run, in an order of its own.

        Raises:
            UsageError: If something does not fit.
            RunError: If there could be no first map.
        """

    def end(self, stitched: Stitched, made: Path) -> dict[str, Any]:
        """Return what the summary of the finished run tells of its first map, once all products lie in ``made``."""


def segment_raster(
    config: RunConfig,
    listener: Listener = ignore_events,
    load: LoadPredictor | None = None,
    mapping: MapChunks = map_chunks,
    preview: Preview | None = None,
) -> Path:
    """Segment a raster into a run folder, going on where an earlier run of the same configuration stopped.

    Args:
        config: What to do.
        listener: Takes events as they come.
        load: Makes the predictor on each worker; None loads the network of the configured model.
        mapping: Does the chunks; by default over Dask.
        preview: Shows something before the run is finished; without influence on the result.

    Returns:
        The run folder.

    Raises:
        UsageError: If something does not fit; nothing was changed on disk.
        ChunkError: If chunks failed again and again, and ``allow_missing`` is not set; the others are done.
        RunError: If the run could not be finished; what is done stays, and the same call goes on. Also if the raster was changed
            meanwhile; then the same call refuses the folder as another run's.
    """
    began = time.monotonic()
    folder = RunFolder(config.output)
    plan = plan_run(folder.recall(config))
    plan = replace(plan, inputs=identify_inputs(plan.config, plan.source))
    with folder.hold():
        folder.settle()
        left_out = 0
        if folder.is_finished(plan.fingerprint()):
            folder.finish()
            left_out = len(folder.missing())
            if not left_out:
                add_exports(folder, plan.config, listener)
                listener(Finished(output=str(config.output), elapsed_s=0.0))
                return config.output
        check_disk(plan, config.output, _measure_standing(plan, folder))
        preview = None if left_out else preview
        may_tune = load is None and not (folder.is_begun() and holds_chunks(folder.chunk_place))
        try:
            if preview is not None:
                folder.begin(plan.config, plan.fingerprint())
                mapping = preview.begin(plan, folder, mapping, listener)
            plan = replace(tune(plan, config, listener), inputs=plan.inputs) if may_tune else plan
            folder.begin(plan.config, plan.fingerprint())
            load = averaging(load or network_loader(plan.package, plan.lane_execution), plan.views)
            done = segment_chunks(plan, folder.chunks(plan), load, listener, mapping)
        except UsageError:
            folder.abandon()
            raise
        _check_same(plan)
        # a run that is finished but for some chunks stays as it is if none of them could be made this time
        if not left_out or len(done.missing) < left_out:
            folder.reopen()
            folder.keep_record(plan.config, plan.fingerprint())
            log = StageLog(listener)
            log.timing_s["chunks"] = round(time.monotonic() - began, 3)
            finish_run(plan, folder, log, done, began, preview)
    listener(Finished(output=str(config.output), elapsed_s=time.monotonic() - began, missing=len(done.missing)))
    return config.output


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunksDone:
    """How the inference of a run ended."""

    performance: Performance
    """What the network did."""
    missing: tuple[ChunkFailed, ...]
    """Chunks that were given up."""


def finish_run(plan: RunPlan, folder: RunFolder, log: StageLog, done: ChunksDone, began_s: float, preview: Preview | None = None) -> None:
    """Turn finished chunks into the products of a run, and remove the work in progress.

    Args:
        plan: The run; all its chunks are done, or known to be missing.
        folder: Where they lie and the products go.
        log: Takes times and counts.
        done: What the network did, and what is missing.
        began_s: Monotonic time at which the run began.
        preview: What was shown meanwhile.

    Raises:
        RunError: If a product could not be made; the chunks stay.
    """
    with log.stage("rasters"):
        stitched = stitch_run(plan, folder)
    made = folder.begin_objects()
    make_objects(stitched, plan.config.objects, plan.config.outputs, made, log, plan.config.checks)
    if stitched.found is not None and "evidence" in plan.config.outputs:
        stitched.found.keep(made / DETECTIONS, (row.name for row in stitched.scheme))
    products = describe_products(plan, folder, made)
    formats = make_exports(products, plan.config, made, log)
    with stitched.open("class") as read:
        classes = count_classes(read, stitched.scheme, row_areas_m2(stitched.geobox), stitched.shape)
    log.counts |= {"tiles": plan.tiles.tile_count, "chunks": plan.tiles.chunk_count}
    more: dict[str, Any] = {"missing": [asdict(failed) for failed in done.missing]}
    if preview is not None:
        more["quick"] = preview.end(stitched, made)
    describe = partial(describe_run, plan, classes, log.counts, log.timing_s, done.performance, more)
    if "report" in plan.config.outputs:
        make_report(products, describe(), plan.config, made, log)
    log.timing_s["total"] = round(time.monotonic() - began_s, 3)
    write_whole(made / folder.summary.name, describe())
    # the item is last: it holds the checksums of all others
    write_whole(made / folder.item.name, describe_item(plan, folder.path, folder.products(made), formats))
    folder.adopt_objects()


def segment_chunks(
    plan: RunPlan, store: ChunkStore, load: LoadPredictor, listener: Listener = ignore_events, mapping: MapChunks = map_chunks
) -> ChunksDone:
    """Infer every chunk that is not done yet.

    Raises:
        ChunkError: If chunks failed again and again, and the run does not allow them to be missing, or nothing else is done.
    """
    began = time.monotonic()
    tiles, config = plan.tiles, plan.config
    before = store.list_done(tiles)
    done, left = before.count, before.total - before.count
    listener(describe_plan(plan, done))
    for warning in plan.warnings:
        listener(Warned(message=warning))
    performance = Performance()
    missing: list[ChunkFailed] = []
    if left:
        workers, scratch = min(config.workers, left), RunFolder(config.output).work
        options = replace(describe_workplace(plan), workers=workers, scratch=scratch, give_up_after=0 if done else _HOPELESS)
        for (row, col), outcome in mapping(describe_job(plan, store, load), before.missing(), options, listener):
            if isinstance(outcome, ChunkFailure):
                missing.append(_describe_failure(tiles.chunk(row, col), outcome))
                listener(missing[-1])
                continue
            done += 1
            performance.add(outcome)
            for note in outcome.notes:
                listener(Warned(message=note))
            listener(ChunkDone(chunk=name_chunk(row, col), done=done, chunks=tiles.chunk_count, elapsed_s=time.monotonic() - began))
    if missing and (not config.allow_missing or not done):
        raise _missing_error(missing, tiles.chunk_count, allowed=config.allow_missing)
    check_complete(store, store.list_done(tiles), left_out=len(missing))
    return ChunksDone(performance=performance, missing=tuple(missing))


def describe_workplace(plan: RunPlan) -> ClusterOptions:
    """Return where the chunks of a run are done."""
    config = plan.config
    return ClusterOptions(
        workers=config.workers,
        scheduler=config.scheduler,
        chunks_at_once=plan.chunks_at_once,
        resources=config.resources,
        gpus=plan.on_gpu,
        patience_s=config.patience,
    )


def describe_job(plan: RunPlan, store: ChunkStore, load: LoadPredictor) -> SegmentJob:
    """Return what a worker needs to do chunks of a run."""
    folder = RunFolder(plan.config.output)
    return SegmentJob(
        source=plan.source,
        tiles=plan.tiles,
        store=store,
        batch_size=plan.batch_size,
        lanes=plan.lanes,
        read_threads=plan.read_threads,
        load=load,
        chunk_bytes=plan.chunk_bytes,
        common_bytes=plan.common_bytes,
        found=folder.found if plan.package.spec.detects else None,
        claim=folder.claim,
    )


def _measure_standing(plan: RunPlan, folder: RunFolder) -> int:
    """Return how much of the projected disk space is taken already: by what is done, and by what is removed or written over."""
    if not folder.is_begun():
        return 0
    chunks = folder.chunks(plan).list_done(plan.tiles).count if plan.config.chunks_at is None else 0
    # products of a finished run go before they are made again, a first map only afterwards
    is_coarse = folder.is_preview or folder.quick.path.exists()
    made = [name for name in plan.config.outputs if folder.is_whole or ((folder.path / f"{name}.tif").exists() and not is_coarse)]
    tops = [path for path in folder.work.glob("*") if path.name not in _KEPT]
    left = sum(path.stat().st_size for top in tops for path in (top, *top.rglob("*")) if path.is_file())
    return plan.project_disk_bytes(chunks, made) + left


def _check_same(plan: RunPlan) -> None:
    """Make sure that all chunks are of one raster.

    Raises:
        RunError: If it was changed since the run began, or its server cannot be asked.
    """
    assert plan.inputs is not None
    now = identify_source(plan.source)
    if plan.inputs["raster_bytes"] is not None and now["raster_bytes"] is None:
        # a file that is gone was read to the end
        return
    differences = find_differences(plan.inputs, now)
    if differences:
        raise RunError(
            f"{plan.source.path} was changed while it was segmented: {'; '.join(differences)}. Some chunks are of the earlier one. "
            "Start over with --overwrite, which removes this run, once the raster stays as it is."
        )


def _describe_failure(chunk: Chunk, failure: ChunkFailure) -> ChunkFailed:
    w = chunk.window
    return ChunkFailed(chunk=chunk.name, window=(w.col_off, w.row_off, w.width, w.height), error=failure.error)


def _missing_error(missing: list[ChunkFailed], chunks: int, *, allowed: bool) -> ChunkError:
    named = ", ".join(failed.chunk for failed in missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
    what_now = (
        "Nothing is there to be kept; the same command tries again."
        if allowed
        else "What is done is kept; the same command again goes on, and with --allow-missing the result holds nodata there."
    )
    return ChunkError(
        f"{len(missing)} of {chunks} chunks could not be made ({named}). Chunk {missing[0].chunk} failed {TRIES} times: {missing[0].error} "
        f"{what_now}"
    )

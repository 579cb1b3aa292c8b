"""A run that shows a coarse map of the whole raster first, and refines it where it matters most."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapely.geometry.base import BaseGeometry

from geoseg.config import RunConfig
from geoseg.errors import WriteError
from geoseg.events import ChunkFailed, Event, FirstMap, Listener, MapRefined, Warned, ignore_events
from geoseg.inference.performance import Performance
from geoseg.inference.runplan import RunPlan
from geoseg.inference.whole import LoadPredictor, network_loader
from geoseg.inference.work import ChunkResult, SegmentJob
from geoseg.io.files import move_whole, write_error, write_whole
from geoseg.io.ground import pixel_size_m, row_areas_m2
from geoseg.io.store.mosaic import ChunkMosaic, Underlay, remove_rows
from geoseg.io.tiffs.cog import write_cog
from geoseg.io.tiffs.layers import open_layer
from geoseg.io.where import Where, find_area
from geoseg.pipeline import ChunksDone, MapChunks, segment_chunks, segment_raster
from geoseg.products.make import StageLog, make_objects
from geoseg.products.stitched import Stitched, list_products, stitch_run
from geoseg.quick.agreement import measure_agreement
from geoseg.quick.coarse import plan_coarse
from geoseg.quick.order import order_chunks
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.provenance import identify_run
from geoseg.runfolder.report import count_classes, describe_run
from geoseg.runtime.faults import ChunkFailure
from geoseg.runtime.mapping import map_chunks
from geoseg.runtime.workplace import ClusterOptions
from geoseg.tiling import ChunkKey

_REFINED = ("classes", "confidence")
"""Rasters that are refined while the run goes on; all else stays as coarse as it was until the run is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickOptions:
    """How a map is refined."""

    first: Path | None = None
    """Vector file; what lies in its polygons is refined first."""
    share: float = 0.05
    """Of the time, that writing refined maps may take."""
    every_s: float = 10.0
    """Seconds between two of them, at least."""


def segment_quick(
    config: RunConfig,
    listener: Listener = ignore_events,
    load: LoadPredictor | None = None,
    mapping: MapChunks = map_chunks,
    options: QuickOptions | None = None,
) -> Path:
    """Segment a raster as :func:`geoseg.pipeline.segment_raster` does, with a coarse map of all of it in the run folder first.

    From that map on, at any moment, ``classes.tif`` and ``confidence.tif`` are whole: coarse at first, then on the run's grid with the
    chunks that are done in place of what was coarse. Chunks come in the order of :func:`geoseg.quick.order.order_chunks`. In the end
    every product is what a run without a first map makes, and ``summary.json`` tells under ``quick`` how far both agreed.

    Args:
        config: What to do.
        listener: Takes events as they come, :class:`geoseg.events.FirstMap` and :class:`geoseg.events.MapRefined` among them.
        load: Makes the predictor on each worker; None loads the network of the configured model.
        mapping: Does the chunks.
        options: What comes first, and how often the map is refined.

    Returns:
        The run folder.

    Raises:
        UsageError: If something does not fit.
        RunError: If the run could not be finished; what is done stays, and the same call goes on.
    """
    return segment_raster(config, listener, load, mapping, QuickLook(load, options or QuickOptions()))


class QuickLook:
    """The first map of one run; see :class:`geoseg.pipeline.Preview`.

    Args:
        load: Makes the predictor; None loads the network of the model.
        options: What comes first, and how often the map is refined.
    """

    def __init__(self, load: LoadPredictor | None, options: QuickOptions) -> None:
        self._load = load
        self._options = options
        self._began = time.monotonic()

    def begin(self, plan: RunPlan, folder: RunFolder, mapping: MapChunks, listener: Listener) -> MapChunks:
        """Put a first map into the folder, and return what refines it; see :class:`geoseg.pipeline.Preview`."""
        self._plan, self._folder, self._mapping, self._listener = plan, folder, mapping, listener
        area = self._find_first()
        done = folder.chunks(plan).list_done(plan.tiles)
        if done.count == done.total:
            return mapping
        if folder.quick.summary.exists():
            # an earlier command made it
            table = folder.quick.read_summary()["quick"]
            listener(FirstMap(output=str(folder.path), factor=table["factor"], elapsed_s=table["seconds"]))
        else:
            self._make()
        self._area = area
        return self._refine

    def end(self, stitched: Stitched, made: Path) -> dict[str, Any]:
        """Compare the first map with the final one; see :class:`geoseg.pipeline.Preview`."""
        quick = self._folder.quick
        kept = {path.name for path in (stitched.classes, stitched.confidence, stitched.evidence) if path is not None}
        for name in self._published():
            if name.removesuffix(".aux.xml") not in kept and not (made / name).exists():
                (self._folder.path / name).unlink(missing_ok=True)
        if not quick.summary.exists():
            return {"state": "refined"}
        told = {name: value for name, value in quick.read_summary()["quick"].items() if name not in ("chunks_done", "chunks")}
        with open_layer(quick.path / "classes.tif") as first, stitched.open("class") as final:
            agreement = measure_agreement(first, final, told["factor"], stitched.shape, stitched.scheme)
        return {**told, "state": "refined", **agreement}

    def _find_first(self) -> BaseGeometry | None:
        source = self._plan.source
        return None if self._options.first is None else find_area(Where(aoi=self._options.first), source.geobox, source.path)

    def _published(self) -> list[str]:
        """Return the names of the products that the first map has."""
        quick = self._folder.quick
        if not quick.path.is_dir():
            return []
        return sorted(path.name for path in quick.path.iterdir() if path.is_file() and path not in (quick.summary, quick.record))

    def _make(self) -> None:
        """Make the first map: what is in it at once, then the objects."""
        quick = self._folder.quick
        shutil.rmtree(quick.path, ignore_errors=True)
        plan, factor = plan_coarse(self._plan, quick.path)
        quick.path.mkdir(parents=True, exist_ok=True)
        quick.begin(plan.config, plan.fingerprint())
        load = self._load or network_loader(plan.package, plan.lane_execution)
        done = segment_chunks(plan, quick.chunks(plan), load, self._hear, self._mapping)
        stitched = stitch_run(plan, quick)
        with stitched.open("class") as read:
            classes = count_classes(read, stitched.scheme, row_areas_m2(stitched.geobox), stitched.shape)
        log = StageLog(ignore_events)
        seconds = round(time.monotonic() - self._began, 3)
        table = {
            "state": "refining",
            "factor": factor,
            "resolution_m": round(pixel_size_m(plan.source.geobox), 4),
            "seconds": seconds,
            "chunks_done": 0,
            "chunks": self._plan.tiles.chunk_count,
        }
        summary = self._describe(plan, classes, log, done, table)
        for name in self._published():
            self._copy(quick.path / name)
        write_whole(self._folder.summary, summary)
        self._listener(FirstMap(output=str(self._folder.path), factor=factor, elapsed_s=seconds))
        self._make_objects(plan, stitched, log)
        summary = self._describe(plan, classes, log, done, table)
        write_whole(self._folder.summary, summary)
        write_whole(quick.summary, summary)

    def _make_objects(self, plan: RunPlan, stitched: Stitched, log: StageLog) -> None:
        quick = self._folder.quick
        made = quick.begin_objects()
        make_objects(stitched, plan.config.objects, self._plan.config.outputs, made, log)
        for path in sorted(path for path in made.iterdir() if path.is_file()):
            move_whole(path, quick.path / path.name)
            self._copy(quick.path / path.name)
        shutil.rmtree(quick.work, ignore_errors=True)

    def _describe(self, plan: RunPlan, classes: list[dict[str, Any]], log: StageLog, done: ChunksDone, quick: dict[str, Any]) -> bytes:
        """Write the summary of a map that is being refined: the run's own, with the grid of a plan."""
        told = json.loads(describe_run(plan, classes, log.counts, log.timing_s, done.performance, {"missing": [], "quick": quick}))
        return _to_json(told | {"run_id": identify_run(self._plan.fingerprint())})

    def _copy(self, path: Path) -> None:
        """Put a file into the run folder, in place of an earlier one, if it is among what the run makes."""
        wanted = path.name.partition(".")[0] not in {"classes", "confidence", "evidence"} - set(self._plan.config.outputs)
        if not wanted:
            return
        made = self._folder.work / f"{path.name}.part"
        try:
            shutil.copyfile(path, made)
        except OSError as exc:
            raise write_error(made, exc) from exc
        move_whole(made, self._folder.path / path.name)

    def _hear(self, event: Event) -> None:
        """Pass on what the user should know of the first map; what it lacks is tried again by the run itself."""
        if isinstance(event, Warned) and event.message not in self._plan.warnings:
            self._listener(event)
        elif isinstance(event, ChunkFailed):
            self._listener(Warned(message=f"The first map lacks a part: {event.error}"))

    def _refine(
        self, job: SegmentJob, keys: Iterable[ChunkKey], options: ClusterOptions, listener: Listener
    ) -> Iterator[tuple[ChunkKey, ChunkResult | ChunkFailure]]:
        """Do chunks in order of priority, and replace the map now and then; see :data:`geoseg.pipeline.MapChunks`."""
        confidence = self._folder.quick.path / "confidence.tif"
        factor = int(self._folder.quick.read_summary()["quick"]["factor"])
        known = (confidence, factor) if confidence.exists() else None
        order = order_chunks(keys, job.tiles, job.source, known, self._area)
        waited_for, last, cost_s = set(order.first), time.monotonic(), 0.0
        for number, (key, outcome) in enumerate(self._mapping(job, order.keys, options, listener), start=1):
            yield key, outcome
            was_waited_for = bool(waited_for)
            waited_for.discard(key)
            is_due = time.monotonic() - last >= max(self._options.every_s, cost_s / self._options.share)
            if number < len(order.keys) and (is_due or (was_waited_for and not waited_for)):
                began = time.monotonic()
                self._replace_map(job, factor)
                last = time.monotonic()
                cost_s = last - began

    def _replace_map(self, job: SegmentJob, factor: int) -> None:
        """Put rasters on the run's grid into its folder: chunks that are done, and elsewhere the first map."""
        began = time.monotonic()
        folder, plan = self._folder, self._plan
        done = job.store.list_done(job.tiles)
        mosaic = ChunkMosaic(store=job.store, tiles=job.tiles, done=done)
        for product in list_products(plan):
            if product.name in _REFINED and product.name in plan.config.outputs:
                name, under = product.name, Underlay(path=folder.quick.path / f"{product.name}.tif", factor=factor)
                vrt = mosaic.describe(folder.work, name, product.bands, product.style, under)
                write_cog(vrt, folder.work, folder.path / f"{name}.tif", overviews=product.overviews, smooth=product.smooth)
                remove_rows(folder.work, name)
        self._tell(done.count)
        self._listener(MapRefined(output=str(folder.path), done=done.count, chunks=done.total, elapsed_s=time.monotonic() - began))

    def _tell(self, chunks_done: int) -> None:
        """Say in the summary what the map holds now."""
        plan, told = self._plan, self._folder.quick.read_summary()
        if "classes" in plan.config.outputs:
            with open_layer(self._folder.path / "classes.tif") as read:
                scheme, shape = plan.package.spec.scheme, plan.source.shape
                told["classes"] = count_classes(read, scheme, row_areas_m2(plan.source.geobox), shape)
            now = json.loads(describe_run(plan, [], {}, {}, Performance(), {}))
            told |= {"source": now["source"], "tiles": now["tiles"], "finished": now["finished"]}
        told["quick"]["chunks_done"] = chunks_done
        with suppress(WriteError):
            write_whole(self._folder.summary, _to_json(told))


def _to_json(table: dict[str, Any]) -> bytes:
    return (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode()

"""What a worker does with chunks: read, infer, stitch, write."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from geoseg.errors import DeviceLostError
from geoseg.inference.batching import Batcher
from geoseg.inference.detecting import detect_chunk
from geoseg.inference.metering import Effort, Meter
from geoseg.inference.whole import LoadPredictor, infer_chunk, read_padded
from geoseg.io.raster import RasterSource
from geoseg.io.store.chunks import ChunkStore
from geoseg.io.store.claim import Claim
from geoseg.io.store.found import FoundStore
from geoseg.runtime.faults import ChunkFailure, Docket
from geoseg.runtime.workplace import Done, Failed, Prepared, Shared
from geoseg.tiling import ChunkKey, TilePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """A chunk that stands under its final name, and what its worker has done since it last said so."""

    effort: Effort
    """What the network did meanwhile, for this chunk and others of the raster."""
    notes: tuple[str, ...]
    """What the user should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentJob:
    """Read, infer, stitch and write chunks; what a worker needs to do so. Travels between processes."""

    source: RasterSource
    """The raster."""
    tiles: TilePlan
    """Its tiles."""
    store: ChunkStore
    """Where finished chunks go."""
    batch_size: int
    """Tiles in one forward pass; they may come from several chunks."""
    lanes: int
    """Threads that call the network."""
    read_threads: int
    """Blocks of the file that are decoded at the same time."""
    load: LoadPredictor
    """Makes the predictor."""
    chunk_bytes: int
    """Memory of a chunk under way."""
    common_bytes: int
    """Memory that all chunks of a worker share."""
    found: FoundStore | None = None
    """Where what a detector finds goes; None for models of classes."""
    claim: Claim | None = None
    """Looked at before anything is written; None where no other run can come into the same folder."""

    def prepare(self, shared: Shared) -> "ChunkWorker":
        """Return what does one chunk; its network is shared by all rasters of a worker whose plans run it alike.

        A long raster may have been measured, or begun by an earlier command, with another backend or batch than a short one.
        """
        alike = (self.load, self.batch_size, self.lanes, self.tiles.halo_px)
        return ChunkWorker(self, shared.find(alike, lambda: Batcher(self.load, self.batch_size, self.lanes, halo_px=self.tiles.halo_px)))


class ChunkWorker:
    """Does chunks in several threads: while one of them waits for the network, others read and write.

    Args:
        job: What to do.
        runner: Infers tiles; other rasters may share it.
    """

    def __init__(self, job: SegmentJob, runner: Batcher) -> None:
        self._job = job
        self._raster = job.source.open(job.read_threads)
        self._runner = runner
        self._meter = Meter(runner)

    def __call__(self, key: ChunkKey) -> ChunkResult:
        """Do a chunk, unless a worker has that died before it could say so."""
        job = self._job
        if job.store.is_done(key):
            return ChunkResult(effort=self._meter.take_effort(), notes=self._runner.take_notes())
        chunk = job.tiles.chunk(*key)
        read = partial(read_padded, job.source, chunk.footprint, self._raster.read)
        if job.found is None:
            layers = infer_chunk(self._meter, read, chunk)
            self._check_claim()
        else:
            layers, found = detect_chunk(self._meter, read, chunk)
            self._check_claim()
            job.found.write(chunk.name, found)
        stored = [self._meter.spec.layers.index(name) for name in job.store.layers]
        job.store.write(chunk, layers[stored])
        return ChunkResult(effort=self._meter.take_effort(), notes=self._runner.take_notes())

    def _check_claim(self) -> None:
        if self._job.claim is not None:
            self._job.claim.check()

    def close(self) -> None:
        """Let the raster go."""
        self._raster.close()


def do_chunks(
    job: SegmentJob, keys: Iterable[ChunkKey], shared: Shared, *, give_up_after: int = 0
) -> Iterator[tuple[ChunkKey, ChunkResult | ChunkFailure]]:
    """Do the chunks of a small raster one after the other, in this thread, with a network that other threads share.

    Yields:
        Key and result of each, or why there is none; see :func:`geoseg.runtime.mapping.map_chunks`.

    Raises:
        UsageError: If a chunk shows that what was asked cannot be done.
        WriteError: If a disk is full.
        ChunkError: If the first chunks all failed.
        DeviceLostError: If only a new process can go on.
    """
    docket = Docket(keys, give_up_after=give_up_after)
    prepared = Prepared(job)
    try:
        while True:
            key = docket.take()
            if key is None:
                wait_s = docket.wait_s()
                if wait_s is None:
                    return
                time.sleep(wait_s)
                continue
            outcome = prepared.do(key, shared)
            if isinstance(outcome, Done):
                docket.finish(key)
                yield key, outcome.result
            elif isinstance(outcome, Failed):
                if outcome.fatal is not None:
                    raise outcome.fatal
                if outcome.device_lost:
                    raise DeviceLostError(outcome.error)
                failure = docket.fail(key, outcome.error)
                if failure is not None:
                    yield key, failure
    finally:
        prepared.close()

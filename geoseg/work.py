"""What a worker does with chunks: read, infer, stitch, write."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from geoseg.batching import Batcher
from geoseg.inference import LoadPredictor, infer_chunk, read_padded
from geoseg.io.chunks import ChunkStore
from geoseg.io.raster import RasterSource
from geoseg.metering import Effort, Meter
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

    def prepare(self) -> "ChunkWorker":
        """Load the predictor and return what does one chunk."""
        return ChunkWorker(self, self.make_runner(), owns_runner=True)

    def make_runner(self) -> Batcher:
        """Load the predictor into threads of its own."""
        return Batcher(self.load, self.batch_size, self.lanes, halo_px=self.tiles.halo_px)


class ChunkWorker:
    """Does chunks in several threads: while one of them waits for the network, others read and write.

    Args:
        job: What to do.
        runner: Infers tiles; other rasters may share it.
        owns_runner: Close it in the end.
    """

    def __init__(self, job: SegmentJob, runner: Batcher, *, owns_runner: bool) -> None:
        self._job = job
        self._raster = job.source.open(job.read_threads)
        self._runner = runner
        self._owns_runner = owns_runner
        self._meter = Meter(runner)

    def __call__(self, key: ChunkKey) -> ChunkResult:
        """Do a chunk."""
        job = self._job
        chunk = job.tiles.chunk(*key)
        layers = infer_chunk(self._meter, partial(read_padded, job.source, chunk.footprint, self._raster.read), chunk)
        stored = [self._meter.spec.layers.index(name) for name in job.store.layers]
        job.store.write(chunk, layers[stored])
        return ChunkResult(effort=self._meter.take_effort(), notes=self._runner.take_notes())

    def close(self) -> None:
        """Let the raster go, and the network if nobody shares it."""
        if self._owns_runner:
            self._runner.close()
        self._raster.close()


def do_chunks(job: SegmentJob, keys: Iterable[ChunkKey], runner: Batcher) -> Iterator[tuple[ChunkKey, ChunkResult]]:
    """Do the chunks of a small raster one after the other, in this thread, with a network that other threads share.

    Yields:
        Key and result of each.
    """
    worker = ChunkWorker(job, runner, owns_runner=False)
    try:
        for key in keys:
            yield key, worker(key)
    finally:
        worker.close()

"""What a worker does with chunks: read, infer, stitch, write."""

import threading
from dataclasses import dataclass, replace
from functools import partial

from geoseg.batching import Batcher, Effort
from geoseg.inference import LoadPredictor, infer_chunk, read_padded
from geoseg.io.chunks import ChunkStore
from geoseg.io.raster import RasterSource
from geoseg.tiling import TilePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """A chunk that stands under its final name, and what its worker has done since it last said so."""

    effort: Effort
    """What its network did meanwhile, for this chunk and others."""
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
        return ChunkWorker(self)


class ChunkWorker:
    """Does chunks in several threads: while one of them waits for the network, others read and write.

    Args:
        job: What to do.
    """

    def __init__(self, job: SegmentJob) -> None:
        self._job = job
        self._raster = job.source.open(job.read_threads)
        self._runner = Batcher(job.load, job.batch_size, job.lanes)
        self._lock = threading.Lock()
        self._told = self._runner.effort

    def __call__(self, key: tuple[int, int]) -> ChunkResult:
        """Do the chunk at a row and column."""
        job = self._job
        chunk = job.tiles.chunk(*key)
        job.store.write(chunk, infer_chunk(self._runner, partial(read_padded, job.source, chunk.footprint, self._raster.read), chunk))
        return self._tell()

    def _tell(self) -> ChunkResult:
        with self._lock:
            before, now = self._told, self._runner.effort
            self._told = now
        since = replace(now, network_s=now.network_s - before.network_s, tiles=now.tiles - before.tiles)
        return ChunkResult(effort=since, notes=self._runner.take_notes())

    def close(self) -> None:
        """Let the network and the raster go."""
        self._runner.close()
        self._raster.close()

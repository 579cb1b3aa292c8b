"""Many rasters through one model: batches filled across them, and one failure never stops the rest."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from geoseg.attempts import Attempt, AttemptQueue
from geoseg.batching import Batcher
from geoseg.config import RunConfig
from geoseg.errors import GeosegError, MissingFileError, RunError, RunFolderBusyError, UsageError
from geoseg.events import Event, Finished, Warned
from geoseg.inference import LoadPredictor
from geoseg.ledger import Entry, Ledger
from geoseg.pipeline import segment_raster
from geoseg.runlist import RunItem
from geoseg.runtime import ClusterOptions
from geoseg.tiling import ChunkKey
from geoseg.work import ChunkResult, SegmentJob, do_chunks

LEDGER_NAME = "ledger.jsonl"
Configure = Callable[[str, Path], RunConfig]
"""Makes the configuration of a raster and its run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a list is worked off."""

    rasters_at_once: int = 4
    """Rasters under way at a time, each in a thread: while some wait for the network, others are read and written."""
    retries: int = 2
    """How often a raster that failed is tried again; one that cannot be used at all is not."""
    back_off_s: float = 2.0
    """Wait before it is tried again; doubled each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """How a list ended."""

    done: tuple[str, ...]
    """Names of the rasters that are finished, by this command or an earlier or another one."""
    failed: tuple[Entry, ...]
    """Those that are missing, each with its reason."""
    elsewhere: tuple[str, ...]
    """Those that another command is at work on."""


def segment_list(
    items: Iterable[RunItem],
    output: Path,
    configure: Configure,
    options: BatchOptions,
    listener: Callable[[Entry], None] = lambda entry: None,
    load: LoadPredictor | None = None,
) -> BatchResult:
    """Segment many rasters, each into a run folder of its own below ``output``.

    Several such commands, on one machine or on several that share the folder, may work on one list: a raster belongs to who
    holds its run folder, and that lock goes with its process. The same command again goes on, and tries what failed again.

    Args:
        items: The rasters, in the order in which they are to be done.
        output: Where the run folders and the ledger are.
        configure: Makes the configuration of each.
        options: How many at a time, and how often.
        listener: Takes each line of the ledger.
        load: Makes the predictor; None loads the network of the configured model.

    Raises:
        WriteError: If the ledger cannot be written.
    """
    batch = _Batch(output, configure, options, listener, load)
    queue = AttemptQueue(items)
    threads = ThreadPoolExecutor(options.rasters_at_once, thread_name_prefix="raster")
    try:
        for end in [threads.submit(batch.work, queue) for _ in range(options.rasters_at_once)]:
            end.result()
    finally:
        # whoever stops the list does not wait for the rasters under way: they end with their chunk or stage
        batch.stopped.set()
        queue.close()
        threads.shutdown(wait=False)
        batch.networks.close()
    return BatchResult(done=tuple(batch.done), failed=tuple(batch.failed), elsewhere=tuple(batch.elsewhere))


class _Batch:
    def __init__(
        self, output: Path, configure: Configure, options: BatchOptions, listener: Callable[[Entry], None], load: LoadPredictor | None
    ) -> None:
        self._output = output
        self._configure = configure
        self._options = options
        self._listener = listener
        self._load = load
        self._ledger = Ledger(output / LEDGER_NAME)
        self._known_as_done = {entry.name for entry in self._ledger.read().values() if entry.state == "done"}
        self._lock = threading.Lock()
        self.networks = SharedNetworks()
        self.stopped = threading.Event()
        """Set when nobody waits for the rasters any more."""
        self.done: list[str] = []
        self.failed: list[Entry] = []
        self.elsewhere: list[str] = []

    def work(self, queue: AttemptQueue) -> None:
        """Take attempts until none is left."""
        while (attempt := queue.take()) is not None:
            try:
                ended = self._try(attempt)
            except BaseException:
                queue.end()
                raise
            if ended:
                queue.end()
            else:
                queue.put_back(attempt, self._options.back_off_s * 2 ** (attempt.number - 1))

    def _try(self, attempt: Attempt) -> bool:
        """Segment a raster; tell whether that was the end of it."""
        item, began = attempt.item, time.monotonic()
        warnings: list[str] = []
        was_complete = False

        def listen(event: Event) -> None:
            nonlocal was_complete
            if self.stopped.is_set():
                raise RunError("The list was stopped. The same command again goes on.")
            if isinstance(event, Warned):
                warnings.append(event.message)
            elif isinstance(event, Finished):
                was_complete = not event.elapsed_s

        error: str | None = None
        try:
            config = self._configure(item.raster, self._output / item.name)
            segment_raster(config, listen, self._load, self.networks.do)
        except RunFolderBusyError:
            self.elsewhere.append(item.name)
            return True
        except Exception as exc:  # whatever one raster fails with must not stop the others
            if self.stopped.is_set():
                return True
            if not isinstance(exc, UsageError | MissingFileError) and attempt.number <= self._options.retries:
                return False
            error = str(exc) if isinstance(exc, GeosegError) else f"{type(exc).__name__}: {exc}"
        entry = Entry(
            name=item.name,
            raster=item.raster,
            state="done" if error is None else "failed",
            elapsed_s=round(time.monotonic() - began, 3),
            attempts=attempt.number,
            ended=round(time.time(), 3),
            warnings=tuple(warnings),
            error=error,
        )
        self._keep(entry, was_complete=was_complete)
        return True

    def _keep(self, entry: Entry, *, was_complete: bool) -> None:
        with self._lock:
            if entry.error is None:
                self.done.append(entry.name)
            else:
                self.failed.append(entry)
            if not was_complete or entry.name not in self._known_as_done:
                self._ledger.add(entry)
            self._listener(entry)


class SharedNetworks:
    """The networks of a list, each loaded when the first raster needs it; its batches hold tiles of several rasters.

    Rasters share one only where their plans run it alike: a long raster may have been measured, or begun by an earlier command,
    with another backend or batch than a short one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runners: list[tuple[tuple[LoadPredictor, int, int, int], Batcher]] = []
        self._closed = False

    def do(self, job: SegmentJob, keys: Iterable[ChunkKey], options: ClusterOptions) -> Iterator[tuple[ChunkKey, ChunkResult]]:
        """Do chunks of a raster in this thread; see :data:`geoseg.pipeline.MapChunks`."""
        return do_chunks(job, keys, self._find(job))

    def _find(self, job: SegmentJob) -> Batcher:
        wanted = (job.load, job.batch_size, job.lanes, job.tiles.halo_px)
        with self._lock:
            if self._closed:
                raise RunError("The list was stopped. The same command again goes on.")
            for known, runner in self._runners:
                if known == wanted:
                    return runner
            self._runners.append((wanted, job.make_runner()))
            return self._runners[-1][1]

    def close(self) -> None:
        """Let the networks go."""
        with self._lock:
            self._closed = True
            for _, runner in self._runners:
                runner.close()

"""Many rasters through one model: batches filled across them, and one failure never stops the rest."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geoseg.budget import Budget
from geoseg.config import RunConfig
from geoseg.errors import ChunkError, DeviceLostError, GeosegError, MissingFileError, RunError, RunFolderBusyError, UsageError
from geoseg.events import ChunkFailed, ClusterReady, Event, Finished, Listener, Warned
from geoseg.inference.planning import plan_run
from geoseg.inference.whole import LoadPredictor
from geoseg.inference.work import ChunkResult, SegmentJob, do_chunks
from geoseg.machine import free_memory_bytes
from geoseg.pipeline import MapChunks, describe_workplace, segment_raster
from geoseg.runs.attempts import Attempt, AttemptQueue
from geoseg.runs.ledger import Entry, Ledger, State
from geoseg.runs.runlist import RunItem
from geoseg.runtime.faults import ChunkFailure
from geoseg.runtime.mapping import open_runtime
from geoseg.runtime.workplace import ClusterOptions, Shared
from geoseg.tiling import ChunkKey

LEDGER_NAME = "ledger.jsonl"
Configure = Callable[[str, Path], RunConfig]
"""Makes the configuration of a raster and its run folder."""
Hears = Callable[[Entry | ClusterReady | Warned], None]
"""Takes each line of the ledger, and what is to be said of the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a list is worked off."""

    rasters_at_once: int = 4
    """Rasters under way at a time, each in a thread: while some wait for the network, others are read and written."""
    retries: int = 2
    """How often a raster that failed is tried again; one that cannot be used at all is not."""
    back_off_s: float = 2.0
    """Wait before it is tried again; doubled each time."""
    memory_bytes: int | None = None
    """What all rasters under way may take together; those that would exceed it wait. None takes what is free at the beginning."""
    cluster: ClusterOptions | None = None
    """Workers that all rasters share; None does each raster's chunks in its thread of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """How a list ended."""

    done: tuple[str, ...]
    """Names of the rasters that are finished, by this command or an earlier or another one."""
    failed: tuple[Entry, ...]
    """Those that are missing, each with its reason."""
    incomplete: tuple[Entry, ...]
    """Those that are finished but for some chunks, each with the reason of the first."""
    elsewhere: tuple[str, ...]
    """Those that another command is still at work on, also when all others had ended."""


def segment_list(
    items: Iterable[RunItem],
    output: Path,
    configure: Configure,
    options: BatchOptions,
    listener: Hears = lambda _: None,
    load: LoadPredictor | None = None,
) -> BatchResult:
    """Segment many rasters, each into a run folder of its own below ``output``.

    Several such commands, on one machine or on several that share the folder, may work on one list: a raster belongs to who
    holds its run folder, and that lock goes with its process. Those that another command held are looked at again when all others have
    ended: by then it may have finished them, or given them up. The same command again goes on, and tries what failed again.

    Args:
        items: The rasters, in the order in which they are to be done.
        output: Where the run folders and the ledger are.
        configure: Makes the configuration of each.
        options: How many at a time, and how often.
        listener: Takes each line of the ledger, and what is to be said of the cluster.
        load: Makes the predictor; None loads the network of the configured model.

    Raises:
        UsageError: If the cluster cannot be reached.
        WriteError: If the ledger cannot be written.
    """
    with open_workplace(options, listener) as mapping:
        batch = _Batch(output, configure, options, listener, partial(segment_raster, load=load, mapping=mapping))
        _work_off(batch, items, options.rasters_at_once)
    return BatchResult(done=tuple(batch.done), failed=tuple(batch.failed), incomplete=tuple(batch.incomplete), elsewhere=batch.elsewhere)


def find_workplace(items: Iterable[RunItem], configure: Configure, output: Path) -> ClusterOptions:
    """Return the workers that all rasters of a list share: those that suit the first one that can be planned.

    Raises:
        UsageError: If none can.
    """
    last: GeosegError | None = None
    for item in items:
        try:
            return describe_workplace(plan_run(configure(item.raster, output / item.name)))
        except GeosegError as exc:
            last = exc
    raise UsageError(f"None of the rasters can be segmented; the last one: {last}")


@contextmanager
def open_workplace(options: BatchOptions, listener: Hears) -> Iterator[MapChunks]:
    """Open what does the chunks of all rasters: workers that load a network once, or the raster's own thread.

    Raises:
        UsageError: If the cluster cannot be reached.
    """
    if options.cluster is not None:

        def hear(event: Event) -> None:
            if isinstance(event, ClusterReady | Warned):
                listener(event)

        with open_runtime(options.cluster, hear) as runtime:
            yield runtime.map
        return
    shared = Shared()
    # each raster was planned as if it were alone
    budget = Budget(free_memory_bytes() if options.memory_bytes is None else options.memory_bytes)

    def do_here(
        job: SegmentJob, keys: Iterable[ChunkKey], options: ClusterOptions, _listener: Listener
    ) -> Iterator[tuple[ChunkKey, ChunkResult | ChunkFailure]]:
        with budget.take(job.chunk_bytes, job.common_bytes):
            yield from do_chunks(job, keys, shared, give_up_after=options.give_up_after)

    try:
        yield do_here
    finally:
        shared.close()


def _work_off(batch: "_Batch", items: Iterable[RunItem], at_once: int) -> None:
    """Work off a list in some threads, and once more what another command held."""
    threads = ThreadPoolExecutor(at_once, thread_name_prefix="raster")
    queue = AttemptQueue(items)
    try:
        _empty(queue, batch, threads, at_once)
        queue = AttemptQueue(batch.take_elsewhere())
        _empty(queue, batch, threads, at_once)
    finally:
        # whoever stops the list does not wait for the rasters under way: they end with their chunk or stage
        batch.stopped.set()
        queue.close()
        threads.shutdown(wait=False)


def _empty(queue: AttemptQueue, batch: "_Batch", threads: ThreadPoolExecutor, at_once: int) -> None:
    for end in [threads.submit(batch.work, queue) for _ in range(at_once)]:
        end.result()


class _Batch:
    def __init__(
        self, output: Path, configure: Configure, options: BatchOptions, listener: Hears, segment: Callable[[RunConfig, Listener], Path]
    ) -> None:
        self._output = output
        self._configure = configure
        self._options = options
        self._listener = listener
        self._segment = segment
        self._ledger = Ledger(output / LEDGER_NAME)
        self._read_to = 0
        self._known_as_done: set[str] = set()
        self._read_ledger()
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        """Set when nobody waits for the rasters any more."""
        self.done: list[str] = []
        self.failed: list[Entry] = []
        self.incomplete: list[Entry] = []
        self._held: list[RunItem] = []

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Names of the rasters that another command holds, sorted."""
        return tuple(sorted(item.name for item in self._held))

    def take_elsewhere(self) -> list[RunItem]:
        """Return the rasters that another command held, to be tried anew."""
        held, self._held = self._held, []
        return held

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
        heard = _Heard(self.stopped)
        error: str | None = None
        try:
            config = self._configure(item.raster, self._output / item.name)
            self._segment(config, heard)
        except RunFolderBusyError:
            self._held.append(item)
            return True
        except DeviceLostError:
            # whatever comes next would fail in this process too, and be marked so
            raise
        except Exception as exc:  # whatever one raster fails with must not stop the others
            if self.stopped.is_set():
                return True
            # chunks that failed have been tried again and again already
            if not isinstance(exc, UsageError | MissingFileError | ChunkError) and attempt.number <= self._options.retries:
                return False
            error = str(exc) if isinstance(exc, GeosegError) else f"{type(exc).__name__}: {exc}"
        state: State = "done" if error is None else "failed"
        if error is None and heard.missing:
            first = heard.missing[0]
            state, error = "incomplete", f"{len(heard.missing)} chunks are missing, first {first.chunk}: {first.error}"
        entry = Entry(
            name=item.name,
            raster=item.raster,
            state=state,
            elapsed_s=round(time.monotonic() - began, 3),
            attempts=attempt.number,
            ended=round(time.time(), 3),
            warnings=tuple(heard.warnings),
            error=error,
        )
        self._keep(entry, was_complete=heard.was_complete)
        return True

    def _keep(self, entry: Entry, *, was_complete: bool) -> None:
        with self._lock:
            if entry.state == "done":
                self.done.append(entry.name)
            else:
                (self.failed if entry.state == "failed" else self.incomplete).append(entry)
            if was_complete and entry.name not in self._known_as_done:
                # whoever has done it meanwhile has said more of it than can be said here
                self._read_ledger()
            if not was_complete or entry.name not in self._known_as_done:
                self._ledger.add(entry)
            self._listener(entry)

    def _read_ledger(self) -> None:
        """Read what this command and others have added since."""
        entries, self._read_to = self._ledger.read_on(self._read_to)
        for entry in entries.values():
            (self._known_as_done.add if entry.state == "done" else self._known_as_done.discard)(entry.name)


class _Heard:
    """What a raster's run says; stops it when nobody waits for the list any more."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self.warnings: list[str] = []
        self.missing: list[ChunkFailed] = []
        self.was_complete = False

    def __call__(self, event: Event) -> None:
        if self._stopped.is_set():
            raise RunError("The list was stopped. The same command again goes on.")
        if isinstance(event, Warned):
            self.warnings.append(event.message)
        elif isinstance(event, ChunkFailed):
            self.missing.append(event)
        elif isinstance(event, Finished):
            self.was_complete = not event.elapsed_s and not event.missing

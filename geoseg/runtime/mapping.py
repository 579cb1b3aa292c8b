"""Map chunks over threads or workers: every one of them, few at a time, tried again where that may help."""

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from geoseg.errors import RunError
from geoseg.events import Listener, Warned, ignore_events
from geoseg.runtime.faults import ChunkFailure, Docket
from geoseg.runtime.fleet import Fleet
from geoseg.runtime.workplace import ClusterOptions, Done, Failed, Job, Lost, Outcome, Threads, Workplace

__all__ = ["ChunkFailure", "ClusterOptions", "Job", "Runtime", "map_chunks", "open_runtime"]

Key = TypeVar("Key")
Result = TypeVar("Result")

_TICK_S = 0.5
"""After so long without an outcome it is looked whether workers are still there."""


def map_chunks(
    job: Job[Result], keys: Iterable[Key], options: ClusterOptions, listener: Listener = ignore_events
) -> Iterator[tuple[Key, Result | ChunkFailure]]:
    """Do a job on every key and yield results as they come.

    At most a few keys per thread are under way, so memory does not grow with their number. A key that fails is tried again after a
    while. One that failed three times is given up, and the others go on; so is one that took three workers down while it was alone
    on them.

    Args:
        job: What to do; prepared once per worker.
        keys: Small values that travel to the workers.
        options: Where.
        listener: Hears of the cluster, and of workers that died.

    Yields:
        Key and result, or why there is none, in the order of completion.

    Raises:
        UsageError: If the scheduler cannot be reached, or a key shows that what was asked cannot be done.
        WriteError: If a disk is full.
        ChunkError: If the first keys all failed.
        RunError: If all workers, or the scheduler, were lost and did not come back.
    """
    with open_runtime(options, listener) as runtime:
        yield from runtime.map(job, keys, options, listener)


@contextmanager
def open_runtime(options: ClusterOptions, listener: Listener = ignore_events) -> "Iterator[Runtime]":
    """Start or find workers for one job or many.

    Raises:
        UsageError: If the scheduler cannot be reached.
    """
    if not options.workers and options.scheduler is None:
        threads = Threads(options.chunks_at_once)
        wait = True
        try:
            yield Runtime(threads)
        except KeyboardInterrupt:
            wait = False
            raise
        finally:
            threads.close(wait=wait)
        return
    # Dask takes half a second and memory that a run in one process has better use for
    from geoseg.runtime.cluster import open_cluster

    with open_cluster(options, listener) as cluster:
        yield Runtime(cluster)


class Runtime:
    """Workers that do chunks of several jobs; each is mapped in a thread of its own.

    Args:
        place: Where chunks are done.
    """

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._fleet = Fleet(place.ahead)

    def map(
        self, job: Job[Result], keys: Iterable[Key], options: ClusterOptions, listener: Listener = ignore_events
    ) -> Iterator[tuple[Key, Result | ChunkFailure]]:
        """Do a job on every key; see :func:`map_chunks`."""
        docket = Docket(keys, give_up_after=options.give_up_after)
        name = self._place.begin(job)
        mapping: _Mapping[Key] = _Mapping(self._place, self._fleet, docket, name, listener)
        try:
            yield from mapping.run(options.patience_s)
        finally:
            mapping.stop()
            self._place.end(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try(Generic[Key]):
    """A chunk that is under way."""

    key: Key
    worker: str
    alone: bool
    began: float
    take_back: Callable[[], None]


class _Mapping(Generic[Key]):
    """One job on its way."""

    def __init__(self, place: Workplace, fleet: Fleet, docket: Docket[Key], name: str, listener: Listener) -> None:
        self._place = place
        self._fleet = fleet
        self._docket = docket
        self._name = name
        self._listener = listener
        self._outcomes: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
        self._under_way: dict[int, _Try[Key]] = {}
        self._number = 0
        self._warned_of: set[str] = set()
        self._buried: set[str] = set()

    def run(self, patience_s: float) -> Iterator[tuple[Key, Any]]:
        """Yield outcomes until every key has one."""
        looked = someone_there = time.monotonic()
        self._look()
        while True:
            self._fill()
            if not self._under_way and self._docket.is_empty():
                return
            try:
                number, outcome = self._outcomes.get(timeout=min(_TICK_S, self._docket.wait_s() or _TICK_S))
            except queue.Empty:
                pass
            else:
                yield from self._settle(number, outcome)
            now = time.monotonic()
            if now - looked >= _TICK_S:
                self._look()
                looked = time.monotonic()
            if len(self._fleet):
                someone_there = now
            elif now - someone_there > patience_s:
                raise RunError(
                    f"No worker that may take chunks has been there for {patience_s:.0f} s. Start workers, or give them longer with "
                    "--patience. What is done is kept; the same command again goes on."
                )

    def stop(self) -> None:
        """Take back what is under way."""
        for under_way in self._under_way.values():
            under_way.take_back()
            self._leave(under_way)
        self._fleet.want_none_alone()

    def _fill(self) -> None:
        """Give work to whoever has room."""
        while self._docket.suspect() is not None and (worker := self._fleet.take_alone()) is not None:
            self._submit(self._docket.take_suspect(), worker, alone=True)
        while (worker := self._fleet.take()) is not None:
            key = self._docket.take()
            if key is None:
                self._fleet.give_back(worker)
                return
            self._submit(key, worker, alone=False)

    def _submit(self, key: Key, worker: str, *, alone: bool) -> None:
        self._number += 1
        number = self._number
        # a fast worker reports before this returns
        self._under_way[number] = _Try(key=key, worker=worker, alone=alone, began=time.monotonic(), take_back=lambda: None)
        take_back = self._place.submit(self._name, key, worker, lambda outcome: self._outcomes.put((number, outcome)))
        self._under_way[number] = replace(self._under_way[number], take_back=take_back)

    def _settle(self, number: int, outcome: Outcome) -> Iterator[tuple[Key, Any]]:
        """Say what becomes of a chunk."""
        tried = self._under_way.pop(number, None)
        if tried is None:
            # its worker was given up before it said so
            return
        if isinstance(outcome, Lost) and outcome.is_fault and tried.worker not in self._buried:
            yield from self._bury(tried)
            return
        self._leave(tried)
        if isinstance(outcome, Done):
            self._docket.finish(tried.key)
            yield tried.key, outcome.result
        elif isinstance(outcome, Lost):
            self._docket.give_back(tried.key)
            # before work goes to somebody who is not there any more
            self._look()
        else:
            yield from self._fail(tried, outcome)

    def _fail(self, tried: _Try[Key], outcome: Failed) -> Iterator[tuple[Key, ChunkFailure]]:
        if outcome.fatal is not None:
            raise outcome.fatal
        if outcome.device_lost:
            self._replace_worker(tried.worker, outcome.error)
        failure = self._docket.fail(tried.key, outcome.error)
        if failure is not None:
            yield tried.key, failure

    def _replace_worker(self, worker: str, error: str) -> None:
        """Have a worker whose device is lost start anew; its other chunks come again."""
        for number in [number for number, other in self._under_way.items() if other.worker == worker]:
            other = self._under_way.pop(number)
            other.take_back()
            self._leave(other)
            self._docket.give_back(other.key)
        self._warn(f"A device was lost and its worker is started anew: {error}")
        if not self._place.restart(worker):
            raise RunError(f"{error} Only a new process can use the device again: the same command goes on. --workers 1 does so by itself.")
        self._look()

    def _bury(self, first: _Try[Key]) -> Iterator[tuple[Key, ChunkFailure]]:
        """A worker is dead: say what becomes of all its chunks."""
        gone = [first, *(self._under_way.pop(number) for number, t in list(self._under_way.items()) if t.worker == first.worker)]
        for tried in gone:
            tried.take_back()
            self._leave(tried)
        self._buried.add(first.worker)
        self._look()
        self._warn(f"A worker died with {len(gone)} chunks under way; they are tried again.")
        if not first.alone:
            self._docket.lose({tried.key for tried in gone})
            return
        failure = self._docket.lose_alone(first.key, time.monotonic() - first.began)
        if failure is not None:
            yield first.key, failure

    def _leave(self, tried: _Try[Key]) -> None:
        if tried.alone:
            self._fleet.end_alone(tried.worker)
        else:
            self._fleet.give_back(tried.worker)

    def _look(self) -> None:
        """Look which workers are there, and give up those that are not."""
        workers = self._place.workers()
        self._buried -= workers.keys()
        self._fleet.update(workers)
        self._docket.count_workers(len(workers))
        for number, tried in list(self._under_way.items()):
            if tried.worker not in workers:
                self._outcomes.put((number, Lost(is_fault=True)))

    def _warn(self, message: str) -> None:
        """Say something once: a cluster that loses a worker every few seconds need not fill a log with it."""
        if message not in self._warned_of:
            self._warned_of.add(message)
            self._listener(Warned(message=message))

"""Map chunks over Dask: bounded, retried, cancellable. The only place that knows Dask's scheduler."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import dask
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, as_completed, get_worker
from distributed.comm.addressing import get_address_host_port

from geoseg.errors import ChunkError, ConfigError, UsageError

Key = TypeVar("Key")
Result = TypeVar("Result", covariant=True)

SCHEDULER_S = 0.002
"""Processor seconds of a scheduler for each chunk, measured; see docs/scale.md."""
_RETRIES = 2
_CONNECT_TIMEOUT_S = 20


class Job(Protocol[Result]):
    """Work on chunks that every worker prepares for once. Travels between processes."""

    def prepare(self) -> Callable[[Any], Result]:
        """Load what is needed and return what does one chunk; if that has a ``close``, it is called in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Where the work is done.

    Raises:
        ConfigError: If the number of workers is negative.
    """

    workers: int = 0
    """Worker processes on this machine; 0 works in this process."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, for example ``tcp://10.0.0.1:8786``."""
    chunks_at_once: int = 2
    """Chunks under way in each worker; a running scheduler's workers have threads of their own."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"--workers {self.workers}: a number of processes, 0 or more, was expected.")


class _JobPlugin(WorkerPlugin):
    """Keeps a prepared job on a worker; also on workers that join or restart later."""

    def __init__(self, job: Job[Any]) -> None:
        self._job = job

    def setup(self, worker: Any) -> None:
        self._lock = threading.Lock()
        self._run: Callable[[Any], Any] | None = None

    def teardown(self, worker: Any) -> None:
        close = getattr(self._run, "close", None)
        if close is not None:
            close()

    def run(self, key: Any) -> Any:
        with self._lock:
            if self._run is None:
                self._run = self._job.prepare()
        return self._run(key)


def _run_on_worker(name: str, key: Any) -> Any:
    plugin = get_worker().plugins[name]
    assert isinstance(plugin, _JobPlugin)
    return plugin.run(key)


def map_chunks(job: Job[Result], keys: Iterable[Key], options: ClusterOptions) -> Iterator[tuple[Key, Result]]:
    """Do a job on every key and yield results as they come.

    At most a few keys per thread are under way, so memory does not grow with their number. A key that fails is
    tried again twice. The first key that keeps failing stops the rest; what is done stays done.

    Args:
        job: What to do; prepared once per worker.
        keys: Small values that travel to the workers.
        options: Where.

    Yields:
        Key and result, in the order of completion.

    Raises:
        UsageError: If the scheduler cannot be reached.
        ChunkError: If a key failed three times.
    """
    with _client(options) as client:
        name = f"geoseg-{os.getpid()}-{id(job):x}"
        client.register_plugin(_JobPlugin(job), name=name)
        try:
            yield from _drain(client, name, iter(keys), options)
        finally:
            client.unregister_worker_plugin(name)


def _drain(client: Client, name: str, keys: Iterator[Key], options: ClusterOptions) -> Iterator[tuple[Key, Any]]:
    under_way: dict[Any, Key] = {}

    def submit(key: Key) -> Any:
        future = client.submit(_run_on_worker, name, key, key=f"{name}-{key}", retries=_RETRIES, pure=False)
        under_way[future] = key
        return future

    room = 2 * max(1, sum(client.nthreads().values())) + 2
    running = as_completed([submit(key) for key in islice(keys, room)])
    try:
        for future in running:
            key = under_way.pop(future)
            yield key, _result(future, key)
            for following in islice(keys, 1):
                running.add(submit(following))
    finally:
        client.cancel(list(under_way))


def _result(future: Any, key: Any) -> Any:
    try:
        return future.result()
    except KilledWorker as exc:
        raise ChunkError(
            f"Chunk {key} took its worker down {exc.allowed_failures + 1} times, probably for want of memory. "
            "Choose a smaller --tile-size, --batch-size or --chunk-size; the same command again goes on."
        ) from exc
    except UsageError:
        raise
    except Exception as exc:  # whatever a chunk fails with, foreign errors included, is said in our words
        raise ChunkError(f"Chunk {key} failed {_RETRIES + 1} times: {exc} What is done is kept; the same command again goes on.") from exc


@contextmanager
def _client(options: ClusterOptions) -> Iterator[Client]:
    quiet = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.logging.distributed": "critical",
    }
    with dask.config.set(quiet):
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        if options.scheduler is not None:
            with _connect(options.scheduler) as client:
                yield client
            return
        with (
            LocalCluster(
                n_workers=max(1, options.workers),
                processes=options.workers > 0,
                threads_per_worker=options.chunks_at_once,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


def _connect(address: str) -> Client:
    try:
        # a client that finds nobody stays behind half made and can lock up the next one when it is collected
        with socket.create_connection(get_address_host_port(address), timeout=_CONNECT_TIMEOUT_S):
            pass
        return Client(address, timeout=_CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, ValueError) as exc:
        raise UsageError(f"No Dask scheduler answers at {address}: {exc}. Start one with: dask scheduler.") from exc

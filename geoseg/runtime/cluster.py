"""Workers in processes of their own, here or on other machines: how Dask does chunks."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, KilledWorker, SchedulerPlugin, WorkerPlugin, get_worker
from distributed.protocol.serialize import deserialize_bytes, serialize_bytes

from geoseg import __version__
from geoseg.errors import RunError, UsageError
from geoseg.events import ClusterReady, Listener, Warned
from geoseg.runtime.launch import connect, start_scheduler, start_workers
from geoseg.runtime.leftovers import Sweeping
from geoseg.runtime.workplace import ClusterOptions, Failed, Job, Lost, Outcome, Prepared, Report, Shared, name_session

_ASK_TIMEOUT_S = 20
_CLOSE_TIMEOUT_S = 5
_BETWEEN_CALLS_S = 1.0
"""Wait before a scheduler that does not answer is called again."""
_RESTART_TIMEOUT_S = 60
_START_TIMEOUT_S = 30
"""Workers that take longer to start join later."""
_LOOK_S = 0.05
"""Between looks whether workers that start are there."""
_MEND_AFTER_S = 3.0
"""Wait for a worker that died to be started again before it is looked whether that will happen."""
_LOST = (OSError, TimeoutError, RuntimeError)
"""What Dask raises where a scheduler does not answer, or its client has closed."""
_SILENT = logging.CRITICAL + 1
"""What matters of what Dask logs is found out and said here. It calls it critical that a client who was just told something has left."""
_QUIET = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.logging.distributed": "critical",
    # a chunk on a worker that died is told of at once: who is to blame is found out here
    "distributed.scheduler.allowed-failures": 0,
}


class _SharedPlugin(WorkerPlugin):
    """Keeps what the jobs of a session share on a worker."""

    def setup(self, worker: Any) -> None:
        self.shared = Shared()

    def teardown(self, worker: Any) -> None:
        self.shared.close()


class _JobPlugin(WorkerPlugin):
    """Keeps a prepared job on a worker; also on workers that join or restart later."""

    def __init__(self, job: Job[Any]) -> None:
        self._job = job

    def setup(self, worker: Any) -> None:
        self.prepared = Prepared(self._job)

    def teardown(self, worker: Any) -> None:
        self.prepared.close()


class _UnknownJobError(Exception):
    """A worker has not heard of a job: its scheduler is another one than the job was told to."""


def _do_on_worker(session: str, name: str, token: int, key: Any) -> None:
    """Do a chunk and send what came of it as an event: as a result of the task it would be lost with its worker."""
    worker = get_worker()
    if session not in worker.plugins or name not in worker.plugins:
        raise _UnknownJobError(f"{worker.address} does not know {name}")
    job, sharing = worker.plugins[name], worker.plugins[session]
    assert isinstance(job, _JobPlugin)
    assert isinstance(sharing, _SharedPlugin)
    outcome = job.prepared.do(key, sharing.shared)
    worker.log_event(session, [token, serialize_bytes(outcome)])


@contextmanager
def open_cluster(options: ClusterOptions, listener: Listener) -> "Iterator[Cluster]":
    """Start worker processes on this machine, or find those of a running scheduler.

    Raises:
        UsageError: If the scheduler cannot be reached.
    """
    folder = {} if options.scratch is None else {"temporary-directory": str(options.scratch.absolute())}
    with dask.config.set({**_QUIET, **folder}):
        for name in ("distributed", "tornado.application"):
            logging.getLogger(name).setLevel(_SILENT)
        if options.scheduler is not None:
            cluster = Cluster(partial(connect, options.scheduler), options, listener)
            try:
                yield cluster
            finally:
                cluster.close()
            return
        with start_scheduler(options) as started:
            starting = partial(start_workers, started, options.workers)
            cluster = Cluster(partial(Client, started, set_as_default=False), options, listener, starting)
            try:
                yield cluster
            finally:
                cluster.close()


class Cluster:
    """Workers of a Dask scheduler; see :class:`geoseg.runtime.workplace.Workplace`.

    Each chunk is given to one worker by name, so that it is always known which chunks a worker took with it. A scheduler that is lost
    is waited for; one that comes back, with workers that may all be new, is told all jobs again.

    Args:
        connect: Connects to the scheduler.
        options: What workers need, and how long they are waited for.
        listener: Hears of the workers.
        start_workers: Starts those that are not there, if it is known how.
    """

    ahead = 1

    def __init__(
        self, connect: Callable[[], Client], options: ClusterOptions, listener: Listener, start_workers: Callable[[], None] = lambda: None
    ) -> None:
        self._connect = connect
        self._start_workers = start_workers
        self._whole_at = time.monotonic()
        self._options = options
        self._listener = listener
        self._session = name_session()
        self._lock = threading.RLock()
        self._jobs: dict[str, Job[Any]] = {}
        self._reports: dict[int, Report] = {}
        self._tokens = 0
        self._names = 0
        self._free: deque[str] = deque()
        self._able: dict[str, bool] = {}
        self._lost = False
        self._gone: RunError | None = None
        self._client = connect()
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        """Tell a scheduler what its workers have to know."""
        client = self._client
        client.subscribe_topic(self._session, self._hear)
        sweeping = Sweeping(client.id, self._session)
        self._give(sweeping, sweeping.name)
        self._give(_SharedPlugin(), self._session)
        for name, job in self._jobs.items():
            self._give(_JobPlugin(job), name)
        # a group of tasks that runs empty is begun anew, and Dask keeps every one that there was: this task stays in it
        self._first = client.submit(bool, key=f"{self._session}-0", pure=False)
        if self._options.workers:
            self._start_workers()
        workers, until = self._ask(), time.monotonic() + _START_TIMEOUT_S
        while len(workers) < self._options.workers and time.monotonic() < until:
            time.sleep(_LOOK_S)
            workers = self._ask()
        self._listener(ClusterReady(workers=len(workers), threads=sum(workers.values()), dashboard=client.dashboard_link or ""))
        if not workers:
            needed = "".join(f" with {name}={number:g}" for name, number in self._options.resources.items())
            self._listener(Warned(message=f"There is no worker{needed} yet; waiting up to {self._options.patience_s:.0f} s for one."))

    def _give(self, plugin: WorkerPlugin | SchedulerPlugin, name: str) -> None:
        """Register a plugin.

        Raises:
            UsageError: If who is to have it does not know it.
        """
        try:
            self._client.register_plugin(plugin, name=name)
        except _LOST:
            raise
        except Exception as exc:  # whatever it was there, it comes as a bare one where its class is not known here
            raise UsageError(
                f"The scheduler, or a worker of it, cannot do geoseg's work: {exc}. "
                f"All of them need geoseg {__version__}, as here, with the libraries that are here."
            ) from exc

    def workers(self) -> Mapping[str, int]:
        """Return the workers that may take chunks; see :class:`geoseg.runtime.workplace.Workplace`."""
        with self._lock:
            if not self._lost and self._client.status == "running":
                with suppress(*_LOST):
                    return self._ask()
            self._find_again()
            return self._ask()

    def _ask(self) -> dict[str, int]:
        scheduler: Any = self._client.scheduler
        found: dict[str, int] = self._client.sync(scheduler.ncores_running, callback_timeout=_ASK_TIMEOUT_S)
        now = time.monotonic()
        if len(found) >= self._options.workers:
            self._whole_at = now
        elif now - self._whole_at > _MEND_AFTER_S:
            self._whole_at = now
            self._start_workers()
        if not self._options.resources:
            return found
        if not found.keys() <= self._able.keys():
            # some versions tell of five workers unless they are asked for all
            known = self._client.scheduler_info(n_workers=-1)["workers"]
            self._able = {worker: self._is_able(about.get("resources", {})) for worker, about in known.items()}
        return {worker: threads for worker, threads in found.items() if self._able.get(worker)}

    def _is_able(self, has: Mapping[str, float]) -> bool:
        return all(has.get(name, 0) >= number for name, number in self._options.resources.items())

    def _find_again(self) -> None:
        """Wait for the scheduler to come back, or another one in its place.

        Raises:
            RunError: If none does.
        """
        self._check_open()
        patience_s = self._options.patience_s
        self._listener(Warned(message=f"The scheduler was lost; waiting up to {patience_s:.0f} s for it to come back."))
        until = time.monotonic() + patience_s
        self._forget()
        while True:
            self._check_open()
            try:
                self._client = self._connect()
                self._lost = False
                self._greet()
                return
            except (UsageError, *_LOST) as exc:
                if time.monotonic() > until:
                    self._gone = RunError(
                        f"The scheduler was lost and did not come back within {patience_s:.0f} s: {exc} "
                        "What is done is kept; the same command again goes on."
                    )
                    raise self._gone from exc
                time.sleep(_BETWEEN_CALLS_S)

    def _check_open(self) -> None:
        if self._gone is not None:
            raise self._gone

    def _forget(self) -> None:
        """Let go the client of a scheduler that is gone; what was under way there comes again."""
        with suppress(Exception):
            self._client.close(timeout=_CLOSE_TIMEOUT_S)
        reports, self._reports = self._reports, {}
        self._able.clear()
        self._free.clear()
        for report in reports.values():
            report(Lost(is_fault=False))

    def begin(self, job: Job[Any]) -> str:
        """Make a job known; see :class:`geoseg.runtime.workplace.Workplace`."""
        with self._lock:
            name = f"{self._session}-{uuid4().hex[:8]}"
            self._jobs[name] = job
            try:
                self._give(_JobPlugin(job), name)
            except _LOST:
                self._lost = True
            return name

    def submit(self, name: str, key: Any, worker: str, report: Report) -> Callable[[], None]:
        """Have a worker do a chunk; see :class:`geoseg.runtime.workplace.Workplace`."""
        with self._lock:
            self._tokens += 1
            token = self._tokens
            self._reports[token] = report
            try:
                task = self._name_task()
                future = self._client.submit(_do_on_worker, self._session, name, token, key, key=task, workers=[worker], pure=False)
            except _LOST:
                self._lost = True
                self._tell(token, Lost(is_fault=False))
                return lambda: None
        future.add_done_callback(lambda done: self._end(token, done))

        def take_back() -> None:
            self._reports.pop(token, None)
            with suppress(Exception):
                future.cancel()

        return take_back

    def _name_task(self) -> str:
        """Name a task, as one that is done if there is one: a scheduler keeps something of every name that it has heard."""
        if self._free and self._free[0] not in self._client.futures:
            return self._free.popleft()
        self._names += 1
        return f"{self._session}-{self._names}"

    def _hear(self, event: tuple[float, Any]) -> None:
        """Take what a worker sends of a chunk."""
        token, content = event[1]
        self._tell(token, deserialize_bytes(content))

    def _tell(self, token: int, outcome: Outcome) -> None:
        report = self._reports.pop(token, None)
        if report is not None:
            report(outcome)

    def _end(self, token: int, future: Any) -> None:
        """Look at a task that ended; if it did what it should, its event came first."""
        if future.status == "finished":
            self._free.append(future.key)
        if token not in self._reports:
            return
        failure = future.exception() if future.status == "error" else None
        if isinstance(failure, KilledWorker):
            self._tell(token, Lost(is_fault=True))
        elif failure is not None and not isinstance(failure, _UnknownJobError):
            self._tell(token, Failed(error=f"{type(failure).__name__}: {failure}"))
        else:
            self._lost = self._lost or future.status != "finished"
            self._tell(token, Lost(is_fault=False))

    def end(self, name: str) -> None:
        """Let a job go; see :class:`geoseg.runtime.workplace.Workplace`."""
        with self._lock:
            self._jobs.pop(name)
            scheduler: Any = self._client.scheduler
            # Dask's own call waits forever for one that has frozen; one that hears of it later does it later
            with suppress(*_LOST, AttributeError, ValueError):
                self._client.sync(scheduler.unregister_worker_plugin, name=name, callback_timeout=_CLOSE_TIMEOUT_S)

    def restart(self, worker: str) -> bool:
        """Have a worker start anew; see :class:`geoseg.runtime.workplace.Workplace`."""
        try:
            self._client.restart_workers([worker], timeout=_RESTART_TIMEOUT_S, raise_for_error=False)
        except KeyError:
            # it has gone by itself, or another raster of the list was first
            return True
        except ValueError:
            # nobody watches over it
            return False
        except _LOST:
            self._lost = True
        return True

    def close(self) -> None:
        """Leave; the scheduler sweeps up behind the client, and who is still at work is told at once."""
        self._gone = RunError("The work was stopped. The same command again goes on.")
        with suppress(Exception):
            self._client.close(timeout=_CLOSE_TIMEOUT_S)

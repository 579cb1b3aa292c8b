"""Where chunks are done: in threads of this process, or on workers; what every such place can do."""

import errno
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

from geoseg.errors import ConfigError, DeviceLostError, GeosegError, RunError, UsageError, WriteError

Result = TypeVar("Result", covariant=True)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Where the work is done.

    Raises:
        ConfigError: If a number is negative, or both workers and a scheduler are named.
    """

    workers: int = 0
    """Worker processes on this machine; 0 works in threads of this process."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, for example ``tcp://10.0.0.1:8786``, or the file that one wrote with ``--scheduler-file``."""
    chunks_at_once: int = 2
    """Chunks under way in each worker; a running scheduler's workers have threads of their own."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """What a worker must declare to get chunks, for example ``{"GPU": 1}``."""
    gpus: bool = False
    """The network runs on CUDA devices: each worker that is started gets one of its own."""
    patience_s: float = 600.0
    """Seconds to wait for workers, or for a scheduler that was lost, before the run ends."""
    scratch: Path | None = None
    """Folder that takes what workers started here keep while they run, and goes with the run; None takes the system's."""
    give_up_after: int = 8
    """Chunks that failed, with none done, after which nothing is expected of the others; 0 goes through them all."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"--workers {self.workers}: a number of processes, 0 or more, was expected.")
        if self.workers and self.scheduler is not None:
            raise ConfigError(
                f"--workers {self.workers} and --scheduler {self.scheduler}: a running scheduler has workers of its own. Give one of both."
            )
        if self.patience_s < 0:
            raise ConfigError(f"--patience {self.patience_s}: seconds, 0 or more, were expected.")


class Shared:
    """What the jobs of one worker share, for example networks: made when the first one needs it, closed with the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._things: list[tuple[Any, Any]] = []
        self._closed = False

    def find(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return the thing under a key, made if it is not there yet.

        Raises:
            RunError: If the worker is ending.
        """
        with self._lock:
            if self._closed:
                raise RunError("The work was stopped. The same command again goes on.")
            # keys are compared, not hashed: they hold tables
            for known, thing in self._things:
                if known == key:
                    return thing
            self._things.append((key, make()))
            return self._things[-1][1]

    def close(self) -> None:
        """Close what was made."""
        with self._lock:
            self._closed = True
            for _, thing in self._things:
                thing.close()
            self._things.clear()


class Job(Protocol[Result]):
    """Work on chunks that every worker prepares for once. Travels between processes."""

    def prepare(self, shared: Shared) -> Callable[[Any], Result]:
        """Load what is needed and return what does one chunk; if that has a ``close``, it is called in the end."""


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A chunk is done."""

    result: Result
    """What came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A chunk failed."""

    error: str
    """What was said."""
    fatal: GeosegError | None = None
    """What ends the run at once: a mistake in what was asked, or a full disk."""
    device_lost: bool = False
    """The worker's device gives nothing but errors from now on."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody will tell what became of a chunk."""

    is_fault: bool
    """Its worker died; else the connection was lost, or the worker was restarted on purpose."""


Outcome = Done[Any] | Failed | Lost
Report = Callable[[Outcome], None]
"""Takes the outcome of a chunk, in any thread."""


class Prepared:
    """A job on one worker: prepared with its first chunk.

    Args:
        job: What to do.
    """

    def __init__(self, job: Job[Any]) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._run: Callable[[Any], Any] | None = None

    def do(self, key: Any, shared: Shared) -> Outcome:
        """Do a chunk, and say what came of it."""
        try:
            with self._lock:
                if self._run is None:
                    self._run = self._job.prepare(shared)
            return Done(self._run(key))
        except Exception as exc:  # whatever a chunk fails with, foreign errors included, is said in our words
            return describe_failure(exc)

    def close(self) -> None:
        """Let go what the job holds."""
        close = getattr(self._run, "close", None)
        if close is not None:
            close()


def describe_failure(exc: Exception) -> Failed:
    """Say in a form that travels between processes what a chunk failed with."""
    said = str(exc) if isinstance(exc, GeosegError) else f"{type(exc).__name__}: {exc}"
    said += "" if said.endswith((".", "!", "?")) else "."
    fatal: GeosegError | None = None
    if isinstance(exc, UsageError):
        fatal = exc
    elif _is_full(exc):
        fatal = exc if isinstance(exc, WriteError) else WriteError(f"A result could not be written: {said}")
    return Failed(error=said, fatal=fatal, device_lost=isinstance(exc, DeviceLostError))


def _is_full(exc: BaseException | None) -> bool:
    """Tell whether an error, or what it came from, says that a disk takes no more."""
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in _FULL:
            return True
        exc = exc.__cause__
    return False


class Workplace(Protocol):
    """Does chunks of several jobs."""

    ahead: int
    """Chunks that each worker is given beyond those that it does at a time."""

    def workers(self) -> Mapping[str, int]:
        """Return the workers that are there, and how many chunks each does at a time.

        Raises:
            RunError: If the place was lost for longer than it is waited for.
        """

    def begin(self, job: Job[Any]) -> str:
        """Make a job known and return its name."""

    def submit(self, name: str, key: Any, worker: str, report: Report) -> Callable[[], None]:
        """Have a worker do a chunk of a job; return what takes it back."""

    def end(self, name: str) -> None:
        """Let a job go."""

    def restart(self, worker: str) -> bool:
        """Have a worker start anew in a new process; tell whether it can."""


class Threads:
    """Threads of this process.

    Args:
        number: How many.
    """

    ahead = 0
    _HERE = "here"

    def __init__(self, number: int) -> None:
        self._workers = {self._HERE: number}
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="chunk")
        self._shared = Shared()
        self._jobs: dict[str, Prepared] = {}

    def workers(self) -> Mapping[str, int]:
        """Return the one worker that there is; see :class:`Workplace`."""
        return self._workers

    def begin(self, job: Job[Any]) -> str:
        """Make a job known; see :class:`Workplace`."""
        name = uuid4().hex
        self._jobs[name] = Prepared(job)
        return name

    def submit(self, name: str, key: Any, worker: str, report: Report) -> Callable[[], None]:
        """Do a chunk; see :class:`Workplace`."""
        future: Future[Outcome] = self._pool.submit(self._jobs[name].do, key, self._shared)

        def tell(done: Future[Outcome]) -> None:
            if not done.cancelled():
                report(done.result())

        future.add_done_callback(tell)

        def take_back() -> None:
            future.cancel()

        return take_back

    def end(self, name: str) -> None:
        """Let a job go; see :class:`Workplace`."""
        self._jobs.pop(name).close()

    def restart(self, worker: str) -> bool:
        """Say that a process cannot replace itself."""
        return False

    def close(self, *, wait: bool = True) -> None:
        """End the threads.

        Args:
            wait: Until the chunks under way are done; else they end by themselves.
        """
        self._pool.shutdown(wait=wait, cancel_futures=True)
        self._shared.close()


def name_session() -> str:
    """Return a name that no other run on a scheduler has."""
    return f"geoseg-{os.getpid()}-{uuid4().hex[:8]}"

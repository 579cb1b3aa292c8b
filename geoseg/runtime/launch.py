"""Schedulers and workers: started on this machine, or found where they run."""

import json
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster
from distributed.comm.addressing import get_address_host_port

from geoseg.errors import UsageError
from geoseg.runtime.workplace import ClusterOptions

_CONNECT_TIMEOUT_S = 20


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let threads and processes that are started here, and all that they start later, not hear of Ctrl-C: it is for this process."""
    # Python starts its tracker with the first worker, lets that hear again, and has it tell of all that a killed command leaves
    with _environment(PYTHONWARNINGS="ignore:resource_tracker"):
        resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_scheduler(options: ClusterOptions) -> Any:
    """Start a scheduler on this machine, if possible without workers: one that is ended while it starts would take all with it.

    Raises:
        UsageError: If something that this needs is not installed.
    """
    given = {
        "threads_per_worker": options.chunks_at_once,
        "dashboard_address": "127.0.0.1:0",
        "worker_dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
        "resources": dict(options.resources) or None,
    }
    if not options.gpus or options.workers == 1:
        with _deaf_to_interrupts():
            return LocalCluster(n_workers=0, processes=True, memory_limit=0, **given)
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as exc:
        raise UsageError(
            f"--workers {options.workers} on GPUs needs dask-cuda, which gives each worker a GPU of its own: install geoseg[cuda]. "
            "Or start one worker for each GPU and name their --scheduler."
        ) from exc
    with _deaf_to_interrupts():
        return LocalCUDACluster(n_workers=options.workers, memory_limit=None, device_memory_limit=None, **given)


def start_workers(started: Any, workers: int) -> None:
    """Start workers, as far as they are not there; those whose processes are gone for good are replaced."""

    def replace_lost() -> None:
        there = {worker.name for worker in started.scheduler.workers.values()}
        # who watches over a process gives up one that is ended while it starts
        for name in [name for name, nanny in started.workers.items() if not (name in there or _is_alive(nanny))]:
            started.loop.add_callback(started.workers.pop(name).close)
        started.scale(workers)

    started.loop.add_callback(replace_lost)


def _is_alive(nanny: Any) -> bool:
    return bool(nanny.process and nanny.process.is_alive())


def connect(named: str) -> Client:
    """Connect to a running scheduler.

    Args:
        named: Its address, or the file in which it wrote it; that is read again each time, as a new scheduler has a new address.

    Raises:
        UsageError: If it does not answer.
    """
    address = named
    try:
        if "://" not in named and (named.endswith(".json") or Path(named).is_file()):
            address = str(json.loads(Path(named).read_bytes())["address"])
        # a client that finds nobody stays behind half made and can lock up the next one when it is collected
        with socket.create_connection(get_address_host_port(address), timeout=_CONNECT_TIMEOUT_S) as calling:
            # one that has frozen takes the call and says nothing, and a client waits for it without end
            if address.startswith("tcp://"):
                calling.recv(1)
        return Client(address, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, KeyError, TypeError) as exc:
        where = named if address == named else f"{address}, of {named}"
        raise UsageError(f"No Dask scheduler answers at {where}: {exc}. Start one with: dask scheduler.") from exc

"""What a chunk costs the scheduler: chunks that do nothing, through a real scheduler and workers, and the memory of all of them."""

import json
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import psutil

from geoseg.inference.metering import Effort
from geoseg.inference.work import ChunkResult
from geoseg.runtime.mapping import ClusterOptions, map_chunks
from geoseg.tiling import ChunkKey, TilePlan, TilingOptions, plan_tiles
from tests.benchmarks.children import REPOSITORY

_EVERY = 50
"""Chunks from one look at the memory to the next."""
_THREADS = 2
"""Of each worker; a run has as many chunks under way in one."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """A job that waits, and answers as a real one does."""

    seconds: float = 0.0
    """How long it sleeps."""

    def prepare(self, _shared: object) -> Callable[[ChunkKey], ChunkResult]:
        """Return what does one chunk."""
        return self.do

    def do(self, _key: ChunkKey) -> ChunkResult:
        """Do one chunk."""
        if self.seconds:
            time.sleep(self.seconds)
        return ChunkResult(effort=Effort(meter="none", network_s=0.0, tiles=9, ready=0.0, first_began=0.0, first_tile=0.0), notes=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A scheduler and workers on this machine."""

    address: str
    """Of the scheduler."""
    pids: dict[str, int]
    """Processes by what they are, this one as the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What so many chunks took."""

    chunks: int
    """How many, in the time that there was."""
    seconds: float
    """From the first to the last."""
    cpu_s: dict[str, float]
    """Processor time by process."""
    peak_bytes: dict[str, int]
    """Largest resident memory that was seen."""
    slope_bytes: dict[str, float]
    """Growth of the memory per chunk, a straight line through the second half."""


@contextmanager
def start_cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """Start a scheduler and worker processes on loopback, and end them.

    Args:
        folder: Takes scratch.
        workers: How many, of two threads each.
    """
    settings = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "DASK_TEMPORARY_DIRECTORY": str(folder),
        # what geoseg sets where it starts a cluster
        "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
        "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": settings}
    known = folder / "scheduler.json"
    common = [sys.executable, "-m"]
    scheduler = [*common, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = [*common, "distributed.cli.dask_worker", "--scheduler-file", str(known), "--nthreads", str(_THREADS), "--no-nanny"]
    started = [subprocess.Popen([*scheduler, "--scheduler-file", str(known)], **quiet)]
    try:
        while not known.exists():
            time.sleep(0.05)
        started += [subprocess.Popen([*worker, "--memory-limit", "0", "--no-dashboard"], **quiet) for _ in range(workers)]
        names = ["scheduler", *(f"worker {number}" for number in range(1, workers + 1))]
        pids = {"client": os.getpid(), **{name: process.pid for name, process in zip(names, started, strict=True)}}
        yield Cluster(address=json.loads(known.read_text())["address"], pids=pids)
    finally:
        # nothing of theirs is worth a farewell
        for process in started:
            process.kill()
            process.wait()


def plan_of(chunks: int) -> TilePlan:
    """Return a plan of at least so many chunks of 1536 px."""
    side = 1536 * int(np.ceil(np.sqrt(chunks)))
    return plan_tiles((side, side), TilingOptions(tile_size_px=640, halo_px=64, stride_px=32, chunk_size_px=1536))


def pass_chunks(cluster: Cluster, keys: Iterator[ChunkKey], job: Nothing, *, most_s: float) -> Passed:
    """Let chunks pass through the scheduler as a run does.

    Args:
        cluster: Where.
        keys: Of the chunks.
        job: What is done with each.
        most_s: After that no more are sent.
    """
    processes = {name: psutil.Process(pid) for name, pid in cluster.pids.items()}
    # a list of tuples would be what grows here
    began, looks = time.monotonic(), array("q")
    before = _cpu(processes)
    done = 0
    for done, _ in enumerate(map_chunks(job, _for_s(most_s, keys), ClusterOptions(scheduler=cluster.address)), start=1):
        if done % _EVERY == 0:
            looks.extend((done, *(process.memory_info().rss for process in processes.values())))
    looks.extend((done, *(process.memory_info().rss for process in processes.values())))
    seconds, after = time.monotonic() - began, _cpu(processes)
    seen = np.array(looks, np.float64).reshape(-1, 1 + len(processes))
    late = seen[len(seen) // 2 :]
    slopes = [float(np.polyfit(late[:, 0], late[:, column], 1)[0]) if len(late) > 2 else 0.0 for column in range(1, seen.shape[1])]
    return Passed(
        chunks=done,
        seconds=seconds,
        cpu_s={name: after[name] - before[name] for name in processes},
        peak_bytes={name: int(seen[:, column].max()) for column, name in enumerate(processes, start=1)},
        slope_bytes=dict(zip(processes, slopes, strict=True)),
    )


def _for_s(seconds: float, keys: Iterator[ChunkKey]) -> Iterator[ChunkKey]:
    """Yield keys for some seconds from the first one on, which waits for the connection."""
    end = time.monotonic() + seconds
    yield from takewhile(lambda _: time.monotonic() < end, keys)


def _cpu(processes: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}

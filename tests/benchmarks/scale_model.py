"""Where the engine stops scaling: workers, a scheduler, a client and a storage, simulated; and what a raster of any size costs."""

import heapq
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import takewhile

PIXELS = 10**12
WORKERS = tuple(2**power for power in range(11))
_ROUNDS = 8
"""Chunks that every slot of a simulated cluster does."""
_GOOD = 0.9
_BYTES_PER_PX = {False: 3.1, True: 7.7}
"""Chunks and outputs, without and with objects: what geoseg plans for, see runplan.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What things cost; the seconds are measured unless their docstring says otherwise."""

    name: str
    """What kind of worker it is."""
    scheduler_s: float
    """Processor seconds of the scheduler per chunk."""
    client_s: float
    """Processor seconds of the client per chunk."""
    worker_s_per_px: float
    """Seconds of a worker per pixel of the raster, halo work counted in; of a GPU a stated parameter, which is not measured."""
    chunk_px: int
    """Side of a chunk."""
    slots: int = 2
    """Chunks under way in each worker: while one is inferred, the other is read or written."""
    bytes_per_px: float = 4.0
    """Read from and written to the storage, compressed: a parameter; a byte of imagery and three of layers."""
    storage_bytes_s: float = 1e9
    """Bandwidth of the storage that all workers share: a parameter."""

    @property
    def work_s(self) -> float:
        """Seconds of a worker for a chunk."""
        return self.chunk_px**2 * self.worker_s_per_px

    @property
    def transfer_s(self) -> float:
        """Seconds of the storage for a chunk."""
        return self.chunk_px**2 * self.bytes_per_px / self.storage_bytes_s

    @property
    def limits(self) -> dict[str, float]:
        """Chunks per second that each part lets through which all workers share."""
        parts = {"scheduler": self.scheduler_s, "client": self.client_s, "storage": self.transfer_s}
        return {name: 1 / seconds for name, seconds in parts.items()}


@dataclass(slots=True)
class _Server:
    """Does one thing after the other."""

    free_at: float = 0.0

    def take(self, now: float, seconds: float) -> float:
        self.free_at = max(now, self.free_at) + seconds
        return self.free_at


@dataclass(slots=True)
class _Worker:
    network: _Server = field(default_factory=_Server)
    running: int = 0
    waiting: int = 0


class _Cluster:
    """Chunks go round: client, scheduler, a worker that reads, infers and writes, scheduler, client."""

    def __init__(self, costs: Costs, workers: int) -> None:
        self._costs = costs
        self._client, self._scheduler, self._storage = _Server(), _Server(), _Server()
        self._workers = [_Worker() for _ in range(workers)]
        self._events: list[tuple[float, int, str, int]] = []
        self._count = 0
        self._next = self._turn = 0

    def run(self, chunks: int) -> float:
        """Return the seconds that so many chunks take."""
        # as many under way as the runtime lets
        for _ in range(min(chunks, 2 * self._costs.slots * len(self._workers) + 2)):
            self._submit(0.0)
        done, now = 0, 0.0
        while done < chunks:
            now, _, stage, worker = heapq.heappop(self._events)
            if stage == "done":
                done += 1
                if self._next < chunks:
                    self._submit(now)
            else:
                getattr(self, f"_{stage}")(now, worker)
        return now

    def _at(self, time: float, stage: str, worker: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, stage, worker))

    def _submit(self, now: float) -> None:
        self._next += 1
        self._at(self._client.take(now, self._costs.client_s / 2), "assign", -1)

    def _assign(self, now: float, _worker: int) -> None:
        # all workers are alike, so the one that waits longest is the next
        index, self._turn = self._turn, (self._turn + 1) % len(self._workers)
        self._at(self._scheduler.take(now, self._costs.scheduler_s / 2), "arrive", index)

    def _arrive(self, now: float, index: int) -> None:
        self._workers[index].waiting += 1
        self._start(now, index)

    def _start(self, now: float, index: int) -> None:
        worker = self._workers[index]
        if worker.running < self._costs.slots and worker.waiting:
            worker.waiting -= 1
            worker.running += 1
            self._at(self._storage.take(now, self._costs.transfer_s / 2), "infer", index)

    def _infer(self, now: float, index: int) -> None:
        self._at(self._workers[index].network.take(now, self._costs.work_s), "write", index)

    def _write(self, now: float, index: int) -> None:
        self._at(self._storage.take(now, self._costs.transfer_s / 2), "report", index)

    def _report(self, now: float, index: int) -> None:
        self._workers[index].running -= 1
        self._start(now, index)
        answered = self._scheduler.take(now, self._costs.scheduler_s / 2)
        self._at(self._client.take(answered, self._costs.client_s / 2), "done", index)


@cache
def simulate(costs: Costs, workers: int) -> float:
    """Return the chunks per second of so many workers."""
    chunks = _ROUNDS * costs.slots * workers
    return chunks / _Cluster(costs, workers).run(chunks)


def efficiency(costs: Costs, workers: int) -> float:
    """Return the share of what so many workers could do by themselves."""
    return simulate(costs, workers) * costs.work_s / workers


def scales_to(costs: Costs) -> int:
    """Return the largest number of workers, of powers of two up to 1024, that still do nine tenths of what they could; 0 if none does."""
    return max(takewhile(lambda workers: efficiency(costs, workers) >= _GOOD, WORKERS), default=0)


def bottleneck(costs: Costs) -> str:
    """Return what limits if there are ever more workers."""
    return min(costs.limits, key=lambda name: costs.limits[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """What follows the last chunk, in one process; processor seconds per million pixels, measured."""

    rasters_s: float
    """Reading the mosaic, COGs with overviews."""
    objects_s: float
    """Land cover, buildings, panoptic map and roads."""
    parallel: float = 1.6
    """Cores that it keeps busy, of two."""

    def hours(self, pixels: float, *, with_objects: bool) -> float:
        """Return hours of one machine."""
        return pixels / 1e6 * (self.rasters_s + (self.objects_s if with_objects else 0.0)) / self.parallel / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a raster takes."""

    chunks: float
    """Chunks of the raster."""
    inference_h: float
    """Hours until the last chunk."""
    finish_h: float
    """Hours after it."""
    disk_tb: float
    """Chunks and outputs, in terabytes."""


def bill(costs: Costs, finish: Finish, workers: int, *, pixels: float = PIXELS, with_objects: bool = False) -> Bill:
    """Return what a raster takes with so many workers.

    Args:
        costs: Of a chunk.
        finish: Of what follows.
        workers: How many.
        pixels: Of the raster.
        with_objects: Whether buildings, land cover and roads are made too.
    """
    chunks = pixels / costs.chunk_px**2
    return Bill(
        chunks=chunks,
        inference_h=chunks / simulate(costs, workers) / 3600,
        finish_h=finish.hours(pixels, with_objects=with_objects),
        disk_tb=pixels * _BYTES_PER_PX[with_objects] / 1e12,
    )


def with_chunk(costs: Costs, chunk_px: int) -> Costs:
    """Return the same costs with chunks of another size."""
    return replace(costs, chunk_px=chunk_px)

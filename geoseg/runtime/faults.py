"""Chunks that went wrong: tried again after a while, tried alone, given up; and when the fault is not the chunk's."""

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from geoseg.errors import ChunkError, RunError

Key = TypeVar("Key")

TRIES = 3
"""Failures, or deaths of workers proven to be a chunk's own, after which it is given up."""
_BACK_OFF_S = 1.0
_LONGER = 4
"""Each wait is so many times the one before: one second, then four."""
_TOO_MANY = 8
"""Chunks given up with none done between, after which one failure is enough: a server that is gone costs half a minute each time."""
_ALONE_AFTER = 2
"""Deaths of workers that a chunk was on, after which it is tried with no other chunk beside it."""
_TOOK_WORKERS = (
    "It took its worker down each time, probably for want of memory: a smaller --tile-size, --batch-size or --chunk-size may help."
)
_CHANCE = 1e-4
"""A chunk is blamed for deaths if that many by chance, at the rate at which workers die anyway, are less probable than this."""
_DEATHS_IN_A_ROW = 20
"""Deaths of workers without a chunk done meanwhile, after which the run ends; more on larger clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFailure:
    """A chunk that was given up; the others go on."""

    error: str
    """What it failed with the last time."""
    tries: int
    """How often it was tried."""
    took_workers: bool = False
    """It took workers down, rather than failing."""


@dataclass(slots=True)
class _Record(Generic[Key]):
    """What is known of a chunk that something happened to."""

    failures: int = 0
    deaths: "list[set[Key]]" = field(default_factory=list)
    """For each death of a worker that it was on: the chunks that were on it and are not done yet."""
    alone: int = 0
    """Deaths while no other chunk was there."""
    alone_s: float = 0.0
    """Seconds that it was tried alone, up to each of them."""


class Docket(Generic[Key]):
    """Which chunk is next, which come again and when, which are given up. Remembers only those that something happened to.

    A worker that dies takes all its chunks with it, and nobody knows which one it was, if any. They are tried again; one that is on a
    second dying worker is then tried alone. Only what happens there counts as its own doing, and only if workers do not die at such
    a rate anyway, for example because somebody kills them: else it is tried on.

    Args:
        keys: The chunks, taken when they are needed.
        give_up_after: Chunks given up, with none done, after which nothing is expected of the others; 0 goes through them all.
        clock: Tells seconds.
        back_off_s: Wait before a chunk that failed comes again the first time; None takes a second.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        *,
        give_up_after: int = 0,
        clock: Callable[[], float] = time.monotonic,
        back_off_s: float | None = None,
    ) -> None:
        self._keys = iter(keys)
        self._give_up_after = give_up_after
        self._clock = clock
        self._back_off_s = _BACK_OFF_S if back_off_s is None else back_off_s
        self._again: deque[Key] = deque()
        self._later: list[tuple[float, int, Key]] = []
        self._suspects: list[Key] = []
        self._records: dict[Key, _Record[Key]] = {}
        self._put = 0
        self._began = clock()
        self._workers = 1
        self._nobodys_deaths = 0
        self._deaths_in_a_row = 0
        self._done = 0
        self._hopeless = 0
        self._failed_in_a_row = 0

    def take(self) -> Key | None:
        """Return the next chunk that may share a worker; None if none is due."""
        if self._later and self._later[0][0] <= self._clock():
            return heapq.heappop(self._later)[2]
        if self._again:
            return self._again.popleft()
        return next(islice(self._keys, 1), None)

    def suspect(self) -> Key | None:
        """Return the next chunk that has to be alone on its worker, and leave it there; see :meth:`take_suspect`."""
        return self._suspects[0] if self._suspects else None

    def take_suspect(self) -> Key:
        """Take it: the one that most speaks against comes first."""
        return self._suspects.pop(0)

    def wait_s(self) -> float | None:
        """Return the seconds until a chunk is due again; None if none waits."""
        return max(0.0, self._later[0][0] - self._clock()) if self._later else None

    def is_empty(self) -> bool:
        """Tell whether there is no chunk any more, now or later, but those that are under way."""
        if not (self._later or self._again or self._suspects):
            self._again.extend(islice(self._keys, 1))
        return not (self._later or self._again or self._suspects)

    def count_workers(self, number: int) -> None:
        """Say how many workers there are; the most that there were count."""
        self._workers = max(self._workers, number)

    def finish(self, key: Key) -> None:
        """Say that a chunk is done."""
        self._done += 1
        self._deaths_in_a_row = self._failed_in_a_row = 0
        record = self._records.pop(key, None)
        for unexplained in record.deaths if record is not None else ():
            unexplained.discard(key)
            # whoever was there has been done since: it was nobody's fault
            self._nobodys_deaths += not unexplained

    def give_back(self, key: Key) -> None:
        """Put back a chunk that was interrupted by no fault of its own; it comes again at once."""
        self._again.append(key)

    def fail(self, key: Key, error: str) -> ChunkFailure | None:
        """Say that a chunk failed; return what is to be said of it if it is given up.

        Raises:
            ChunkError: If nothing is expected of the others.
        """
        record = self._records.setdefault(key, _Record())
        record.failures += 1
        if record.failures >= (TRIES if self._failed_in_a_row < _TOO_MANY else 1):
            self._failed_in_a_row += 1
            return self._give_up(key, ChunkFailure(error=error, tries=record.failures), weight=1)
        self._put += 1
        due = self._clock() + self._back_off_s * _LONGER ** (record.failures - 1)
        heapq.heappush(self._later, (due, self._put, key))
        return None

    def lose(self, keys: set[Key]) -> None:
        """Say that a worker died that chunks shared.

        Raises:
            RunError: If workers keep dying and nothing gets done.
        """
        self._count_death()
        unexplained = set(keys)
        for key in sorted(keys, key=str):
            record = self._records.setdefault(key, _Record())
            record.deaths.append(unexplained)
            if len(record.deaths) >= _ALONE_AFTER:
                self._suspects.append(key)
            else:
                self._again.append(key)

    def lose_alone(self, key: Key, elapsed_s: float) -> ChunkFailure | None:
        """Say that a worker died on which a chunk was alone for some seconds; see :meth:`fail`.

        Raises:
            ChunkError: If nothing is expected of the others.
            RunError: If workers keep dying and nothing gets done.
        """
        record = self._records.setdefault(key, _Record())
        record.deaths.append({key})
        record.alone += 1
        record.alone_s += elapsed_s
        if self._is_proven(record):
            return self._give_up(key, ChunkFailure(error=_TOOK_WORKERS, tries=len(record.deaths), took_workers=True), weight=4)
        self._count_death()
        self._suspects.insert(0, key)
        return None

    def _is_proven(self, record: _Record[Key]) -> bool:
        """Tell whether a chunk's deaths alone are too many to be chance."""
        if record.alone < TRIES:
            return False
        worker_s = max(1e-9, (self._clock() - self._began) * self._workers)
        # half a death is believed in before any was seen
        expected = (self._nobodys_deaths + 0.5) / worker_s * record.alone_s
        fewer = sum(math.exp(-expected + i * math.log(max(expected, 1e-300)) - math.lgamma(i + 1)) for i in range(record.alone))
        return 1 - fewer < _CHANCE

    def _count_death(self) -> None:
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > max(_DEATHS_IN_A_ROW, 3 * self._workers):
            raise RunError(
                f"Workers died {self._deaths_in_a_row} times in a row, and no chunk was done meanwhile. Look for what ends them, "
                "for example too little memory; what is done is kept, and the same command again goes on."
            )

    def _give_up(self, key: Key, failure: ChunkFailure, *, weight: int) -> ChunkFailure:
        self._records.pop(key, None)
        self._deaths_in_a_row = 0
        self._hopeless += weight
        if self._give_up_after and not self._done and self._hopeless >= self._give_up_after:
            raise ChunkError(
                f"The first chunks all failed, the last one {failure.tries} times: {failure.error} "
                "Nothing better is expected of the others. The same command again goes on."
            )
        return failure

"""Work that is tried again later: a queue that several threads take from."""

import heapq
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from geoseg.runs.runlist import RunItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a raster."""

    item: RunItem
    """The raster."""
    number: int = 1
    """Which try it is, from 1."""


class AttemptQueue:
    """Attempts in their order; those that are put back wait for their time, and others go first meanwhile.

    Args:
        items: The rasters.
    """

    def __init__(self, items: Iterable[RunItem]) -> None:
        self._changed = threading.Condition()
        self._waiting = [(0.0, order, Attempt(item=item)) for order, item in enumerate(items)]
        self._under_way = 0
        self._closed = False

    def take(self) -> Attempt | None:
        """Wait for the next attempt that is due; None when nothing is left that could come back."""
        with self._changed:
            while not self._closed and (self._waiting or self._under_way):
                due = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if due is not None and due <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(due)
            return None

    def put_back(self, attempt: Attempt, wait_s: float) -> None:
        """Let an attempt that was taken come again after some time."""
        with self._changed:
            again = replace(attempt, number=attempt.number + 1)
            # those that wait for their time come after all that are due
            order = len(self._waiting) + attempt.number * 10**9
            heapq.heappush(self._waiting, (time.monotonic() + wait_s, order, again))
            self._end()

    def end(self) -> None:
        """Say that an attempt that was taken is over."""
        with self._changed:
            self._end()

    def close(self) -> None:
        """Give out no more attempts."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _end(self) -> None:
        self._under_way -= 1
        self._changed.notify_all()

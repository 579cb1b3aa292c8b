"""Which worker takes the next chunk; several maps may share the workers."""

import threading
from collections import deque
from collections.abc import Mapping


class Fleet:
    """Workers and the room that each has left.

    Args:
        ahead: Chunks that each worker is given beyond those that it does at a time, so that it need not wait for the next.
    """

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._lock = threading.Lock()
        self._busy: dict[str, int] = {}
        self._free: deque[str] = deque()
        self._alone: str | None = None
        self._is_taken = False
        self._aside = 0

    def __len__(self) -> int:
        return len(self._busy)

    def update(self, workers: Mapping[str, int]) -> None:
        """Say which workers there are, and how many chunks each does at a time."""
        with self._lock:
            gone = self._busy.keys() - workers.keys()
            if gone:
                self._busy = {worker: number for worker, number in self._busy.items() if worker not in gone}
                self._free = deque(worker for worker in self._free if worker not in gone)
            if self._alone in gone:
                self._alone, self._is_taken, self._aside = None, False, 0
            joined = {worker: number for worker, number in workers.items() if worker not in self._busy}
            self._busy |= dict.fromkeys(joined, 0)
            if joined:
                # one for each before there are two for one
                most = max(joined.values()) + self._ahead
                self._free.extend(worker for turn in range(most) for worker, number in joined.items() if turn < number + self._ahead)

    def take(self) -> str | None:
        """Return a worker that has room; None if none has."""
        with self._lock:
            while self._free:
                worker = self._free.popleft()
                if worker == self._alone:
                    self._aside += 1
                elif worker in self._busy:
                    self._busy[worker] += 1
                    return worker
            return None

    def take_alone(self) -> str | None:
        """Return a worker on which nothing else is under way, and keep others off; None as long as none is empty, then ask again."""
        with self._lock:
            if self._alone is None and self._busy:
                self._alone = min(self._busy, key=lambda worker: self._busy[worker])
            if self._alone is None or self._busy[self._alone]:
                return None
            self._busy[self._alone], self._is_taken = 1, True
            return self._alone

    def give_back(self, worker: str) -> None:
        """Say that a chunk has left a worker."""
        with self._lock:
            if worker not in self._busy:
                return
            self._busy[worker] -= 1
            if worker != self._alone:
                self._free.append(worker)
            else:
                self._aside += 1

    def end_alone(self, worker: str) -> None:
        """Say that a chunk has left the worker on which it was alone; others may come again."""
        with self._lock:
            if worker == self._alone:
                self._busy[worker] = 0
                self._let_others_in()

    def want_none_alone(self) -> None:
        """Keep no worker empty any longer for a chunk that was to come alone."""
        with self._lock:
            if self._alone is not None and not self._is_taken:
                self._let_others_in()

    def _let_others_in(self) -> None:
        assert self._alone is not None
        self._free.extend([self._alone] * self._aside)
        self._alone, self._is_taken, self._aside = None, False, 0

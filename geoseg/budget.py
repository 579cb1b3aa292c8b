"""Memory that several take parts of, so that together they do not take more than there is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """Gives out memory, and lets who would exceed it wait for others to give theirs back.

    Args:
        limit_bytes: What may be taken in all.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._taken: list[int] = []

    @contextmanager
    def take(self, own_bytes: int, common_bytes: int = 0) -> Iterator[None]:
        """Hold memory; whoever comes alone always gets it, as it has been planned for.

        Args:
            own_bytes: What nobody else has a part in.
            common_bytes: What all share, for example libraries and the network.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or common_bytes + sum(self._taken) + own_bytes <= self._limit_bytes)
            self._taken.append(own_bytes)
        try:
            yield
        finally:
            with self._changed:
                self._taken.remove(own_bytes)
                self._changed.notify_all()

"""A lock that lets one at a time be measured on a machine that is shared."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_HOLD_S = 120


class Turnstile:
    """Keeps others who take the same lock out while contenders are timed: several in a row, but not for long at a time.

    Args:
        path: File that is locked; None locks nothing.
        hold_s: After that, others come first.
    """

    def __init__(self, path: Path | None, hold_s: float = _HOLD_S) -> None:
        self._path = path
        self._hold_s = hold_s
        self._held: tuple[TextIO, float] | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock, and give it back if it was held for long."""
        if self._path is not None and self._held is None:
            stream = self._path.open("a", encoding="utf-8")
            fcntl.flock(stream, fcntl.LOCK_EX)
            self._held = stream, time.monotonic()
        yield
        if self._held is not None and time.monotonic() - self._held[1] >= self._hold_s:
            self.release()

    def release(self) -> None:
        """Let others in."""
        if self._held is not None:
            self._held[0].close()
        self._held = None

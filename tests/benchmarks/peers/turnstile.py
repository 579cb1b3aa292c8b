"""A lock that lets one at a time be measured on a machine that is shared."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLD_S = 120


class Turnstile:
    """Keeps others who take the same lock out while contenders are timed: several in a row, but not for long at a time.

    Args:
        path: File that is locked; None locks nothing.
        hold_s: After that, others come first.
    """

    def __init__(self, path: Path | None, hold_s: float = _HOLD_S) -> None:
        self._stream = path.open("a") if path else None
        self._hold_s = hold_s
        self._since: float | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock, and give it back if it was held for long."""
        if self._stream is not None and self._since is None:
            fcntl.flock(self._stream, fcntl.LOCK_EX)
            self._since = time.monotonic()
        yield
        if self._since is not None and time.monotonic() - self._since >= self._hold_s:
            self.release()

    def release(self) -> None:
        """Let others in."""
        if self._stream is not None:
            fcntl.flock(self._stream, fcntl.LOCK_UN)
        self._since = None

"""Work beside the window: a thread that tells Qt what it heard, what came of it, and what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qgis.PyQt.QtCore import QObject, pyqtSignal

from .answers import CommandError
from .creation import CreationError
from .runner import NotStartedError

_EXPECTED = (CommandError, CreationError, NotStartedError)
"""Errors whose message is for the user as it stands."""

_alive: set[Background] = set()


class Background(QObject):
    """A function in a thread of its own; signals arrive in the thread of the window.

    Args:
        work: Takes this object, to call :meth:`tell` and :meth:`is_cancelled`; what it returns goes out with ``done``.
        parent: Of the Qt object.
    """

    heard = pyqtSignal(object)
    """What the work told meanwhile."""
    done = pyqtSignal(object)
    """What the work returned."""
    failed = pyqtSignal(str)
    """Why it did not work, for the user."""
    stopped = pyqtSignal()
    """It was cancelled."""

    def __init__(self, work: Callable[[Background], Any], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._work = work
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="geoseg work", daemon=True)

    def start(self) -> Background:
        """Begin, and return this object."""
        _alive.add(self)
        self._thread.start()
        return self

    def tell(self, what: object) -> None:
        """Pass something on to whoever listens to ``heard``; called by the work."""
        self._emit("heard", what)

    def cancel(self) -> None:
        """Ask the work to end; it says ``stopped`` then."""
        self._cancelled.set()

    def is_cancelled(self) -> bool:
        """Whether somebody asked for the end."""
        return self._cancelled.is_set()

    @property
    def is_running(self) -> bool:
        """Whether the work goes on."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of the thread, when QGIS closes."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            result = self._work(self)
        except Exception as exc:  # a thread has nobody above it who would hear
            self._end("failed", str(exc) if isinstance(exc, _EXPECTED) else f"{type(exc).__name__}: {exc}")
        else:
            self._end("done", result)

    def _end(self, how: str, what: object) -> None:
        if self.is_cancelled():
            self._emit("stopped")
        else:
            self._emit(how, what)
        _alive.discard(self)

    def _emit(self, name: str, *what: object) -> None:
        # the window may be gone before the work
        with suppress(RuntimeError):
            getattr(self, name).emit(*what)

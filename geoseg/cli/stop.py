"""Ctrl-C and SIGTERM: a command ends within seconds, whatever a library is at."""

import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

STOPPED = "Stopped. What is done is kept; the same command again goes on."
_GRACE_S = 1.5
"""What the command may take to tidy up. Nothing half-written stands under a final name, so that it may end at any moment."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"
_leaving = threading.Lock()


def end_on_signals() -> None:
    """Let SIGTERM do what Ctrl-C does, and end the process some time after either, or at once after a second one.

    Python hears of a signal when its main thread is back from where it is; GDAL may write a large raster for minutes. So a
    thread of its own is told by the part of the interpreter that the system calls at once.
    """
    sys.unraisablehook = _report_unraisable
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told,), name="signals", daemon=True).start()


def leave_signals_to_server() -> None:
    """Have nobody end the process some time after a signal: a server closes its connections first, and ends at once after a second one."""
    signal.set_wakeup_fd(-1)


def ignore_signals() -> None:
    """Have a command that has ended by itself end so, also when it is told to stop while Python tidies up."""
    for which in _SIGNALS:
        signal.signal(which, signal.SIG_IGN)


def leave(code: int, said: str) -> NoReturn:
    """Say why a command ends, and end it at once.

    Worker threads may be in the middle of a tile; nothing of theirs stands under a final name.
    """
    # who comes second waits for the end that the first one brings
    _leaving.acquire()
    if sys.stderr.isatty():
        said = _SHOW_CURSOR + said
    print(said, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _report_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Say nothing of an interruption that came while a finalizer ran, where Python drops it: the thread ends the process."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def _watch(told: int) -> None:
    while os.read(told, 1)[0] not in _SIGNALS:
        pass
    select.select([told], [], [], _GRACE_S)
    leave(1, STOPPED)

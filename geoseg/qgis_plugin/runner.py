"""Starting geoseg as a process: its events while it runs, what it complains of, and its end within two seconds when that is wanted."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from .environment import check, quiet_process

LINE = "Line"
"""``event`` of what is no event: a line of text under ``text``, from ``stdout`` or ``stderr`` under ``stream``."""

_GRACE_S = 1.6
"""What a command may take to tidy up; geoseg itself takes at most 1.5 s."""
_KEPT_LINES = 100
_POLL_S = 0.1

OnEvent = Callable[["dict[str, Any]"], None]


class NotStartedError(RuntimeError):
    """There is no environment that could do the work; the message says what to do."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    exit_code: int
    """0 done, 1 failed or stopped, 2 usage, 3 done but something is missing; negative if the system ended it."""
    error_text: str
    """Why it failed, as the command said it; empty if it did not."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """All events but ``ChunkDone`` and lines, in their order."""
    cancelled: bool = False
    """Whether it was ended on request; the same command again goes on."""


class Runner:
    """Starts geoseg in one environment.

    Args:
        python: Executable of a Python that has geoseg.
    """

    def __init__(self, python: str) -> None:
        self.python = python

    def start(self, arguments: Sequence[str], on_event: OnEvent) -> Job:
        """Start ``python -m geoseg`` with arguments.

        Args:
            arguments: Of the command line; with ``--progress json`` among them, events come one by one.
            on_event: Takes each event, in the thread that waits for the job.

        Raises:
            NotStartedError: If the environment is missing, has no geoseg or one too old, or cannot be started.
        """
        problem = _find_problem(self.python)
        if problem:
            raise NotStartedError(problem)
        # -P: a folder that strangers filled may hold a numpy.py
        return Job([self.python, "-P", "-m", "geoseg", *arguments], self.python, on_event)


_sound: set[tuple[str, int]] = set()


def _find_problem(python: str) -> str | None:
    """Check an environment, once for as long as its executable stays the same."""
    known = (python, os.stat(python).st_mtime_ns) if os.path.isfile(python) else None
    if known in _sound:
        return None
    problem = check(python, ask_device=False).problem
    if problem is None and known is not None:
        _sound.add(known)
    return problem


class Job:
    """A command at work, in a group of processes of its own; made by :meth:`Runner.start`."""

    def __init__(self, command: Sequence[str], python: str, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._said: queue.Queue[tuple[str, str | None]] = queue.Queue()
        self._complaints: deque[str] = deque(maxlen=_KEPT_LINES)
        self._events: list[dict[str, Any]] = []
        self._cancelled = threading.Event()
        try:
            self._process = _start(command, python)
        except OSError as exc:
            raise NotStartedError(f"{python} cannot be started: {exc}. Choose another Python in the settings of geoseg.") from exc
        for name, stream in (("stdout", self._process.stdout), ("stderr", self._process.stderr)):
            threading.Thread(target=self._read, args=(name, stream), name=f"geoseg {name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Number of the process, which is that of its group too."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the command is still at work."""
        return self._process.poll() is None

    def cancel(self) -> None:
        """End the command and all that it started, within two seconds; what is done is kept, the same command again goes on."""
        if not self._cancelled.is_set() and self.is_running:
            self._cancelled.set()
            _end_tree(self._process)

    def wait(self, poll: Callable[[], bool] | None = None) -> Result:
        """Pass on events until the command has ended.

        Args:
            poll: Asked ten times a second; the job is cancelled when it says True.
        """
        open_streams = 2
        last_words_s = 0.0
        while open_streams:
            if poll is not None and poll():
                self.cancel()
            try:
                name, line = self._said.get(timeout=_POLL_S)
            except queue.Empty:
                # a process that it left behind may hold its pipes for hours
                last_words_s = last_words_s + _POLL_S if not self.is_running else 0.0
                if last_words_s > 1.0:
                    break
                continue
            if line is None:
                open_streams -= 1
            else:
                self._hear(name, line)
        code = self._wait_for_end(poll)
        failed = code not in {0, 3} and not self._cancelled.is_set()
        return Result(code, self._explain(code) if failed else "", self._events, self._cancelled.is_set())

    def _wait_for_end(self, poll: Callable[[], bool] | None) -> int:
        """Wait for a process that has closed its pipes."""
        while self.is_running:
            if poll is not None and poll():
                self.cancel()
            time.sleep(_POLL_S / 10)
        return self._process.wait()

    def _read(self, name: str, stream: IO[bytes]) -> None:
        with stream, suppress(ValueError, OSError):
            for line in stream:
                self._said.put((name, line.decode("utf-8", "replace").rstrip()))
        self._said.put((name, None))

    def _hear(self, name: str, line: str) -> None:
        event = _parse_event(line) if name == "stdout" else None
        if event is None:
            if name == "stderr":
                self._complaints.append(line)
            event = {"event": LINE, "stream": name, "text": line}
        elif event["event"] != "ChunkDone":
            self._events.append(event)
        self._on_event(event)

    def _explain(self, code: int) -> str:
        """Return what the command said last, from where its error begins."""
        lines = list(self._complaints)
        starts = [number for number, line in enumerate(lines) if line.startswith(("Error: ", "Traceback "))]
        text = "\n".join(lines[starts[-1] :] if starts else lines[-20:]).strip()
        if text:
            return text[len("Error: ") :] if text.startswith("Error: ") else text
        by_system = f"the system ended it with signal {-code}" if code < 0 else f"it ended with code {code} and said nothing"
        return f"geoseg did not finish: {by_system}. The same command again goes on; if it was memory, give it less with --memory."


def _parse_event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _start(command: Sequence[str], python: str) -> subprocess.Popen[bytes]:
    how = quiet_process(python)
    if os.name == "nt":
        how["creationflags"] |= getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    else:
        how["start_new_session"] = True
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    if os.name == "nt":
        # a process without a console hears no Ctrl-Break; nothing half-written stands under a final name
        end = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(end, capture_output=True, check=False, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0))
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        process.kill()
        return
    _signal_group(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: int) -> None:
    # all of them have ended; macOS says that it is not allowed
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)

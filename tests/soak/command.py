"""A command of geoseg in processes of its own: started, watched, killed, and looked after."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[2]
Signal = signal.Signals


@dataclass(kw_only=True)
class Command:
    """A command under way; its events come as they are printed."""

    process: "subprocess.Popen[str]"
    """The main process, head of a session and process group of its own."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """What ``--progress json`` has said so far."""
    said: list[str] = field(default_factory=list)
    """Lines of the error stream so far."""
    family: dict[int, psutil.Process] = field(default_factory=dict)
    """Every process that was ever seen below the main one."""
    _listeners: list[threading.Thread] = field(default_factory=list)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes that run now."""
        return [child for child in self._descendants() if "spawn_main" in " ".join(_command_line(child))]

    def _descendants(self) -> list[psutil.Process]:
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self.family |= {child.pid: child for child in found}
        return found

    def kill(self, how: Signal, *, everyone: bool) -> None:
        """Send a signal to the main process, or to everyone of its process group."""
        self._descendants()
        with suppress(ProcessLookupError):
            (os.killpg if everyone else os.kill)(self.process.pid, how)

    def wait(self, timeout_s: float = 600) -> int:
        """Wait for the end, and return the exit code."""
        code = self.process.wait(timeout_s)
        for listener in self._listeners:
            listener.join(30)
        return code

    def wait_for(self, holds: Callable[[list[dict[str, Any]]], bool], timeout_s: float = 600) -> bool:
        """Wait until something holds of the events; tell whether it did before the command ended."""
        ends = time.monotonic() + timeout_s
        while time.monotonic() < ends:
            if holds(self.events):
                return True
            if self.process.poll() is not None:
                for listener in self._listeners:
                    listener.join(30)
                return holds(self.events)
            time.sleep(0.01)
        raise TimeoutError(f"{timeout_s} s have gone by; last events: {self.events[-3:]}, said: {self.said}")

    def orphans(self, patience_s: float = 10) -> list[str]:
        """Return what still runs of its processes some seconds after its end."""
        ends = time.monotonic() + patience_s
        while (left := [child for child in self.family.values() if _runs(child)]) and time.monotonic() < ends:
            time.sleep(0.05)
        return [f"{child.pid}: {' '.join(_command_line(child))}" for child in left]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def start(*words: object, temporary: Path, environment: Mapping[str, str] | None = None, program: tuple[str, ...] = ()) -> Command:
    """Start a command.

    Args:
        words: Of the command line.
        temporary: Where it keeps temporary files, so that those that stay behind are seen.
        environment: Further variables.
        program: What is run instead of this geoseg.
    """
    temporary.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temporary), **(environment or {})}
    command = [*(program or (sys.executable, "-m", "geoseg")), *map(str, words)]
    # what runs in the background of a shell ignores SIGINT, and its children would, too
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables, start_new_session=True, cwd=temporary
        )
    finally:
        signal.signal(signal.SIGINT, before)
    started = Command(process=process)
    started._listeners += [_listen(started.process.stdout, started.events, as_json=True), _listen(process.stderr, started.said)]
    return started


def _listen(stream: Any, into: list[Any], *, as_json: bool = False) -> threading.Thread:
    def read() -> None:
        for line in stream:
            if not as_json:
                into.append(line.rstrip("\n"))
            elif line.startswith("{") and line.endswith("}\n"):
                into.append(json.loads(line))
        stream.close()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def count(events: list[dict[str, Any]], name: str) -> int:
    """Count the events of a kind."""
    return sum(event["event"] == name for event in events)

"""Commands in processes of their own: how long they took, how much memory, and when they said what."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).parents[2]
_TIMED = Path(__file__).with_name("timed.py")
_TAIL_LINES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What one finished process took."""

    seconds: float
    """From its start to its end, Python's own start included."""
    cpu_s: float
    """Processor time, of user and system."""
    peak_bytes: int
    """Largest resident memory."""
    lines: tuple[tuple[float, str], ...] = field(default=(), repr=False)
    """What it printed, each line with the seconds since its start."""

    @property
    def answer(self) -> dict[str, object]:
        """The last line as JSON."""
        found: dict[str, object] = json.loads(self.lines[-1][1])
        return found

    def first(self, word: str) -> float | None:
        """Return when the first line that holds a word came, in seconds since the start; None if none did."""
        return next((when for when, line in self.lines if word in line), None)


class ChildError(Exception):
    """A measured command failed; the message holds its last lines."""


def run_child(command: list[str], *, threads: int, extra: dict[str, str] | None = None, timeout_s: float = 1200) -> Child:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        threads: What libraries that compute are told by the environment; every contender is told the same.
        extra: Further environment variables.
        timeout_s: After that it is ended.

    Raises:
        ChildError: If it fails or takes too long.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **(extra or {})}
    # installed tools are compiled once; what runs from a checkout is compiled by its first run, unless that may not keep it
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with TemporaryDirectory() as folder:
        result, errors = Path(folder) / "result.json", Path(folder) / "errors.txt"
        with errors.open("w", encoding="utf-8") as stream:
            started = [sys.executable, "-I", "-S", str(_TIMED), str(result), *command]
            pipes = {"stdout": subprocess.PIPE, "stderr": stream, "text": True}
            with subprocess.Popen(started, **pipes, env=environment, start_new_session=True) as process:
                lines = _listen(process, timeout_s)
        if process.returncode or not result.exists():
            said = [*errors.read_text(encoding="utf-8", errors="replace").splitlines(), *(line for _, line in lines)]
            why = f"ended after {timeout_s:g} s" if process.returncode == -9 else f"exit code {process.returncode}"
            raise ChildError(f"{' '.join(command[:4])} ...: {why}: {' | '.join(said[-_TAIL_LINES:])}")
        found = json.loads(result.read_text(encoding="utf-8"))
    since = tuple((when - found["began"], line) for when, line in lines)
    return Child(seconds=found["seconds"], cpu_s=found["cpu_s"], peak_bytes=found["peak_bytes"], lines=since)


def _listen(process: "subprocess.Popen[str]", timeout_s: float) -> list[tuple[float, str]]:
    """Collect lines with the time at which they came; end the process and all that it started when time is up."""
    import signal
    import threading

    def end() -> None:
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout_s, end)
    timer.start()
    try:
        assert process.stdout is not None
        lines = [(time.monotonic(), line.rstrip("\n")) for line in process.stdout]
        process.wait()
    except BaseException:
        end()
        raise
    finally:
        timer.cancel()
    return lines


def run_geoseg(*words: object, threads: int, cache: Path | None = None) -> Child:
    """Run the command line of the geoseg of this repository.

    Args:
        *words: The command and its options.
        threads: See :func:`run_child`.
        cache: Where geoseg keeps what it measures and exports once; None leaves that to it.

    Raises:
        ChildError: If it fails.
    """
    extra = {"PYTHONPATH": str(REPOSITORY), **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
    return run_child([sys.executable, "-m", "geoseg", *map(str, words)], threads=threads, extra=extra)


def segment(raster: Path, settings: dict[str, object], folder: Path, *, threads: int, cache: Path) -> Child:
    """Run ``geoseg segment`` with settings as in ``run.toml``; ``folder`` takes them and the run folder ``run``.

    Raises:
        ChildError: If it fails.
    """
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (folder / "settings.toml").write_text("\n".join(["[run]", *lines, ""]), encoding="utf-8")
    words = ("segment", raster, "-o", folder / "run", "--config", folder / "settings.toml", "--progress", "json")
    return run_geoseg(*words, threads=threads, cache=cache)


def run_part(module: str, request: dict[str, object], *, threads: int, extra: dict[str, str] | None = None) -> Child:
    """Run a module of the benchmarks with a request as its one argument.

    Raises:
        ChildError: If it fails.
    """
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", json.dumps(request)]
    return run_child(command, threads=threads, extra={"PYTHONPATH": str(REPOSITORY), **(extra or {})})

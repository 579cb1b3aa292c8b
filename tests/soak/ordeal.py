"""A run whose workers are killed every few seconds, and which is killed as a whole and started again, until it ends."""

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from tests.soak.command import Command, Signal, count, start
from tests.soak.result import Identity, differences, half_written, identify_chunks, leftovers, read_result

Stage = Literal["chunks", "rasters", "objects"]
_POLL_S = 0.1
_ENDS_WITHIN_S = 5.0
"""From a signal to the end of a command that may tidy up, on a machine that has other work as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """When, and how, the whole run ends before its time."""

    stage: Stage
    """What it is at."""
    share: float
    """How much of that is done."""
    how: Signal
    """The signal."""
    everyone: bool
    """Whether all processes get it, as by Ctrl-C, or the main one alone."""


@dataclass(kw_only=True)
class Ordeal:
    """A command and what is done to it."""

    words: tuple[object, ...]
    """The command line, without the output."""
    run: Path
    """The run folder."""
    temporary: Path
    """Folder of temporary files, empty before."""
    chance: random.Random
    """Decides what is left to chance."""
    quiet_s: dict[str, float]
    """Seconds that the stages of a quiet run took."""
    kill_workers_s: float | None = None
    """Mean time from one killed worker to the next; None kills none."""
    log: list[str] = field(default_factory=list)
    """What was done, with seconds since the beginning."""
    faults: list[str] = field(default_factory=list)
    """What should not have been."""
    known: dict[str, Identity] = field(default_factory=dict)
    """Chunks that were seen done."""
    deaths: int = 0
    """How often the whole run was ended."""
    workers_killed: int = 0
    """How many workers were."""
    _began: float = field(default_factory=time.monotonic)

    def suffer(self, deaths: list[Death], attempts: int = 20) -> None:
        """Start the command until it ends by itself, and end it before that as planned."""
        waiting = list(deaths)
        for _ in range(attempts):
            command = start(*self.words, "-o", self.run, "--progress", "json", temporary=self.temporary)
            done_before = len(self.known)
            with self._watching(command):
                if waiting and self._die(command, waiting[0]):
                    waiting.pop(0)
                code = command.wait()
            self._look_after(command, done_before)
            if code == 0:
                self.note(f"ended by itself; {len(waiting)} planned deaths never came")
                return
            self.note(f"attempt ended with {code}: {command.said[-1:]}")
            if any("Traceback" in line for line in command.said):
                self.faults.append(f"a traceback that ends in {command.said[-1]}")
        self.faults.append(f"not finished after {attempts} attempts")

    def note(self, what: str) -> None:
        """Keep what was done."""
        self.log.append(f"{time.monotonic() - self._began:7.2f} s  {what}")

    def _die(self, command: Command, death: Death) -> bool:
        """Wait for the moment and end the command; tell whether it was still there."""
        if not command.wait_for(lambda events: _has_come(events, death)):
            return False
        if death.stage != "chunks":
            time.sleep(death.share * self.quiet_s[death.stage])
        if command.process.poll() is not None:
            return False
        last = command.events[-1]["event"] if command.events else "nothing"
        command.kill(death.how, everyone=death.everyone)
        self.note(f"{death.how.name} to {'all' if death.everyone else 'the main process'} in {death.stage}, last event {last}")
        self.deaths += 1
        self._check_end(command, death.how)
        return True

    def _check_end(self, command: Command, how: Signal) -> None:
        began = time.monotonic()
        code = command.wait(60)
        took_s = time.monotonic() - began
        if took_s > _ENDS_WITHIN_S:
            self.faults.append(f"{how.name}: ended after {took_s:.1f} s")
        if how is signal.SIGKILL or code == 0:
            return
        if code != 1 or "the same command again goes on" not in " ".join(command.said) or "Traceback" in "".join(command.said):
            self.faults.append(f"{how.name}: exit code {code}, said {command.said}")

    def _look_after(self, command: Command, done_before: int) -> None:
        """Check what an attempt left behind."""
        if orphans := command.orphans():
            self.faults.append(f"still running: {orphans}")
        planned = [event for event in command.events if event["event"] == "RunPlanned"]
        if planned and planned[0]["chunks_done"] < done_before and (self.run / ".work" / "chunks").exists():
            self.faults.append(f"{done_before} chunks were done, the next attempt knew of {planned[0]['chunks_done']}")
        self._compare(identify_chunks(self.run))
        if bad := half_written(self.run):
            self.faults.append(f"half written: {bad}")

    def _watching(self, command: Command) -> "_Watch":
        return _Watch(self, command)

    def watch(self, command: Command, ended: threading.Event) -> None:
        """Look at the chunks, and kill a worker now and then, until a command has ended."""
        next_kill = self._next_kill()
        while not ended.wait(_POLL_S):
            self._compare(identify_chunks(self.run))
            workers = command.workers()
            if time.monotonic() > next_kill and workers and count(command.events, "RunPlanned"):
                victim = self.chance.choice(workers)
                try:
                    victim.kill()
                except psutil.NoSuchProcess:
                    continue
                self.workers_killed += 1
                self.note(f"SIGKILL to worker {victim.pid}, {count(command.events, 'ChunkDone')} chunks of this attempt done")
                next_kill = self._next_kill()

    def _next_kill(self) -> float:
        if self.kill_workers_s is None:
            return float("inf")
        return time.monotonic() + self.kill_workers_s * self.chance.uniform(0.5, 1.5)

    def _compare(self, found: dict[str, Identity]) -> None:
        again = [name for name, identity in found.items() if self.known.setdefault(name, identity) != identity]
        for name in again:
            self.known[name] = found[name]
            self.faults.append(f"chunk {name} was done and was done again")


class _Watch:
    """Watches a command from a thread of its own while it runs."""

    def __init__(self, ordeal: Ordeal, command: Command) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=ordeal.watch, args=(command, self._ended), daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _has_come(events: list[dict[str, Any]], death: Death) -> bool:
    planned = next((event for event in events if event["event"] == "RunPlanned"), None)
    if planned is None:
        return False
    done = max((event["done"] for event in events if event["event"] == "ChunkDone"), default=planned["chunks_done"])
    if death.stage == "chunks":
        return bool(done >= death.share * planned["chunks"])
    if death.stage == "rasters":
        return bool(done >= planned["chunks"])
    return any(event.get("stage") == "rasters" for event in events)


def plan_deaths(stages: tuple[Stage, ...], chance: random.Random) -> list[Death]:
    """Draw moments and signals; all three signals come before one comes again."""
    signals: Iterator[Signal] = iter(
        [how for _ in stages for how in chance.sample([Signal.SIGKILL, Signal.SIGTERM, Signal.SIGINT], 3)],
    )
    of_chunks = sorted(chance.uniform(0.05, 0.95) for stage in stages if stage == "chunks")
    deaths = []
    for stage in stages:
        how = next(signals)
        share = of_chunks.pop(0) if stage == "chunks" else chance.uniform(0.0, 0.8)
        # a terminal sends Ctrl-C to all, kill goes to one; both are tried with the one that nobody can catch
        everyone = how is Signal.SIGINT or (how is Signal.SIGKILL and chance.random() < 0.5)
        deaths.append(Death(stage=stage, share=share, how=how, everyone=everyone))
    return deaths


def run_quietly(words: tuple[object, ...], run: Path, temporary: Path) -> dict[str, float]:
    """Run a command to its end, and return the seconds of its stages: ``chunks``, ``rasters`` and ``objects``."""
    command = start(*words, "-o", run, "--progress", "json", temporary=temporary)
    if command.wait(7200) != 0:
        raise RuntimeError(f"the quiet run failed: {command.said}")
    times = json.loads((run / "summary.json").read_text(encoding="utf-8"))["timing_s"]
    return {"chunks": times["chunks"], "rasters": times["rasters"], "objects": times["total"] - times["chunks"] - times["rasters"]}


def judge(ordeal: Ordeal, quiet: Path, say: Callable[[str], None] = print) -> list[str]:
    """Compare the end with a quiet run, and return all faults; the log is said where there are some."""
    faults = list(ordeal.faults)
    if (ordeal.run / "summary.json").exists():
        faults += differences(read_result(ordeal.run), read_result(quiet))
        faults += [f"left behind: {path}" for path in leftovers(ordeal.run, ordeal.temporary)]
    if faults:
        for line in ordeal.log:
            say(line)
    return faults

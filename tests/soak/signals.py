"""A small run in one process that gets signals at random moments, again and again, until it is done."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.command import Signal, start
from tests.soak.result import half_written

_STARTS_S = 1.0
"""What a command takes until it plans, about; earlier signals find no geoseg yet."""


@dataclass(kw_only=True)
class Stops:
    """What became of signals."""

    slowest_s: float = 0.0
    """Longest time from a signal to the end."""
    after: list[str] = field(default_factory=list)
    """The last event before each signal."""
    faults: list[str] = field(default_factory=list)
    """What should not have been."""


def stop_at_random(words: tuple[object, ...], runs: list[Path], temporary: Path, total_s: float, seed: int) -> Stops:
    """Do runs one after the other, each stopped at a random moment and then started again, until it ends by itself.

    Args:
        words: The command line, without the output.
        runs: The run folders.
        temporary: Folder of temporary files.
        total_s: What a quiet run takes from its first event to its end.
        seed: Decides moments and signals.
    """
    chance, stops = random.Random(seed), Stops()
    for run in runs:
        _stop(words, run, temporary, chance, stops, total_s)
        again = start(*words, "-o", run, "--progress", "json", temporary=temporary)
        if again.wait(600) != 0:
            stops.faults.append(f"{run.name} did not go on: {again.said}")
    return stops


def _stop(words: tuple[object, ...], run: Path, temporary: Path, chance: random.Random, stops: Stops, total_s: float) -> None:
    command = start(*words, "-o", run, "--progress", "json", temporary=temporary)
    command.wait_for(bool)
    time.sleep(chance.uniform(0, total_s))
    how = chance.choice([Signal.SIGINT, Signal.SIGTERM])
    command.kill(how, everyone=how is Signal.SIGINT)
    began = time.monotonic()
    last = command.events[-1] if command.events else {"event": "nothing"}
    code = command.wait(60)
    took_s = time.monotonic() - began
    stops.slowest_s = max(stops.slowest_s, took_s)
    where = f"{how.name} after {last['event']} {last.get('stage', last.get('done', ''))}"
    stops.after.append(where)
    if code == 1 and command.said == ["Stopped. What is done is kept; the same command again goes on."]:
        stops.faults += [f"{where}: half written {name}" for name in half_written(run)]
    elif code != 0 or command.said:
        stops.faults.append(f"{where}: exit code {code}, said {command.said}")

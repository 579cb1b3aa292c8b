"""Damaged input at scale: geoseg either works or says why not, in bounded time and memory.

``python -m tests.hostile.fuzz --kind tiff --cases 10000 --seed 1``

The cases run in child processes; a child that crashes, hangs or takes too much memory costs one case, which is reported with
the number that makes it again (``--only N``). Case N of a seed is the same on every machine with the same libraries.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

LIMIT_S = int(os.environ.get("GEOSEG_FUZZ_LIMIT_S", "10"))
"""Longest time that a case may take; the parent kills the child after twice as long."""
LIMIT_BYTES = 2 * 1024**3
"""Address space that a case may take on top of what the libraries have."""
ROOT = Path(__file__).parents[2]
STATE = "state.json"
SHARED_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


class TooSlow(BaseException):
    """A case took longer than its limit; no code of geoseg catches it."""


@dataclass(slots=True)
class Tally:
    """What came of the cases of a kind."""

    kind: str
    """What was fuzzed."""
    ends: Counter[str] = field(default_factory=Counter)
    """Cases that worked, by ``ok``, or were refused, by the error's name."""
    faults: list[dict[str, object]] = field(default_factory=list)
    """Cases that ended otherwise."""
    seconds: float = 0.0
    """Time in all."""
    slowest: tuple[float, int] = (0.0, 0)
    """Seconds and number of the case that took longest."""

    @property
    def cases(self) -> int:
        """Number of cases that ran."""
        return self.ends.total() + len(self.faults)


def run_kind(kind: str, cases: range, seed: int) -> Tally:
    """Run cases of a kind in child processes, a new one after each that dies."""
    tally, began, following = Tally(kind), time.monotonic(), cases.start
    while following < cases.stop:
        following = _run_child(tally, range(following, cases.stop), seed)
    tally.seconds = time.monotonic() - began
    return tally


def _run_child(tally: Tally, cases: range, seed: int) -> int:
    """Run cases in one child until it ends; return the first case that is left."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        words = ["--child", folder, "--kind", tally.kind, "--seed", str(seed), "--from", str(cases.start), "--cases", str(len(cases))]
        with subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.fuzz", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        ) as child:
            began = _watch(child, Path(folder) / STATE)
            lines = child.stdout.read().splitlines() if child.stdout else []
        assert began, f"the cases of {tally.kind} could not be made"
        state = json.loads((Path(folder) / STATE).read_text())
    # libraries write there too
    tally.faults += [json.loads(line) for line in lines if line.startswith(b'{"kind": ')]
    tally.ends.update(state["ends"])
    tally.slowest = max(tally.slowest, tuple(state["slowest"]))
    if child.returncode == 0:
        return cases.stop
    what = f"the process ended with {child.returncode} (-9: it hung)"
    tally.faults.append({"kind": tally.kind, "seed": seed, "case": state["case"], "what": what})
    return int(state["case"]) + 1


def _watch(child: subprocess.Popen[bytes], state: Path) -> bool:
    """Wait for a child, kill it if it stays at one case, and tell whether it began at all."""
    seen, since = "", time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(0.2)
            return state.exists()
        now = state.read_text() if state.exists() else ""
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > (2 * LIMIT_S if seen else 120):
            child.kill()


def run_cases(kind: str, cases: range, seed: int, folder: Path) -> None:
    """Run cases in this process and print a line of JSON for each fault, and at least every second."""
    from tests.hostile.cases import be_quiet, make_cases

    be_quiet()
    case = make_cases(kind, folder)
    with_libraries = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (with_libraries + LIMIT_BYTES,) * 2)
    signal.signal(signal.SIGALRM, _too_slow)
    ends: Counter[str] = Counter()
    slowest = (0.0, cases.start)
    with (folder / STATE).open("w", buffering=1) as state:
        for number in cases:
            _write_state(state, number, ends, slowest)
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
            end, fault = _try(case, random.Random(f"{seed}/{kind}/{number}"))
            signal.setitimer(signal.ITIMER_REAL, 0)
            if fault is None:
                ends[end] += 1
            else:
                print(json.dumps({"kind": kind, "seed": seed, "case": number, **fault}), flush=True)
            slowest = max(slowest, (round(time.monotonic() - began, 2), number))
        _write_state(state, cases.stop, ends, slowest)


def _write_state(state: IO[str], number: int, ends: Counter[str], slowest: tuple[float, int]) -> None:
    state.seek(0)
    # spaces cover what is left of a longer state
    state.write(json.dumps({"case": number, "ends": ends, "slowest": slowest}) + 40 * " " + "\n")


def _try(case: Callable[[random.Random], object], rng: random.Random) -> tuple[str, dict[str, object] | None]:
    """Return how a case ended, and what was wrong with that."""
    from geoseg.errors import GeosegError

    try:
        case(rng)
    except GeosegError as exc:
        return type(exc).__name__, None if str(exc).strip() else _describe(exc)
    except BaseException as exc:
        return "", _describe(exc)
    return "ok", None


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlow(f"longer than {LIMIT_S} s")


def _describe(exc: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(exc.__traceback__)
    own = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "geoseg" in f.filename and "hostile" not in f.filename]
    return {"what": f"{type(exc).__name__}: {str(exc)[:300]}", "where": own[-1:]}


def main() -> None:
    """Run what the command line asks for, print a table and exit with 1 if a case ended in neither way."""
    from tests.hostile.cases import KINDS

    parser = argparse.ArgumentParser(description="Show geoseg damaged files.")
    parser.add_argument("--kind", default="all", choices=["all", "faulty", *KINDS])
    parser.add_argument("--cases", type=int, default=1000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--only", type=int, help="run one case in this process, so that its traceback is seen")
    parser.add_argument("--json", type=Path, help="append the tallies to this file, a line for each kind")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    cases = range(given.first, given.first + given.cases)
    if given.child:
        run_cases(given.kind, cases, given.seed, given.child)
        # libraries that were damaged in a case need not be tidied up
        os._exit(0)
    if given.only is not None:
        from tests.hostile.cases import be_quiet, make_cases

        be_quiet()
        with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
            make_cases(given.kind, Path(folder))(random.Random(f"{given.seed}/{given.kind}/{given.only}"))
        return
    tallies = [run_kind(kind, cases, given.seed) for kind in (KINDS if given.kind == "all" else (given.kind,))]
    for tally in tallies:
        seconds, number = tally.slowest
        print(f"{tally.kind}: {tally.cases} cases, {len(tally.faults)} faults, {tally.seconds:.0f} s, {dict(tally.ends)}")
        print(f"  longest: case {number}, {seconds:.2f} s")
        for fault in tally.faults[:20]:
            print(f"  {json.dumps(fault)}")
        if given.json:
            line = {"kind": tally.kind, "seed": given.seed, "first": given.first, "ends": tally.ends, "faults": tally.faults}
            with given.json.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
    sys.exit(any(tally.faults for tally in tallies))


if __name__ == "__main__":
    main()

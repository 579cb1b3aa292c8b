"""Torment a large run until it ends, and compare it with a quiet one.

    python -m tests.soak [--side PX] [--seed N] [--kill-workers SECONDS] [--signals N] [--folder FOLDER] [--json FILE]

Prints what was done and every fault; exit code 1 if there are some.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.soak.ordeal import Ordeal, Stage, judge, plan_deaths, run_quietly
from tests.soak.result import differences, leftovers, read_result
from tests.soak.signals import stop_at_random
from tests.soak.small import make_world
from tests.soak.world import write_threshold_model, write_world

_STAGES: tuple[Stage, ...] = ("chunks", "chunks", "chunks", "rasters", "objects")


def torment(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run the same command quietly and in the worst way, and compare."""
    write_threshold_model(folder / "model")
    raster = write_world(folder / "town.tif", given.side)
    # small chunks, so that there is much to kill in between
    words = ("segment", raster, "-m", folder / "model", "--workers", 2, "--tile-size", 512, "--chunk-size", 992)
    quiet_s = run_quietly(words, folder / "quiet", folder / "quiet-temporary")
    print(f"quiet run: {quiet_s}", flush=True)
    chance = random.Random(given.seed)
    ordeal = Ordeal(
        words=words,
        run=folder / "run",
        temporary=folder / "temporary",
        chance=chance,
        quiet_s=quiet_s,
        kill_workers_s=given.kill_workers,
    )
    began = time.monotonic()
    ordeal.suffer(plan_deaths(_STAGES, chance))
    faults = judge(ordeal, folder / "quiet", say=lambda line: None)
    print("\n".join(ordeal.log))
    counts = {"deaths": ordeal.deaths, "workers killed": ordeal.workers_killed, "chunks": len(ordeal.known)}
    return {"quiet_s": quiet_s, "seconds": round(time.monotonic() - began, 1), **counts, "faults": faults}


def stop(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Send signals to small runs."""
    world = make_world(folder / "small")
    runs = [folder / "stopped" / str(number) for number in range(given.signals)]
    stops = stop_at_random(world.words, runs, folder / "stopped-temporary", world.total_s, given.seed)
    faults = list(stops.faults)
    for run in runs:
        faults += [f"{run.name}: {what}" for what in differences(read_result(run), world.result)]
        faults += [f"left behind: {path}" for path in leftovers(run, folder / "stopped-temporary")]
    return {"signals": len(runs), "slowest end s": round(stops.slowest_s, 2), "after": stops.after, "faults": faults}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Kill runs, and see whether that shows.")
    parser.add_argument("--side", type=int, default=20_000, help="rows and columns of the raster")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-workers", type=float, default=5.0, metavar="SECONDS", help="mean time from one killed worker to the next")
    parser.add_argument("--signals", type=int, default=30, help="small runs that are stopped at random moments")
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's folder of temporary files")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory(prefix="geoseg-soak-", dir=given.folder) as folder:
        # the small ones first: they compile what the large one is timed with
        found = {"signals": stop(Path(folder), given), "soak": torment(Path(folder), given)}
    text = json.dumps(found, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")
    return int(any(part["faults"] for part in found.values()))


if __name__ == "__main__":
    sys.exit(main())

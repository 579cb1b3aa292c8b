"""Changes of drawn towns with known edits and 1.5 px of misregistration: how many are found, how many reports are false.

PYTHONPATH=. python tests/benchmarks/bench_change.py --seeds 1 2 3 4
PYTHONPATH=. python tests/benchmarks/bench_change.py --seeds 1 2 --model aerial
"""

import argparse
import json
import math
import sys
import tempfile
import time
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from geoseg.change.compare import change_runs, compare
from geoseg.change.dates import make_runs
from geoseg.change.options import ChangeOptions
from geoseg.events import ignore_events
from geoseg.io.tiffs.image import write_image
from geoseg.scene import SceneOptions
from tests.town import Score, Town, draw_town, place_of, score, sides

MOVED_PX = 1.5


def move_of(seed: int) -> tuple[float, float]:
    """Return 1.5 px in a direction of its own."""
    angle = math.radians(40 + 77 * seed)
    return MOVED_PX * math.cos(angle), MOVED_PX * math.sin(angle)


def write_rasters(town: Town, folder: Path, moved_px: tuple[float, float]) -> tuple[str, str]:
    """Write both orthophotos, the later one misplaced."""
    paths = []
    for name, scene, moved in (("before", town.before, (0.0, 0.0)), ("after", town.after, moved_px)):
        path = folder / f"{name}-image.tif"
        write_image(path, np.where(scene.valid, np.maximum(scene.pixels, 1), 0).astype(np.uint8), place_of(scene, moved), nodata=0)
        paths.append(str(path))
    return paths[0], paths[1]


def measure(town: Town, folder: Path, moved_px: tuple[float, float], model: str | None, options: ChangeOptions) -> dict[str, Score]:
    """Compare the two dates of a town, by their true classes or by what a model makes of their imagery."""
    output = folder / f"out-{int(options.align)}"
    if model is None:
        compare(*sides(town, folder, moved_px), output, options, ignore_events)
    else:
        # the runs are the same for all options
        runs = make_runs(write_rasters(town, folder, moved_px), folder / "runs", options, {"model": model}, ignore_events)
        change_runs(*runs, output, options)
    told = json.loads((output / "change.json").read_text())
    print(f"  misregistration {told['misregistration']['distance_px']:.2f} px, tolerance {told['tolerance_m']:.2f} m", file=sys.stderr)
    return score(town, output)


def main() -> None:
    """Print a table; write it as JSON with --json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--size", type=int, default=2400, help="side of a town in pixels")
    parser.add_argument("--pixel", type=float, default=0.3, help="side of a pixel in metres")
    parser.add_argument("--edits", type=int, default=30, help="buildings of each kind that differ")
    parser.add_argument("--roads", type=int, default=3)
    parser.add_argument("--model", help="shipped model or package; without it the true classes are compared")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: dict[str, list[dict[str, Score]]] = {"as they lie": [], "aligned": []}
    for seed in args.seeds:
        size = {"height_px": args.size, "width_px": args.size, "resolution_m": args.pixel}
        town = draw_town(SceneOptions(seed=seed, **size), edits=args.edits, roads=args.roads)
        with tempfile.TemporaryDirectory() as name:
            for row, align in (("as they lie", False), ("aligned", True)):
                began = time.process_time()
                rows[row].append(measure(town, Path(name), move_of(seed), args.model, ChangeOptions(align=align)))
                print(f"seed {seed}, {row}: {time.process_time() - began:.0f} s of CPU", file=sys.stderr)
    told = {}
    for row, scores in rows.items():
        kinds = {kind: reduce(add, [s[kind] for s in scores if kind in s]) for kind in scores[0]}
        kinds["all"] = reduce(add, kinds.values())
        for kind, s in kinds.items():
            found, false = s.shares if s.edits else (float("nan"), float("nan"))
            told[f"{row}, {kind}"] = {"edits": s.edits, "found": s.found, "reported": s.reported, "false": s.false}
            print(f"{row:12} {kind:10} {s.found:4}/{s.edits:<4} found ({found:6.1%})   {s.false:4}/{s.reported:<4} false ({false:6.1%})")
    if args.json:
        args.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()

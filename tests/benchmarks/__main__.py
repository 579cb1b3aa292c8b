"""Measure speed and memory on this machine.

    python -m tests.benchmarks [SECTION ...] [--size quick|full] [--json FILE]

Without sections all of them are measured. What each row means is in docs/benchmarks.md.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from geoseg.model.execution import Backend
from tests.benchmarks import bare, gpu, many, memory, null, scale, start, vectorizer, whole
from tests.benchmarks.machine import describe
from tests.benchmarks.place import SIZES, Place
from tests.benchmarks.rows import Row, show

SECTIONS: dict[str, Callable[[Place], list[Row]]] = {
    "start": start.measure,
    "bare": bare.measure,
    "whole": whole.measure,
    "null": null.measure,
    "memory": memory.measure,
    "many": many.measure,
    "vectorizer": vectorizer.measure,
    "scale": scale.measure,
    "gpu": gpu.measure,
}


def measure(place: Place, sections: list[str]) -> list[Row]:
    """Measure sections one after the other, and say which is under way."""
    rows = []
    for name in sections:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.extend(SECTIONS[name](place))
    return rows


def write(path: Path, rows: list[Row], place: Place) -> None:
    """Write rows and machine as JSON."""
    found = {"machine": describe(place.threads), "rows": [row.to_dict() for row in rows]}
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure speed and memory on this machine.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all if none is named")
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--backend", action="append", choices=get_args(Backend), help="may be given several times; all if not given")
    parser.add_argument("--device", default="cpu", help="of whole runs outside the section gpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--turns", type=int, help="runs of each kind, in alternation; by default the size's")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    unknown = [name for name in given.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section '{unknown[0]}'; choose from {', '.join(SECTIONS)}")
    return given


def main() -> None:
    given = parse()
    with TemporaryDirectory(prefix="geoseg-bench-") as folder:
        backends = tuple(given.backend or get_args(Backend))
        sizes = replace(SIZES[given.size], turns=given.turns or SIZES[given.size].turns)
        place = Place(folder=Path(folder), sizes=sizes, threads=given.threads, device=given.device, backends=backends)
        rows = measure(place, given.sections or list(SECTIONS))
    show(rows)
    if given.json:
        write(given.json, rows, place)


if __name__ == "__main__":
    main()

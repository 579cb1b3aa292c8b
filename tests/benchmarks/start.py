"""How long it takes to begin: imports, the command line, and the first tile of a run."""

import statistics
import sys

from tests.benchmarks.children import REPOSITORY, Child, ChildError, run_child
from tests.benchmarks.place import Place
from tests.benchmarks.rows import Row, Value
from tests.benchmarks.whole import Run, run_whole

_SECTION = "start"


def measure(place: Place) -> list[Row]:
    """Measure processes that do nothing, import geoseg, show its help, and begin a run."""
    commands = {
        "python, nothing done": ["-c", "pass"],
        "import geoseg": ["-c", "import geoseg"],
        "geoseg --help": ["-m", "geoseg", "--help"],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(1 + 2 * place.sizes.turns):
        for name, words in commands.items():
            found[name].append(_call(words, place).seconds)
    rows = [
        Row(section=_SECTION, what={"what": name, "backend": "-"}, values={"seconds": round(statistics.median(seconds[1:]), 3)})
        for name, seconds in found.items()
    ]
    return rows + [_first_tile(place, backend) for backend in place.backends]


def _call(words: list[str], place: Place) -> Child:
    return run_child([sys.executable, *words], threads=place.threads, extra={"PYTHONPATH": str(REPOSITORY)})


def _first_tile(place: Place, backend: str) -> Row:
    """Say when a run was planned, when its first tile was begun and inferred, and its first chunk done."""
    run = Run(raster=place.town, package=place.network, backend=backend, device=place.device)
    what: dict[str, Value] = {"what": "geoseg segment", "backend": backend}
    try:
        if place.sizes.warm_up:
            run_whole(place, run)
        done = [run_whole(place, run) for _ in range(place.sizes.turns)]
    except ChildError as exc:
        return Row(section=_SECTION, what=what, note=f"not measured: {exc}")
    values = {
        "planned s": round(statistics.median(d.start_s for d in done), 3),
        "first tile began s": round(statistics.median(d.performance["first_tile_began_s"] for d in done), 3),
        "first tile s": round(statistics.median(d.performance["first_tile_s"] for d in done), 3),
        "first chunk s": round(statistics.median(d.child.first("ChunkDone") or d.child.seconds for d in done), 3),
        "seconds": round(statistics.median(d.child.seconds for d in done), 3),
    }
    return Row(section=_SECTION, what=what, values=values)

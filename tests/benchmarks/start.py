"""How long it takes to begin: imports, the command line, and the first tile of a run."""

import statistics
import sys

from tests.benchmarks.children import REPOSITORY, Child, ChildError, run_child
from tests.benchmarks.place import Place
from tests.benchmarks.rows import Row, Value
from tests.benchmarks.whole import Run, segment

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
    return rows + [_first_tile(place, backend) for backend in place.measured_backends]


def _call(words: list[str], place: Place) -> Child:
    return run_child([sys.executable, *words], threads=place.threads, extra={"PYTHONPATH": str(REPOSITORY)})


def _first_tile(place: Place, backend: str) -> Row:
    """Say when a run was planned and when its first chunk was done; chunks of one tile, where the engine lets choose."""
    run = Run(raster=place.town, package=place.network, backend=backend, device=place.device)
    words = ("--chunk-size", place.spec.tile_size_px) if "--chunk-size" in place.options else ()
    what: dict[str, Value] = {"what": "geoseg segment", "backend": backend}
    try:
        if place.sizes.warm_up:
            segment(place, run, *words)
        children = [segment(place, run, *words) for _ in range(place.sizes.turns)]
    except ChildError as exc:
        return Row(section=_SECTION, what=what, note=f"not measured: {exc}")
    planned = statistics.median(child.first("RunPlanned") or 0.0 for child, _ in children)
    chunk = statistics.median(child.first("ChunkDone") or child.seconds for child, _ in children)
    values = {"seconds": round(chunk, 3), "planned s": round(planned, 3), "first chunk s": round(chunk, 3)}
    return Row(section=_SECTION, what=what, values=values)

"""Bare forward passes: million pixels a second by backend, tile size and batch."""

import statistics

from tests.benchmarks.children import ChildError
from tests.benchmarks.forward import run_forward
from tests.benchmarks.place import Place
from tests.benchmarks.rows import Row

_SECTION = "bare"


def measure(place: Place) -> list[Row]:
    """Measure the network alone on the processor."""
    return [
        measure_one(place, {"backend": backend, "device": "cpu", "precision": "float32"}, tile, batch)
        for backend in place.backends
        for tile in place.sizes.tiles_px
        for batch in place.sizes.batches
    ]


def measure_one(place: Place, way: dict[str, str], tile: int, batch: int, section: str = _SECTION) -> Row:
    """Measure one backend, device and precision at one tile size and batch: the median of some turns."""
    passes = max(2, round(place.sizes.pass_mpx * 1e6 / (batch * tile * tile)))
    request = {**way, "model": str(place.network.folder), "tile": [tile, tile], "batch": batch, "batches": passes, "threads": place.threads}
    what = {**way, "tile px": tile, "batch": batch}
    try:
        children = [run_forward(request) for _ in range(place.sizes.turns)]
    except ChildError as exc:
        return Row(section=section, what=what, note=f"not measured: {exc}")
    speeds = [float(str(c.answer["mpx"])) / float(str(c.answer["seconds"])) for c in children]
    values = {
        "Mpx/s": round(statistics.median(speeds), 4),
        "first pass s": round(statistics.median(float(str(c.answer["first_s"])) for c in children), 2),
        "peak MB": round(max(c.peak_bytes for c in children) / 1e6),
    }
    return Row(section=section, what=what, values=values)

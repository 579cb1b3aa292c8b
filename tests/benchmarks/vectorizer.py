"""Class map to polygons: calls the benchmark that stands, ``bench_vectorize.py``."""

import sys
from pathlib import Path

from tests.benchmarks.children import REPOSITORY, ChildError, run_child
from tests.benchmarks.place import Place
from tests.benchmarks.rows import Row

_SECTION = "vectorizer"
_SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from bench_vectorize import compare_speed
print(json.dumps(compare_speed(int(sys.argv[2]))))
"""


def measure(place: Place) -> list[Row]:
    """Compare with ``rasterio.features.shapes`` and ``shapely.coverage_simplify`` over a natural map."""
    size = place.sizes.map_px
    command = [sys.executable, "-c", _SCRIPT, str(Path(__file__).parent), str(size)]
    try:
        found = run_child(command, threads=1, extra={"PYTHONPATH": str(REPOSITORY)}).answer
    except ChildError as exc:
        return [Row(section=_SECTION, what={"way": "geoseg", "map px": size}, note=f"not measured: {exc}")]
    tables = {name: found[name] for name in ("seconds", "ratio", "polygons", "vertices", "valid_coverage")}
    return [
        Row(
            section=_SECTION,
            what={"way": way, "map px": size},
            values={name: _short(table[way]) for name, table in tables.items() if isinstance(table, dict)},
        )
        for way in dict(found["seconds"])  # type: ignore[call-overload]
    ]


def _short(value: object) -> float | int | str:
    return round(value, 3) if isinstance(value, float) else str(value) if isinstance(value, bool) else value  # type: ignore[return-value]

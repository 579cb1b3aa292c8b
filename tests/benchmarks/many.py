"""Many small rasters: ``geoseg batch`` over a list, against one command after the other, and against a loop in one process."""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.children import REPOSITORY, ChildError, run_child, run_geoseg
from tests.benchmarks.place import Place
from tests.benchmarks.rasters import draw_town
from tests.benchmarks.rows import Row

_SECTION = "many"
_SIDE_PX = 256
_DAMAGED = 50
"""One raster of so many is no raster."""


def measure(place: Place) -> list[Row]:
    """Measure a list of which some rasters are damaged, and a few of them one by one, by backend."""
    with TemporaryDirectory(dir=place.folder) as folder:
        images, damaged = draw_list(Path(folder) / "images", place.sizes.many)
        return [_measure_one(place, Path(folder) / backend, images, damaged, backend) for backend in place.backends if backend != "compile"]


def draw_list(folder: Path, count: int) -> tuple[list[Path], int]:
    """Draw small rasters that differ; return the good ones, and how many bad ones lie beside them."""
    folder.mkdir()
    good = [path for i in range(count) if (path := folder / f"scene{i:04d}.tif") and i % _DAMAGED != _DAMAGED - 1]
    first = draw_town(good[0], _SIDE_PX).read_bytes()
    for path in good[1:]:
        path.write_bytes(first)
    for i in range(_DAMAGED - 1, count, _DAMAGED):
        (folder / f"scene{i:04d}.tif").write_bytes(first[: len(first) // 3])
    return good, count - len(good)


def _measure_one(place: Place, output: Path, images: list[Path], damaged: int, backend: str) -> Row:
    what = {"backend": backend, "rasters": place.sizes.many, "px": _SIDE_PX, "damaged": damaged}
    words = ("--outputs", "classes", "-m", place.network.folder, "--backend", backend, "--device", place.device)
    try:
        # once outside of the clock, to fill caches
        run_geoseg("segment", images[0], "-o", output / "first", *words, threads=place.threads, cache=place.cache)
        began = time.monotonic()
        for path in images[: place.sizes.alone]:
            run_geoseg("segment", path, "-o", output / "alone" / path.stem, *words, threads=place.threads, cache=place.cache)
        alone_s = (time.monotonic() - began) / place.sizes.alone
        loop_s = _run_loop(images[: 5 * place.sizes.alone], output / "loop", backend, place)
        began = time.monotonic()
        _run_batch(images[0].parent, output / "list", words, place)
        list_s = (time.monotonic() - began) / len(images)
    except ChildError as exc:
        return Row(section=_SECTION, what=what, note=f"not measured: {exc}")
    entries = [json.loads(line) for line in (output / "list" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    values = {
        "done": sum(entry["state"] == "done" for entry in entries),
        "failed": sum(entry["state"] == "failed" for entry in entries),
        "s per raster, one by one": round(alone_s, 3),
        "s per raster, loop": round(loop_s, 3),
        "s per raster, list": round(list_s, 3),
        "one by one / list": round(alone_s / list_s, 2),
        "loop / list": round(loop_s / list_s, 2),
    }
    return Row(section=_SECTION, what=what, values=values)


def _run_loop(images: list[Path], output: Path, backend: str, place: Place) -> float:
    """Return the seconds that each of some rasters takes in a loop over the library, its start not counted."""
    options = {"outputs": ["classes"], "model": str(place.network.folder), "backend": backend, "device": place.device}
    asked = {"rasters": [str(path) for path in images], "output": str(output), "options": options | {"cache": str(place.cache)}}
    command = [sys.executable, "-m", "tests.benchmarks.loop", json.dumps(asked)]
    looped = run_child(command, threads=place.threads, extra={"PYTHONPATH": str(REPOSITORY)})
    return float(str(looped.answer["seconds"])) / len(images)


def _run_batch(images: Path, output: Path, words: tuple[object, ...], place: Place) -> None:
    """Run a list; that some rasters are missing, exit code 3, is as it should be."""
    try:
        run_geoseg("batch", images, "-o", output, *words, threads=place.threads, cache=place.cache)
    except ChildError as exc:
        if "exit code 3" not in str(exc):
            raise

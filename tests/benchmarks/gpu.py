"""The same questions on a GPU: bare passes, whole runs against them, and the null model."""

import statistics
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.benchmarks import bare, null, whole
from tests.benchmarks.place import GPU_BATCHES, GPU_TILES_PX, Place
from tests.benchmarks.rasters import draw_town
from tests.benchmarks.rows import Row, Value

_SECTION = "gpu"
_PRECISIONS = ("float32", "bfloat16", "float16")
_LOOK_EVERY_S = 0.5


def measure(place: Place, device: str = "cuda") -> list[Row]:
    """Measure everything on a device.

    Args:
        place: Where.
        device: ``cuda``; another one runs the same code for tests.
    """
    if device.startswith("cuda") and not _has_cuda():
        return [Row(section=_SECTION, what={"device": device}, note="not measured: no CUDA device")]
    tiles, batches = (GPU_TILES_PX, GPU_BATCHES) if device.startswith("cuda") else (place.sizes.tiles_px, place.sizes.batches)
    passes = [
        bare.measure_one(place, {"backend": backend, "device": device, "precision": precision}, tile, batch, f"{_SECTION}: bare")
        for backend in ("torch", "compile")
        for precision in (_PRECISIONS if device.startswith("cuda") else _PRECISIONS[:1])
        for tile in tiles
        for batch in batches
        if not (backend == "compile" and not device.startswith("cuda"))
    ]
    wholes = _measure_whole(place, device, passes)
    return [*passes, *wholes, *null.measure(place, device, f"{_SECTION}: null")]


def _measure_whole(place: Place, device: str, passes: list[Row]) -> list[Row]:
    """Run over a large raster at the fastest tile and batch of each backend and precision, and look at how busy the device is."""
    raster = draw_town(place.folder / "gpu.tif", place.sizes.gpu_px)
    rows = []
    for backend, precision in dict.fromkeys((row.what["backend"], row.what["precision"]) for row in passes if row.values):
        own = [row for row in passes if row.values and (row.what["backend"], row.what["precision"]) == (backend, precision)]
        best = max(own, key=lambda row: float(row.values["Mpx/s"])).what
        run = whole.Run(
            raster=raster,
            package=place.network,
            backend=str(backend),
            device=device,
            precision=str(precision),
            tile=int(best["tile px"]),
            batch=int(best["batch"]),
        )
        with _watch_device(device) as busy:
            row = whole.measure_pair(place, run, f"{_SECTION}: whole")
        share: dict[str, Value] = {"busy %": round(statistics.mean(busy), 1)} if busy else {}
        rows.append(replace(row, values={**row.values, **share}) if row.values else row)
    return rows


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@contextmanager
def _watch_device(device: str) -> Iterator[list[float]]:
    """Collect how busy the GPU says it is, in percent, twice a second; nothing on other devices."""
    busy: list[float] = []
    done = threading.Event()

    def look() -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not done.wait(_LOOK_EVERY_S):
            found = subprocess.run(query, capture_output=True, text=True, check=False)
            if found.returncode == 0:
                busy.append(float(found.stdout.split()[0]))

    watcher = threading.Thread(target=look, daemon=True)
    if device.startswith("cuda"):
        watcher.start()
    try:
        yield busy
    finally:
        done.set()
        if watcher.is_alive():
            watcher.join()

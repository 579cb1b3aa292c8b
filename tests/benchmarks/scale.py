"""How far one run can grow: chunks through the scheduler, chunks on disk, simulated workers, and the cost of 10^12 pixels."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from geoseg.io.store.chunks import DoneChunks
from tests.benchmarks import scale_files
from tests.benchmarks.children import ChildError
from tests.benchmarks.place import Place
from tests.benchmarks.rasters import draw_town
from tests.benchmarks.rows import Row
from tests.benchmarks.scale_finish import run_finish
from tests.benchmarks.scale_model import Costs, Finish, bill, bottleneck, efficiency, scales_to, with_chunk
from tests.benchmarks.scale_tasks import Nothing, Passed, pass_chunks, plan_of, start_cluster

CPU_S_PER_PX = 1.0e-6
"""A worker of two cores with the shipped model, halo work, reading and writing counted in; measured, docs/performance.md."""
GPU_S_PER_PX = 1.0e-8
"""A parameter: 100 million pixels a second. Nothing was measured on a GPU."""
GPU_SLOTS = 9
"""Chunks under way in a worker with a GPU; see runplan.py."""
_WORKERS = 2


def measure(place: Place) -> list[Row]:
    """Measure, simulate and reckon."""
    passed = _pass(place)
    finish, row = _finish(place)
    costs = Costs(
        name="2 cores",
        scheduler_s=passed.cpu_s["scheduler"] / passed.chunks,
        client_s=passed.cpu_s["client"] / passed.chunks,
        worker_s_per_px=CPU_S_PER_PX,
        chunk_px=1536,
    )
    with TemporaryDirectory(dir=place.folder) as folder:
        files = scale_files.measure(Path(folder), place.sizes.scale_sides)
    return [*_tell(passed), *files, row, *simulate_workers(costs), *reckon(costs, finish)]


def _pass(place: Place) -> Passed:
    """Let chunks of a plan of a million through a real scheduler, for as long as there is."""
    tiles = plan_of(1_000_000)
    keys = DoneChunks(there=np.zeros(tiles.chunk_shape, bool)).missing()
    with TemporaryDirectory(dir=place.folder) as folder, start_cluster(Path(folder), _WORKERS) as cluster:
        return pass_chunks(cluster, keys, Nothing(), most_s=place.sizes.scale_s)


def _tell(passed: Passed) -> list[Row]:
    what = {"chunks": passed.chunks, "seconds": round(passed.seconds, 1)}
    return [
        Row(
            section="scale: scheduler",
            what=what | {"process": name},
            values={
                "cpu ms a chunk": round(1000 * seconds / passed.chunks, 2),
                "peak MB": round(passed.peak_bytes[name] / 1e6, 1),
                "growth B a chunk": round(passed.slope_bytes[name], 1),
            },
        )
        for name, seconds in passed.cpu_s.items()
    ]


def _finish(place: Place) -> tuple[Finish, Row]:
    """Measure what follows the last chunk, on a drawn town."""
    what = {"raster px": place.sizes.finish_px}
    mpx = place.sizes.finish_px**2 / 1e6
    try:
        with TemporaryDirectory(dir=place.folder) as folder:
            town = draw_town(Path(folder) / "town.tif", place.sizes.finish_px)
            child = run_finish(town, Path(folder) / "run", threads=place.threads)
    except ChildError as exc:
        return Finish(rasters_s=0.0, objects_s=0.0), Row(section="scale: finish", what=what, note=f"not measured: {exc}")
    stages = {name: float(str(seconds)) / mpx for name, seconds in child.answer.items()}
    values = {name.replace(" s", " cpu s/Mpx"): round(seconds, 4) for name, seconds in stages.items()}
    finish = Finish(rasters_s=stages["rasters s"] + stages["count and report s"], objects_s=stages["objects s"])
    return finish, Row(section="scale: finish", what=what, values={**values, "peak MB": round(child.peak_bytes / 1e6)})


def kinds_of_workers(costs: Costs) -> list[Costs]:
    """Return workers of two cores and with a GPU, each with chunks of several sizes."""
    gpu = replace(costs, name="GPU (assumed)", worker_s_per_px=GPU_S_PER_PX, slots=GPU_SLOTS)
    return [*(with_chunk(costs, side) for side in (768, 1536, 4096)), *(with_chunk(gpu, side) for side in (1536, 4096, 8192))]


def simulate_workers(costs: Costs) -> list[Row]:
    """Say for each kind of worker, chunk and storage up to how many workers each does nine tenths of what it could."""
    rows = []
    for kind in kinds_of_workers(costs):
        for bandwidth in (1e9, 1e10, 1e11):
            here = replace(kind, storage_bytes_s=bandwidth)
            what = {"worker": here.name, "chunk px": here.chunk_px, "storage GB/s": bandwidth / 1e9}
            values = {
                "scales to": scales_to(here),
                "then limits": bottleneck(here),
                "most chunks/s": round(min(here.limits.values()), 1),
                "efficiency of 64": round(efficiency(here, 64), 2),
                "of 1024": round(efficiency(here, 1024), 2),
            }
            rows.append(Row(section="scale: workers", what=what, values=values))
    return rows


def reckon(costs: Costs, finish: Finish) -> list[Row]:
    """Say what 10^12 pixels take."""
    rows = []
    gpu = replace(costs, name="GPU (assumed)", worker_s_per_px=GPU_S_PER_PX, slots=GPU_SLOTS, chunk_px=4096)
    # from 10^12 pixels on, chunks grow; see choices.py
    cpu = with_chunk(costs, 2000)
    for kind, workers in ((cpu, 1), (cpu, 64), (cpu, 1024), (gpu, 1), (gpu, 8), (gpu, 64)):
        for with_objects in (False, True):
            # a storage that keeps up
            found = bill(replace(kind, storage_bytes_s=1e11), finish, workers, with_objects=with_objects)
            what = {"worker": kind.name, "workers": workers, "outputs": "all" if with_objects else "classes"}
            values = {
                "chunks": round(found.chunks),
                "inference h": round(found.inference_h, 2),
                "after it h": round(found.finish_h, 1),
                "disk TB": round(found.disk_tb, 1),
            }
            rows.append(Row(section="scale: 10^12 px", what=what, values=values))
    return rows

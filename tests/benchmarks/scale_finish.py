"""What follows the last chunk: COGs, counting, objects, files; measured on a drawn town, processor seconds per million pixels."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from geoseg.config import make_config
from geoseg.events import ChunkDone, Event, StageDone
from geoseg.pipeline import segment_raster
from tests.benchmarks.children import Child, run_part


def run_finish(raster: Path, output: Path, *, threads: int, model: str = "aerial") -> Child:
    """Segment a raster in a process of its own; its answer holds processor seconds by stage."""
    return run_part("scale_finish", {"raster": str(raster), "output": str(output), "model": model}, threads=threads)


def watch(clock: Callable[[], float], marks: dict[str, float]) -> Callable[[Event], None]:
    """Return a listener that notes the time after the last chunk and after each stage."""

    def listen(event: Event) -> None:
        if isinstance(event, ChunkDone):
            marks["chunks"] = clock()
        elif isinstance(event, StageDone):
            marks[event.stage] = clock()

    return listen


def measure_stages(raster: str, output: str, model: str) -> dict[str, float]:
    """Segment a raster; return processor seconds of the chunks, of the rasters, of the objects and of the rest."""
    marks: dict[str, float] = {}
    began = time.process_time()
    segment_raster(make_config({"raster": raster, "output": output, "model": model}), watch(time.process_time, marks))
    end = time.process_time()
    objects = max(marks.values())
    return {
        "chunks s": marks["chunks"] - began,
        "rasters s": marks["rasters"] - marks["chunks"],
        "objects s": objects - marks["rasters"],
        "count and report s": end - objects,
    }


if __name__ == "__main__":
    print(json.dumps(measure_stages(**json.loads(sys.argv[1]))))

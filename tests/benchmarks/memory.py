"""Peak memory of a threshold model as the raster grows; rasters of a repeated block, one on disk at a time."""

import json
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from geoseg.allocator import KEEPING
from geoseg.config import make_config
from geoseg.model.package import find_package
from geoseg.model.predictor import Predictor, ThresholdPredictor
from geoseg.pipeline import segment_raster
from tests.benchmarks.children import ChildError, run_part
from tests.benchmarks.models import write_threshold_package
from tests.benchmarks.place import Place
from tests.benchmarks.rasters import posterized_block, repeat_block
from tests.benchmarks.rows import Row

_SECTION = "memory"


def measure(place: Place) -> list[Row]:
    """Run over each size in a process of its own, its allocator set as the command sets it; the first is what others are compared with."""
    package = write_threshold_package(place.folder / "threshold", min(1024, 16 * (min(place.sizes.memory_px[0]) // 32)))
    block = posterized_block(min(1024, place.sizes.memory_px[0][0]))
    rows: list[Row] = []
    for height, width in place.sizes.memory_px:
        what = {"model": "threshold", "raster px": f"{width} x {height}"}
        with TemporaryDirectory(dir=place.folder) as folder:
            raster = repeat_block(Path(folder) / "large.tif", block, (height, width))
            request = {"raster": str(raster), "model": str(package.folder), "output": str(Path(folder) / "run")}
            try:
                child = run_part("memory", request, threads=place.threads, extra=KEEPING)
            except ChildError as exc:
                rows.append(Row(section=_SECTION, what=what, note=f"not measured: {exc}"))
                continue
        peak = child.peak_bytes / 1e6
        first = float(rows[0].values["peak MB"]) if rows and rows[0].values else peak
        values = {"seconds": round(child.seconds, 1), "peak MB": round(peak, 1), "against the first": round(peak / first, 3)}
        rows.append(Row(section=_SECTION, what=what, values=values))
    return rows


def _threshold(model: str) -> Predictor:
    return ThresholdPredictor(spec=find_package(model).spec)


def _segment(raster: str, model: str, output: str) -> None:
    config = make_config({"raster": raster, "model": model, "output": output, "outputs": ("classes",)})
    segment_raster(config, load=partial(_threshold, model))


if __name__ == "__main__":
    _segment(**json.loads(sys.argv[1]))

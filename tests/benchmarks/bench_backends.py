"""Speed, memory and agreement of the ways to run a model on the processor, pixels in and layers out.

    python -m tests.benchmarks.bench_backends [--model aerial] [--tile 768] [--turns 3] [--threads 2]

Each way runs in a process of its own that keeps freed memory, as the command geoseg does; the ways take turns. Speed is the best
of all passes, as other work on the machine only slows; agreement is that of the labels with eager float32 on a drawn scene.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from geoseg.allocator import KEEPING
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.package import find_package
from geoseg.scene import SceneOptions, draw_scene

WAYS: dict[str, dict[str, Any]] = {
    "torch float32": {"backend": "torch"},
    "onnx float32": {"backend": "onnx"},
    "compile float32": {"backend": "compile"},
    "torch bfloat16": {"backend": "torch", "precision": "bfloat16"},
    "compile bfloat16": {"backend": "compile", "precision": "bfloat16"},
}
_PASSES = 5


def run_way(request: dict[str, Any]) -> dict[str, Any]:
    """Time passes over one tile of a drawn scene; what comes before the second pass is the start."""
    side = request["tile"]
    pixels = draw_scene(SceneOptions(height_px=side, width_px=side, seed=4)).pixels[None]
    valid = pixels.any(axis=1)
    began = time.perf_counter()
    predictor = load_predictor(find_package(request["model"]), Execution(**request["way"], threads=request["threads"]))
    layers = predictor.predict(pixels, valid)
    first_s = time.perf_counter() - began
    times = []
    for _ in range(_PASSES):
        began = time.perf_counter()
        predictor.predict(pixels, valid)
        times.append(time.perf_counter() - began)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    if request["labels"]:
        np.save(request["labels"], np.where(valid, layers[:, 0], 255))
    return {"mpx_per_s": side**2 / 1e6 / min(times), "first_s": first_s, "peak_mb": peak_mb}


def start(request: dict[str, Any]) -> dict[str, Any]:
    """Measure in a new process."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_backends", "--request", json.dumps(request)]
    done = subprocess.run(command, env={**os.environ, **KEEPING}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="aerial")
    parser.add_argument("--tile", type=int, default=768)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", default="/tmp")
    parser.add_argument("--request", type=json.loads)
    given = parser.parse_args()
    if given.request:
        print(json.dumps(run_way(given.request)))
        return
    asked = {"model": given.model, "tile": given.tile, "threads": given.threads}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for turn in range(given.turns):
        for name, way in WAYS.items():
            found[name].append(start({**asked, "way": way, "labels": f"{given.folder}/{name}.npy" if turn == 0 else ""}))
    reference = np.load(f"{given.folder}/torch float32.npy")
    eager = max(run["mpx_per_s"] for run in found["torch float32"])
    for name, runs in found.items():
        speed, labels = max(run["mpx_per_s"] for run in runs), np.load(f"{given.folder}/{name}.npy")
        same = (labels == reference)[reference != 255].mean()
        first, peak = min(run["first_s"] for run in runs), max(run["peak_mb"] for run in runs)
        print(f"{name:18} {speed:5.2f} Mpx/s  {speed / eager:4.2f} x eager  first {first:4.1f} s  peak {peak:5.0f} MB  labels {same:.4%}")


if __name__ == "__main__":
    main()

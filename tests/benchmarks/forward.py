"""The bare forward pass: the network alone, its input ready, nothing normalized and nothing decoded.

python -m tests.benchmarks.forward '{"model": ..., "backend": ..., "device": ..., "precision": ..., "tile": [H, W], "batch": 1,
"batches": 8, "threads": 2}'

It does not use geoseg's predictors: what they add to the network is to be seen in the comparison.
"""

import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geoseg.allocator import KEEPING
from geoseg.model.gpu import forbid_tf32
from geoseg.model.network import build_network, load_weights
from geoseg.model.package import find_package
from tests.benchmarks.children import Child, run_part

_OPSET = 17
_WARM_UP = 2


def run_forward(request: dict[str, object]) -> Child:
    """Measure in a new process that keeps freed memory as the command geoseg does."""
    return run_part("forward", request, threads=int(str(request["threads"])), extra=KEEPING)


def measure_forward(request: dict[str, object]) -> dict[str, object]:
    """Time passes of one network, backend, device, precision, tile and batch after two that warm up.

    Returns:
        ``seconds`` of all passes, ``cpu_s`` of the processor, their ``mpx``, and ``first_s``, what loading, compiling and warming up took.
    """
    tile, batch, passes = request["tile"], int(str(request["batch"])), int(str(request["batches"]))
    assert isinstance(tile, list)
    torch.set_num_threads(int(str(request["threads"])))
    began = time.perf_counter()
    package = find_package(Path(str(request["model"])))
    module = build_network(package.spec).eval()
    load_weights(module, package.weights)
    noise = torch.randn(batch, len(package.spec.bands), *tile, generator=torch.Generator().manual_seed(0))
    way = _in_onnxruntime if request["backend"] == "onnx" else _in_torch
    call, wait = way(module, noise, request)
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            call()
        wait()
        ready, worked = time.perf_counter(), time.process_time()
        for _ in range(passes):
            call()
        wait()
    found = {"seconds": time.perf_counter() - ready, "cpu_s": time.process_time() - worked}
    return {**found, "mpx": passes * batch * tile[0] * tile[1] / 1e6, "first_s": ready - began}


Call = Callable[[], object]


def _in_torch(module: nn.Module, noise: torch.Tensor, request: dict[str, object]) -> tuple[Call, Call]:
    device, dtype = str(request["device"]), getattr(torch, str(request["precision"]))
    if device.startswith("cuda"):
        # as the run does
        forbid_tf32()
    module = module.to(device, dtype, memory_format=torch.channels_last)
    ready = noise.to(device, dtype).contiguous(memory_format=torch.channels_last)
    if request["backend"] == "compile":
        module.compile(dynamic=False, options={"freezing": True} if device == "cpu" else {})
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    return lambda: module(ready), wait


def _in_onnxruntime(module: nn.Module, noise: torch.Tensor, request: dict[str, object]) -> tuple[Call, Call]:
    import onnxruntime

    exported = io.BytesIO()
    with warnings.catch_warnings():
        # the exporter that needs no further package warns that there is a newer one
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (noise,), exported, dynamo=False, opset_version=_OPSET, input_names=["image"], output_names=["logits"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(str(request["threads"]))
    cuda = str(request["device"]).startswith("cuda")
    provider = "CUDAExecutionProvider" if cuda else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(f"this onnxruntime has no {provider}")
    session = onnxruntime.InferenceSession(exported.getvalue(), options, providers=[provider])
    image = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(noise.numpy()), "cuda" if cuda else "cpu", 0)
    return lambda: session.run_with_ort_values(["logits"], {"image": image}), lambda: None


if __name__ == "__main__":
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    print(json.dumps(measure_forward(json.loads(sys.argv[1]))))

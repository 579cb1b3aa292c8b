"""What networks run on: the GPU and its driver, onnxruntime, torch, the shipped models; and a small run that tries them."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from geoseg.doctor.finding import REINSTALL, Finding, describe_error, failed, ok, warning
from geoseg.interpreter import python_command

_LIMIT_S = 300
_LEAST_AGREEMENT = 0.999
"""Share of labels that two backends have in common; sums in another order turn a few in a million."""
_LEAST_RIGHT = 0.6
"""Share of a drawn scene that the shipped model knows at least; it knows 0.8 of the one that is drawn here."""
_WAYS = (("onnx", "cpu"), ("torch", "cpu"))
"""Backends and devices; the first is what others are compared with."""


def look_at_gpu() -> Iterator[Finding]:
    """Tell what GPU there is, or why none is used."""
    from geoseg.model.device import count_gpus

    driver = _ask_driver()
    if count_gpus() == 0:
        if driver:
            yield warning("GPU", f"the driver sees {driver}, but CUDA does not start", "Restart the machine, or install the driver anew.")
        else:
            why = "CUDA_VISIBLE_DEVICES hides it" if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") else "no NVIDIA driver answers"
            yield ok("GPU", f"none: {why}. geoseg works on the processor")
        return
    yield _ask_torch(driver)


def _ask_driver() -> str:
    """Return names, drivers and memory of the GPUs as nvidia-smi tells them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip())


def _ask_torch(driver: str) -> Finding:
    try:
        import torch
    except Exception as exc:
        return failed(
            "GPU", f"{driver}; torch cannot be loaded: {describe_error(exc)}", "Install torch anew: pip install --force-reinstall torch."
        )
    if torch.version.cuda is None:
        return warning(
            "GPU",
            f"{driver}; torch {torch.__version__} was built for the processor only",
            "Install the CUDA build: https://pytorch.org/get-started.",
        )
    if not torch.cuda.is_available():
        return warning(
            "GPU",
            f"{driver}; torch {torch.__version__} is built for CUDA {torch.version.cuda}, and cannot start it",
            "Update the driver, or install a torch that is built for an older CUDA.",
        )
    return ok("GPU", f"{driver}; torch {torch.__version__} with CUDA {torch.version.cuda}")


def look_at_onnxruntime() -> Iterator[Finding]:
    """Tell which providers onnxruntime has."""
    from geoseg.model.device import count_gpus

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    told = f"{onnxruntime.__version__} on {', '.join(providers)}"
    if count_gpus() and "CUDA" not in providers:
        yield warning("onnxruntime", f"{told}, without the GPU", "For --backend onnx on the GPU, install onnxruntime-gpu in its place.")
    else:
        yield ok("onnxruntime", told)


def look_at_models() -> Iterator[Finding]:
    """Compare the shipped models with their checksums."""
    from geoseg.errors import GeosegError
    from geoseg.model.package import find_package, shipped_models

    fine = []
    for name, folder in shipped_models().items():
        try:
            fine.append(f"{name} {find_package(folder).spec.version}")
        except GeosegError as exc:
            yield failed(f"model {name}", str(exc), REINSTALL)
    if fine:
        yield ok("models", f"{', '.join(fine)}: weights are those that were shipped")
    else:
        yield failed("models", "no model is shipped with this installation", "Install geoseg from a release or a whole clone.")


def try_backends() -> Iterator[Finding]:
    """Run the shipped model on a small drawn scene by each backend, each in a process of its own, and compare labels.

    A library that crashes takes only its own process with it.
    """
    import numpy as np

    from geoseg.model.device import count_gpus

    labels = {}
    with tempfile.TemporaryDirectory(prefix="geoseg-doctor-") as work:
        for backend, device in (*_WAYS, *((("torch", "cuda"),) if count_gpus() else ())):
            told, name = _try_in_process(backend, device, Path(work)), f"self-test {backend} {device}"
            if "error" in told:
                yield failed(name, str(told["error"]), _advise(backend, device))
                continue
            labels[name] = np.load(Path(work, f"{backend}-{device}.npy"))
            yield _judge(name, told, _advise(backend, device))
    if len(labels) > 1:
        first, *others = labels.values()
        same = min(float((first == other).mean()) for other in others)
        message = f"backends agree on {same:.2%} of the labels"
        advice = "Install both libraries anew, and report it with this output."
        yield ok("self-test", message) if same >= _LEAST_AGREEMENT else failed("self-test", message, advice)


def _judge(name: str, told: dict[str, float | str], advice: str) -> Finding:
    right = float(told["right"])
    times = f"in {told['seconds']:.1f} s of the processor, {told['load_s']:.1f} s to load"
    if right < _LEAST_RIGHT:
        return failed(name, f"only {right:.0%} of a drawn scene are right, {times}", advice)
    return ok(name, f"{right:.0%} of a drawn scene are right, {times}")


def _advise(backend: str, device: str) -> str:
    if device != "cpu":
        return "Say --device cpu, and look at what is said of the GPU above."
    other = "torch" if backend == "onnx" else "onnx"
    library = "onnxruntime" if backend == "onnx" else "torch"
    return f"Install it anew: pip install --force-reinstall {library}. Until then say --backend {other}."


def _try_in_process(backend: str, device: str, folder: Path) -> dict[str, float | str]:
    command = python_command("-m", "geoseg.doctor.selftest", backend, device, str(folder))
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return {"error": f"nothing came of it in {_LIMIT_S} s"}
    if done.returncode < 0:
        return {"error": f"its process was ended by signal {-done.returncode}"}
    try:
        told: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["it said nothing"]
        return {"error": f"exit code {done.returncode}: {last[0]}"}
    return told

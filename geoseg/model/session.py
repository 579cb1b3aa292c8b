"""An ONNX model opened in onnxruntime; torch is never loaded."""

import os
from pathlib import Path
from typing import Any

from geoseg.errors import ModelError
from geoseg.model.execution import Execution
from geoseg.model.external import external_files
from geoseg.model.operators import count_operators

_BLOCKED_LAYOUT = "NchwcTransformer"
_FATAL = 4
"""Level of onnxruntime's log: what goes wrong is raised, and need not be printed as well."""


def open_session(model: bytes, name: str, execution: Execution, *, weights_folder: Path | None = None) -> Any:
    """Open a model in onnxruntime.

    Freed memory is kept for the next batch, and every piece of it is used again within a batch: without onnxruntime's memory
    pattern, which reserves the sum of what a batch takes, the peak is a third lower at the same speed (docs/backends.md).
    Layouts in blocks of channels, which pay where one convolution hands them to the next, are kept from a model that has only one.

    Args:
        model: An ONNX model.
        name: Of the model, for messages.
        execution: Device and threads.
        weights_folder: Where the files lie that the model names as external data; None refuses a model that names any.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        ModelError: If the model cannot be read, or onnxruntime has no provider for the device.
    """
    # its official builds write to a server about every session, and leave a file in the temporary folder; read when it is imported
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    named = external_files(model) if weights_folder is None else set()
    if named:
        raise ModelError(f"Model '{name}' would read {sorted(named)[0]!r} beside itself; a model in one file was expected.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = execution.pool_threads or execution.threads
    options.enable_mem_pattern = False
    options.log_severity_level = _FATAL
    # threads that wait by spinning take the processor from those that read and write
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights_folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights_folder.absolute()))
    providers = _providers(execution.device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers, disabled_optimizers=_not_worth_it(model))
    except Exception as exc:  # onnxruntime's errors share no public base
        raise ModelError(f"The weights of model '{name}' are no ONNX model that onnxruntime can read: {exc}") from exc
    first = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if first not in session.get_providers():
        raise ModelError(
            f"onnxruntime has {first}, but could not start it; CUDA 12 and cuDNN 9 must be installed. "
            "Choose --device cpu or --backend torch."
        )
    return session


def _not_worth_it(model: bytes) -> list[str]:
    """Name the optimizations of onnxruntime that cost a model more than they give."""
    return [_BLOCKED_LAYOUT] if count_operators(model)["Conv"] == 1 else []


def _providers(device: str, there: list[str]) -> list[Any]:
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in there:
        raise ModelError(
            f"The onnx backend was asked for on {device}, but this onnxruntime runs on the processor only (it has {', '.join(there)}). "
            "Install onnxruntime-gpu in its place, or choose --backend torch."
        )
    options = {"device_id": device.partition(":")[2] or "0", "use_tf32": "0"}
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]

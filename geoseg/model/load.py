"""From a package to a predictor, whichever library it needs; torch is loaded for its own backends only."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import Predictor
from geoseg.model.spec import BUILT, ModelSpec
from geoseg.plugins import MODELS, load_plugin

if TYPE_CHECKING:
    from torch import nn

LoadModel = Callable[[ModelPackage, Execution], Predictor]
"""What a plugin of ``geoseg.models`` is: it loads packages whose ``network.library`` is its name."""


def load_predictor(package: ModelPackage, execution: Execution) -> Predictor:
    """Load the model of a package.

    Args:
        package: The model.
        execution: Where and how it runs; per-pixel models always run on the processor, in onnxruntime.

    Raises:
        ModelError: If the model cannot be built, its weights do not fit, or the device is not there.
        ConfigError: If a plugin is needed that is not installed, or is broken.
    """
    library = package.spec.network.library
    if library not in BUILT:
        return _load_other(library)(package, execution)
    if execution.backend == "onnx":
        from geoseg.model.onnx import load_onnx

        return load_onnx(package, execution)
    from geoseg.model.network import build_network, load_weights

    module = build_network(package.spec)
    load_weights(module, package.weights)
    return run_network(package.spec, module, execution)


def _load_other(library: str) -> LoadModel:
    """Return what loads models whose networks geoseg does not build itself."""
    if library == "sklearn":
        from geoseg.model.pixelwise import load_pixelwise

        return lambda package, execution: load_pixelwise(package, execution.threads)
    if library == "onnx":
        from geoseg.model.onnxfile import load_onnx_file

        return load_onnx_file
    if library == "torch.export":
        from geoseg.model.program import load_program_file

        return load_program_file
    return cast(LoadModel, load_plugin(MODELS, library))


def run_network(spec: ModelSpec, module: "nn.Module", execution: Execution) -> Predictor:
    """Put a torch network on its device.

    Args:
        spec: What the model is.
        module: The network, with weights.
        execution: Where and how it runs; its backend is ``torch`` or ``compile``.
    """
    wrap = None
    if execution.backend == "compile":
        from geoseg.model.compiled import compile_network

        wrap = compile_network
    if execution.device == "cpu":
        from geoseg.model.eager import TorchPredictor

        return TorchPredictor(spec, module, precision=execution.precision, wrap=wrap, threads=execution.threads)
    from geoseg.model.gpu import GpuPredictor

    return GpuPredictor(spec, module, device=execution.device, precision=execution.precision, wrap=wrap)

"""Networks in forms that others run: ONNX and ``torch.export``. Both take scaled pixels and return logits."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.errors import ModelError, UsageError, WriteError
from geoseg.model.network import build_network, load_weights
from geoseg.model.package import ModelPackage

TOLERANCE = 1e-3
"""Largest difference between the logits of the exported network and torch's."""
_OPSET = 17


def export_onnx(package: ModelPackage, target: Path) -> float:
    """Write an ONNX file for tiles of the model's size and any batch, and compare it with torch.

    The card's spec travels along as the metadata ``geoseg_spec``.

    Returns:
        The largest difference of the logits.

    Raises:
        UsageError: If onnx or onnxruntime is not installed.
        ModelError: If the network cannot be expressed, or the result differs from torch by more than 1e-3.
        WriteError: If the target exists.
    """
    try:
        import onnx
        import onnxruntime
    except ModuleNotFoundError as exc:
        raise UsageError(f"ONNX export needs {exc.name}: pip install 'geoseg[onnx]'.") from exc
    module, tile = _load(package, target)
    part = target.with_name(f"{target.name}.part")
    try:
        with warnings.catch_warnings():
            # the exporter that needs no further package warns that there is a newer one
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (tile,),
                str(part),
                dynamo=False,
                opset_version=_OPSET,
                input_names=["image"],
                output_names=["logits"],
                dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            )
        written = onnx.load(part)
        onnx.helper.set_model_props(written, {"geoseg_spec": package.spec.model_dump_json()})
        onnx.save(written, part)
        session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"image": tile.numpy()})
        difference = _compare(module, tile, logits, package)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as exc:
        part.unlink(missing_ok=True)
        if isinstance(exc, ModelError):
            raise
        raise ModelError(f"Model '{package.spec.name}' cannot be expressed in ONNX: {exc}") from exc
    part.rename(target)
    return difference


def export_torch(package: ModelPackage, target: Path) -> float:
    """Write a ``torch.export`` archive for tiles of the model's size and any batch, and compare it with torch.

    Returns:
        The largest difference of the logits.

    Raises:
        ModelError: If the network cannot be expressed, or the result differs from torch by more than 1e-3.
        WriteError: If the target exists.
    """
    module, tile = _load(package, target)
    part = target.with_name(f"{target.stem}.part.pt2")
    try:
        program = torch.export.export(module, (tile,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, part)
        logits = torch.export.load(part).module()(tile)
        difference = _compare(module, tile, logits.detach().numpy(), package)
    except (RuntimeError, ValueError) as exc:
        part.unlink(missing_ok=True)
        if isinstance(exc, ModelError):
            raise
        raise ModelError(f"Model '{package.spec.name}' cannot be exported by torch: {exc}") from exc
    part.rename(target)
    return difference


def _load(package: ModelPackage, target: Path) -> tuple[nn.Module, Tensor]:
    """Return the network and two random tiles."""
    if target.exists():
        raise WriteError(f"{target} is there already. Choose a new name with -o, or remove it.")
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    module = build_network(package.spec)
    load_weights(module, package.weights)
    side = package.spec.tile_size_px
    return module.eval(), torch.randn(2, len(package.spec.bands), side, side, generator=torch.Generator().manual_seed(0))


def _compare(module: nn.Module, tile: Tensor, logits: np.ndarray, package: ModelPackage) -> float:
    with torch.inference_mode():
        difference = float(np.abs(module(tile).numpy() - logits).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"The export of '{package.spec.name}' differs from torch by {difference:.2g} in its logits; at most {TOLERANCE} is let pass."
        )
    return difference

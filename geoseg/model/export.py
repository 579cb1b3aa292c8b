"""Networks in forms that others run: ONNX and ``torch.export``. All take scaled pixels and return logits."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.errors import GeosegError, ModelError, UsageError, WriteError
from geoseg.model.deepness import describe_deepness
from geoseg.model.execution import Execution
from geoseg.model.graph import IMAGE, KEEP, LOGITS
from geoseg.model.network import build_network, load_weights
from geoseg.model.onnxfile import SPEC_KEY
from geoseg.model.package import GRAPH_NAME, WEIGHTS_NAME, ModelPackage, find_package, hash_file, write_card
from geoseg.model.predictor import Keep
from geoseg.model.session import open_session
from geoseg.model.spec import BUILT, ModelSpec

TOLERANCE = 1e-3
"""Largest difference between the logits of the exported network and torch's."""
_OPSET = 17
_BATCH = {0: "batch"}
_FREE = {0: "batch", 2: "height", 3: "width"}


def export_onnx(package: ModelPackage, target: Path) -> float:
    """Write an ONNX file for tiles of the model's size and any batch, and compare it with torch.

    The card's spec travels along as the metadata ``geoseg_spec``.

    Returns:
        The largest difference of the logits.

    Raises:
        UsageError: If onnx is not installed.
        ModelError: If the network cannot be expressed, or the result differs from torch by more than 1e-3.
        WriteError: If the target exists.
    """
    onnx = _import_onnx()
    side = package.spec.tile_size_px
    module = _load(package, target)
    part = target.with_name(f"{target.name}.part")
    try:
        model = trace_onnx(module, _tile(package, side, side), _BATCH)
        onnx.helper.set_model_props(model, {SPEC_KEY: package.spec.model_dump_json()})
        onnx.save(model, part)
        difference = _compare_onnx(package, module, part.read_bytes(), [(side, side)])
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return difference


def export_deepness(package: ModelPackage, target: Path) -> float:
    """Write an ONNX file for Deepness, GeoDeep and WebODM, and compare it with torch.

    It takes bytes / 255, as they give them, and gives the probabilities of the classes; scaling is part of the network. The keys that they
    read, and the card's spec, travel along.

    Returns:
        The largest difference of the probabilities.

    Raises:
        UsageError: If onnx is not installed.
        ModelError: If the model is not for three bands of bytes, cannot be expressed, or the result differs from torch by more than 1e-3.
        WriteError: If the target exists.
    """
    onnx = _import_onnx()
    spec = package.spec
    if len(spec.bands) != 3 or spec.dtype not in (None, "uint8"):
        raise ModelError(
            f"Model '{spec.name}' takes {len(spec.bands)} bands of {spec.dtype or 'any type'}; Deepness and GeoDeep give three of uint8. "
            "Export it with --format onnx."
        )
    side = spec.tile_size_px
    module = ProbabilitiesOfBytes(spec, _load(package, target)).eval()
    part = target.with_name(f"{target.name}.part")
    try:
        model = trace_onnx(module, _tile(package, side, side), _BATCH)
        onnx.helper.set_model_props(model, {**describe_deepness(spec), SPEC_KEY: spec.model_dump_json()})
        onnx.save(model, part)
        difference = _compare_onnx(package, module, part.read_bytes(), [(side, side)])
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return difference


class ProbabilitiesOfBytes(nn.Module):
    """A network with its scaling before it and its activation after it.

    Args:
        spec: What the model is.
        network: From scaled pixels to logits.
    """

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        head = spec.heads["semantic"]
        self._channels = slice(head.start, head.stop)
        mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (spec.mean, spec.std))
        self.scale, self.offset = nn.Buffer(255 / std), nn.Buffer(mean / std)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the probabilities (N, K, H, W) of the classes of pixels (N, B, H, W) in 0..1."""
        logits = self.network(pixels * self.scale - self.offset)
        probabilities: Tensor = logits[:, self._channels].softmax(dim=1)
        return probabilities


def export_graph(package: ModelPackage, target: Path) -> float:
    """Write the network as an ONNX graph for tiles of any size, whose weights stay in the package's safetensors file.

    Returns:
        The largest difference of the logits, over two shapes of tile.

    Raises:
        UsageError: If onnx is not installed.
        ModelError: If the network cannot be expressed, or the result differs from torch by more than 1e-3.
        WriteError: If the target exists.
    """
    onnx = _import_onnx()
    from geoseg.model.slim import slim_graph

    module, stride = _load(package, target), package.spec.network.stride_px
    # sides that differ, and an odd number of strides, so that no size is taken for a constant of the network
    shapes = [(4 * stride, 7 * stride), (5 * stride, 4 * stride)]
    traced = trace_onnx(module, _tile(package, *shapes[0]), _FREE, folded=False)
    part = target.with_name(f"{target.name}.part")
    try:
        onnx.save(slim_graph(traced, package.weights, shapes[0]), part)
        difference = _compare_onnx(package, module, part.read_bytes(), shapes)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return difference


def add_graph(package: ModelPackage) -> tuple[ModelPackage, float]:
    """Write the graph of a package beside its weights, in place of an older one, and into its card.

    The package is whole at every moment: its card does not name the graph while it is replaced.

    Returns:
        The package with its graph, and the largest difference of the logits.

    Raises:
        UsageError: If onnx is not installed.
        ModelError: If the network cannot be expressed, or the result differs from torch by more than 1e-3.
        WriteError: If the folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=package.folder, prefix=".geoseg-") as work:
            difference = export_graph(package, Path(work) / GRAPH_NAME)
            write_card(package.folder, package.spec, with_graph=False)
            (Path(work) / GRAPH_NAME).replace(package.folder / GRAPH_NAME)
    except OSError as exc:
        if isinstance(exc, GeosegError):
            raise
        raise WriteError(f"The graph could not be written to {package.folder}: {exc}. Check the permissions of the folder.") from exc
    return write_card(package.folder, package.spec), difference


def write_graph(folder: Path, spec: ModelSpec, say: Callable[[str], None]) -> None:
    """Write the graph of the weights that lie in a folder, in place of an older one, so that onnxruntime runs them without torch.

    Where it cannot be written (without onnx, or of a network that ONNX does not express) the package is whole without it.
    """
    (folder / GRAPH_NAME).unlink(missing_ok=True)
    package = ModelPackage(folder=folder, spec=spec, sha256=hash_file(folder / WEIGHTS_NAME))
    try:
        _, difference = add_graph(package)
    except UsageError as exc:
        say(f"graph: none. {exc}")
        return
    say(f"graph: its logits differ from torch's by at most {difference:.1e}")


def export_graph_of(folder: str, target: str) -> None:
    """Write the graph of the package in a folder; what another process is started for.

    Raises:
        GeosegError: As :func:`export_graph` and :func:`geoseg.model.package.find_package` do.
    """
    export_graph(find_package(folder), Path(target))


def export_torch(package: ModelPackage, target: Path) -> float:
    """Write a ``torch.export`` archive for tiles of the model's size and any batch, and compare it with torch.

    Returns:
        The largest difference of the logits.

    Raises:
        ModelError: If the network cannot be expressed, or the result differs from torch by more than 1e-3.
        WriteError: If the target exists.
    """
    side = package.spec.tile_size_px
    module, tile = _load(package, target), _tile(package, side, side)
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


def trace_onnx(module: nn.Module, tile: Tensor, free: dict[int, str], *, folded: bool = True) -> Any:
    """Express a network in ONNX.

    Args:
        module: In evaluation mode.
        tile: Pixels that it is traced with.
        free: Names of the axes of input and output whose sizes are left open.
        folded: Whether batch norm goes into the weights of convolutions; otherwise weights keep their names and values.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        UsageError: If onnx is not installed.
        ModelError: If the network cannot be expressed.
    """
    onnx = _import_onnx()
    mode = torch.onnx.TrainingMode
    try:
        with tempfile.TemporaryDirectory(prefix="geoseg-") as work, warnings.catch_warnings():
            # the exporter that needs no further package warns that there is a newer one
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (tile,),
                f"{work}/traced.onnx",
                dynamo=False,
                opset_version=_OPSET,
                input_names=[IMAGE],
                output_names=[LOGITS],
                dynamic_axes={IMAGE: free, LOGITS: free},
                do_constant_folding=folded,
                training=mode.EVAL if folded else mode.PRESERVE,
            )
            return onnx.load(f"{work}/traced.onnx")
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as exc:
        # what follows is torch's graph
        first = str(exc).strip().partition("\n")[0].partition("  [Caused by")[0]
        raise ModelError(f"The network cannot be expressed in ONNX: {first}") from exc


def _import_onnx() -> Any:
    try:
        import onnx
    except ModuleNotFoundError as exc:
        raise UsageError("ONNX models are run without the package onnx, but writing one needs it: pip install 'geoseg[onnx]'.") from exc
    return onnx


def _load(package: ModelPackage, target: Path) -> nn.Module:
    if target.exists():
        raise WriteError(f"{target} is there already. Choose a new name with -o, or remove it.")
    if package.spec.network.library not in BUILT:
        raise ModelError(
            f"Model '{package.spec.name}' is no network that geoseg builds: its weights are what others run. Use --format package."
        )
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    module = build_network(package.spec)
    load_weights(module, package.weights)
    return module.eval()


def _tile(package: ModelPackage, height: int, width: int) -> Tensor:
    """Return two random tiles."""
    return torch.randn(2, len(package.spec.bands), height, width, generator=torch.Generator().manual_seed(0))


def _compare_onnx(package: ModelPackage, module: nn.Module, model: bytes, shapes: list[tuple[int, int]]) -> float:
    session = open_session(model, package.spec.name, Execution(), weights_folder=package.folder)
    differences = []
    for shape in shapes:
        tile, whole = _tile(package, *shape), (slice(0, shape[0]), slice(0, shape[1]))
        inner = slice(shape[0] // 3, shape[0] - 1), slice(0, shape[1] // 2)
        for rows, cols in [whole, inner] if len(session.get_inputs()) > 1 else [whole]:
            given = {IMAGE: tile.numpy(), KEEP: np.array([rows.start, cols.start, rows.stop, cols.stop])}
            try:
                (logits,) = session.run([LOGITS], {port.name: given[port.name] for port in session.get_inputs()})
            except Exception as exc:  # onnxruntime's errors share no public base
                raise ModelError(f"Model '{package.spec.name}' cannot be expressed in ONNX for tiles of {shape} px: {exc}") from exc
            differences.append(_compare(module, tile, logits, package, (rows, cols)))
    return max(differences)


def _compare(module: nn.Module, tile: Tensor, logits: np.ndarray, package: ModelPackage, keep: Keep = (slice(None), slice(None))) -> float:
    with torch.inference_mode():
        expected = module(tile).numpy()[:, :, *keep]
    difference = float(np.abs(expected - logits).max()) if expected.shape == logits.shape else float("inf")
    if not difference <= TOLERANCE:
        raise ModelError(
            f"The export of '{package.spec.name}' differs from torch by {difference:.2g} in its logits; at most {TOLERANCE} is let pass."
        )
    return difference

"""ONNX models from elsewhere; nothing but onnxruntime is needed to read them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from geoseg.errors import MissingFileError, ModelError, UsageError
from geoseg.model.deepness import is_deepness, read_deepness
from geoseg.model.detector import DetectorPredictor
from geoseg.model.execution import Execution
from geoseg.model.external import external_files
from geoseg.model.package import ModelPackage
from geoseg.model.ported import PortedPredictor, RunGraph
from geoseg.model.ports import read_ports
from geoseg.model.predictor import Predictor
from geoseg.model.session import open_session
from geoseg.model.sheet import Sheet, merge
from geoseg.model.spec import ModelSpec
from geoseg.model.whole import Whole

SPEC_KEY = "geoseg_spec"
"""Metadata of an ONNX model that geoseg exported: the spec of its package."""
_LARGEST_BYTES = 2 * 1024**3
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_MOST_BANDS = 64
_KEPT = ("name", "version", "description", "license", "bands", "classes", "resolution_m", "coarsest_m", "training_data", "accuracy")


def read_onnx(path: Path) -> bytes:
    """Read an ONNX model; weights in files beside it are taken into it.

    Raises:
        MissingFileError: If the model or its weights are not there.
        ModelError: If it is no ONNX model, is larger than 2 GiB, or names files that do not lie beside it.
        UsageError: If its weights lie beside it, and the package onnx is not installed to bring them in.
    """
    if list_files(path) == [path]:
        return path.read_bytes()
    try:
        import onnx
    except ModuleNotFoundError as exc:
        raise UsageError(f"{path} keeps weights in a file of their own; taking them in needs onnx: pip install 'geoseg[onnx]'.") from exc
    try:
        return bytes(onnx.load(path).SerializeToString())
    except Exception as exc:  # its errors share no public base
        raise ModelError(f"The weights of {path} cannot be brought into one file: {exc}") from exc


def list_files(path: Path) -> list[Path]:
    """Return an ONNX model's file, and those beside it that hold weights.

    Raises:
        MissingFileError: If one of them is not there.
        ModelError: If it is no ONNX model, one is larger than 2 GiB, or it names files that do not lie beside it.
    """
    _check_file(path)
    files = [path]
    for name in sorted(external_files(path.read_bytes())):
        if Path(name).name != name or "\\" in name or name in ("", "..") or (path.parent / name).is_symlink():
            raise ModelError(f"{path} would read {name!r}; only files beside it may be read, and no links. Do not use it.")
        _check_file(path.parent / name)
        files.append(path.parent / name)
    return files


def load_onnx_file(package: ModelPackage, execution: Execution) -> Predictor:
    """Load a package whose weights are a whole ONNX model.

    Raises:
        ModelError: If onnxruntime cannot read it, or it does not fit the card.
    """
    name, ports = f"Model '{package.spec.name}'", read_ports(package.spec)
    session = open_session(package.weights.read_bytes(), package.spec.name, execution)
    there = {given.name for given in (*session.get_inputs(), *session.get_outputs())}
    missing = [tensor for tensor in (ports.input, *ports.outputs) if tensor not in there]
    if missing:
        raise ModelError(f"{name} has no tensor {missing[0]!r}; it has {', '.join(sorted(there))}. Import it again.")
    run = session_runner(session, name, ports.input, ports.outputs)
    if ports.decoder is not None:
        return DetectorPredictor(package.spec, run, threads=execution.threads)
    return PortedPredictor(package.spec, run, threads=execution.threads)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(f"There is no {path}, which holds a model or its weights. Get the whole model.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise ModelError(
            f"{path} has {path.stat().st_size / 1e9:.1f} GB; ONNX models in one file have {_LARGEST_BYTES / 1e9:.1f} GB at most."
        )


def open_whole(origin: str, content: bytes, ports: Sheet) -> Whole:
    """Read what an ONNX model says of itself.

    Args:
        origin: Its file, for messages.
        content: The model.
        ports: What is said of its tensors: ``input`` where it has several.

    Raises:
        ModelError: If onnxruntime cannot read it, it takes no images, or its metadata do not fit.
    """
    session = open_session(content, origin, Execution())
    given = _find_input(session.get_inputs(), origin)
    meta: dict[str, str] = session.get_modelmeta().custom_metadata_map
    outputs = session.get_outputs()
    shape = _read_shape(given, origin, ports)
    names = tuple(output.name for output in outputs)
    channels = tuple(_channels(output.shape) for output in outputs)
    return Whole(
        origin=origin,
        library="onnx",
        input=given.name,
        outputs=names,
        dtype=_DTYPES[given.type],
        told=merge(read_deepness(meta, shape["bands"], channels, names), _read_spec(meta, origin)),
        probabilities=is_deepness(meta),
        run=lambda wanted: session_runner(session, origin, given.name, wanted),
        **shape,
    )


def session_runner(session: Any, origin: str, given: str, outputs: tuple[str, ...]) -> RunGraph:
    """Return what runs a session on the input of a batch; its errors become :class:`geoseg.errors.ModelError`."""

    def run(batch: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            return [np.asarray(output) for output in session.run(list(outputs), {given: batch})]
        except Exception as exc:  # onnxruntime's errors share no public base
            raise ModelError(f"{origin} cannot be run on an input of {batch.shape}: {exc}") from exc

    return run


def _find_input(inputs: list[Any], origin: str) -> Any:
    if len(inputs) != 1:
        raise ModelError(
            f"{origin} has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); one image was expected. Export it so that it takes "
            "the image alone; of a graph beside weights of geoseg's, name the folder."
        )
    if inputs[0].type not in _DTYPES:
        raise ModelError(f"The input of {origin} is a {inputs[0].type}; one of {', '.join(_DTYPES)} was expected.")
    return inputs[0]


def _read_shape(given: Any, origin: str, ports: Sheet) -> dict[str, Any]:
    """Return batch, bands and size of the input, and whether its channels come last."""
    sizes = [size if isinstance(size, int) and size > 0 else None for size in given.shape]
    batched = len(sizes) != 3 or ports.get("decoder") is None
    if not batched:
        sizes = [1, *sizes]
    if len(sizes) != 4:
        raise ModelError(f"The input of {origin} has {len(sizes)} axes {given.shape}; an image (N, C, H, W) was expected.")
    last = ports.get("channels_last")
    if last is None:
        last = _is_few(sizes[3]) and not _is_few(sizes[1])
    batch, bands, rows, cols = (sizes[0], sizes[3], sizes[1], sizes[2]) if last else sizes
    if (rows is None) != (cols is None):
        raise ModelError(f"The input of {origin} has {given.shape} axes, one side fixed and one free; both or none were expected.")
    size = None if rows is None or cols is None else (rows, cols)
    return {"batch": batch, "bands": bands, "size_px": size, "channels_last": bool(last), "batched": batched}


def _is_few(size: int | None) -> bool:
    return size is not None and size <= _MOST_BANDS


def _channels(shape: list[Any]) -> int | None:
    if len(shape) == 3:
        return 1
    return shape[1] if len(shape) == 4 and isinstance(shape[1], int) else None


def _read_spec(meta: dict[str, str], origin: str) -> Sheet:
    """Return what the card said of a model that geoseg exported for Deepness."""
    if SPEC_KEY not in meta or not is_deepness(meta):
        return {}
    try:
        spec = ModelSpec.model_validate_json(meta[SPEC_KEY])
    except ValidationError as exc:
        raise ModelError(f"The key {SPEC_KEY} of {origin} holds no spec of geoseg: {exc.error_count()} faults. Export it again.") from exc
    return spec.model_dump(include=set(_KEPT), exclude_none=True)

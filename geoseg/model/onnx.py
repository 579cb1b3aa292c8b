"""A network as an ONNX graph in onnxruntime. Torch is never loaded here."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.model.execution import Execution
from geoseg.model.graph import IMAGE, KEEP, LAYOUT_KEY, LOGITS, find_graph, read_graph
from geoseg.model.layout import layout_of
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import Keep
from geoseg.model.scored import ScoredPredictor
from geoseg.model.session import open_session
from geoseg.model.spec import ModelSpec
from geoseg.pixels.compiled import load_compiled
from geoseg.pixels.normalize import normalize_batch


class OnnxPredictor(ScoredPredictor):
    """A network in onnxruntime, in float32. Scaling and decoding run on the processor, in as many threads.

    Args:
        spec: What the model is.
        session: An ``onnxruntime.InferenceSession`` that gives logits (N, C, H, W) of scaled pixels (N, B, H, W).
        threads: Processor threads; 0 takes all.

    Raises:
        ModelError: If the graph takes other bands, or gives other channels, than the spec says.
    """

    def __init__(self, spec: ModelSpec, session: Any, *, threads: int = 0) -> None:
        super().__init__(spec, partial(_score, spec, session), threads=threads)
        _check_graph(spec, session)
        load_compiled()


def _score(spec: ModelSpec, session: Any, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep, threads: int) -> NDArray[np.float32]:
    given = {IMAGE: normalize_batch(pixels, valid, spec.scaling, threads=threads)}
    may_trim = len(session.get_inputs()) > 1
    if may_trim:
        rows, cols = keep
        given[KEEP] = np.array([rows.start, cols.start, rows.stop, cols.stop], np.int64)
    expected = len(pixels), spec.channels, *(valid[:, *keep] if may_trim else valid).shape[1:]
    try:
        (logits,) = session.run([LOGITS], given)
    except Exception as exc:  # onnxruntime's errors share no public base
        raise ModelError(f"The graph of model '{spec.name}' cannot be run on a batch of {pixels.shape}: {exc}") from exc
    if logits.shape != expected:
        raise ModelError(f"The graph of model '{spec.name}' gives {logits.shape}; {expected} was expected.")
    return np.asarray(logits if may_trim else logits[:, :, *keep], np.float32)


def load_onnx(package: ModelPackage, execution: Execution) -> OnnxPredictor:
    """Load a package into onnxruntime: by the graph that lies beside its weights, else by the one that is exported once and kept.

    Raises:
        ModelError: If there is no graph and none can be made, onnxruntime cannot read it, it does not fit the spec, or another
            precision than float32 is asked for on a GPU.
    """
    if execution.device != "cpu" and execution.precision != "float32":
        raise ModelError(
            f"The onnx backend computes in float32; {execution.precision} was asked for on {execution.device}. "
            "Choose --backend torch or compile for it."
        )
    graph = read_graph(find_graph(package, execution.cache))
    session = open_session(graph, package.spec.name, execution, weights_folder=package.folder)
    _check_layout(package, session)
    return OnnxPredictor(package.spec, session, threads=execution.threads)


def _check_layout(package: ModelPackage, session: Any) -> None:
    expected = layout_of(package.weights)
    if session.get_modelmeta().custom_metadata_map.get(LAYOUT_KEY) != expected:
        raise ModelError(
            f"The graph of model '{package.spec.name}' was made for weights that lie otherwise in their file (expected layout "
            f"{expected[:12]}...). Make it anew: geoseg models graph {package.folder}."
        )


def _check_graph(spec: ModelSpec, session: Any) -> None:
    taken, given = session.get_inputs(), session.get_outputs()
    found = [(p.name, p.type, p.shape[1] if len(p.shape) == 4 else p.shape) for p in (*taken, *given)]
    expected = [(IMAGE, "tensor(float)", len(spec.bands)), (LOGITS, "tensor(float)", spec.channels)]
    if [port for port in found if port != (KEEP, "tensor(int64)", [4])] != expected:
        raise ModelError(
            f"The graph of model '{spec.name}' goes from and to {found}; {expected} was expected (name, type, channels). "
            "Make it anew: geoseg models graph FOLDER."
        )

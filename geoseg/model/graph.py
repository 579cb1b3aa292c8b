"""The ONNX graph of a package: beside its weights, or exported once and kept. Torch is only loaded in another process."""

import hashlib
import json
import os
import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_cache_dir

from geoseg import __version__
from geoseg.errors import MissingFileError, ModelError
from geoseg.interpreter import python_command
from geoseg.model.external import external_files
from geoseg.model.package import GRAPH_NAME, WEIGHTS_NAME, ModelPackage

IMAGE, LOGITS = "image", "logits"
"""Names of a graph's input, scaled pixels (N, B, H, W), and of its output (N, C, H, W); N, H and W are free."""
KEEP = "keep"
"""Name of an input that a graph may have: first row and column of the part of the tiles that is wanted, and those after its last."""
LAYOUT_KEY = "geoseg_weights_layout"
"""Metadata of a graph: the layout of the safetensors file that it points into."""
_EXPORT = "import sys; from geoseg.model.export import export_graph_of; export_graph_of(sys.argv[1], sys.argv[2])"
_TIMEOUT_S = 600
_WRITTEN_AS = 4
"""Goes up when the same version of geoseg begins to write other graphs."""


def graph_cache() -> Path:
    """Return the folder where exported graphs are kept unless another one is named."""
    return Path(user_cache_dir("geoseg", appauthor=False)) / "graphs"


def has_graph(package: ModelPackage, cache: Path | None = None) -> bool:
    """Tell whether onnxruntime can run a package without torch being loaded first.

    Args:
        package: The model.
        cache: Folder of exported graphs; None takes :func:`graph_cache`.
    """
    return _own_graph(package) is not None or _cached(package, cache).is_file()


def find_graph(package: ModelPackage, cache: Path | None = None) -> Path:
    """Return the graph of a package; exports it in another process, and keeps it, where there is none.

    The graph's weights lie in the package's folder, wherever the graph lies.

    Args:
        package: The model.
        cache: Folder of exported graphs; None takes :func:`graph_cache`.

    Raises:
        ModelError: If the network cannot be expressed in ONNX, or torch or onnx are missing.
    """
    own = _own_graph(package)
    if own is not None:
        return own
    kept = _cached(package, cache)
    if not kept.is_file():
        _export(package, kept)
    return kept


def read_graph(path: Path) -> bytes:
    """Read a graph, and refuse one that would open other files than the weights beside it.

    Raises:
        MissingFileError: If it is gone.
        ModelError: If it is no ONNX model or names another file.
    """
    try:
        graph = path.read_bytes()
    except FileNotFoundError as exc:
        raise MissingFileError(f"The graph {path} is gone. Start again; it is made anew.") from exc
    named = external_files(graph) - {WEIGHTS_NAME}
    if named:
        raise ModelError(
            f"The graph {path} would read {sorted(named)[0]!r}; only {WEIGHTS_NAME} beside it may be read. "
            "It was not made by geoseg; do not use it."
        )
    return graph


def _own_graph(package: ModelPackage) -> Path | None:
    if package.spec.network.library == "sklearn":
        return package.weights
    return package.graph


def _cached(package: ModelPackage, cache: Path | None) -> Path:
    """Return where the graph of a package is kept: one file for its weights, its network and the versions that write it."""
    spec = package.spec
    network = [spec.network.model_dump(mode="json"), len(spec.bands), spec.channels]
    what = [package.sha256, *network, __version__, _WRITTEN_AS, _version("torch")]
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    return (cache or graph_cache()) / f"{key}.onnx"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _export(package: ModelPackage, target: Path) -> None:
    """Export in another process, aside, and rename: others find it whole or not at all, and the last of two wins."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".geoseg-") as work:
            made = Path(work) / GRAPH_NAME
            command = python_command("-c", _EXPORT, str(package.folder.absolute()), str(made))
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
            if done.returncode or not made.is_file():
                raise ModelError(
                    f"Model '{package.spec.name}' cannot be run by onnxruntime: {_reason(done.stderr)} Choose --backend torch."
                )
            os.replace(made, target)
    except subprocess.TimeoutExpired as exc:
        raise ModelError(f"The export of model '{package.spec.name}' took longer than {_TIMEOUT_S} s. Choose --backend torch.") from exc
    except OSError as exc:
        raise ModelError(f"The graph of model '{package.spec.name}' could not be kept in {target.parent}: {exc}.") from exc


def _reason(said: str) -> str:
    """Return the message of the error that ended a process."""
    last = (said.strip().splitlines() or ["its export ended without a word."])[-1]
    return last.partition(": ")[2] or last

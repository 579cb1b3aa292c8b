"""Model packages: a folder with ``model.json`` (a STAC Item with the MLM extension) beside the weights."""

import hashlib
import json
import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from geoseg import __version__
from geoseg.errors import MissingFileError, ModelError, WriteError
from geoseg.model.spec import ModelSpec

CARD_NAME = "model.json"
WEIGHTS_NAME = "weights.safetensors"
ONNX_NAME = "weights.onnx"
PROGRAM_NAME = "weights.pt2"
GRAPH_NAME = "network.onnx"
DEFAULT_MODEL = "aerial"
_EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
)
_ARTIFACTS = {WEIGHTS_NAME: ("safetensors", "safetensors"), ONNX_NAME: ("onnx", "onnx"), PROGRAM_NAME: ("pt2", "torch.export.save")}
"""Media type and MLM's word for each kind of weights."""
_TITLES = {"sklearn": "Classifier of pixel features", "onnx": "Network, weights included", "torch.export": "Network, weights included"}
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPackage:
    """A checked package on disk."""

    folder: Path
    """Where it lies."""
    spec: ModelSpec
    """What ``model.json`` says."""
    sha256: str
    """Checksum of the weights, verified."""
    graph_sha256: str | None = None
    """Checksum of the network as an ONNX graph, verified; None where the package holds none."""

    @property
    def graph(self) -> Path | None:
        """The network as an ONNX graph, whose weights are those of the package."""
        return None if self.graph_sha256 is None else self.folder / GRAPH_NAME

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / weights_name(self.spec)


def weights_name(spec: ModelSpec) -> str:
    """Return the file name of a model's weights, which its library decides."""
    return {"sklearn": ONNX_NAME, "onnx": ONNX_NAME, "torch.export": PROGRAM_NAME}.get(spec.network.library, WEIGHTS_NAME)


def shipped_models() -> dict[str, Path]:
    """Return the folders of the models that come with geoseg, by name."""
    root = Path(str(files("geoseg.model") / "shipped"))
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{CARD_NAME}"))}


def packages_below(folder: Path) -> list[Path]:
    """Return the folders of all packages below a folder, but for hidden ones: there, packages are being made.

    Raises:
        MissingFileError: If there is no such folder, or no package in it.
    """
    found = [path.parent for path in sorted(folder.rglob(CARD_NAME)) if not _is_hidden(path.relative_to(folder))]
    if not found:
        raise MissingFileError(f"There is no model package ({CARD_NAME}) below {folder}. Check --folder.")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def find_package(model: str | Path) -> ModelPackage:
    """Read a package by the name of a shipped model or by its folder, and verify its checksums.

    Raises:
        MissingFileError: If the folder, its weights or its graph are missing, or no shipped model has that name.
        ModelError: If ``model.json`` does not fit or a checksum differs.
    """
    shipped = shipped_models()
    folder = shipped.get(str(model), Path(model))
    if not is_package(folder):
        names = ", ".join(shipped) or "none"
        raise MissingFileError(f"Model '{model}' is neither a shipped model ({names}) nor a folder with {CARD_NAME}. Check -m.")
    spec, checksum, graph_checksum = _read_card(folder / CARD_NAME)
    _verify(folder, weights_name(spec), checksum)
    if graph_checksum is not None:
        _verify(folder, GRAPH_NAME, graph_checksum)
    return ModelPackage(folder=folder, spec=spec, sha256=checksum, graph_sha256=graph_checksum)


def _verify(folder: Path, name: str, checksum: str) -> None:
    if not (folder / name).is_file():
        raise MissingFileError(f"Model package {folder} holds no {name}. Get the whole package again.")
    actual = hash_file(folder / name)
    if actual != checksum:
        what = "graph" if name == GRAPH_NAME else "weights"
        raise ModelError(
            f"The {what} of {folder} have SHA-256 {actual[:12]}..., {CARD_NAME} says {checksum[:12]}...: "
            "the package is damaged or was changed. Get it again."
        )


def is_package(folder: Path) -> bool:
    """Tell whether a folder holds a card."""
    try:
        return (folder / CARD_NAME).is_file()
    except OSError:
        # a name that no folder can have
        return False


def _read_card(path: Path) -> tuple[ModelSpec, str, str | None]:
    try:
        item = json.loads(path.read_text(encoding="utf-8"))
        spec = ModelSpec.model_validate(item["properties"]["geoseg:spec"])
        assets = item["assets"]
        weights, graph = assets["weights"], assets.get("graph")
        checksums = [weights["file:checksum"], *([graph["file:checksum"]] if graph else [])]
        if spec.created is None:
            spec = ModelSpec.model_validate({**spec.model_dump(), "created": item["properties"]["datetime"]})
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in exc.errors())
        raise ModelError(f"{path} does not describe a model: {faults}.") from exc
    except (AttributeError, OSError, ValueError, KeyError, RecursionError, TypeError) as exc:
        raise ModelError(
            f"{path} is not a model card of geoseg ({type(exc).__name__}: {exc}). Expected a STAC item with geoseg:spec."
        ) from exc
    for asset, name, checksum in zip((weights, graph), (weights_name(spec), GRAPH_NAME), checksums, strict=False):
        if asset.get("href") != f"./{name}" or not isinstance(checksum, str) or not checksum.startswith("1220"):
            raise ModelError(f"{path} must name ./{name} with a SHA-256 multihash (1220...); it names {asset.get('href')!r}.")
    plain = [checksum.removeprefix("1220") for checksum in checksums]
    return spec, plain[0], plain[1] if graph else None


def write_card(folder: Path, spec: ModelSpec, *, with_graph: bool = True) -> ModelPackage:
    """Write ``model.json`` for the weights that lie in a folder; a spec without a creation time gets the present one.

    Args:
        folder: Of the package.
        spec: What the model is.
        with_graph: Name the graph too, if one lies there.

    Raises:
        MissingFileError: If the weights are missing.
        WriteError: If the card cannot be written; an older one is left as it was.
    """
    weights = folder / weights_name(spec)
    if not weights.is_file():
        raise MissingFileError(f"There is no {weights} to describe.")
    if spec.created is None:
        spec = spec.model_copy(update={"created": datetime.now(UTC).replace(microsecond=0)})
    checksum, graph = hash_file(weights), folder / GRAPH_NAME
    item = to_stac_item(spec, checksum, weights.stat().st_size)
    item["properties"] |= _count_weights(weights)
    graph_checksum = hash_file(graph) if with_graph and graph.is_file() else None
    if graph_checksum is not None:
        item["assets"]["graph"] = _describe_graph(graph_checksum, graph.stat().st_size)
    _write_whole(folder / CARD_NAME, (json.dumps(item, indent=2, ensure_ascii=False) + "\n").encode())
    return ModelPackage(folder=folder, spec=spec, sha256=checksum, graph_sha256=graph_checksum)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that under its name there is only ever a complete one (law 9)."""
    part = path.with_name(f"{path.name}.part")
    try:
        try:
            with part.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        raise WriteError(f"{path} could not be written: {exc}. Check the permissions of its folder, and the room on its disk.") from exc


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _count_weights(path: Path) -> dict[str, int]:
    """Count parameters, and the bytes that they take in float32; nothing of what is no safetensors file."""
    parameters = elements = 0
    try:
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it has no other iterator
                count = math.prod(tensors.get_slice(name).get_shape())
                elements += count
                parameters += 0 if name.endswith(_BUFFERS) else count
    except (SafetensorError, OSError):
        return {}
    return {"mlm:total_parameters": parameters, "mlm:memory_size": 4 * elements}


def to_stac_item(spec: ModelSpec, sha256: str, size_bytes: int) -> dict[str, Any]:
    """Describe a model as a STAC Item with the MLM extension, version 1.4."""
    name = weights_name(spec)
    media, artifact = _ARTIFACTS[name]
    created = (spec.created or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    # MLM wants them among the properties, where STAC only takes them if an asset has them too
    bands = [{"name": band} for band in spec.bands]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": f"{spec.name}-{spec.version}",
        "geometry": None,
        "properties": {
            "title": spec.name,
            "description": spec.description,
            "license": spec.license,
            "datetime": created,
            "created": created,
            "providers": [{"name": d.name, "description": d.attribution, "roles": ["licensor"]} for d in spec.training_data],
            "bands": bands,
            "processing:software": {"geoseg": __version__},
            **_mlm_properties(spec),
            "geoseg:global_context": spec.network.global_context,
            "geoseg:training_data": [d.model_dump() for d in spec.training_data],
            "geoseg:accuracy": [m.model_dump() for m in spec.accuracy],
            "geoseg:spec": spec.model_dump(mode="json"),
        },
        "links": [],
        "assets": {
            "weights": {
                "href": f"./{name}",
                "type": f"application/octet-stream; application={media}",
                "title": _TITLES.get(spec.network.library, "Weights, float16"),
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": artifact,
                "bands": bands,
                "file:size": size_bytes,
                "file:checksum": f"1220{sha256}",
            }
        },
    }


def _describe_graph(sha256: str, size_bytes: int) -> dict[str, Any]:
    return {
        "href": f"./{GRAPH_NAME}",
        "type": "application/octet-stream; application=onnx",
        "title": f"Network as an ONNX graph, its weights in {WEIGHTS_NAME}",
        "roles": ["mlm:model"],
        "mlm:artifact_type": "onnx",
        "file:size": size_bytes,
        "file:checksum": f"1220{sha256}",
    }


def _mlm_properties(spec: ModelSpec) -> dict[str, Any]:
    network = spec.network
    fastest = max(spec.measured, key=lambda m: m.mpx_per_s, default=None)
    return {
        "mlm:name": spec.name,
        "mlm:architecture": f"{network.architecture} {network.encoder}".strip(),
        "mlm:tasks": _tasks(spec),
        "mlm:framework": "ONNX" if weights_name(spec) == ONNX_NAME else "PyTorch",
        "mlm:accelerator": None,
        "mlm:accelerator_constrained": False,
        "mlm:batch_size_suggestion": fastest.batch_size if fastest else 1,
        "mlm:hyperparameters": {
            "tile_size_px": spec.tile_size_px,
            "halo_px": spec.halo.default_px,
            "stride_px": network.stride_px,
            "stitch": spec.stitch,
            "receptive_field_px": spec.receptive_field_px,
            "memory_bytes_per_px": spec.memory_bytes_per_px,
            **({"magnification": network.magnification} if network.magnification != 1 else {}),
            **network.options,
        },
        "mlm:input": [_mlm_input(spec)],
        "mlm:output": [_mlm_output(spec, name) for name in spec.heads],
    }


def _tasks(spec: ModelSpec) -> list[str]:
    return ["semantic-segmentation", "instance-segmentation"] if "building_interior" in spec.heads else ["semantic-segmentation"]


def _mlm_input(spec: ModelSpec) -> dict[str, Any]:
    side = spec.tile_size_px
    return {
        "name": "image",
        "bands": list(spec.bands),
        "input": {"shape": [-1, len(spec.bands), side, side], "dim_order": ["batch", "bands", "height", "width"], "data_type": "float32"},
        "value_scaling": [{"type": "z-score", "mean": m, "stddev": s} for m, s in zip(spec.mean, spec.std, strict=True)],
        "resize_type": None,
    }


def _mlm_output(spec: ModelSpec, name: str) -> dict[str, Any]:
    head, side = spec.heads[name], spec.tile_size_px
    output: dict[str, Any] = {
        "name": name,
        "tasks": ["semantic-segmentation"] if name == "semantic" else ["instance-segmentation"],
        "result": {
            "shape": [-1, head.stop - head.start, side, side],
            "dim_order": ["batch", "channel", "height", "width"],
            "data_type": "float32",
        },
    }
    if name == "semantic":
        output["classification:classes"] = [
            {"value": c.value, "name": c.name, "description": f"{c.name} ({c.kind.value})", "color_hint": c.color.removeprefix("#").upper()}
            for c in spec.classes
        ]
    return output

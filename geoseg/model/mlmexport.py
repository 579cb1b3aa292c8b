"""A model for catalogs: a STAC item with the Machine Learning Model extension (MLM) beside an ONNX file that others can run."""

import json
import tempfile
from pathlib import Path
from typing import Any

from geoseg.errors import WriteError
from geoseg.model.export import export_deepness
from geoseg.model.package import ModelPackage, hash_file, to_stac_item

ITEM_NAME, MODEL_NAME = "item.json", "model.onnx"


def export_mlm(package: ModelPackage, target: Path) -> float:
    """Write a folder with ``item.json`` and ``model.onnx``, which takes bytes / 255 and gives probabilities of the classes.

    Returns:
        The largest difference of the probabilities from torch's.

    Raises:
        UsageError: If onnx is not installed.
        ModelError: As :func:`geoseg.model.export.export_deepness` does.
        WriteError: If the target exists or cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise WriteError(f"{target} is there already. Choose a new name with -o, or remove it.")
    parent = target.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".geoseg-") as work:
            folder = Path(work) / "model"
            folder.mkdir()
            difference = export_deepness(package, folder / MODEL_NAME)
            item = describe_export(package, folder / MODEL_NAME)
            (folder / ITEM_NAME).write_text(json.dumps(item, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            folder.rename(target)
    except OSError as exc:
        if isinstance(exc, WriteError):
            raise
        raise WriteError(f"The item could not be written to {target}: {exc}.") from exc
    return difference


def describe_export(package: ModelPackage, model: Path) -> dict[str, Any]:
    """Describe an exported model as a STAC item; nothing in it is geoseg's own."""
    spec, checksum = package.spec, hash_file(model)
    item = to_stac_item(spec, package.sha256, 0)
    properties = {key: value for key, value in item["properties"].items() if not key.startswith("geoseg:")}
    scaling = [{"type": "min-max", "minimum": 0, "maximum": 255}] * len(spec.bands)
    properties["mlm:framework"] = "ONNX"
    properties["mlm:tasks"] = ["semantic-segmentation"]
    properties["mlm:input"] = [{**properties["mlm:input"][0], "value_scaling": scaling}]
    properties["mlm:output"] = [output for output in properties["mlm:output"] if output["name"] == "semantic"]
    if spec.resolution_m is not None:
        properties["gsd"] = spec.resolution_m
    asset = {
        **item["assets"]["weights"],
        "href": f"./{MODEL_NAME}",
        "type": "application/octet-stream; application=onnx",
        "title": "Network with scaling and softmax; takes bytes / 255",
        "mlm:artifact_type": "onnx",
        "file:size": model.stat().st_size,
        "file:checksum": f"1220{checksum}",
    }
    return {**item, "properties": properties, "assets": {"model": asset}}

"""What every peer is handed: the weights of one geoseg package as state dict, TorchScript and ONNX, and how to build the network.

python -m tests.benchmarks.peers.handout PACKAGE FOLDER TILE
"""

import json
import shutil
import sys
import warnings
from pathlib import Path

import onnx
import torch

from geoseg.model.package import ModelPackage, find_package
from tests.benchmarks.peers.network import CARD, ONNX, ONNX_DEFAULTS, SCRIPT, WEIGHTS, build, read_card

_OPSET = 17
_NEUTRAL = "-1e30"
"""Scores below it count as zero; logits may be negative."""


def hand_out(package: ModelPackage, folder: Path, tile: int) -> Path:
    """Write the files that the peers read.

    Args:
        package: A network of segmentation_models_pytorch.
        folder: New folder.
        tile: Side of the ONNX network's input, which GeoDeep cuts its tiles by.
    """
    folder.mkdir(parents=True)
    spec = package.spec
    head = spec.heads["semantic"]
    card = {
        "architecture": spec.network.architecture,
        "encoder": spec.network.encoder,
        "options": spec.network.options,
        "channels": spec.channels,
        "semantic": [head.start, head.stop],
        "values": [c.value for c in spec.classes],
        "names": [c.name for c in spec.classes],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "stride": spec.network.stride_px,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2), encoding="utf-8")
    shutil.copyfile(package.weights, folder / WEIGHTS)
    with warnings.catch_warnings():
        # tracing and the exporter that needs no further package warn of newer ways
        warnings.simplefilter("ignore")
        example = torch.zeros(1, len(spec.bands), tile, tile)
        torch.jit.trace(build(folder, divided_by=1.0).eval(), example.byte()).save(folder / SCRIPT)
        fraction = build(folder, divided_by=255.0).eval()
        torch.onnx.export(
            fraction, (example,), str(folder / ONNX), dynamo=False, opset_version=_OPSET, input_names=["input"], output_names=["output"]
        )
    _describe_for_geodeep(folder)
    return folder


def _describe_for_geodeep(folder: Path) -> None:
    """Write the metadata that GeoDeep reads: once with the overlap of the comparison, once with as little as it takes."""
    card = read_card(folder)
    least = {
        "model_type": json.dumps("Segmentor"),
        "class_names": json.dumps(dict(enumerate(card["names"]))),
        "resolution": "0.0001",
        "seg_thresh": _NEUTRAL,
    }
    model = onnx.load(folder / ONNX)
    onnx.helper.set_model_props(model, least)
    onnx.save(model, folder / ONNX_DEFAULTS)
    onnx.helper.set_model_props(model, {**least, "tiles_overlap": "25", "seg_small_segment": "0"})
    onnx.save(model, folder / ONNX)


if __name__ == "__main__":
    hand_out(find_package(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

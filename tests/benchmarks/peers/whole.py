"""Labels of whole-image inference, the reference of every agreement: no tiles, nothing of geoseg's pipeline.

python -m tests.benchmarks.peers.whole RASTER HANDOUT LABELS.npy
"""

import json
import sys
from pathlib import Path

import numpy as np
import psutil
import rasterio
import torch
from torch import Tensor, nn

from tests.benchmarks.peers.network import build, read_card

_BYTES_PER_PX = 800
"""More than the networks compared take in one eager pass: 490 the aerial one, 640 the reference network."""
_FREE_SHARE = 0.8
_TILE, _MARGIN = 2048, 512
"""The margin lies above the receptive field (151 px the aerial network, under 512 px the reference network)."""


def infer_whole(raster: Path, handout: Path) -> tuple[np.ndarray, str]:
    """Return class values (H, W) and how they were made: one pass, or large tiles where memory forbids it."""
    card = read_card(handout)
    module = build(handout, divided_by=1.0)
    with rasterio.open(raster) as source:
        pixels = source.read()
    height, width = pixels.shape[1:]
    stride = card["stride"]
    scaled = (torch.from_numpy(pixels).float() - module.mean) / module.std
    padded = nn.functional.pad(scaled, (0, -width % stride, 0, -height % stride))
    free = psutil.virtual_memory().available
    start, stop = card["semantic"]

    def label(part: Tensor) -> np.ndarray:
        found: np.ndarray = module.classes.network(part[None])[0, start:stop].argmax(dim=0).to(torch.uint8).numpy()
        return found

    with torch.inference_mode():
        if padded[0].numel() * _BYTES_PER_PX < _FREE_SHARE * free:
            labels, how = label(padded), "one pass over the whole image"
        else:
            labels, how = _in_parts(padded, label), f"tiles of {_TILE} px with a margin of {_MARGIN} px above the receptive field"
    return np.asarray(card["values"], np.uint8)[labels[:height, :width]], how


def _in_parts(padded: Tensor, label: "object") -> np.ndarray:
    height, width = padded.shape[1:]
    labels, step = np.zeros((height, width), np.uint8), _TILE - 2 * _MARGIN
    for row in range(0, height, step):
        for col in range(0, width, step):
            top, left = max(row - _MARGIN, 0), max(col - _MARGIN, 0)
            part = label(padded[:, top : row + step + _MARGIN, left : col + step + _MARGIN])
            labels[row : row + step, col : col + step] = part[row - top :, col - left :][:step, :step]
    return labels


if __name__ == "__main__":
    found, said = infer_whole(Path(sys.argv[1]), Path(sys.argv[2]))
    np.save(sys.argv[3], found)
    print(json.dumps({"how": said}))

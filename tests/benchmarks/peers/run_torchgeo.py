"""torchgeo: the loop of its documentation, ``RasterDataset`` and ``GridGeoSampler`` in a ``DataLoader``.

torchgeo has no inference of its own: putting the tiles together is left to the user. Here each tile's middle is written over the
overlap, the way its documentation advises (``GridGeoSampler``: stride smaller than the chip, overlap about the receptive field).
"""

import numpy as np
import rasterio
import torch
from asked import Asked, limit_torch, read_request, write_labels
from network import build
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import GridGeoSampler

_TILE, _BATCH = 512, 1


def infer(asked: Asked) -> np.ndarray:
    """Return labels (H, W)."""
    tile, overlap = asked.tile or _TILE, asked.overlap or 0
    dataset = RasterDataset(asked.raster)
    sampler = GridGeoSampler(dataset, size=tile, stride=tile - overlap)
    loader = DataLoader(dataset, batch_size=asked.batch or _BATCH, sampler=sampler, collate_fn=stack_samples)
    network = build(asked.handout, divided_by=1.0)
    with rasterio.open(asked.raster) as source:
        shape, transform = source.shape, source.transform
    labels, margin = np.zeros(shape, np.uint8), overlap // 2
    places = iter(sampler)
    with torch.inference_mode():
        for batch in loader:
            for found in network(batch["image"]).argmax(dim=1).numpy():
                x, y, _ = next(places)
                col, row = (round(v) for v in ~transform * (x.start, y.stop))
                _paste(labels, found, row, col, margin)
    return labels


def _paste(labels: np.ndarray, found: np.ndarray, row: int, col: int, margin: int) -> None:
    """Write the middle of a tile; at the raster's edge its margin too. Tiles may reach past any edge."""
    height, width = labels.shape
    top, left = max(row + (margin if row > 0 else 0), 0), max(col + (margin if col > 0 else 0), 0)
    bottom, right = min(row + found.shape[0], height), min(col + found.shape[1], width)
    labels[top:bottom, left:right] = found[top - row : bottom - row, left - col : right - col]


if __name__ == "__main__":
    request = read_request()
    limit_torch(request.threads)
    write_labels(request, infer(request))

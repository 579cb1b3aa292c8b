"""What a peer's driver is asked to do, and how it hands in its labels; standard library, NumPy and rasterio only."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run of a peer."""

    raster: str
    """GeoTIFF, uint8 RGB."""
    handout: Path
    """Weights in every form."""
    output: Path
    """Class map to write: GeoTIFF, one band of channel numbers."""
    work: Path
    """Folder for whatever else the peer writes."""
    threads: int
    """Processor threads."""
    tile: int | None
    """Side of a tile; None leaves the peer's own default."""
    overlap: int | None
    """Pixels that two tiles share; None leaves the peer's own default."""
    batch: int | None
    """Tiles in one pass; None leaves the peer's own default."""

    def given(self, **names: str) -> dict[str, int]:
        """Return the numbers that were asked for, under the peer's names: ``given(tile="patch_size")``."""
        found = {peer: getattr(self, ours) for ours, peer in names.items()}
        return {name: value for name, value in found.items() if value is not None}


def read_request() -> Asked:
    """Read the request from the command line."""
    given = json.loads(sys.argv[1])
    paths = {name: Path(given[name]) for name in ("handout", "output", "work")}
    return Asked(**{**given, **paths})


def limit_torch(threads: int) -> None:
    """Let torch compute with a number of threads."""
    import torch

    torch.set_num_threads(threads)


def write_labels(asked: Asked, labels: np.ndarray) -> None:
    """Write labels (H, W) uint8 as a compressed GeoTIFF on the raster's grid, for peers that return an array."""
    with rasterio.open(asked.raster) as source:
        grid = {"height": source.height, "width": source.width, "transform": source.transform, "crs": source.crs}
    storage = {"driver": "GTiff", "count": 1, "dtype": "uint8", "compress": "deflate", "tiled": True}
    with rasterio.open(asked.output, "w", **grid, **storage) as target:
        target.write(labels.astype(np.uint8, copy=False), 1)

"""Where and at what sizes the benchmarks measure, and what they measure with."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import rasterio
from rasterio.windows import Window

from geoseg.model.execution import Backend
from geoseg.model.package import ModelPackage
from geoseg.model.spec import ModelSpec
from tests.benchmarks.models import reference_spec, write_random_network
from tests.benchmarks.rasters import draw_town


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large, and how often."""

    raster_px: int
    """Side of the raster of whole runs."""
    cut_px: int
    """Side of the cut of the real orthophoto; 0 leaves it out."""
    null_px: int
    """Side of the raster of the null model."""
    memory_px: tuple[tuple[int, int], ...]
    """Height and width of the rasters whose peak memory is compared."""
    gpu_px: int
    """Side of the raster of whole runs on a GPU."""
    tiles_px: tuple[int, ...]
    """Sides of tiles of bare passes."""
    batches: tuple[int, ...]
    """Batches of bare passes."""
    pass_mpx: float
    """Pixels of one bare measurement, in millions, halos included."""
    turns: int
    """Runs of each kind, in alternation."""
    map_px: int
    """Side of the class map of the vectorizer."""
    many: int
    """Rasters of a list."""
    alone: int
    """How many of them are also done one by one."""
    scale_s: float
    """Seconds for which chunks pass through a scheduler."""
    scale_sides: tuple[int, ...]
    """Chunks along an axis of the mosaics that are measured."""
    finish_px: int
    """Side of the raster whose last stages are measured."""
    warm_up: bool = True
    """Whether a run that is not timed comes first: it compiles files and fills caches."""


SIZES = {
    "tiny": Sizes(
        raster_px=160,
        cut_px=0,
        null_px=128,
        memory_px=((128, 128), (192, 128)),
        gpu_px=128,
        tiles_px=(64,),
        batches=(2,),
        pass_mpx=0.01,
        turns=1,
        map_px=96,
        many=6,
        alone=1,
        scale_s=0.5,
        scale_sides=(3,),
        finish_px=192,
        warm_up=False,
    ),
    "quick": Sizes(
        raster_px=2048,
        cut_px=0,
        null_px=4096,
        memory_px=((4096, 4096), (12288, 8192)),
        gpu_px=20000,
        tiles_px=(512, 768, 1024),
        batches=(1, 2),
        pass_mpx=4,
        turns=2,
        map_px=2048,
        many=100,
        alone=10,
        scale_s=30.0,
        scale_sides=(100,),
        finish_px=2048,
    ),
    "full": Sizes(
        raster_px=4096,
        cut_px=4096,
        null_px=8192,
        memory_px=((4096, 4096), (16384, 16384), (36000, 18000)),
        gpu_px=32768,
        tiles_px=(512, 768, 1024, 1536, 2048),
        batches=(1, 2, 4),
        pass_mpx=8,
        turns=3,
        map_px=4096,
        many=1000,
        alone=20,
        scale_s=3600.0,
        scale_sides=(100, 300, 1000),
        finish_px=20000,
    ),
}
GPU_TILES_PX, GPU_BATCHES = (512, 1024, 2048), (1, 4, 16)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder to work in, and what is made there once for all sections."""

    folder: Path
    """Scratch; the caller removes it."""
    sizes: Sizes
    """How large."""
    spec: ModelSpec = field(default_factory=reference_spec)
    """Network of bare passes and whole runs."""
    threads: int = os.cpu_count() or 1
    """Processor threads that every process is told to compute with."""
    device: str = "cpu"
    """``cpu`` or ``cuda``; what whole runs and bare passes compute on, outside of the section ``gpu``."""
    backends: tuple[str, ...] = get_args(Backend)
    """Backends to measure."""

    @cached_property
    def town(self) -> Path:
        """The drawn raster of whole runs."""
        return draw_town(self.folder / "town.tif", self.sizes.raster_px)

    @cached_property
    def network(self) -> ModelPackage:
        """The reference network."""
        return write_random_network(self.folder / "network", self.spec, read_sample(self.town))

    @property
    def cache(self) -> Path:
        """Where measured runs keep what they measure and export once."""
        return self.folder / "cache"


def read_sample(raster: Path, side: int = 1024) -> np.ndarray:
    """Return the upper left corner of a raster (C, H, W)."""
    with rasterio.open(raster) as source:
        found: np.ndarray = source.read(window=Window(0, 0, min(side, source.width), min(side, source.height)))
    return found

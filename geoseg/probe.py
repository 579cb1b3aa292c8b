"""Measure what a model takes and needs on this machine: halo and memory."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from geoseg.inference import infer_raster, tiles_of
from geoseg.io.raster import RasterSource
from geoseg.model.predictor import Predictor
from geoseg.model.spec import Halo, ModelSpec
from geoseg.tiling import TilePlan

_DEFAULT_SHARE, _EXACT_SHARE = 0.005, 0.0005


def measure_halo(predictor: Predictor, sources: list[RasterSource], say: Callable[[str], None]) -> Halo:
    """Find the smallest halos at which tiled labels agree with whole-image inference, on the worst of some rasters.

    Tiles have half the model's size, so that there are twice as many seams as in a run: what holds here holds there.

    Args:
        predictor: The model.
        sources: Rasters larger than a tile that fit into memory in one piece.
        say: Takes one line per halo.

    Returns:
        The halos and the imagery; where even the widest possible halo does not reach a limit, that widest one.
    """
    spec = predictor.spec
    if not sources:
        say(f"halo: no raster of the sites is larger than a tile of {spec.tile_size_px} px to measure it on; the recipe's stands")
        return spec.halo
    whole = [infer_raster(predictor, source, _one_tile(spec, source)) for source in sources]
    found: dict[float, int] = {}
    half = spec.model_copy(update={"tile_size_px": _half_tile(spec)})
    widest = (half.tile_size_px - 1) // (2 * spec.network.stride_px) * spec.network.stride_px
    for halo in range(0, widest + 1, spec.network.stride_px):
        shares = []
        for source, reference in zip(sources, whole, strict=True):
            tiled = infer_raster(predictor, source, tiles_of(half, source.shape, halo))
            shares.append(float((tiled[0] != reference[0]).mean()))
        say(f"halo {halo} px: at most {max(shares):.4%} of the labels differ from whole-image inference")
        for limit in (_DEFAULT_SHARE, _EXACT_SHARE):
            if max(shares) <= limit:
                found.setdefault(limit, halo)
        if _EXACT_SHARE in found:
            break
    names = ", ".join(f"{Path(s.path).parent.name}/{Path(s.path).name}" for s in sources)
    return Halo(default_px=found.get(_DEFAULT_SHARE, widest), exact_px=found.get(_EXACT_SHARE, widest), measured_on=names)


def _half_tile(spec: ModelSpec) -> int:
    stride = spec.network.stride_px
    return max(stride, spec.tile_size_px // 2 // stride * stride)


def _one_tile(spec: ModelSpec, source: RasterSource) -> TilePlan:
    height, width = source.shape
    stride = spec.network.stride_px
    side = -(-max(height, width) // stride) * stride
    return TilePlan(height=height, width=width, tile_size_px=side, halo_px=0, stride_px=stride, tiles_per_chunk=1)


def measure_memory(predictor: Predictor) -> int:
    """Measure what a forward pass over one tile takes beyond what is there before and after it, in bytes per pixel."""
    side = predictor.spec.tile_size_px
    pixels = np.zeros((1, len(predictor.spec.bands), side, side), np.uint8)
    valid = np.ones((1, side, side), bool)
    process = psutil.Process()
    before = process.memory_info().rss
    peak = before
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    predictor.predict(pixels, valid)
    done.set()
    watcher.join()
    return max(1, int(peak - before) // side**2)

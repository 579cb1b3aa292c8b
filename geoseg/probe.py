"""Measure what a model takes and needs on this machine: halo, memory, speed, receptive field."""

import datetime
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from geoseg.inference.whole import infer_raster, tiles_of
from geoseg.io.raster import RasterSource
from geoseg.machine import name_processor
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.package import find_package
from geoseg.model.pixelfeatures import feature_radius
from geoseg.model.pixelwise import baseline_options
from geoseg.model.predictor import Predictor
from geoseg.model.spec import BUILT, Halo, ModelSpec, Throughput
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.tiling import TilePlan, halo_step

_DEFAULT_SHARE, _EXACT_SHARE = 0.005, 0.0005


def measure_halo(predictor: Predictor, sources: list[RasterSource], say: Callable[[str], None]) -> Halo:
    """Find the smallest halos at which tiled labels agree with whole-image inference, on the worst of some rasters.

    Tiles have half the model's size, so that there are twice as many seams as in a run: what holds here holds there.

    Args:
        predictor: The model.
        sources: Rasters larger than half a tile that fit into memory in one piece.
        say: Takes one line per halo.

    Returns:
        The halos and the imagery; where even the widest possible halo does not reach a limit, that widest one, and how much
        differs at it. A quarter of the tile for networks with global context, whose tiles never agree.
    """
    spec, stride = predictor.spec, predictor.spec.network.stride_px
    if spec.network.global_context:
        quarter = spec.tile_size_px // 4 // stride * stride
        say(f"halo: {quarter} px, a quarter of the tile; the network sees the whole tile, so tiles are blended over it")
        return Halo(default_px=quarter, exact_px=quarter, measured_on="not measured: the network sees the whole tile")
    if not sources:
        say(
            f"halo: no raster of the sites is larger than half a tile, {half_tile(spec)} px, and fits into memory in one piece, "
            "to measure it on; the recipe's stands"
        )
        fits = _widest_halo(spec)
        stands = {"default_px": min(spec.halo.default_px, fits), "exact_px": min(spec.halo.exact_px, fits)}
        return spec.halo.model_copy(update=stands)
    whole = [infer_raster(predictor, source, _one_tile(spec, source)) for source in sources]
    pairs = [pair for pair in zip(sources, whole, strict=True) if (pair[1][0] != NODATA_CLASS).any()]
    found: dict[float, int] = {}
    half = spec.model_copy(update={"tile_size_px": half_tile(spec)})
    widest = _widest_halo(half)
    differ = 1.0
    for halo in range(0, widest + 1, halo_step(stride)):
        shares = []
        for source, reference in pairs:
            tiled = infer_raster(predictor, source, tiles_of(half, source.shape, halo))
            shares.append(float((tiled[0] != reference[0])[reference[0] != NODATA_CLASS].mean()))
        differ = max(shares, default=0.0)
        say(f"halo {halo} px: at most {differ:.4%} of the labels differ from whole-image inference")
        for limit in (_DEFAULT_SHARE, _EXACT_SHARE):
            if differ <= limit:
                found.setdefault(limit, halo)
        if _EXACT_SHARE in found:
            break
    names = ", ".join(f"{Path(s.path).parent.name}/{Path(s.path).name}" for s in sources)
    if _EXACT_SHARE not in found:
        names += f"; at {widest} px, the widest that half a tile takes, still {differ:.2%} of the labels differ"
    return Halo(default_px=found.get(_DEFAULT_SHARE, widest), exact_px=found.get(_EXACT_SHARE, widest), measured_on=names)


def _widest_halo(spec: ModelSpec) -> int:
    """Return the widest halo that leaves something of a tile."""
    step = halo_step(spec.network.stride_px)
    return (spec.tile_size_px - 1) // (2 * step) * step


def half_tile(spec: ModelSpec) -> int:
    """Return half the tile size in whole strides, in pixels."""
    stride = spec.network.stride_px
    return max(stride, spec.tile_size_px // 2 // stride * stride)


def _one_tile(spec: ModelSpec, source: RasterSource) -> TilePlan:
    height, width = source.shape
    stride = spec.network.stride_px
    side = -(-max(height, width) // stride) * stride
    return TilePlan(height=height, width=width, tile_size_px=side, halo_px=0, stride_px=stride, tiles_per_chunk=1)


def measure_package_memory(folder: Path) -> int:
    """Measure the memory of the model in a folder on the processor; see :func:`measure_memory`. Call it in a new process."""
    return measure_memory(load_predictor(find_package(folder), Execution()))


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
    try:
        predictor.predict(pixels, valid)
    finally:
        done.set()
        watcher.join()
    return max(1, int(peak - before) // side**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a model was timed on."""

    name: str
    """Processor and its cores, or GPU."""
    threads: int
    """Processor threads that compute; 0 on a GPU."""


def describe_machine(device: str) -> Machine:
    """Name what a device computes with."""
    # torch is only imported where a network runs
    import torch

    if device.startswith("cuda"):
        return Machine(name=torch.cuda.get_device_name(device), threads=0)
    return Machine(name=f"{name_processor()}, {os.cpu_count()} cores", threads=torch.get_num_threads())


def measure_throughput(
    predictor: Predictor, machine: Machine, tile_sizes: Iterable[int], batch_sizes: Iterable[int], repeats: int = 3
) -> tuple[Throughput, ...]:
    """Time forward passes over noise: the median of some repeats after a first pass that warms up.

    Args:
        predictor: The model.
        machine: What it runs on.
        tile_sizes: Sides of tiles, in pixels.
        batch_sizes: Tiles in one pass.
        repeats: Timed passes for each pair.
    """
    rng, found = np.random.default_rng(0), []
    today, batches = datetime.datetime.now(datetime.UTC).date(), list(batch_sizes)
    for side in tile_sizes:
        for count in batches:
            pixels = rng.integers(0, 256, (count, len(predictor.spec.bands), side, side)).astype(np.uint8)
            valid = np.ones((count, side, side), bool)
            times = []
            for _ in range(repeats + 1):
                began = time.perf_counter()
                predictor.predict(pixels, valid)
                times.append(time.perf_counter() - began)
            speed = pixels[:, 0].size / statistics.median(times[1:]) / 1e6
            what = {"tile_size_px": side, "batch_size": count, "mpx_per_s": round(speed, 4)}
            found.append(Throughput(machine=machine.name, threads=machine.threads, date=today, **what))
    return tuple(found)


def tile_sizes_of(spec: ModelSpec) -> tuple[int, ...]:
    """Return tile sizes worth timing: half the model's own, and its own."""
    return tuple(sorted({half_tile(spec), spec.tile_size_px}))


def knows_field(spec: ModelSpec) -> bool:
    """Tell whether the receptive field of a model can be measured: geoseg builds it, or knows its features."""
    return spec.network.library in BUILT or spec.network.library == "sklearn"


def measure_field(spec: ModelSpec) -> tuple[int | None, bool]:
    """Measure the theoretical receptive field of a model; its weights do not matter.

    Returns:
        Its radius in pixels, None where it is the whole tile; and whether the network has global context.
    """
    if spec.network.library == "sklearn":
        return feature_radius(baseline_options(spec).scales_px), False
    # torch is only imported where a network runs
    from geoseg.model.network import build_network
    from geoseg.model.receptive import measure_receptive_field

    field = measure_receptive_field(spec, build_network(spec))
    return field.radius_px, field.global_context


def keep_measurements(spec: ModelSpec, measured: Iterable[Throughput]) -> ModelSpec:
    """Add speeds to a spec; earlier ones of the same machine, threads, tile and batch are replaced."""

    def key(entry: Throughput) -> tuple[str, int, int, int]:
        return entry.machine, entry.threads, entry.tile_size_px, entry.batch_size

    entries = {key(entry): entry for entry in (*spec.measured, *measured)}
    return spec.model_copy(update={"measured": tuple(entries[k] for k in sorted(entries))})

"""Measure what a model takes and needs on this machine: halo, memory, speed, receptive field."""

import datetime
import math
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from rasterio.windows import Window

from geoseg.inference.whole import infer_raster, tiles_of
from geoseg.io.raster import RasterSource
from geoseg.machine import free_memory_bytes, name_processor
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
_MOST_PX = 4096**2
"""Of a raster, that the halo is measured on; more would only take longer."""
_PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
"""Where a part of a raster is looked for, as shares of the rows and columns that it leaves."""
_ENOUGH_VALID = 0.9


def measure_halo(predictor: Predictor, sources: list[RasterSource], say: Callable[[str], None]) -> Halo:
    """Find the smallest halos at which tiled labels agree with whole-image inference, on the worst of some rasters.

    Tiles have half the model's size, so that there are twice as many seams as in a run: what holds here holds there.

    Args:
        predictor: The model.
        sources: Rasters, or parts of them, larger than half a tile that fit into memory in one piece; see :func:`find_piece`.
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
    whole = [infer_raster(predictor, source, _one_tile(spec, source)) for source in sources]
    pairs = [pair for pair in zip(sources, whole, strict=True) if (pair[1][0] != NODATA_CLASS).any()]
    if not pairs:
        say(
            f"halo: no raster is larger than half a tile, {half_tile(spec)} px, holds data, and fits into memory in one piece, "
            "to measure it on; the one that is there stands"
        )
        fits = _widest_halo(spec)
        stands = {"default_px": min(spec.halo.default_px, fits), "exact_px": min(spec.halo.exact_px, fits)}
        return spec.halo.model_copy(update=stands)
    found: dict[float, int] = {}
    half = spec.model_copy(update={"tile_size_px": half_tile(spec)})
    widest = _widest_halo(half)
    differ = 1.0
    for halo in range(0, widest + 1, halo_step(stride)):
        shares = []
        for source, reference in pairs:
            tiled = infer_raster(predictor, source, tiles_of(half, source.shape, halo))
            shares.append(float((tiled[0] != reference[0])[reference[0] != NODATA_CLASS].mean()))
        differ = max(shares)
        say(f"halo {halo} px: at most {differ:.4%} of the labels differ from whole-image inference")
        for limit in (_DEFAULT_SHARE, _EXACT_SHARE):
            if differ <= limit:
                found.setdefault(limit, halo)
        if _EXACT_SHARE in found:
            break
    names = ", ".join(_name(source) for source, _ in pairs)
    if _EXACT_SHARE not in found:
        names += f"; at {widest} px, the widest that half a tile takes, still {differ:.2%} of the labels differ"
    return Halo(default_px=found.get(_DEFAULT_SHARE, widest), exact_px=found.get(_EXACT_SHARE, widest), measured_on=names)


def find_piece(source: RasterSource, spec: ModelSpec) -> RasterSource | None:
    """Return the part of a raster that the halo is measured on: all that is wanted of it where that fits into memory in one piece.

    Of larger ones it is a part that is nearly all data, near the middle if there is one.

    Args:
        source: The raster.
        spec: The model; its ``memory_bytes_per_px`` is believed.

    Returns:
        Pixels of one forward pass; None where they would not be more than half a tile wide and high.
    """
    most_px = min(_MOST_PX, free_memory_bytes() // 2 // spec.memory_bytes_per_px)
    area = source.wanted()
    height, width = _shrink(area.height, area.width, most_px)
    if min(height, width) <= half_tile(spec):
        return None
    spare = area.height - height, area.width - width
    best, most_valid = area, -1.0
    for down, right in _PLACES if any(spare) else _PLACES[:1]:
        window = Window(area.col_off + int(right * spare[1]), area.row_off + int(down * spare[0]), width, height)
        valid = float(source.read(window)[1].mean()) if any(spare) else 1.0
        if valid > most_valid:
            best, most_valid = window, valid
        if valid >= _ENOUGH_VALID:
            break
    return source.crop(best)


def _shrink(height: int, width: int, most_px: int) -> tuple[int, int]:
    """Return the sides of a rectangle inside another one that holds no more pixels than this, as square as it can be."""
    if height * width <= most_px:
        return height, width
    side = min(math.isqrt(most_px), height, width)
    longer = most_px // max(1, side)
    return (side, min(width, longer)) if height <= width else (min(height, longer), side)


def _name(source: RasterSource) -> str:
    """Return what a raster is called in a card, and how much of it was taken."""
    path, (height, width) = Path(source.path), source.shape
    whole = [-(-side // source.decimation) for side in source.imagery.geobox.shape]
    return f"{path.parent.name}/{path.name}" + (f" ({width} x {height} px of it)" if [height, width] != whole else "")


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

"""From trained weights to a model package: halo, memory and accuracy are measured, then written into its card."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from geoseg.errors import LabelError
from geoseg.inference import infer_raster
from geoseg.io.raster import RasterSource
from geoseg.model.network import TorchPredictor, build_network, load_weights, pick_device, save_weights
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, write_card
from geoseg.model.spec import Halo, ModelSpec
from geoseg.tiling import TilePlan
from geoseg.training.dataset import load_site
from geoseg.training.evaluate import evaluate_site, tiles_of
from geoseg.training.loop import TrainingModule
from geoseg.training.recipe import Recipe

_DEFAULT_SHARE, _EXACT_SHARE = 0.005, 0.0005
_HALO_RASTERS = 3


def publish(module: TrainingModule, recipe: Recipe, data_dir: Path, folder: Path, say: Callable[[str], None]) -> ModelPackage:
    """Write a trained module as a package.

    Args:
        module: Trained.
        recipe: What it was trained by.
        data_dir: Folder that the recipe's paths start from.
        folder: Package folder; weights and card in it are replaced.
        say: Takes one line per thing measured.

    Returns:
        The package, whose card holds the measured halo, memory and accuracy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(module.network, folder / WEIGHTS_NAME)
    return measure_package(recipe.model, recipe, data_dir, folder, say)


def measure_package(spec: ModelSpec, recipe: Recipe, data_dir: Path, folder: Path, say: Callable[[str], None]) -> ModelPackage:
    """Measure the weights that lie in a folder and write their card."""
    network = build_network(spec)
    load_weights(network, folder / WEIGHTS_NAME)
    predictor = TorchPredictor(spec, network, pick_device("auto"))
    spec = spec.model_copy(update={"halo": measure_halo(predictor, _large_sources(recipe, data_dir), say)})
    spec = spec.model_copy(update={"memory_bytes_per_px": measure_memory(predictor)})
    predictor.spec = spec
    say(f"memory: {spec.memory_bytes_per_px} bytes per pixel of a batch")
    metrics = []
    for site in recipe.tests:
        for metric in evaluate_site(predictor, site, data_dir):
            say(f"{metric.dataset}: {metric.name} {metric.value:.4f}")
            metrics.append(metric)
    checked = ModelSpec.model_validate(spec.model_copy(update={"accuracy": tuple(metrics)}).model_dump())
    return write_card(folder, checked)


def measure_halo(predictor: TorchPredictor, sources: list[RasterSource], say: Callable[[str], None]) -> Halo:
    """Find the smallest halos at which tiled labels agree with whole-image inference, on the worst of some rasters.

    Args:
        predictor: The model.
        sources: Rasters larger than a tile that fit into memory in one piece.
        say: Takes one line per halo.

    Raises:
        LabelError: If no raster is larger than a tile.
    """
    spec = predictor.spec
    if not sources:
        raise LabelError(
            f"The halo is measured on rasters larger than a tile of {spec.tile_size_px} px; no site has one. Choose smaller tiles."
        )
    whole = [infer_raster(predictor, source, _one_tile(spec, source)) for source in sources]
    found: dict[float, int] = {}
    for halo in range(0, spec.tile_size_px // 2, spec.network.stride_px):
        shares = []
        for source, reference in zip(sources, whole, strict=True):
            tiled = infer_raster(predictor, source, tiles_of(spec, source.shape, halo))
            shares.append(float((tiled[0] != reference[0]).mean()))
        say(f"halo {halo} px: at most {max(shares):.4%} of the labels differ from whole-image inference")
        for limit in (_DEFAULT_SHARE, _EXACT_SHARE):
            if max(shares) <= limit:
                found.setdefault(limit, halo)
        if _EXACT_SHARE in found:
            break
    widest = spec.tile_size_px // 2 - spec.network.stride_px
    names = ", ".join(sorted({Path(s.path).parent.name for s in sources}))
    return Halo(default_px=found.get(_DEFAULT_SHARE, widest), exact_px=found.get(_EXACT_SHARE, widest), measured_on=names)


def _one_tile(spec: ModelSpec, source: RasterSource) -> TilePlan:
    height, width = source.shape
    stride = spec.network.stride_px
    side = -(-max(height, width) // stride) * stride
    return TilePlan(height=height, width=width, tile_size_px=side, halo_px=0, stride_px=stride, tiles_per_chunk=1)


def _large_sources(recipe: Recipe, data_dir: Path) -> list[RasterSource]:
    side = recipe.model.tile_size_px
    sources = [r.source for site in recipe.sites for r in load_site(site, recipe.model, data_dir)]
    large = [s for s in sources if s is not None and min(s.shape) > side]
    return sorted(large, key=lambda s: s.shape[0] * s.shape[1], reverse=True)[:_HALO_RASTERS]


def measure_memory(predictor: TorchPredictor) -> int:
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

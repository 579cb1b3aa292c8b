"""From trained weights to a model package: halo, memory and accuracy are measured, then written into its card."""

from collections.abc import Callable
from pathlib import Path

from geoseg.io.raster import RasterSource
from geoseg.labels.targets import load_site
from geoseg.model.device import pick_device
from geoseg.model.network import TorchPredictor, build_network, load_weights, save_weights
from geoseg.model.package import WEIGHTS_NAME, ModelPackage
from geoseg.model.spec import ModelSpec
from geoseg.probe import half_tile, measure_field, measure_halo
from geoseg.training.card import write_measured
from geoseg.training.loop import TrainingModule
from geoseg.training.recipe import Recipe


def publish(
    module: TrainingModule, recipe: Recipe, data_dir: Path, folder: Path, say: Callable[[str], None], device: str = "auto"
) -> ModelPackage:
    """Write a trained module as a package.

    Args:
        module: Trained.
        recipe: What it was trained by.
        data_dir: Folder that the recipe's paths start from.
        folder: Package folder; weights and card in it are replaced.
        say: Takes one line per thing measured.
        device: Where halo and accuracy are measured.

    Returns:
        The package, whose card holds the measured halo, memory and accuracy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(module.network, folder / WEIGHTS_NAME)
    return measure_package(recipe.model, recipe, data_dir, folder, say, device)


def measure_package(
    spec: ModelSpec, recipe: Recipe, data_dir: Path, folder: Path, say: Callable[[str], None], device: str = "auto"
) -> ModelPackage:
    """Measure the weights that lie in a folder and write their card."""
    network = build_network(spec)
    load_weights(network, folder / WEIGHTS_NAME)
    radius, sees_all = measure_field(spec)
    say(f"receptive field: {'the whole tile' if sees_all else f'{radius} px'}")
    context = {"network": spec.network.model_copy(update={"global_context": sees_all}), "receptive_field_px": radius}
    spec = spec.model_copy(update=context)
    halo = measure_halo(TorchPredictor(spec, network, pick_device(device)), _large_sources(recipe, data_dir), say)
    return write_measured(folder, spec.model_copy(update={"halo": halo}), recipe.tests, data_dir, say, device)


def _large_sources(recipe: Recipe, data_dir: Path) -> list[RasterSource]:
    side = half_tile(recipe.model)
    largest = []
    for site in recipe.sites:
        sources = [r.source for r in load_site(site, recipe.model, data_dir)]
        large = [s for s in sources if s is not None and min(s.shape) > side]
        largest += sorted(large, key=lambda s: s.shape[0] * s.shape[1])[-1:]
    return largest

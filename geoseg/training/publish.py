"""From trained weights to a model package: halo, memory and accuracy are measured, then written into its card."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from geoseg.io.raster import RasterSource
from geoseg.labels.targets import open_sources
from geoseg.model.device import pick_device
from geoseg.model.execution import Execution
from geoseg.model.export import write_graph
from geoseg.model.load import run_network
from geoseg.model.network import build_network, load_weights, save_weights
from geoseg.model.package import CARD_NAME, GRAPH_NAME, WEIGHTS_NAME, ModelPackage, find_package
from geoseg.model.spec import ModelSpec
from geoseg.probe import find_piece, measure_field, measure_halo
from geoseg.training.card import with_memory, write_measured
from geoseg.training.loop import TrainingModule
from geoseg.training.odds import weigh_odds
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
    # measuring takes minutes, during which the package that was there stays whole
    with TemporaryDirectory(dir=folder, prefix=".package-") as name:
        made = Path(name)
        save_weights(weigh_odds(module.network, recipe.model, recipe.decision.odds), made / WEIGHTS_NAME)
        try:
            measure_package(recipe.model, recipe, data_dir, made, say, device)
        except Exception:
            # what cannot be measured, a site that does not fit or the like, keeps nobody from the weights
            if (made / CARD_NAME).exists():
                _replace(made, folder)
            raise
        _replace(made, folder)
    return find_package(folder.absolute())


def _replace(made: Path, folder: Path) -> None:
    """Move a package into a folder, the card that speaks for the others last."""
    if not (made / GRAPH_NAME).exists():
        (folder / GRAPH_NAME).unlink(missing_ok=True)
    for name in (WEIGHTS_NAME, GRAPH_NAME, CARD_NAME):
        if (made / name).exists():
            (made / name).replace(folder / name)


def measure_package(
    spec: ModelSpec, recipe: Recipe, data_dir: Path, folder: Path, say: Callable[[str], None], device: str = "auto"
) -> ModelPackage:
    """Measure the weights that lie in a folder and write their card."""
    write_graph(folder, spec, say)
    network = build_network(spec)
    load_weights(network, folder / WEIGHTS_NAME)
    radius, sees_all = measure_field(spec)
    say(f"receptive field: {'the whole tile' if sees_all else f'{radius} px'}")
    context = {"network": spec.network.model_copy(update={"global_context": sees_all}), "receptive_field_px": radius}
    spec = spec.model_copy(update=context)
    window_px = recipe.schedule.window_px
    if sees_all and spec.tile_size_px != window_px:
        say(f"tile size: {window_px} px, the windows it learned from, since a whole tile decides on each of its pixels")
        spec = spec.model_copy(update={"tile_size_px": window_px})
    spec = with_memory(folder, spec, say)
    halo = measure_halo(run_network(spec, network, Execution(device=pick_device(device))), _pieces(recipe, spec, data_dir), say)
    return write_measured(folder, spec.model_copy(update={"halo": halo}), recipe.tests, data_dir, say, device)


def _pieces(recipe: Recipe, spec: ModelSpec, data_dir: Path) -> list[RasterSource]:
    """Return the largest raster of each site, or as much of it as fits into memory in one piece."""
    found = []
    for site in recipe.sites:
        sources = [] if site.kind == "run" else open_sources(site, spec, data_dir)
        largest_first = sorted(sources, key=lambda source: source.shape[0] * source.shape[1], reverse=True)
        pieces = (find_piece(source, spec) for source in largest_first)
        found += list(islice((piece for piece in pieces if piece is not None), 1))
    return found

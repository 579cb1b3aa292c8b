"""Fit a network's batch statistics to imagery that it has not seen, without labels.

Batch normalization centers what each layer sees by averages over the training data. Another sensor, season or city shifts those
averages, and all layers above work off center. Mixed with averages of the imagery at hand, they lose much of that shift (Li et al. 2016,
"Revisiting Batch Normalization For Practical Domain Adaptation"; Schneider et al. 2020, "Improving robustness against common corruptions
by covariate shift adaptation").
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rasterio.windows import Window

from geoseg.errors import ConfigError, ModelError, RasterError, UsageError, WriteError
from geoseg.inference.whole import Pixels, read_padded
from geoseg.io.raster import RasterSource
from geoseg.model.exchange import renamed
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, find_package, write_card
from geoseg.model.spec import BUILT, ModelSpec
from geoseg.pixels.normalize import normalize

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_VALID = 0.9
_TRIES = 20
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptOptions:
    """How much is looked at, and how much it counts.

    Raises:
        ConfigError: If the strength is not above 0 and at most 1.
    """

    strength: float = 0.5
    """Share of the imagery's statistics in the mixture; the rest are those of the training data."""
    windows: int = 64
    """Windows that are looked at, drawn over all rasters by their area."""
    window_px: int = 320
    """Largest side of a window, in pixels of the model's grid."""
    batch_size: int = 8
    """Windows in one forward pass, whose statistics are taken together."""
    seed: int = 0
    """Of the draw."""

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ConfigError(f"--strength {self.strength:g}: a share above 0 and at most 1 was expected, for example 0.5.")


def adapt_package(
    package: ModelPackage,
    sources: Sequence[RasterSource],
    folder: Path,
    options: AdaptOptions,
    say: Callable[[str], None],
    name: str | None = None,
) -> ModelPackage:
    """Write a copy of a model whose batch statistics fit some imagery; all that it learned stays as it is.

    Args:
        package: The model.
        sources: Imagery on the model's grid, at least one.
        folder: New folder.
        options: What is looked at, and how much it counts.
        say: Takes one line per step.
        name: Name of the copy; None appends ``-adapted``.

    Returns:
        The new package. Its card names no accuracy: that of the other statistics is not its own.

    Raises:
        ModelError: If the network holds no batch statistics, or is none that geoseg builds.
        RasterError: If all rasters are too small, or hold no window that is nearly all data.
        UsageError: If the folder exists.
        WriteError: If it cannot be written.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists. Choose another --output, or remove it.")
    if package.spec.network.library not in BUILT:
        raise ModelError(
            f"Model '{package.spec.name}' is no network that geoseg builds ({package.spec.network.library}), so its statistics cannot be "
            "changed. Take a model that geoseg trained."
        )
    windows = draw_windows(sources, package.spec, options)
    say(f"looked at {len(windows)} windows of {windows[0][1].shape[0]} px")
    # torch takes seconds to load
    from geoseg.model.export import write_graph
    from geoseg.model.network import build_network, load_weights, save_weights
    from geoseg.model.statistics import mix_statistics

    network = build_network(package.spec)
    load_weights(network, package.weights)
    shift = mix_statistics(network, _batches(windows, package.spec, options.batch_size), options.strength)
    say(f"{shift.layers} layers; one channel in ten lies more than {shift.distance:.2f} standard deviations from the training data")
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".geoseg-") as work:
            made = Path(work) / "package"
            made.mkdir()
            save_weights(network, made / WEIGHTS_NAME)
            spec = renamed(_describe(package.spec, sources, len(windows), options.strength), name or f"{package.spec.name}-adapted")
            write_graph(made, spec, say)
            write_card(made, spec)
            made.rename(folder)
    except OSError as exc:
        raise WriteError(f"The package could not be written to {folder}: {exc}.") from exc
    return find_package(folder)


def draw_windows(sources: Sequence[RasterSource], spec: ModelSpec, options: AdaptOptions) -> list[Pixels]:
    """Draw windows of the same size that are nearly all data, at random places of rasters in proportion to their area.

    Raises:
        RasterError: If no raster is as large as a stride of the network, or none holds such a window.
    """
    stride = spec.network.stride_px
    side = min(options.window_px, max(min(source.shape) for source in sources)) // stride * stride
    large = [source for source in sources if side and min(source.shape) >= side]
    if not large:
        raise RasterError(f"The rasters are smaller than {stride} px of the model's grid, its stride. Give larger ones.")
    rng, areas = np.random.default_rng(options.seed), np.array([source.shape[0] * source.shape[1] for source in large], float)
    found: list[Pixels] = []
    for _ in range(_TRIES * options.windows):
        source = large[rng.choice(len(large), p=areas / areas.sum())]
        row, col = (int(rng.integers(size - side + 1)) for size in source.shape)
        pixels, valid = read_padded(source, Window(col, row, side, side))
        if valid.mean() >= _LEAST_VALID:
            found.append((pixels, valid))
        if len(found) == options.windows:
            return found
    if not found:
        raise RasterError(
            f"None of {_TRIES * options.windows} windows of {side} px drawn from the rasters is nearly all data: they consist of nodata, "
            "masks or narrow stripes. Give others."
        )
    return found


def _batches(windows: Sequence[Pixels], spec: ModelSpec, size: int) -> "Iterator[Tensor]":
    """Yield full batches of scaled windows; the last one is filled up from the start."""
    import torch

    for first in range(0, len(windows), size):
        rows = [windows[i % len(windows)] for i in range(first, first + size)]
        yield torch.from_numpy(np.stack([normalize(pixels, valid, spec.scaling) for pixels, valid in rows]))


def _describe(spec: ModelSpec, sources: Sequence[RasterSource], windows: int, strength: float) -> ModelSpec:
    names = [Path(source.path).name for source in sources]
    listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    changed = {
        "version": f"{spec.version}+adapted",
        "description": f"{spec.description} Its batch statistics were fitted to {windows} windows of {listed}, without labels, "
        f"by {strength:g}; its accuracy was not measured since.",
        "accuracy": (),
        "created": None,
    }
    return ModelSpec.model_validate({**spec.model_dump(), **changed})

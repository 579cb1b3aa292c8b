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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import ConfigError, ModelError, RasterError, UsageError, WriteError
from geoseg.inference.whole import read_padded
from geoseg.io.raster import RasterSource
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, find_package, write_card
from geoseg.model.spec import BUILT, ModelSpec
from geoseg.pixels.normalize import normalize

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_VALID = 0.9
_TRIES = 20
"""Places looked at for each window that is wanted."""
_SHRINKS = (1, 2, 4)
"""Where few windows are nearly all data, smaller ones are drawn."""
_LEAST_STRIDES = 2
"""Sides of a window; of a single pixel in the coarsest layer there is no variance."""
_NAMED = 3
_UNMEASURED = " Its accuracy was not measured since."


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptOptions:
    """How much is looked at, and how much it counts.

    Raises:
        ConfigError: If the strength is not above 0 and at most 1, or a count below its least.
    """

    strength: float = 0.5
    """Share of the imagery's statistics in the mixture; the rest are those of the training data."""
    windows: int = 64
    """Windows that are looked at, drawn over all rasters by their area."""
    window_px: int = 320
    """Largest side of a window, in pixels as the network sees them, magnified."""
    batch_size: int = 4
    """Windows in one forward pass, whose statistics are taken together."""
    seed: int = 0
    """Of the draw."""

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ConfigError(f"--strength {self.strength:g}: a share above 0 and at most 1 was expected, for example 0.5.")
        for name, least in (("windows", 1), ("window_px", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} {getattr(self, name)}: at least {least} was expected.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A window of a raster that is nearly all data."""

    source: RasterSource
    pixels: NDArray[Any]
    """(C, side, side) in the raster's dtype."""
    valid: NDArray[np.bool_]
    """(side, side), True = data."""

    @property
    def side(self) -> int:
        """Its side in pixels of the model's grid."""
        return int(self.valid.shape[0])


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
        The new package. Its card names no accuracy, and imagery for its halo: those of the other statistics are not its own.

    Raises:
        ModelError: If the network holds no batch statistics, or is none that geoseg builds.
        RasterError: If there is no raster, all are too small, hold no window that is nearly all data, or values without averages.
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
    say(_tell(windows, sources, options.windows))
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
            spec = _describe(package.spec, windows, options.strength, name)
            write_graph(made, spec, say)
            write_card(made, spec)
            made.rename(folder)
    except OSError as exc:
        raise WriteError(f"The package could not be written to {folder}: {exc}.") from exc
    return find_package(folder)


def draw_windows(sources: Sequence[RasterSource], spec: ModelSpec, options: AdaptOptions) -> list[Drawn]:
    """Draw windows that are nearly all data at random places, of each raster in proportion to the area that is wanted of it.

    A raster that is smaller than a window gives smaller ones. Where few are nearly all data, all are drawn smaller.

    Returns:
        At most as many as were asked for, at least one.

    Raises:
        RasterError: If there is no raster, none is large enough for the network, or none holds such a window.
    """
    if not sources:
        raise RasterError("There is no raster to fit the model to. Give at least one.")
    stride = spec.network.stride_px
    least = _LEAST_STRIDES * stride
    areas = [source.wanted() for source in sources]
    fields = [(source, area) for source, area in zip(sources, areas, strict=True) if min(area.height, area.width) >= least]
    if not fields:
        largest = max(areas, key=lambda area: min(area.height, area.width))
        raise RasterError(
            f"Of the rasters at most {largest.width} x {largest.height} px of the model's grid are wanted; it takes {least} x {least}. "
            "Give larger ones, or a larger area of interest."
        )
    best: list[Drawn] = []
    largest_px = int(options.window_px / spec.network.magnification)
    sides = list(dict.fromkeys(max(least, largest_px // shrink // stride * stride) for shrink in _SHRINKS))
    for side in sides:
        found = _draw(fields, side, stride, options)
        best = max(best, found, key=lambda drawn: sum(window.side**2 for window in drawn))
        if len(best) == options.windows:
            break
    if not best:
        raise RasterError(
            f"None of {len(sides) * _TRIES * options.windows} windows drawn from the rasters is nearly all data: they, or the area of "
            "interest, consist of nodata, masks or narrow stripes. Give others."
        )
    return best


def _draw(fields: Sequence[tuple[RasterSource, Window]], largest: int, stride: int, options: AdaptOptions) -> list[Drawn]:
    rng, found = np.random.default_rng(options.seed), list[Drawn]()
    sizes = np.array([area.height * area.width for _, area in fields], float)
    for _ in range(_TRIES * options.windows):
        source, area = fields[rng.choice(len(fields), p=sizes / sizes.sum())]
        side = min(largest, min(area.height, area.width) // stride * stride)
        row, col = (int(rng.integers(size - side + 1)) for size in (area.height, area.width))
        pixels, valid = read_padded(source, Window(area.col_off + col, area.row_off + row, side, side))
        if valid.mean() >= _LEAST_VALID:
            found.append(Drawn(source=source, pixels=pixels, valid=valid))
        if len(found) == options.windows:
            break
    return found


def _tell(windows: Sequence[Drawn], sources: Sequence[RasterSource], wanted: int) -> str:
    sides, seen = sorted({window.side for window in windows}), len({window.source.path for window in windows})
    told = f"looked at {len(windows)} windows of {' to '.join(str(side) for side in sorted({sides[0], sides[-1]}))} px"
    if seen < len(sources):
        told += f", of {seen} of {len(sources)} rasters"
    if len(windows) < wanted:
        told += f"; {wanted} were wanted, the other places are not nearly all data"
    return told


def _batches(windows: Sequence[Drawn], spec: ModelSpec, size: int) -> "Iterator[Tensor]":
    """Yield batches of at least two scaled windows of one size; one that is alone of its size is taken twice."""
    import torch

    for side in sorted({window.side for window in windows}):
        alike = [window for window in windows if window.side == side]
        # a last one that would be alone goes with those before it
        starts = [first for first in range(0, len(alike), size) if first == 0 or len(alike) - first > 1]
        for first, end in zip(starts, [*starts[1:], len(alike)], strict=True):
            scaled = [normalize(window.pixels, window.valid, spec.scaling) for window in alike[first:end]]
            yield torch.from_numpy(np.stack(scaled if len(scaled) > 1 else scaled * 2))


def _describe(spec: ModelSpec, windows: Sequence[Drawn], strength: float, name: str | None) -> ModelSpec:
    names = sorted({Path(window.source.path).name for window in windows})
    listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    fitted = f"Its batch statistics were fitted to {len(windows)} windows of {listed}, without labels, by {strength:g}."
    changed = {
        "name": name or f"{spec.name.removesuffix('-adapted')}-adapted",
        "version": f"{spec.version.removesuffix('+adapted')}+adapted",
        "description": f"{spec.description.removesuffix(_UNMEASURED)} {fitted}{_UNMEASURED}",
        "halo": {**spec.halo.model_dump(), "measured_on": ""},
        "accuracy": (),
        "created": None,
    }
    return ModelSpec.model_validate({**spec.model_dump(), **changed})

"""``training.html``: how a training went, and where the model is worst."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.model.card import name_network
from geoseg.model.spec import ModelSpec
from geoseg.runfolder.page import Page
from geoseg.training.history import EpochDone, best_epoch
from geoseg.training.recipe import Recipe
from geoseg.training.validation import WindowResult

_UNKNOWN_RGB, _NO_BUILDING_RGB, _WRONG_RGB = (225, 225, 225), (150, 150, 150), (220, 30, 60)
_GAP_PX = 4
_SHOWN_PX = 200


def write_report(path: Path, recipe: Recipe, rows: list[EpochDone], worst: list[WindowResult]) -> None:
    """Write the report of a training as one HTML file.

    Args:
        path: Where to.
        recipe: What is trained.
        rows: All epochs so far, at least one.
        worst: Windows to show, worst first.
    """
    last, best = rows[-1], best_epoch(rows)
    page = Page(f"Training of {recipe.model.name} {recipe.model.version}")
    page.text(_summary(last, best))
    page.chart(draw_curves(rows))
    measured = next((row for row in reversed(rows) if row.accuracy), None)
    if measured is not None and best is not None:
        page.heading("Accuracy on the validation sites")
        columns = ("site and metric", f"epoch {measured.epoch}", f"best, epoch {best.epoch}")
        page.table(columns, [(name, value, best.accuracy.get(name, float("nan"))) for name, value in measured.accuracy.items()])
    if worst:
        page.heading("Worst windows")
        page.text(
            "From left to right: image, truth, found, and in red where they differ. Light gray is unlabelled; "
            "dark gray is known to be no building, and no more."
        )
        page.gallery([(row.name, np.full((12, 60, 3), _rgb(row.color), np.uint8)) for row in recipe.model.classes])
        page.gallery([(f"{w.name}: {w.measure}", draw_window(w, recipe.model)) for w in worst])
    page.heading("Recipe").table(("key", "value"), _main_numbers(recipe))
    page.write(path)


def _summary(last: EpochDone, best: EpochDone | None) -> str:
    text = f"Epoch {last.epoch} of {last.epochs}; loss {last.losses['total']:.3f}; {last.mpx_per_s:.2f} million pixels a second."
    if best is not None:
        text += f" Best score {best.score:.3f} in epoch {best.epoch}."
    return text


def draw_curves(rows: list[EpochDone]) -> Figure:
    """Draw losses, scores and the learning rate over the epochs."""
    measured = [row for row in rows if row.score is not None]
    figure = Figure(figsize=(10, 3.2 if not measured else 6), layout="constrained")
    axes = np.atleast_2d(figure.subplots(2 if measured else 1, 2))
    epochs = [row.epoch for row in rows]
    marker = "o" if len(rows) < 3 else None
    for name in rows[-1].losses:
        values = [row.losses.get(name, np.nan) for row in rows]
        axes[0, 0].plot(epochs, values, label=name, marker=marker, lw=2 if name == "total" else 1)
    axes[0, 0].set(title="Loss", xlabel="epoch", ylim=(0, None))
    axes[0, 1].plot(epochs, [row.learning_rate for row in rows], marker=marker, color="black")
    axes[0, 1].set(title="Learning rate", xlabel="epoch", ylim=(0, None))
    if measured:
        _draw_accuracy(axes[1], measured)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8, frameon=False, ncols=2)
    return figure


def _draw_accuracy(axes: NDArray[Any], measured: list[EpochDone]) -> None:
    epochs = [row.epoch for row in measured]
    marker = "o" if len(measured) < 3 else None
    axes[0].plot(epochs, [row.score for row in measured], label="score", lw=2, color="black", marker=marker)
    for name in measured[-1].accuracy:
        site, metric = name.rsplit(": ", 1)
        summary = metric == "mean IoU" or f"{site}: mean IoU" not in measured[-1].accuracy
        axis = axes[0] if summary else axes[1]
        axis.plot(epochs, [row.accuracy.get(name, np.nan) for row in measured], label=name, lw=1, marker=marker)
    axes[0].set(title="Validation", xlabel="epoch", ylim=(0, 1))
    axes[1].set(title="IoU of each class", xlabel="epoch", ylim=(0, 1))


def draw_window(window: WindowResult, spec: ModelSpec) -> NDArray[np.uint8]:
    """Draw image, truth, found and differences of a window side by side, (H, W, 3) RGB."""
    colors = np.full((256, 3), _UNKNOWN_RGB, np.uint8)
    for channel, row in enumerate(spec.classes):
        colors[channel] = _rgb(row.color)
    colors[NOT_BUILDING] = _NO_BUILDING_RGB
    image = _to_rgb(window.pixels, spec.bands)
    dim = np.repeat(image.mean(axis=2, keepdims=True) * 0.4 + 140, 3, axis=2).astype(np.uint8)
    dim[_wrong(window, spec)] = _WRONG_RGB
    dim[window.truth == UNLABELLED] = _UNKNOWN_RGB
    gap = np.full((image.shape[0], _GAP_PX, 3), 255, np.uint8)
    strip = np.concatenate([image, gap, colors[window.truth], gap, colors[window.found], gap, dim], axis=1)
    return strip.repeat(max(1, round(_SHOWN_PX / image.shape[0])), axis=0).repeat(max(1, round(_SHOWN_PX / image.shape[0])), axis=1)


def _wrong(window: WindowResult, spec: ModelSpec) -> NDArray[np.bool_]:
    building = [channel for channel, row in enumerate(spec.classes) if row.kind == "building"]
    no_more = window.truth == NOT_BUILDING
    differs = np.where(no_more, np.isin(window.found, building), window.found != window.truth)
    return np.asarray(differs & (window.truth != UNLABELLED))


def _to_rgb(pixels: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.uint8]:
    wanted = ("red", "green", "blue")
    order = [bands.index(name) for name in wanted] if set(wanted) <= set(bands) else [0] * 3
    return np.moveaxis(np.clip(pixels[order], 0, 255).astype(np.uint8), 0, 2)


def _rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def _main_numbers(recipe: Recipe) -> list[tuple[Any, ...]]:
    schedule = recipe.schedule
    return [
        ("network", name_network(recipe.model.network)),
        ("start from", ", ".join(recipe.start_from) or "random weights"),
        ("sites", ", ".join(site.name for site in recipe.sites)),
        ("validation", ", ".join(site.name for site in recipe.validation) or "none"),
        ("epochs x steps x batch", f"{schedule.epochs} x {schedule.steps_per_epoch} x {schedule.batch_size}"),
        ("window", f"{schedule.window_px} px"),
        ("peak learning rate", schedule.learning_rate),
        ("seed", schedule.seed),
        ("loss", ", ".join(f"{k} {v:g}" for k, v in recipe.loss.model_dump().items() if isinstance(v, float) and v)),
    ]

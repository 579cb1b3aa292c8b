"""A recipe to begin with: one raster, polygons with a class column, and a model to start from."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from geoseg.config import to_toml
from geoseg.errors import LabelError, ModelError, UsageError
from geoseg.io.files import write_whole
from geoseg.io.ground import pixel_size_m
from geoseg.io.raster import open_raster
from geoseg.io.vector import read_as_drawn
from geoseg.labels.coding import EMPTY, class_text
from geoseg.model.package import ModelPackage
from geoseg.model.spec import ModelSpec
from geoseg.pixels.classes import ClassKind
from geoseg.training.recipe import Recipe

_COLORS = ("#8c6bb1", "#66c2a5", "#fc8d62", "#8da0cb", "#e78ac3", "#a6d854", "#ffd92f", "#e5c494", "#b3b3b3", "#1b9e77")
"""Of classes that the model to start from does not know, by ColorBrewer; they begin anew after ten."""
_KINDS = {"building": ClassKind.BUILDING, "road": ClassKind.ROAD}
_MOST_CLASSES = 255
_BLOCKS = 5
"""Blocks along the longer side of the raster, of which some are kept for the test."""
_MOST_BUFFER_PX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOptions:
    """What a recipe needs beside data and a model."""

    column: str
    """Column of the labels that names the class."""
    background: str | None = None
    """Class of what no polygon covers; None learns nothing there."""
    epochs: int = 30
    """Length of the training."""
    steps_per_epoch: int = 50
    """Steps of an epoch."""
    test_share: float = 0.2
    """Share of the raster, in blocks drawn by lot, that is not learned from and measured in the end; 0 measures nothing."""


def draft_recipe(raster: Path, labels: Path, base: ModelPackage, start_from: str, options: DraftOptions) -> Recipe:
    """Make the recipe of a training from one raster and polygons; its data folder is that of the raster.

    Classes are those of the column. One that the model to start from has as well keeps its color and kind; one that is called building
    or road gets that kind.

    Args:
        raster: Imagery.
        labels: Vector file.
        base: Model to start from: gives bands, scaling, resolution and network.
        start_from: How the recipe names it.
        options: Column, background, length.

    Raises:
        MissingFileError: If a file is not there.
        LabelError: If there is no such column, or it names fewer than two classes.
        ModelError: If the network of the model came from elsewhere, so that it cannot be trained on.
        UsageError: If a file cannot be read.
    """
    if base.spec.network.backend is not None:
        raise ModelError(f"Model '{base.spec.name}' cannot be trained on: geoseg did not build its network. Start from base or aerial.")
    table = _read_labels(labels, options)
    names = _order(_name_classes(table[options.column], labels, options), base.spec)
    spec = _adapt(base.spec, names, raster.stem)
    train, test = _split(raster, spec, options.test_share)
    site = {
        "name": raster.stem,
        "kind": "vectors",
        "rasters": glob.escape(raster.name),
        "labels": str(labels.resolve()).replace("{", "{{").replace("}", "}}"),
        "column": options.column,
        "background": options.background,
        "ignore": _list_nameless(table[options.column]),
    }
    return Recipe.model_validate(
        {
            "start_from": start_from,
            "model": spec,
            "sites": [site | train],
            "tests": [] if test is None else [site | test],
            "schedule": {"epochs": options.epochs, "steps_per_epoch": options.steps_per_epoch},
            "loss": {"classes": [1.0] * len(names)},
        }
    )


def write_recipe(recipe: Recipe, path: Path, overwrite: bool = False) -> None:
    """Write a recipe as TOML.

    Raises:
        UsageError: If the file exists and is not to be replaced, or its folder is missing.
        WriteError: If the disk does not take it.
    """
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists. Name another file, or replace it with --overwrite.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}. Make it first, or name another one.")
    table: dict[str, Any] = recipe.model_dump(mode="json", exclude_defaults=True)
    write_whole(path, to_toml(table).encode())


def _read_labels(labels: Path, options: DraftOptions) -> gpd.GeoDataFrame:
    table = read_as_drawn(labels, None)
    if options.column not in table.columns:
        have = ", ".join(map(str, table.columns.drop(table.geometry.name)))
        raise LabelError(f"{labels} has no column '{options.column}' for the classes; it has {have or 'none'}. Choose with --column.")
    return table


def _name_classes(column: pd.Series, labels: Path, options: DraftOptions) -> set[str]:
    # what was typed and deleted again is no name
    names = {class_text(value) for value in column.dropna().unique()} - {""} | ({options.background} if options.background else set())
    if not 2 <= len(names) <= _MOST_CLASSES:
        raise LabelError(
            f"{labels} names {len(names)} classes in '{options.column}'; a model tells 2 to {_MOST_CLASSES} apart. "
            "Draw polygons of another class, or name that of everything else with --background."
        )
    return names


def _list_nameless(column: pd.Series) -> list[str]:
    """Return how recipes name what stands in a column where no class does."""
    blank = any(class_text(value) == "" for value in column.dropna().unique())
    return [*([EMPTY] if column.isna().any() else []), *([""] if blank else [])]


def _order(names: set[str], base: ModelSpec) -> list[str]:
    """Put classes that the model to start from has first, in its order."""
    known = [c.name for c in base.classes if c.name in names]
    return [*known, *sorted(names - set(known))]


def _adapt(base: ModelSpec, names: list[str], called: str) -> ModelSpec:
    """Return the spec of a model with other classes; building heads stay where there are buildings."""
    known = {c.name: c for c in base.classes}
    classes = [
        {
            "value": value,
            "name": name,
            "color": known[name].color if name in known else _COLORS[value % len(_COLORS)],
            "kind": known[name].kind if name in known else _KINDS.get(name.lower(), ClassKind.SURFACE),
        }
        for value, name in enumerate(names)
    ]
    has_buildings = any(c["kind"] is ClassKind.BUILDING for c in classes)
    heads = {"semantic": {"start": 0, "stop": len(names), "activation": "softmax"}}
    if has_buildings:
        inner = [name for name in base.heads if name != "semantic"]
        heads |= {name: {"start": len(names) + i, "stop": len(names) + i + 1, "activation": "sigmoid"} for i, name in enumerate(inner)}
    kept = base.model_dump(exclude={"accuracy", "measured", "created", "receptive_field_px"})
    source = {"name": called, "attribution": "not stated"}
    return ModelSpec.model_validate(
        kept
        | {
            "name": called,
            "version": "0.1.0",
            "description": f"Trained on {called}, beginning with '{base.name}'. Measure it elsewhere before you trust it there.",
            "license": "LicenseRef-not-stated",
            "classes": classes,
            "heads": heads,
            "training_data": [*kept["training_data"], source],
        }
    )


def _split(raster: Path, spec: ModelSpec, share: float) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return what of a site is learned from and what is measured."""
    if share == 0:
        return {}, None
    geobox = open_raster(str(raster)).geobox
    side_m = max(geobox.shape) * pixel_size_m(geobox) / _BLOCKS
    grid_m = max(spec.resolution_m or 0.0, pixel_size_m(geobox))
    buffer_px = min(_MOST_BUFFER_PX, int(side_m / grid_m / 4))
    blocks = {"size_m": round(side_m, 3), "buffer_px": buffer_px, "share": share}
    return {"blocks": blocks | {"keep": "train"}}, {"blocks": blocks | {"keep": "test"}}

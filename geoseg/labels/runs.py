"""What a model was sure of in a finished run, as labels: self-training (Lee 2013, "Pseudo-Label"; Xie et al. 2020, "Noisy Student").

Interior and boundary of buildings are not taken from runs: boundaries are rarely sure, and what is left of them would teach
that there are none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import LabelError, RunError
from geoseg.io.raster import RasterSource
from geoseg.io.tiffs.layers import read_band_names
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED, building_channel
from geoseg.labels.site import Site
from geoseg.labels.values import Channels, place_labels, read_class_raster
from geoseg.pixels.classes import ClassScheme
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.report import read_scheme

_EVIDENCE = 255
_PERCENT = 100
_SURE = 0.9


def read_sure(run: Path, source: RasterSource, site: Site, scheme: ClassScheme) -> Channels:
    """Read what a run is sure of onto the grid of its raster.

    Args:
        run: Run folder.
        source: The raster, on the grid that it is used at.
        site: What to learn, how sure the run must be, and values of its classes.
        scheme: The classes to learn.

    Raises:
        LabelError: If the run lacks a layer, lies elsewhere, or holds classes that the model has not.
        RunFolderError: If it is not finished.
    """
    folder = RunFolder(run)
    folder.check_whole()
    told, sure = folder.read_summary(), site.sure or _SURE
    if site.learn == "buildings":
        channel = building_channel(scheme)
        if channel < 0:
            raise LabelError(f"Site '{site.name}' learns buildings, and no class of the scheme is of kind 'building'.")
        building = _read_layer(run / "evidence.tif", "building", source).values
        # evidence is 0 where nothing was looked at, too
        seen = _read_layer(run / "classes.tif", "class", source).valid
        known = np.array([building >= sure * _EVIDENCE, building <= (1 - sure) * _EVIDENCE]) & seen
        semantic = np.select(list(known), [channel, NOT_BUILDING], UNLABELLED).astype(np.uint8)
        return Channels(semantic=semantic, notes=(_count(run, semantic),))
    if not site.values:
        site = site.model_copy(update={"values": _match_classes(told["classes"], run, scheme)})
    found = read_class_raster(run / "classes.tif", source, site, scheme)
    percent = _read_layer(run / "confidence.tif", "confidence", source).values
    semantic = np.where(percent >= sure * _PERCENT, found.semantic, UNLABELLED).astype(np.uint8)
    return Channels(semantic=semantic, notes=(*found.notes, _count(run, semantic)))


def _match_classes(rows: list[dict[str, Any]], run: Path, scheme: ClassScheme) -> dict[str, str]:
    """Return the class for each value of a run, by their names: numbers mean other classes elsewhere."""
    known = {row.name for row in scheme}
    matched = {str(row.value): row.name for row in read_scheme(rows) if row.name in known}
    if not matched:
        names = ", ".join(row.name for row in read_scheme(rows))
        raise LabelError(f"The classes of {run} ({names}) are none of the model's ({', '.join(known)}). Name them with values.")
    return matched


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    values: NDArray[np.uint8]
    valid: NDArray[np.bool_]


def _read_layer(path: Path, name: str, source: RasterSource) -> _Layer:
    """Return a layer (H, W) of a run's raster on the grid of its image, and where it holds data."""
    try:
        names = read_band_names(path)
    except RunError as exc:
        raise LabelError(f"A run that is learned from has {path.name} among its --outputs. {exc}") from exc
    if name not in names:
        raise LabelError(f"{path} has no band '{name}', only {', '.join(names)}. Was the run's model one that knows buildings?")
    placed = place_labels(path, source)
    if not placed.covered.any():
        raise LabelError(f"{path} does not overlap its raster {source.path}. Is it a run of another raster?")
    return _Layer(values=placed.values[names.index(name)], valid=placed.valid)


def _count(run: Path, semantic: NDArray[np.uint8]) -> str:
    return f"{run.name}: the run is sure of {float((semantic != UNLABELLED).mean()):.1%} of the pixels"

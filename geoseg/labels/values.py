"""Rasters of class values, as channels on the grid of an image."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import LabelError, RasterError
from geoseg.io.raster import RasterOptions, RasterSource, bounded_cache, open_dataset, open_raster, read_whole
from geoseg.io.warp import Placed, read_onto
from geoseg.labels.coding import UNLABELLED
from geoseg.labels.features import channel_of
from geoseg.labels.site import Site, parse_value
from geoseg.pixels.classes import ClassScheme

_UNKNOWN = 254
_NO_NUMBER = -1
_LARGEST = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Class channels on an image's grid."""

    semantic: NDArray[np.uint8]
    """(H, W), a channel or UNLABELLED."""
    notes: tuple[str, ...]
    """What was warped or missing, with numbers."""


def read_class_raster(path: Path, source: RasterSource, site: Site, scheme: ClassScheme) -> Channels:
    """Read a raster of class values onto the grid of its image.

    Args:
        path: Label raster; one band of values, or three of colors.
        source: The image, on the grid that it is used at.
        site: Values and what to ignore.
        scheme: The classes.

    Raises:
        LabelError: If it does not fit the image, or holds values that are no class; they are named and counted.
    """
    placed = place_labels(path, source)
    if not placed.covered.any():
        raise LabelError(f"{path} does not overlap its raster {source.path}. Check the CRS and place of both.")
    wanted = {parse_value(text): channel_of(name, scheme) for text, name in site.values.items()}
    explicit = set(wanted)
    wanted = wanted or {c.value: i for i, c in enumerate(scheme)}
    # 255 as a packed color is pure blue
    standing = {} if _has_colors(site) else {UNLABELLED: UNLABELLED}
    wanted = standing | wanted | {parse_value(str(value)): UNLABELLED for value in site.ignore}
    nodata = _nodata(path, site)
    values = _values(placed, path, site, nodata)
    # a nodata value that was given a class means that class
    meant = values == nodata if nodata in explicit else np.zeros_like(placed.valid)
    silent = ~placed.valid & ~meant | ~placed.covered
    semantic = _look_up(values, wanted)
    semantic[silent] = UNLABELLED
    _refuse_unknown(path, values[semantic == _UNKNOWN])
    notes = []
    if placed.warped:
        outside = float((~placed.covered).mean())
        missing = f"; {outside:.1%} of the raster lies outside it" if outside else ""
        notes.append(f"{path.name} lies on another grid and was warped by nearest neighbor{missing}")
    return Channels(semantic=semantic, notes=tuple(notes))


def place_labels(path: Path, source: RasterSource) -> Placed:
    """Read a raster of labels onto the grid of its image; without a CRS it must have the image's size.

    Raises:
        LabelError: If it cannot be read, or does not fit the image.
    """
    try:
        labels = open_raster(path, needs_georeference=False)
    except RasterError as exc:
        raise LabelError(str(exc)) from exc
    if labels.geobox.crs is not None and source.geobox.crs is not None:
        return read_onto(labels, source.geobox)
    own = open_raster(source.path, source.options, needs_georeference=False)
    if labels.shape != own.shape:
        raise LabelError(
            f"{path} has {labels.shape} pixels, its raster {own.shape}. Unless both have a CRS, labels must lie on the raster's grid."
        )
    if source.geobox.crs is not None:
        # the same pixels as the image's own, whatever it was averaged to
        return replace(read_onto(replace(labels, geobox=own.geobox), source.geobox), warped=False)
    values, valid = read_whole(labels)
    return Placed(values=values, covered=np.ones_like(valid), valid=valid, warped=False)


def _has_colors(site: Site) -> bool:
    return any(key.startswith("#") for key in site.values)


def _nodata(path: Path, site: Site) -> int | None:
    """Return the value that the file itself calls nodata, as :func:`_values` has it; None if it calls none so."""
    with bounded_cache(), open_dataset(str(path), RasterOptions()) as dataset:
        value = dataset.nodata
    if value is None or not float(value).is_integer() or abs(value) > _LARGEST:
        return None
    return int(value) * 0x010101 if _has_colors(site) else int(value)


def _values(placed: Placed, path: Path, site: Site, nodata: int | None) -> NDArray[Any]:
    """Return one whole number per pixel; colors as 0xrrggbb."""
    if _has_colors(site):
        if len(placed.values) < 3:
            raise LabelError(f"{path} has {len(placed.values)} band; values that are colors need red, green and blue.")
        red, green, blue = (placed.values[i].astype(np.int64) for i in range(3))
        packed: NDArray[np.int64] = (red << 16) | (green << 8) | blue
        return packed
    values: NDArray[Any] = placed.values[0]
    if np.issubdtype(values.dtype, np.floating):
        told = np.isfinite(values) & (placed.valid | (values == nodata))
        whole = np.where(told, values, _NO_NUMBER)
        broken = int((whole != np.rint(whole)).sum())
        if broken:
            raise LabelError(f"{path} holds {broken} pixels that are not whole numbers; class values are. Is it the right file?")
        return np.asarray(whole, np.int64)
    return values


def _look_up(values: NDArray[Any], wanted: dict[int, int]) -> NDArray[np.uint8]:
    found, place = np.unique(values, return_inverse=True)
    channels: NDArray[np.uint8] = np.array([wanted.get(int(value), _UNKNOWN) for value in found], np.uint8)
    return np.asarray(channels[place].reshape(values.shape), np.uint8)


def _refuse_unknown(path: Path, values: NDArray[Any]) -> None:
    if values.size:
        unknown, counts = np.unique(values, return_counts=True)
        named = dict(zip(unknown.tolist(), counts.tolist(), strict=True))
        raise LabelError(
            f"{path} holds values that are no class: {named} (value: pixels). Name their class with values, or list them in ignore."
        )

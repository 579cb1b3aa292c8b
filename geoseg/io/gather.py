"""Which rasters a run is made of, brought onto one grid."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import MissingFileError, RasterError
from geoseg.io.address import is_pattern, is_plain_file, shorten
from geoseg.io.composite import Mosaic, Rule
from geoseg.io.dataset import FOREIGN, RasterOptions, open_dataset
from geoseg.io.ground import pixel_size_m
from geoseg.io.imagery import FileImagery, Imagery, describe_file
from geoseg.io.pieces import Placeable, place_piece
from geoseg.io.stack import Stack

_SUFFIXES = {".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".jpg", ".jpeg"}
"""What is taken of a folder."""
_AS_FINE = 1.01
"""Pixels that differ by less count as equally fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """How several rasters become one."""

    rule: Rule = "first"
    """Which one is seen where several have data."""
    feather_px: int = 0
    """Pixels from the edges of rasters over which they fade into those below; 0 cuts."""
    stack: bool = False
    """Take them for the bands of one input instead."""


def gather_imagery(names: Sequence[str], options: RasterOptions, arrangement: Arrangement, *, needs_georeference: bool = True) -> Imagery:
    """Check rasters and bring them onto one grid.

    Args:
        names: Files, folders, patterns such as ``tiles/*.tif``, addresses. Several are one mosaic, or the bands of one input.
        options: How they are opened.
        arrangement: How several become one.
        needs_georeference: Refuse a raster without CRS; several always need one.

    Raises:
        MissingFileError: If one is not there.
        RasterError: If one cannot be used, or they do not fit each other; the message names it.
    """
    found = expand_names(names)
    if len(found) == 1:
        return describe_file(found[0], options, needs_georeference=needs_georeference)
    files = [describe_file(name, options, needs_georeference=True) for name in found]
    for file in files:
        _check_readable(file)
    return stack_imagery(files) if arrangement.stack else mosaic_imagery(files, arrangement)


def expand_names(names: Sequence[str]) -> list[str]:
    """Return the rasters that names stand for: those of folders and patterns sorted by name.

    Raises:
        MissingFileError: If no file is called like a pattern.
    """
    found: list[str] = []
    for name in names:
        if is_pattern(name):
            inside = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
        elif is_plain_file(name) and Path(name).is_dir():
            # some formats are folders
            inside = sorted(str(path) for path in Path(name).iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file()) or [name]
        else:
            inside = [name]
        if not inside:
            raise MissingFileError(f"No file is called like {name}. Check the pattern.")
        found += inside
    return found


def mosaic_imagery(given: Sequence[Placeable], arrangement: Arrangement) -> Mosaic:
    """Lay imagery side by side, on the grid of the finest.

    Raises:
        RasterError: If it differs in bands or data type.
    """
    first = given[0]
    for other in given:
        if len(other.bands) != len(first.bands) or other.dtype != first.dtype:
            raise RasterError(
                f"{other.name} has {len(other.bands)} bands of {other.dtype}, {first.name} {len(first.bands)} of {first.dtype}: "
                "rasters of a mosaic must be alike. Leave one out, or take them as bands of one input with --stack."
            )
    sizes = [pixel_size_m(imagery.geobox) for imagery in given]
    finest = _finest(given, sizes)
    placed = [place_piece(imagery, finest.geobox) for imagery in given]
    boxes = np.array([piece.box for piece in placed])
    (top, left), (bottom, right) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    grid = GeoBox((int(bottom - top), int(right - left)), finest.geobox.transform @ Affine.translation(left, top), finest.geobox.crs)
    order = list(range(len(given)))
    if arrangement.rule == "last":
        order.reverse()
    if arrangement.rule == "best":
        order.sort(key=lambda number: sizes[number])
    pieces = [place_piece(given[number], grid) for number in order]
    name = shorten([imagery.name for imagery in given])
    return Mosaic(name=name, geobox=grid, pieces=tuple(pieces), feather_px=arrangement.feather_px, median=arrangement.rule == "median")


def stack_imagery(given: Sequence[Placeable], name: str | None = None) -> Stack:
    """Lay imagery on top of each other, on the grid of the finest.

    Raises:
        RasterError: If one of it does not lie where the finest does.
    """
    grid = _finest(given, [pixel_size_m(imagery.geobox) for imagery in given]).geobox
    layers = tuple(place_piece(imagery, grid) for imagery in given)
    height, width = grid.shape
    for layer in layers:
        top, left, bottom, right = layer.box
        if min(bottom, height) <= max(top, 0) or min(right, width) <= max(left, 0):
            raise RasterError(f"{layer.imagery.name} does not lie where the other rasters of the stack do. Check its CRS with gdalinfo.")
    return Stack(name=name or shorten([imagery.name for imagery in given]), geobox=grid, layers=layers)


def _finest(given: Sequence[Placeable], sizes_m: Sequence[float]) -> Placeable:
    """Return the first of the imagery with the finest pixels."""
    return next(imagery for imagery, size in zip(given, sizes_m, strict=True) if size <= min(sizes_m) * _AS_FINE)


def _check_readable(file: FileImagery) -> None:
    """Read the last pixel of a file: those that were cut off while they were copied lack it.

    Raises:
        RasterError: If it cannot be read.
    """
    try:
        with open_dataset(file.name, file.options) as dataset:
            dataset.read(1, window=Window(dataset.width - 1, dataset.height - 1, 1, 1))
    except (*FOREIGN, OSError) as exc:
        raise RasterError(f"{file.name} is damaged: {exc}. Replace it, or leave it out.") from exc

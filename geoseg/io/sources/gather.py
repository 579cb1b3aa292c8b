"""Which rasters a run is made of, brought onto one grid."""

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import MissingFileError, RasterError
from geoseg.io.ground import pixel_size_m
from geoseg.io.sources.address import is_pattern, is_plain_file, shorten
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.bands import Names, mean_colors
from geoseg.io.sources.composite import Mosaic
from geoseg.io.sources.cube import describe_cube, is_cube
from geoseg.io.sources.dataset import FOREIGN, RasterOptions, open_dataset
from geoseg.io.sources.imagery import FileImagery, Imagery, describe_file, list_files
from geoseg.io.sources.pieces import Placeable, finest_of, place_piece
from geoseg.io.sources.stac import describe_items, is_stac
from geoseg.io.sources.stack import Stack, stack_imagery

_LARGE_PX, _SPARSE = 10**10, 0.01
"""A mosaic of at least so many pixels has to be covered by at least this share."""
RASTER_SUFFIXES = {".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".jpg", ".jpeg"}
"""What is taken of a folder."""


def gather_imagery(names: Sequence[str], options: RasterOptions, arrangement: Arrangement, wanted: Sequence[str] = ()) -> Imagery:
    """Check rasters and bring them onto one grid.

    Args:
        names: Files, folders, patterns such as ``tiles/*.tif``, addresses. Several are one mosaic, or the bands of one input.
        options: How they are opened.
        arrangement: How several become one.
        wanted: Names of the bands that are going to be read; of STAC items, only assets that hold them are opened.

    Raises:
        MissingFileError: If one is not there.
        RasterError: If one cannot be used, or they do not fit each other; the message names it.
    """
    found = expand_names(names)
    if any(is_cube(name) for name in found):
        if len(found) > 1:
            raise RasterError(f"{next(filter(is_cube, found))} is an array, which is segmented alone; {len(found)} rasters were given.")
        return describe_cube(found[0])
    given: list[FileImagery | Stack] = []
    plain = replace(options, sign=None)
    # of several files that are one input, one may hold classes beside others that hold colors
    in_colors = mean_colors(wanted) and not (arrangement.stack and len(found) > 1)
    for name in found:
        given += describe_items(name, wanted, options) if is_stac(name) else [_describe(name, plain, in_colors=in_colors)]
    if len(given) == 1:
        return given[0]
    if not arrangement.stack:
        _check_placed(given)
    for imagery in given:
        if isinstance(imagery, FileImagery):
            _check_readable(imagery)
    return stack_imagery(given) if arrangement.stack else mosaic_imagery(given, arrangement)


def _describe(name: str, options: RasterOptions, *, in_colors: bool) -> FileImagery:
    file = describe_file(name, options, needs_georeference=True)
    return file.in_colors() if in_colors else file


def list_rasters(folder: Path) -> list[Path]:
    """Return the files of a folder that are taken for rasters by their endings, sorted by name.

    Raises:
        OSError: If it cannot be looked at.
    """
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in RASTER_SUFFIXES and path.is_file())


def expand_names(names: Sequence[str]) -> list[str]:
    """Return the rasters that names stand for: those of folders and patterns sorted by name.

    Raises:
        MissingFileError: If no file is called like a pattern.
    """
    found: list[str] = []
    for name in names:
        if is_cube(name):
            inside = [name]
        elif is_pattern(name):
            inside = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
        elif is_plain_file(name) and Path(name).is_dir():
            # some formats are folders
            inside = [str(path) for path in list_rasters(Path(name))] or [name]
        else:
            inside = [name]
        if not inside:
            raise MissingFileError(f"No file is called like {name}. Check the pattern.")
        found += inside
    return found


def mosaic_imagery(given: Sequence[Placeable], arrangement: Arrangement) -> Mosaic:
    """Lay imagery side by side, on the grid of the finest.

    Raises:
        RasterError: If it differs in bands, their order or data type.
    """
    first = given[0]
    for other in given:
        if len(other.bands) != len(first.bands) or other.dtype != first.dtype:
            raise RasterError(
                f"{other.name} has {len(other.bands)} bands of {other.dtype}, {first.name} {len(first.bands)} of {first.dtype}: "
                "rasters of a mosaic must be alike. Leave one out, or take them as bands of one input with --stack."
            )
        if _are_swapped(first.bands, other.bands):
            told, known = (", ".join("/".join(names) or "no name" for names in imagery.bands) for imagery in (other, first))
            raise RasterError(
                f"{other.name} holds the bands {told}, {first.name} {known}: rasters of a mosaic must have them in one order. "
                "Bring them into one, for example with gdal_translate -b."
            )
    sizes = [pixel_size_m(imagery.geobox) for imagery in given]
    finest = finest_of(given, sizes)
    placed = [place_piece(imagery, finest.geobox) for imagery in given]
    boxes = np.array([piece.box for piece in placed], np.int64)
    (top, left), (bottom, right) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    grid = GeoBox((int(bottom - top), int(right - left)), finest.geobox.transform @ Affine.translation(left, top), finest.geobox.crs)
    _check_close(boxes, grid, [imagery.name for imagery in given])
    order = list(range(len(given)))
    if arrangement.rule == "last":
        order.reverse()
    if arrangement.rule == "best":
        order.sort(key=lambda number: sizes[number])
    pieces = [place_piece(given[number], grid) for number in order]
    name = shorten([imagery.name for imagery in given])
    return Mosaic(name=name, geobox=grid, pieces=tuple(pieces), feather_px=arrangement.feather_px, median=arrangement.rule == "median")


def _check_close(boxes: NDArray[np.int64], grid: GeoBox, names: list[str]) -> None:
    """Refuse rasters so far apart that nearly all of a large mosaic would be empty.

    Args:
        boxes: (n, 4) top, left, bottom and right of each, in pixels of one grid.
        grid: Over all of them.
        names: Of the rasters.

    Raises:
        RasterError: If they are.
    """
    height, width = grid.shape
    covered = float(np.prod((boxes[:, 2:] - boxes[:, :2]).astype(np.float64), axis=1).sum()) / (float(height) * width)
    if float(height) * width >= _LARGE_PX and covered < _SPARSE:
        size_m = pixel_size_m(grid)
        raise RasterError(
            f"The {len(names)} rasters ({shorten(names)}) lie far apart: one grid over them would be {width:,} x {height:,} px, "
            f"{width * size_m / 1000:,.0f} x {height * size_m / 1000:,.0f} km, of which they cover {covered:.2g} at most. Segment those "
            "of one place together, or each alone with geoseg batch; if their places look wrong, check their CRSs."
        )


def _are_swapped(known: Sequence[Names], others: Sequence[Names]) -> bool:
    """Tell whether a band is called like one at another place, and not like the one at its own."""
    return any(
        not set(names) & set(known[number]) and any(name in elsewhere for elsewhere in known for name in names)
        for number, names in enumerate(others)
    )


def _check_placed(given: Sequence[FileImagery | Stack]) -> None:
    """Refuse pictures in coordinates of their pixels: side by side they would all lie on one spot, most of them unseen.

    Raises:
        RasterError: If there is one.
    """
    nowhere = [file.name for imagery in given for file in list_files(imagery) if file.options.placed and not file.options.placed.is_place]
    if nowhere:
        raise RasterError(
            f"{shorten(nowhere)} have no place on the earth, so that {len(given)} rasters make no mosaic. "
            "Segment each alone, for example with geoseg batch, or take them as bands of one input with --stack."
        )


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

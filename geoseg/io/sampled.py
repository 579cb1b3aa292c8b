"""A picture of imagery, all of it or a part: from overviews where files have them, so that a raster of any size is seen at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from geoseg.errors import RunError
from geoseg.io.raster import RasterSource, bounded_cache, open_dataset
from geoseg.io.sources.composite import Mosaic
from geoseg.io.sources.dataset import FOREIGN
from geoseg.io.sources.imagery import FileImagery, Imagery
from geoseg.io.sources.palette import look_up
from geoseg.io.sources.stack import Stack
from geoseg.io.sources.valid import read_valid

_SHOWN_BANDS = 3

Coarse = tuple[NDArray[Any], NDArray[np.bool_]]


def read_coarse(source: RasterSource, window: Window, longest_px: int) -> Coarse:
    """Read a window of a run's grid with fewer pixels, by sampling: to be looked at, not to be measured.

    Mosaics are read file by file, the upper ones first; those that take the median, or fade, look a little different here.

    Args:
        source: The imagery.
        window: Inside its grid.
        longest_px: Rows and columns of the result, at most.

    Returns:
        Up to three bands (C, h, w) in the source's dtype, and valid (h, w).

    Raises:
        RunError: If it cannot be read.
    """
    height, width = coarse_shape((window.height, window.width), longest_px)
    corner = source.geobox.transform @ Affine.translation(window.col_off, window.row_off)
    grid = GeoBox((height, width), corner @ Affine.scale(window.width / width, window.height / height), source.geobox.crs)
    try:
        with bounded_cache():
            pixels, valid = _paint(source.imagery, source.bands[:_SHOWN_BANDS], grid)
    except (*FOREIGN, OSError) as exc:
        raise RunError(f"{source.path} could not be read: {exc}. Check the file with gdalinfo.") from exc
    if source.aoi is not None:
        valid &= geometry_mask([source.aoi], (height, width), grid.transform, invert=True)
    return pixels, valid


def coarse_shape(shape: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Return rows and columns of a picture of as many rows and columns, neither of which is longer than allowed."""
    coarser = max(1.0, max(shape) / longest_px)
    return max(1, round(shape[0] / coarser)), max(1, round(shape[1] / coarser))


def _paint(imagery: Imagery, bands: Sequence[int], grid: GeoBox) -> Coarse:
    if isinstance(imagery, FileImagery):
        return _paint_file(imagery, bands, grid)
    if isinstance(imagery, Stack):
        located = [imagery.locate(band) for band in bands]
        parts = [_paint(imagery.layers[layer].imagery, (band,), grid) for layer, band in located]
        return np.concatenate([pixels for pixels, _ in parts]), np.logical_and.reduce([valid for _, valid in parts])
    if isinstance(imagery, Mosaic):
        return _paint_pieces([piece.imagery for piece in imagery.pieces], bands, grid)
    return _sample_rows(imagery, bands, grid)


def _paint_pieces(pieces: Sequence[Imagery], bands: Sequence[int], grid: GeoBox) -> Coarse:
    """Lay pieces, which have grids in the CRS of the whole, below one another, until nothing more would be seen."""
    height, width = grid.shape
    dtype = np.result_type(*{piece.dtype for piece in pieces})
    pixels, valid = np.zeros((len(bands), height, width), dtype), np.zeros((height, width), bool)
    for piece in pieces:
        if valid.all():
            break
        if grid.extent.geom.intersects(piece.geobox.extent.geom):
            below, there = _paint(piece, bands, grid)
            seen = there & ~valid
            pixels[:, seen] = below[:, seen]
            valid |= there
    return pixels, valid


def _paint_file(file: FileImagery, bands: Sequence[int], grid: GeoBox) -> Coarse:
    """Read a file on its own grid, no finer than needed, and bring that onto the grid: a warped file would be read at its full size."""
    height, width = grid.shape
    pixels, valid = np.zeros((len(bands), height, width), file.dtype), np.zeros((height, width), np.uint8)
    with open_dataset(file.name, replace(file.options, onto=None)) as dataset:
        window, shape = _find_below(dataset, grid)
        if window is None:
            return pixels, valid.astype(bool)
        there = read_valid(dataset, window=window, out_shape=shape)
        if file.is_in_colors:
            read, is_opaque = look_up(file.palette, bands, dataset.read(1, window=window, out_shape=shape))
            there &= is_opaque
        else:
            read = dataset.read(list(bands), window=window, out_shape=(len(bands), *shape))
        corner = dataset.transform @ Affine.translation(window.col_off, window.row_off)
        scaled = corner @ Affine.scale(window.width / shape[1], window.height / shape[0])
        grids = {"src_transform": scaled, "dst_transform": grid.transform, "src_crs": dataset.crs, "dst_crs": _crs(grid) or dataset.crs}
    for layer, onto in ((there.astype(np.uint8), valid), *zip(read, pixels, strict=True)):
        reproject(layer, onto, **grids)
    return pixels, valid.astype(bool)


def _find_below(dataset: Any, grid: GeoBox) -> tuple[Window | None, tuple[int, int]]:
    """Return which window of a file lies below a grid, and with how many rows and columns it is read; None if nothing does."""
    box = tuple(grid.boundingbox)
    if grid.crs is not None and dataset.crs is not None and dataset.crs != _crs(grid):
        box = transform_bounds(_crs(grid), dataset.crs, *box)
    corners = [~dataset.transform @ point for point in ((box[0], box[1]), (box[2], box[3]), (box[0], box[3]), (box[2], box[1]))]
    # a pixel on the edge of the file belongs to it, whatever rounding says
    start = np.maximum(np.floor(np.min(corners, axis=0) + 1e-6).astype(int), 0)
    stop = np.minimum(np.ceil(np.max(corners, axis=0) - 1e-6).astype(int), (dataset.width, dataset.height))
    if (stop <= start).any():
        return None, (0, 0)
    cols, rows = (int(n) for n in stop - start)
    span = np.ptp(corners, axis=0)
    coarser = max(1.0, min(span[0] / grid.shape[1], span[1] / grid.shape[0]))
    return Window(int(start[0]), int(start[1]), cols, rows), (max(1, round(rows / coarser)), max(1, round(cols / coarser)))


def _sample_rows(imagery: Imagery, bands: Sequence[int], grid: GeoBox) -> Coarse:
    """Read single rows of imagery that has no overviews: arrays."""
    height, width = grid.shape
    whole_height, whole_width = (int(n) for n in imagery.geobox.shape)
    onto = ~imagery.geobox.transform @ grid.transform
    cols = np.clip((onto @ (np.arange(width) + 0.5, np.zeros(width)))[0].astype(int), 0, whole_width - 1)
    rows = np.clip((onto @ (np.zeros(height), np.arange(height) + 0.5))[1].astype(int), 0, whole_height - 1)
    pixels, valid = np.zeros((len(bands), height, width), imagery.dtype), np.zeros((height, width), bool)
    line, there = np.zeros((len(bands), 1, whole_width), imagery.dtype), np.ones((1, whole_width), bool)
    reader = imagery.open()
    try:
        for i, row in enumerate(rows.tolist()):
            there[:] = True
            reader.read_into(bands, Window(0, row, whole_width, 1), line, there)
            pixels[:, i], valid[i] = line[:, 0, cols], there[0, cols]
    finally:
        reader.close()
    return pixels, valid


def _crs(grid: GeoBox) -> Any:
    return None if grid.crs is None else grid.crs.to_wkt()

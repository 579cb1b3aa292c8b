"""Pictures of a comparison: the whole ground, and the largest changes close up."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.windows import Window

from geoseg.change.classes import BASE, UNCHANGED, merge_unchanged, transition_scheme
from geoseg.change.ground import Ground, shift_grid
from geoseg.errors import GeosegError
from geoseg.io.aligned import open_on_grid
from geoseg.io.tiffs.layers import open_layer
from geoseg.io.warp import read_onto
from geoseg.picture import join_panels, paint_classes, stretch_rgb
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.tiling import partition

_OVERVIEW_PX = 900
_PLACE_PX = 256
_PLACES = 6

Pictures = list[tuple[str, NDArray[np.uint8]]]
"""Caption and (H, W, 3) RGB."""


def draw_overview(ground: Ground, raster: Path) -> Pictures:
    """Draw classes before and after, and the transitions, each at most 900 px a side."""
    grid = _coarse(ground.geobox)
    window = Window(0, 0, int(grid.shape[1]), int(grid.shape[0]))
    scheme = ground.classes.scheme
    pictures: Pictures = []
    sides = ((ground.before, ground.classes.before, (0.0, 0.0)), (ground.after, ground.classes.after, ground.moved_px))
    for caption, (side, table, moved) in zip(("Classes before", "Classes after"), sides, strict=True):
        with open_on_grid(side.classes, shift_grid(grid, _scale(moved, ground, grid)), NODATA_CLASS) as read:
            pictures.append((caption, paint_classes(table[read(window)], scheme)))
    with open_on_grid(raster, grid, NODATA_CLASS) as read:
        codes = read(window).astype(np.uint8)
    pictures.append((f"What changed: {_legend(codes, scheme)}", paint_classes(codes, transition_scheme(scheme))))
    return pictures


def _coarse(geobox: GeoBox) -> GeoBox:
    coarser = max(1.0, max(geobox.shape) / _OVERVIEW_PX)
    height, width = (max(1, round(n / coarser)) for n in geobox.shape)
    return GeoBox((height, width), geobox.transform @ Affine.scale(geobox.shape[1] / width, geobox.shape[0] / height), geobox.crs)


def _scale(moved_px: tuple[float, float], ground: Ground, grid: GeoBox) -> tuple[float, float]:
    return moved_px[0] * grid.shape[1] / ground.shape[1], moved_px[1] * grid.shape[0] / ground.shape[0]


def _legend(codes: NDArray[np.uint8], scheme: ClassScheme) -> str:
    """Name the changes that are seen, the most frequent first."""
    values, counts = np.unique(merge_unchanged(codes), return_counts=True)
    names = [c.name for c in scheme]
    order = [int(v) for v in values[np.argsort(-counts)] if v not in (UNCHANGED, NODATA_CLASS)]
    told = [f"{names[v // BASE]} to {names[v % BASE]}" for v in order[:4]]
    return ", ".join(told) + (", ..." if len(order) > 4 else "") if told else "nothing"


def draw_places(ground: Ground, raster: Path) -> Pictures:
    """Draw the places with the most change: imagery before and after where it can be read, classes before and after, the change."""
    pictures = []
    for window, changed_px in _find_places(ground, raster):
        panels = [*_imagery(ground, window), *_classes(ground, raster, window)]
        share = changed_px / (window.width * window.height)
        pictures.append((f"column {window.col_off}, row {window.row_off}: {share:.0%} changed", join_panels(panels)))
    return pictures


def _find_places(ground: Ground, raster: Path) -> list[tuple[Window, int]]:
    found = []
    with open_layer(raster) as read:
        for window in partition(ground.shape, _PLACE_PX):
            codes = merge_unchanged(read(window))
            found.append((window, int(((codes != UNCHANGED) & (codes != NODATA_CLASS)).sum())))
    found = sorted((row for row in found if row[1]), key=lambda row: -row[1])
    return found[:_PLACES]


def _imagery(ground: Ground, window: Window) -> Iterator[NDArray[np.uint8]]:
    for side, moved in ((ground.before, (0.0, 0.0)), (ground.after, ground.moved_px)):
        if side.imagery is None:
            continue
        grid = shift_grid(ground.geobox[window.toslices()], moved)
        try:
            placed = read_onto(side.imagery, grid, Resampling.bilinear)
        except GeosegError:
            # pictures are a help; what was found stands without them
            continue
        yield stretch_rgb(placed.values, placed.valid)


def _classes(ground: Ground, raster: Path, window: Window) -> Iterator[NDArray[np.uint8]]:
    with ground.open() as read, open_layer(raster) as read_code:
        for classes in read(window):
            yield paint_classes(classes, ground.classes.scheme)
        yield paint_classes(read_code(window), transition_scheme(ground.classes.scheme))

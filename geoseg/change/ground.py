"""The grid that two dates share, and geometries on it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.windows import Window

from geoseg.change.classes import CommonClasses
from geoseg.change.side import Side
from geoseg.errors import UsageError
from geoseg.io.aligned import open_on_grid
from geoseg.io.ground import pixel_size_m, pixel_step_m
from geoseg.io.warp import window_below
from geoseg.io.where import in_degrees
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.decode import EVIDENCE_SCALE
from geoseg.tiling import partition

_BLOCK_PX = 1024

_FINER = 0.99
"""Below this share of the other one's pixels a grid is the finer one."""

ReadBoth = Callable[[Window], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
"""Returns common class values before and after of a window of the grid, (H, W) each."""

ReadEvidence = Callable[[Window], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Returns probabilities of building before and after, 0 to 1, of a window of the grid, (H, W) each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The ground that both dates cover, on one grid."""

    before: Side
    """The first date."""
    after: Side
    """The second one."""
    geobox: GeoBox
    """The grid of the date with the finer pixels (of before, if they are alike), as far as the other one reaches."""
    classes: CommonClasses
    """Classes of both."""
    moved_px: tuple[float, float] = (0.0, 0.0)
    """Columns and rows of the grid by which after lies right of and below where it is taken to be."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    @property
    def crs(self) -> str:
        """CRS of the grid, as WKT."""
        assert self.geobox.crs is not None, "a run has a CRS"
        return str(self.geobox.crs.to_wkt())

    @property
    def pixel_m(self) -> tuple[float, float]:
        """Width and height of the middle pixel on the ground."""
        return pixel_step_m(self.geobox)

    def pixel_at_m(self, row: float) -> tuple[float, float]:
        """Return width and height of a pixel of a row on the ground."""
        return pixel_step_m(self.geobox, row)

    @contextmanager
    def open(self, finer: int = 1) -> Iterator[ReadBoth]:
        """Hold both class maps open on the grid, or on one with so many pixels in place of one along each side."""
        moved = shift_grid(self.geobox, self.moved_px)
        with ExitStack() as stack:
            one = stack.enter_context(open_on_grid(self.before.classes, refine_grid(self.geobox, finer), NODATA_CLASS))
            other = stack.enter_context(open_on_grid(self.after.classes, refine_grid(moved, finer), NODATA_CLASS))
            yield lambda window: (self.classes.before[one(window)], self.classes.after[other(window)])

    @property
    def has_evidence(self) -> bool:
        """Whether both dates know how probable a building is."""
        return self.before.evidence is not None and self.after.evidence is not None

    @contextmanager
    def open_evidence(self) -> Iterator[ReadEvidence]:
        """Hold the probabilities of building of both dates open on the grid."""
        assert self.before.evidence is not None, "a run without evidence"
        assert self.after.evidence is not None, "a run without evidence"
        (one, band), (other, other_band) = self.before.evidence, self.after.evidence
        moved = shift_grid(self.geobox, self.moved_px)
        with ExitStack() as stack:
            first = stack.enter_context(open_on_grid(one, self.geobox, 0, band=band))
            second = stack.enter_context(open_on_grid(other, moved, 0, band=other_band))
            yield lambda window: (first(window) / EVIDENCE_SCALE, second(window) / EVIDENCE_SCALE)

    def place(self, table: gpd.GeoDataFrame, *, is_after: bool) -> NDArray[np.object_]:
        """Return the shapes of a table on the grid: metres to the right of and below its upper left corner, along its axes."""
        inverse = ~self.geobox.transform
        moved = np.asarray(self.moved_px if is_after else (0.0, 0.0))
        step = np.asarray(self.pixel_m)

        def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray((_apply(inverse, points) - moved) * step)

        shapes = table.to_crs(self.crs).geometry.to_numpy()
        return np.asarray(shapely.transform(np.asarray(shapes, dtype=object), place))

    def burn(self, shapes: NDArray[np.object_]) -> Iterator[tuple[Window, NDArray[np.uint32]]]:
        """Draw shapes block by block; blocks that none comes near are left out.

        Args:
            shapes: (n,) polygons in metres on the grid; None is nowhere.

        Yields:
            A window, and (H, W) uint32: which shape, from 1, a pixel's center lies in; 0 = none.
        """
        placed = np.asarray(shapely.transform(shapes, lambda points: points / np.asarray(self.pixel_m)))
        tree = shapely.STRtree(placed)
        for window in partition(self.shape, _BLOCK_PX):
            left, top = window.col_off, window.row_off
            near = tree.query(shapely.box(left, top, left + window.width, top + window.height))
            if len(near):
                origin, shape = Affine.translation(left, top), (window.height, window.width)
                yield window, rasterize(zip(placed[near], near + 1, strict=True), shape, transform=origin, dtype="uint32")

    def take_back(self, shapes: NDArray[np.object_]) -> NDArray[np.object_]:
        """Return shapes that lie on the grid in its CRS."""
        step = np.asarray(self.pixel_m)
        return np.asarray(shapely.transform(shapes, lambda points: _apply(self.geobox.transform, points / step)))


def find_ground(before: Side, after: Side, classes: CommonClasses) -> Ground:
    """Choose the grid on which two dates are compared.

    Raises:
        UsageError: If they share no ground.
    """
    finer = pixel_size_m(after.geobox) < _FINER * pixel_size_m(before.geobox)
    own, other = (after.geobox, before.geobox) if finer else (before.geobox, after.geobox)
    window = window_below(own, other, margin_px=0)
    if window is None:
        spans = (f"{side.name} spans {np.round(in_degrees(side.geobox), 5).tolist()}" for side in (before, after))
        raise UsageError(f"The two dates share no ground: {'; '.join(spans)} (west, south, east, north in degrees). Check the CRS of both.")
    return Ground(before=before, after=after, geobox=own[window.toslices()], classes=classes)


def shift_grid(geobox: GeoBox, moved_px: tuple[float, float]) -> GeoBox:
    """Return a grid whose pixels lie so many columns to the right and rows down."""
    return geobox if moved_px == (0.0, 0.0) else GeoBox(geobox.shape, geobox.transform @ Affine.translation(*moved_px), geobox.crs)


def refine_grid(geobox: GeoBox, finer: int) -> GeoBox:
    """Return a grid with so many pixels in place of one along each side."""
    height, width = geobox.shape
    return geobox if finer == 1 else GeoBox((height * finer, width * finer), geobox.transform @ Affine.scale(1 / finer), geobox.crs)


def _apply(transform: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c, d, e, f = tuple(transform)[:6]
    x, y = points.T
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])

"""A flood in pixels, read block by block."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely import STRtree

from geoseg.errors import UsageError
from geoseg.impact.flood import DRY, FLOODED, PERMANENT, STATES, UNKNOWN, FloodAreas, Segments, Stretches, join_stretches
from geoseg.impact.walk import walk_pixels
from geoseg.io.ground import measure_areas, pixel_step_m
from geoseg.io.raster import OpenRaster
from geoseg.objects.vectorize import Patches, VectorizeOptions, gather_patches, stream_polygons
from geoseg.pixels.classes import ClassScheme, LandClass
from geoseg.products.features import mend, to_ground
from geoseg.products.zonal import measure_zones
from geoseg.tiling import partition

_BLOCK_PX = 1024
_WHOLE = 0.999
"""A polygon of which this share lies on the raster lies there whole: pixels and polygons are measured in different ways."""
_NOT_SEEN = 254
"""Stands for ``UNKNOWN`` where areas are measured, since 255 is no class."""
_MEASURED = {DRY: "dry", FLOODED: "wet", PERMANENT: "standing", _NOT_SEEN: "hidden"}
_SCHEME = ClassScheme(classes=tuple(LandClass(value=value, name=name, color="#000000") for value, name in _MEASURED.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterRule:
    """Which values are water."""

    path: str
    """The raster, for messages."""
    values: frozenset[int] | None
    """Values of water; None takes the only one beside 0, or everything above 0 where values are fractions."""
    nodata: float | None
    """Value of which nothing is known."""
    standing: frozenset[int] = frozenset()
    """Values of what stands in water or above it, roofs and decks: beside them water does not end."""
    seen: set[int] = field(default_factory=set, compare=False)
    """Values beside 0 that were met so far, in any window, where none was named."""

    def apply(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return ``DRY``, ``FLOODED`` or ``UNKNOWN`` for values (H, W).

        Raises:
            UsageError: If no water was named and there are several values beside 0, or a class was named and values are fractions.
        """
        known = valid if self.nodata is None else valid & (values != self.nodata)
        if self.values is not None:
            self._refuse_fractions(values[known])
            wet = np.isin(values, list(self.values))
        elif np.issubdtype(values.dtype, np.floating):
            wet = values > 0
        else:
            self.seen.update(np.unique(values[known & (values != 0)]).tolist())
            if len(self.seen) > 1:
                raise UsageError(
                    f"{self.path} holds {', '.join(map(str, sorted(self.seen)[:5]))} beside 0; a flood is one of them. Name it with "
                    f"--flood-class, or --before-class for the time before, and values that stand for nothing known with --flood-nodata."
                )
            wet = values != 0
        return np.where(known, np.where(wet, FLOODED, DRY), UNKNOWN).astype(np.uint8)

    def _refuse_fractions(self, values: NDArray[Any]) -> None:
        """Refuse depths and shares where a class was named: classes are whole numbers, and no pixel would ever be that one."""
        if not np.issubdtype(values.dtype, np.floating):
            return
        fractions = values[np.isfinite(values) & (values != np.round(values))]
        if fractions.size:
            raise UsageError(
                f"{self.path} holds fractions, such as {float(fractions[0]):.4g}, which are depths or shares and no classes. Leave "
                "--flood-class and --before-class out: everything above 0 counts as water then."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFlood:
    """A flood in pixels; see :class:`geoseg.impact.flood.Flood`. Memory holds a block of them."""

    name: str
    """What it is called."""
    raster: OpenRaster
    """Values of the first band."""
    geobox: GeoBox
    """Its grid."""
    rule: WaterRule
    """Which values are water."""
    before: Callable[[Window], NDArray[np.uint8]] | None = None
    """States of a window before the flood, ``FLOODED`` where water was."""
    area: Callable[[Window], NDArray[np.uint8]] | None = None
    """``FLOODED`` where a window was looked at."""
    hides_ground: bool = False
    """Whether roofs hide the water."""

    @property
    def crs(self) -> str:
        """The grid's CRS as WKT."""
        assert self.geobox.crs is not None, "open_raster refuses rasters without a CRS"
        return str(self.geobox.crs.to_wkt())

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top."""
        left, bottom, right, top = self.geobox.boundingbox.bbox
        return left, bottom, right, top

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return the states (H, W) of a window.

        What is dry now is dry whatever was before; water is new or permanent only where it is known what was before.
        """
        return self._read(window)[0]

    def _read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Return states and values."""
        pixels, valid = self.raster.read(window)
        now = self.rule.apply(pixels[0], valid)
        if self.area is not None:
            now[self.area(window) != FLOODED] = UNKNOWN
        if self.before is None:
            return now, pixels[0]
        then, wet = self.before(window), now == FLOODED
        now[wet & (then == FLOODED)] = PERMANENT
        now[wet & (then == UNKNOWN)] = UNKNOWN
        return now, pixels[0]

    def measure(self, polygons: NDArray[np.object_]) -> FloodAreas:
        """Measure how much of polygons is under water; pixels on their borders count by the part inside (exactextract)."""
        table = measure_zones(self._read_for_measuring, _SCHEME, self.geobox, gpd.GeoDataFrame(geometry=polygons, crs=self.crs))
        whole, mapped = table["zone_m2"].to_numpy(), table["mapped_m2"].to_numpy()
        whole = np.where(mapped >= _WHOLE * whole, mapped, whole)
        unknown = whole - mapped + table["hidden_m2"].to_numpy()
        flooded, permanent = table["wet_m2"].to_numpy(), table["standing_m2"].to_numpy()
        return FloodAreas(whole_m2=whole, flooded_m2=flooded, permanent_m2=permanent, unknown_m2=unknown)

    def cut(self, segments: Segments) -> Stretches:
        """Cut lines where they go from pixel to pixel; what lies outside the raster is unknown."""
        ends = _to_pixels(segments.ends, self.geobox)
        tree = STRtree(shapely.linestrings(ends))
        found = [(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, np.uint8))]
        for window in partition(self.shape, _BLOCK_PX):
            box = shapely.box(window.col_off - 1, window.row_off - 1, window.col_off + window.width + 1, window.row_off + window.height + 1)
            near = tree.query(box)
            index, t, pixels = walk_pixels(ends[near], window)
            if len(index):
                state = self.read(window)[pixels[:, 0] - window.row_off, pixels[:, 1] - window.col_off]
                found.append((near[index], t, state))
        index, t, state = (np.concatenate(parts) for parts in zip(*found, strict=True))
        missing_index, missing_t = _find_missing(index, t, len(segments.line))
        outside = np.full(len(missing_index), UNKNOWN, np.uint8)
        return join_stretches(
            segments, np.concatenate([index, missing_index]), np.concatenate([t, missing_t]), np.concatenate([state, outside])
        )

    def patches(self) -> Iterator[gpd.GeoDataFrame]:
        """Yield polygons along pixel edges."""
        options = VectorizeOptions(background=DRY)
        drawn = stream_polygons(self._read_for_drawing, self.shape, partial(pixel_step_m, self.geobox), options)
        for patches in gather_patches(drawn):
            yield self._tabulate(patches)

    def shores(self, step: float) -> Iterator[NDArray[np.float64]]:
        """Yield the middles of all pixel edges between water and dry ground."""
        height, width = self.shape
        for window in partition(self.shape, _BLOCK_PX):
            # one more row and column, where the next block begins
            rows, cols = min(window.height + 1, height - window.row_off), min(window.width + 1, width - window.col_off)
            states, values = self._read(Window(window.col_off, window.row_off, cols, rows))
            states[np.isin(values, list(self.rule.standing))] = UNKNOWN
            points = _find_edges(states, (window.height, window.width)) + np.array([window.col_off, window.row_off])
            if len(points):
                yield _to_ground(points, self.geobox)

    def _read_for_measuring(self, window: Window) -> NDArray[np.uint8]:
        states = self.read(window)
        return np.where(states == UNKNOWN, np.uint8(_NOT_SEEN), states)

    def _read_for_drawing(self, window: Window) -> NDArray[np.int16]:
        return self.read(window).astype(np.int16)

    def _tabulate(self, patches: Patches) -> gpd.GeoDataFrame:
        polygons, _ = mend(to_ground(patches.polygons, self.geobox))
        states = np.array([STATES[int(value)] for value in patches.values], dtype=object)
        return gpd.GeoDataFrame({"state": states, "area_m2": measure_areas(polygons, self.crs).round(2)}, geometry=polygons, crs=self.crs)


def _find_edges(states: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the middles of edges between water and dry ground right of and below the pixels of a block, (n, 2) column and row."""
    wet, dry = (states == FLOODED) | (states == PERMANENT), states == DRY
    rows, cols = np.nonzero(((wet[:, :-1] & dry[:, 1:]) | (dry[:, :-1] & wet[:, 1:]))[: shape[0]])
    upright = np.column_stack([cols + 1.0, rows + 0.5])
    rows, cols = np.nonzero(((wet[:-1] & dry[1:]) | (dry[:-1] & wet[1:]))[:, : shape[1]])
    return np.concatenate([upright, np.column_stack([cols + 0.5, rows + 1.0])])


def _find_missing(index: NDArray[np.int64], t: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what parts leave open of segments that they share out, as parts."""
    order = np.lexsort((t[:, 0], index))
    edges = np.concatenate([index[order], np.arange(count)])
    # between the end of a part and the begin of the next one; a part without length ends each segment
    begins = np.concatenate([t[order, 0], np.ones(count)])
    ends = np.concatenate([t[order, 1], np.ones(count)])
    order = np.lexsort((ends, begins, edges))
    edges, begins, ends = edges[order], begins[order], ends[order]
    reached = np.where(np.append(True, edges[1:] != edges[:-1]), 0.0, np.append(0.0, ends[:-1]))
    is_open = begins > reached
    return edges[is_open], np.stack([reached, begins], axis=1)[is_open]


def _to_pixels(points: NDArray[np.float64], geobox: GeoBox) -> NDArray[np.float64]:
    a, b, c, d, e, f = tuple(~geobox.transform)[:6]
    x, y = points[..., 0], points[..., 1]
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=-1)


def _to_ground(points: NDArray[np.float64], geobox: GeoBox) -> NDArray[np.float64]:
    a, b, c, d, e, f = tuple(geobox.transform)[:6]
    x, y = points[:, 0], points[:, 1]
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])

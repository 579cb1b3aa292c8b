"""Class transitions: the raster, what it adds up to, and its polygons."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.change.classes import BASE, UNCHANGED, code_transitions, merge_unchanged, split_codes, transition_scheme
from geoseg.change.ground import Ground, ReadBoth
from geoseg.change.judge import judge_differences, reach_of
from geoseg.io.ground import measure_areas, row_areas_m2
from geoseg.io.store.mosaic import LayerStyle, plain_vrt
from geoseg.io.tiffs.cog import write_cog
from geoseg.io.tiffs.layers import open_layer
from geoseg.io.tiffs.scratch import ScratchLabels, open_scratch
from geoseg.objects.borders.sieve import SieveOptions, sieve
from geoseg.objects.vectorize import Patches, VectorizeOptions, gather_patches, stream_polygons, vectorize
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.products.features import mend, to_ground
from geoseg.runfolder.report import count_classes
from geoseg.tiling import partition, place

_BLOCK_PX = 1024
_SIMPLIFY_PX = 1.5
"""The least that takes the stairs out of slanted borders."""
_NAME = "transitions.tif"

Unknown = tuple[NDArray[np.object_], NDArray[np.object_]]
"""Polygons where before, and where after, has no data; metres on the grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is too small for a change."""

    tolerance_m: float
    """Borders may lie so far apart."""
    min_area_m2: float
    """Patches of change are at least so large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """What the transition raster adds up to."""

    pixels: NDArray[np.int64]
    """(K, K) pixels by class before (rows) and after (columns)."""
    area_m2: NDArray[np.float64]
    """(K, K) area on the ground."""
    unknown_px: int
    """Pixels of the grid that lack data in either date."""
    unknown_m2: float
    """Their area."""


def map_transitions(ground: Ground, limits: Limits, work: Path) -> Path:
    """Write the codes of :func:`geoseg.change.classes.code_transitions` as a COG with a legend, block by block.

    Differences that a shift within the tolerance explains are no changes, see :func:`geoseg.change.judge.judge_differences`; nor are
    patches below the minimum area that lie among what did not change. There the class of before stays.

    Returns:
        The raster, in ``work``.

    Raises:
        RunError: If a class map could not be read, or the raster not be written.
    """
    found, codes = work / "found.scratch.tif", work / "codes.scratch.tif"
    with open_scratch(found, ground.geobox) as first, open_scratch(codes, ground.geobox) as second:
        with ground.open() as read:
            for window in partition(ground.shape, _BLOCK_PX):
                first.write(window, _judge(ground, read, window, limits.tolerance_m).astype(np.uint32))
        _drop_small(ground, first, second, limits.min_area_m2)
    style = LayerStyle(nodata=NODATA_CLASS, scheme=transition_scheme(ground.classes.scheme))
    write_cog(plain_vrt(ground.geobox, codes.name, "uint8", style, ("transition",)), work, work / _NAME, overviews="mode")
    for scratch in (found, codes):
        scratch.unlink()
    return work / _NAME


def _judge(ground: Ground, read: ReadBoth, window: Window, tolerance_m: float) -> NDArray[np.uint8]:
    """Judge a block with a margin: what is a change there may depend on pixels twice the tolerance away."""
    reach = reach_of(tolerance_m, ground.pixel_at_m(window.row_off + window.height / 2))
    rows, cols = 2 * (len(reach) - 1), 2 * int(reach[0])
    around = Window.from_slices(
        (max(0, window.row_off - rows), min(ground.shape[0], window.row_off + window.height + rows)),
        (max(0, window.col_off - cols), min(ground.shape[1], window.col_off + window.width + cols)),
    )
    before, after = read(around)
    return judge_differences(before, after, reach)[place(window, around)]


def _drop_small(ground: Ground, found: ScratchLabels, codes: ScratchLabels, min_area_m2: float) -> None:
    """Copy codes; patches of change that are too small, and would become part of what did not change, become that."""

    def read(window: Window) -> NDArray[np.int32]:
        return merge_unchanged(found.read(window).astype(np.uint8)).astype(np.int32)

    options = SieveOptions(min_area_m2=min_area_m2, background=NODATA_CLASS)
    sieved: Callable[[Window], NDArray[Any]] = read
    if min_area_m2 > 0:
        sieved = sieve(read, ground.shape, ground.pixel_at_m, options, row_areas_m2=row_areas_m2(ground.geobox), lattice_px=_BLOCK_PX)
    for window in partition(ground.shape, _BLOCK_PX):
        kept = found.read(window).astype(np.uint8)
        before, _ = split_codes(kept)
        small = (sieved(window) == UNCHANGED) & (kept != NODATA_CLASS)
        codes.write(window, np.where(small, code_transitions(before, before), kept).astype(np.uint32))


def add_up(ground: Ground, raster: Path) -> Transitions:
    """Add up pixels and areas of a transition raster, areas on the ellipsoid."""
    with open_layer(raster) as read:
        rows = count_classes(read, transition_scheme(ground.classes.scheme), row_areas_m2(ground.geobox), ground.shape)
    count = len(ground.classes.scheme)
    pixels, area_m2 = np.zeros((count, count), np.int64), np.zeros((count, count))
    for row in rows[:-1]:
        at = divmod(row["value"], BASE)
        pixels[at], area_m2[at] = row["pixels"], row["area_m2"]
    return Transitions(pixels=pixels, area_m2=area_m2, unknown_px=rows[-1]["pixels"], unknown_m2=rows[-1]["area_m2"])


def measure_inside(ground: Ground, raster: Path, shapes: NDArray[np.object_], codes: Sequence[int]) -> NDArray[np.float64]:
    """Add up the area of some transitions inside shapes that do not overlap.

    Args:
        ground: The dates.
        raster: Their transitions.
        shapes: (n,) polygons in metres on the grid; None is nowhere.
        codes: Transitions that count.

    Returns:
        (n,) area in m2; a pixel counts where its center lies inside.
    """
    areas, total = row_areas_m2(ground.geobox), np.zeros(len(shapes))
    counts = np.isin(np.arange(256), codes)
    with open_layer(raster) as read:
        for window, burned in ground.burn(shapes):
            inside = counts[read(window)] & (burned > 0)
            weights = np.broadcast_to(areas[window.row_off : window.row_off + window.height, None], inside.shape)
            total += np.bincount(burned[inside], weights[inside], minlength=len(shapes) + 1)[1:]
    return total


def draw_changes(ground: Ground, raster: Path) -> Iterator[gpd.GeoDataFrame]:
    """Draw the patches of change, with ``code, from_class, to_class, change, area_m2``; at least one table, the first may be empty.

    Borders are simplified by a pixel and a half; they never cover what has no data, and neighbors share them.
    """
    names = [c.name for c in ground.classes.scheme]
    width, height = ground.pixel_m
    options = VectorizeOptions(simplify_m=_SIMPLIFY_PX * float(np.sqrt(width * height)), background=NODATA_CLASS, cover_background=False)
    with open_layer(raster) as read_code:

        def read(window: Window) -> NDArray[np.int32]:
            return merge_unchanged(read_code(window)).astype(np.int32)

        for patches in gather_patches(_changed(stream_polygons(read, ground.shape, ground.pixel_at_m, options))):
            polygons, _ = mend(to_ground(patches.polygons, ground.geobox))
            before, after = ([names[int(n)] for n in part] for part in np.divmod(patches.values, BASE))
            columns = {
                "code": patches.values.astype(np.int32),
                "from_class": before,
                "to_class": after,
                "change": [f"{one} to {other}" for one, other in zip(before, after, strict=True)],
                "area_m2": measure_areas(polygons, ground.crs).round(2),
            }
            yield gpd.GeoDataFrame(columns, geometry=polygons, crs=ground.crs)


def _changed(batches: Iterator[Patches]) -> Iterator[Patches]:
    for batch in batches:
        kept = batch.values != UNCHANGED
        yield Patches(values=batch.values[kept], polygons=batch.polygons[kept], pixels=batch.pixels[kept], first=batch.first[kept])


def draw_unknown(ground: Ground) -> Unknown:
    """Return where before, and where after, has no data: exact polygons in metres on the grid."""
    step = np.asarray(ground.pixel_m)
    drawn = []
    with ground.open() as read:
        for date in (0, 1):

            def read_unknown(window: Window, date: int = date) -> NDArray[np.uint8]:
                return np.asarray(read(window)[date] == NODATA_CLASS, np.uint8)

            patches = vectorize(read_unknown, ground.shape, ground.pixel_at_m, VectorizeOptions(background=0))
            drawn.append(np.asarray(shapely.transform(patches.polygons, lambda points: points * step)))
    return drawn[0], drawn[1]

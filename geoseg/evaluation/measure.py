"""A result against its reference: pixels, objects and roads, ready to be pooled with those of other rasters."""

from dataclasses import dataclass, field
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import LabelError
from geoseg.evaluation.apls import Apls, AplsOptions, compare_networks
from geoseg.evaluation.counts import CountOptions, PixelCounts, count_pixels, known_at
from geoseg.evaluation.found import Found
from geoseg.evaluation.objects import ObjectMatches, Polygons, match_objects
from geoseg.evaluation.pictures import Picture, draw_place
from geoseg.evaluation.reference import Reference, cut_lines
from geoseg.evaluation.roads import RoadMatches, match_roads
from geoseg.evaluation.sampling import read_at
from geoseg.io.ground import pixel_size_m
from geoseg.pixels.classes import NODATA_CLASS

_PIECE_PX = 2.0
"""Of a line, that is there or not as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """Distances of the metrics that have one."""

    boundary_m: float = 1.0
    """Width of the boundary region of boundary IoU; at least one pixel."""
    boundary_px: int = 3
    """The same where pixels have no size on the ground."""
    buffer_m: float = 4.0
    """Distance up to which road lines match."""
    apls: AplsOptions = field(default_factory=AplsOptions)
    """How road networks are compared."""
    pictures: int = 6
    """Worst places to draw; 0 draws none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was measured on one raster or on several; None where it was not measured."""

    pixels: PixelCounts | None = None
    """Counts of pixels."""
    boundary_px: tuple[int, ...] = ()
    """Widths of the boundary regions, one per raster."""
    objects: ObjectMatches | None = None
    """Matches of buildings."""
    roads: RoadMatches | None = None
    """Lengths of roads."""
    apls: tuple[tuple[float, Apls], ...] = ()
    """Length of the reference in metres, and similarity, of each raster with roads."""
    pictures: tuple[Picture, ...] = ()
    """Worst places, worst first."""
    notes: tuple[str, ...] = ()
    """What was repaired, left out or could not be measured."""

    def __add__(self, other: "Tally") -> "Tally":
        """Pool two rasters; of the pictures the worst stay."""
        pictures = sorted((*self.pictures, *other.pictures), key=lambda p: -p.wrong_px)
        return Tally(
            pixels=_join(self.pixels, other.pixels),
            boundary_px=self.boundary_px + other.boundary_px,
            objects=_join(self.objects, other.objects),
            roads=_join(self.roads, other.roads),
            apls=self.apls + other.apls,
            pictures=tuple(pictures[: max(len(self.pictures), len(other.pictures))]),
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
        )


def measure(found: Found, reference: Reference, options: EvaluateOptions, name: str = "") -> Tally:
    """Compare one result with its reference.

    Args:
        found: The result.
        reference: Labels on its grid.
        options: Distances.
        name: Of the raster, for pictures.

    Raises:
        LabelError: If no pixel has both a class and a label.
    """
    tally = Tally(notes=reference.notes)
    if reference.read is not None:
        tally += _measure_pixels(found, reference, options, name)
        tally += _measure_objects(found, reference)
    if reference.roads is not None:
        tally += _measure_roads(found, reference, options)
    return tally


def _join(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _measure_pixels(found: Found, reference: Reference, options: EvaluateOptions, name: str) -> Tally:
    assert reference.read is not None
    width = options.boundary_px if found.geobox.crs is None else max(1, round(options.boundary_m / pixel_size_m(found.geobox)))
    counts, worst = count_pixels(found, reference.read, CountOptions(boundary_px=width, places=options.pictures))
    if counts.known == 0:
        raise LabelError(
            f"No pixel{' of ' + name if name else ''} has both a class and a label: all {found.shape[0] * found.shape[1]} are unlabelled "
            "or hold no data. Check that labels, area and result cover the same ground."
        )
    pictures = tuple(draw_place(found, reference, place, name) for place in worst)
    return Tally(pixels=counts, boundary_px=(width,), pictures=pictures)


def _measure_objects(found: Found, reference: Reference) -> Tally:
    if reference.buildings is None:
        return Tally()
    if found.buildings is None:
        return Tally(notes=("Buildings were not compared: the result has no building polygons.",))
    shapes = found.buildings.geometry.to_numpy()
    scores = found.buildings["score"].to_numpy(np.float64)
    one = Polygons(shapes=shapes, counts=_lies_in_known(shapes, found, reference))
    other = Polygons(shapes=reference.buildings, counts=_lies_in_known(reference.buildings, found, reference))
    return Tally(objects=match_objects(one, scores, other))


def _lies_in_known(shapes: NDArray[np.object_], found: Found, reference: Reference) -> NDArray[np.bool_]:
    """Tell of each object whether a point of it, well inside, lies where there are labels and data."""
    read = reference.read
    assert read is not None
    points = shapely.get_coordinates(shapely.point_on_surface(shapes))
    cols, rows = ~found.geobox.transform @ (points[:, 0], points[:, 1])

    def known(window: Window) -> NDArray[np.bool_]:
        return known_at(found, read, window)

    return read_at(known, np.floor(rows).astype(np.int64), np.floor(cols).astype(np.int64), found.shape, outside=0).astype(bool)


def _measure_roads(found: Found, reference: Reference, options: EvaluateOptions) -> Tally:
    assert reference.roads is not None
    if found.roads is None:
        return Tally(notes=("Roads were not compared: the result has no road lines.",))
    area = reference.area if reference.area is not None else shapely.box(*found.geobox.boundingbox)
    lines = _where_data_is(cut_lines(found.roads.geometry.to_numpy(), area), found)
    known = _where_data_is(reference.roads, found)
    if not len(lines) and not len(known):
        return Tally(notes=("Roads were not compared: there are none, neither found nor true.",))
    # metres need a CRS that has them
    both = gpd.GeoSeries(np.concatenate([known, lines]), crs=str(found.geobox.crs))
    metric = both.to_crs(both.estimate_utm_crs()).to_numpy()
    true, seen = metric[: len(known)], metric[len(known) :]
    matches = match_roads(seen, true, options.buffer_m)
    return Tally(roads=matches, apls=((matches.reference_m, compare_networks(seen, true, options.apls)),))


def _where_data_is(lines: NDArray[np.object_], found: Found) -> NDArray[np.object_]:
    """Return lines without what lies where the result has no data: nobody can find a road there, or miss it."""
    transform = found.geobox.transform
    fine = shapely.segmentize(lines, _PIECE_PX * float(np.sqrt(abs(transform.determinant))))
    points, line = shapely.get_coordinates(fine, return_index=True)
    same = np.flatnonzero(line[1:] == line[:-1])
    pieces = np.stack([points[same], points[same + 1]], axis=1)
    cols, rows = ~transform @ tuple(pieces.mean(axis=1).T)
    places = (np.floor(rows).astype(np.int64), np.floor(cols).astype(np.int64))
    there = read_at(found.classes, *places, found.shape, outside=NODATA_CLASS) != NODATA_CLASS
    kept = np.ones(len(lines), np.bool_)
    kept[line[same[~there]]] = False
    parts = [lines[kept]]
    for index in np.flatnonzero(~kept):
        first, last = np.searchsorted(line[same], [index, index + 1])
        left = shapely.linestrings(pieces[first:last][there[first:last]])
        parts.append(shapely.get_parts(shapely.line_merge(shapely.multilinestrings(left))))
    return np.concatenate(parts)

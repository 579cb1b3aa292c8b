"""Annotated images: shapes in pixels, as annotation tools keep them, and their way to the ground and back."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from geoseg.errors import LabelError
from geoseg.io.raster import open_raster
from geoseg.labels.coding import EMPTY, class_text
from geoseg.labels.features import read_features
from geoseg.objects.vectorize import VectorizeOptions, vectorize

MOST_MASK_PX = 400_000_000
"""Pixels of a mask that is decoded in memory, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One object in an image."""

    label: str
    """Class name."""
    geometry: BaseGeometry
    """Polygons or lines in pixel coordinates: (0, 0) is the upper left corner of the image, y points down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedImage:
    """An image and what was drawn in it."""

    name: str
    """File name."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    shapes: tuple[Shape, ...]
    """In the order in which they were drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What a file of annotations holds."""

    images: tuple[AnnotatedImage, ...]
    """With or without shapes."""
    notes: tuple[str, ...] = ()
    """What was left out, with numbers."""


def from_ground(vector: Path, images: dict[str, Path], column: str | None) -> Annotations:
    """Cut the features of a vector file at the edges of images.

    Args:
        vector: Any OGR file, in any CRS.
        images: Georeferenced raster by the name that it has in the annotations.
        column: Class names or numbers; features without one are left out. None calls everything ``object``.

    Raises:
        LabelError: If the column is missing, or no feature with a class touches any image.
    """
    made, notes = [], []
    for name, path in images.items():
        geobox = open_raster(path).geobox
        found = read_features(vector, geobox)
        table = found.table
        if column is not None and column not in table.columns:
            raise LabelError(f"{vector} has no column '{column}'. It has {', '.join(c for c in table.columns if c != 'geometry')}.")
        labels = ["object"] * len(table) if column is None else [class_text(value) for value in table[column]]
        pixels = _moved(table.geometry.to_numpy(), ~geobox.transform)
        cut = shapely.intersection(pixels, shapely.box(0, 0, geobox.shape[1], geobox.shape[0]))
        drawn = [Shape(label=label, geometry=g) for label, g in zip(labels, cut, strict=True) if g.area or g.length]
        shapes = tuple(shape for shape in drawn if shape.label not in ("", EMPTY))
        made.append(AnnotatedImage(name=name, width=int(geobox.shape[1]), height=int(geobox.shape[0]), shapes=shapes))
        notes += [f"{name}: {note}" for note in found.notes]
        if len(shapes) < len(drawn):
            notes.append(f"{name}: {len(drawn) - len(shapes)} features have no '{column}' and were left out")
    if not any(image.shapes for image in made):
        named = "" if column is None else f" with a value in '{column}'"
        raise LabelError(f"No feature of {vector}{named} touches any of {len(images)} images. Check their CRSs.")
    return Annotations(images=tuple(made), notes=tuple(notes))


def to_ground(annotations: Annotations, images: dict[str, Path]) -> gpd.GeoDataFrame:
    """Place shapes by the georeference of their images; columns ``class, image``, in the CRS of the first image.

    Raises:
        LabelError: If an image is missing or has another size.
    """
    tables = []
    for image in annotations.images:
        if image.name not in images:
            raise LabelError(f"There is no image {image.name} among {len(images)} images. Give their folder with --images.")
        geobox = _grid(image, images[image.name])
        shapes = _moved(np.array([s.geometry for s in image.shapes], dtype=object), geobox.transform)
        columns = {"class": [s.label for s in image.shapes], "image": [image.name] * len(image.shapes)}
        tables.append(gpd.GeoDataFrame(columns, geometry=shapes, crs=str(geobox.crs)))
    if not tables:
        raise LabelError("There is no image in the annotations.")
    merged = pd.concat([table.to_crs(tables[0].crs) for table in tables if len(table)] or tables[:1], ignore_index=True)
    return gpd.GeoDataFrame(merged, geometry="geometry", crs=tables[0].crs)


def without_holes(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    """Cut a polygon through its holes, so that what is left has none and together is the same."""
    if not polygon.interiors:
        return [polygon]
    left, top, right, bottom = polygon.bounds
    middle = shapely.Polygon(polygon.interiors[0]).representative_point().x
    halves = (shapely.box(left, top, middle, bottom), shapely.box(middle, top, right, bottom))
    parts = [part for half in halves for part in polygons_of(polygon.intersection(half))]
    return [whole for part in parts for whole in without_holes(part)]


def polygons_of(geometry: BaseGeometry) -> list[shapely.Polygon]:
    """Return the polygons of a geometry; lines and points are left out."""
    flat = shapely.get_parts(shapely.get_parts(geometry))
    return [part for part in flat if part.geom_type == "Polygon" and part.area > 0]


def outline_mask(mask: NDArray[np.bool_]) -> BaseGeometry:
    """Return the exact outline of a mask (H, W) in pixel coordinates."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return shapely.MultiPolygon()
    top, left = rows[0], cols[0]
    # an object is small in its image, which each cell of the vectorizer would take in
    cut = mask[top : rows[-1] + 1, left : cols[-1] + 1].astype(np.uint8)
    patches = vectorize(lambda w: cut[w.toslices()], cut.shape, (1.0, 1.0), VectorizeOptions(background=0))
    polygons = _moved(np.asarray(patches.polygons, object), Affine.translation(left, top))
    return shapely.multipolygons(list(polygons)) if len(polygons) != 1 else polygons[0]


def join_parts(parts: list[BaseGeometry]) -> BaseGeometry:
    """Return one valid geometry of the parts of an object."""
    return parts[0] if len(parts) == 1 and parts[0].is_valid else shapely.union_all(shapely.make_valid(np.array(parts, dtype=object)))


def _grid(image: AnnotatedImage, path: Path) -> GeoBox:
    geobox = open_raster(path).geobox
    if tuple(geobox.shape) != (image.height, image.width):
        raise LabelError(f"{path} has {tuple(geobox.shape)} pixels, the annotations say {(image.height, image.width)}.")
    return geobox


def _moved(shapes: NDArray[np.object_], transform: Affine) -> NDArray[np.object_]:
    a, b, c, d, e, f = tuple(transform)[:6]

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([a * points[:, 0] + b * points[:, 1] + c, d * points[:, 0] + e * points[:, 1] + f])

    return np.asarray(shapely.transform(shapes, move), dtype=object)

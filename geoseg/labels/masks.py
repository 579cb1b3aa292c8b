"""Polygons to masks and masks to polygons."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window

from geoseg.errors import GeosegError, LabelError
from geoseg.io.files import write_error
from geoseg.io.ground import measure_polygons, pixel_step_m
from geoseg.io.raster import open_raster
from geoseg.io.store.mosaic import LayerStyle, plain_vrt
from geoseg.io.tiffs.cog import write_cog
from geoseg.io.tiffs.image import write_image
from geoseg.io.vector import write_vector
from geoseg.labels.coding import UNLABELLED
from geoseg.labels.features import class_channels, read_features
from geoseg.labels.site import Site
from geoseg.objects.vectorize import VectorizeOptions, vectorize
from geoseg.pixels.classes import ClassScheme

_NOTHING = -(2**31)


def rasterize_file(
    polygons: Path, like: Path, output: Path, *, scheme: ClassScheme | None, column: str | None, all_touched: bool
) -> tuple[str, ...]:
    """Draw the polygons of a file into a raster on the grid of another one.

    Args:
        polygons: Any OGR file, in any CRS.
        like: Raster that gives the grid.
        output: GeoTIFF. With a scheme: class values, 255 = nothing, with its colors; else 1 on polygons, 0 elsewhere.
        scheme: Classes of ``column``.
        column: Class names or values; None draws all polygons alike.
        all_touched: Count pixels that are touched, not only those whose centers are covered.

    Returns:
        What was repaired or left out.

    Raises:
        LabelError: If the polygons lie elsewhere, or values of the column are no class.
        WriteError: If the output cannot be written.
    """
    source = open_raster(like)
    found = read_features(polygons, source.geobox)
    if found.table.empty:
        raise LabelError(f"No feature of {polygons} touches {like}. Check their CRSs.")
    values = np.ones(len(found.table), np.int64)
    if column is not None:
        values = _class_values(found.table, polygons, column, scheme)
    order = np.argsort(values, kind="stable")
    shapes = list(zip(found.table.geometry.to_numpy()[order], values[order].tolist(), strict=True))
    fill = 0 if column is None else UNLABELLED
    drawn = rasterize(shapes, source.shape, fill=fill, transform=source.geobox.transform, all_touched=all_touched, dtype="uint8")
    style = LayerStyle(nodata=None if column is None else UNLABELLED, scheme=scheme if column is not None else None)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output.parent, prefix=".rasterize-") as folder:
            write_image(Path(folder) / "plain.tif", drawn[None], source.geobox)
            write_cog(plain_vrt(source.geobox, "plain.tif", "uint8", style), Path(folder), output, overviews="mode")
    except OSError as exc:
        if isinstance(exc, GeosegError):
            raise
        raise write_error(output, exc) from exc
    return found.notes


def vectorize_file(mask: Path, output: Path, *, tolerance_m: float, scheme: ClassScheme | None) -> int:
    """Draw a polygon around each patch of equal value, block by block.

    Args:
        mask: Georeferenced raster of whole numbers; its first band counts. Nodata gets no polygons.
        output: GeoPackage, GeoJSON or FlatGeobuf with ``class_value, class, area_m2``.
        tolerance_m: How far borders may move; 0 keeps the pixel edges.
        scheme: Names of the values; None writes the values as names.

    Returns:
        Number of polygons.

    Raises:
        LabelError: If the raster holds fractions.
    """
    source = open_raster(mask)
    if np.issubdtype(source.dtype, np.floating):
        raise LabelError(f"{mask} is of type {source.dtype}; polygons are drawn around whole numbers. Convert it with gdal_translate -ot.")

    def read(window: Window) -> NDArray[Any]:
        pixels, valid = source.read(window)
        return np.where(valid, pixels[0].astype(np.int64), _NOTHING)

    options = VectorizeOptions(simplify_m=tolerance_m, background=_NOTHING, cover_background=False)
    patches = vectorize(read, source.shape, pixel_step_m(source.geobox), options)
    names = {} if scheme is None else {c.value: c.name for c in scheme}
    a, b, c, d, e, f = tuple(source.geobox.transform)[:6]
    shapes = gpd.GeoSeries(patches.polygons, crs=str(source.geobox.crs)).affine_transform([a, b, d, e, c, f])
    columns = {
        "class_value": patches.values,
        "class": [names.get(int(v), str(int(v))) for v in patches.values],
        "area_m2": measure_polygons(shapes.to_numpy(), shapes.crs)[0].round(2),
    }
    write_vector(gpd.GeoDataFrame(columns, geometry=shapes), output)
    return len(patches.values)


def _class_values(table: gpd.GeoDataFrame, path: Path, column: str, scheme: ClassScheme | None) -> NDArray[np.int64]:
    if column not in table.columns:
        raise LabelError(f"{path} has no column '{column}'.")
    if scheme is None:
        raise LabelError(f"Column '{column}' needs a class scheme. Give --classes: a TOML file with classes, a recipe or a model.")
    site = Site(name=path.name, kind="vectors", labels=str(path), column=column)
    channels, unknown = class_channels(table[column], site, scheme)
    if unknown:
        raise LabelError(f"{path} column '{column}' holds values that are no class: {unknown} (value: features).")
    return np.asarray(scheme.values, np.int64)[channels]

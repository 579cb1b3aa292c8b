"""Probabilities as Zarr: an array of classes, rows and columns, as xarray and GDAL read it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from geoseg.errors import WriteError
from geoseg.io.raster import open_plain
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.pixels.decode import MEASURE_SCALE
from geoseg.products.formats.run import RunProducts
from geoseg.tiling import partition

_CHUNK_PX, _SHARD_PX = 512, 4096
"""What is decoded at once, and what is one object of the store."""


def write_zarr(products: RunProducts, target: Path) -> None:
    """Write ``probabilities.zarr`` (version 3) from ``probabilities.tif``, shard by shard.

    Coordinates are those of pixel centers; ``spatial_ref`` holds CRS and transform by the conventions of CF and rioxarray.

    Raises:
        WriteError: If the disk does not take it.
    """
    path = products.find("probabilities.tif")
    if path is None:
        return
    try:
        with open_plain(path) as dataset:
            group = zarr.open_group(target / "probabilities.zarr", mode="w")
            _place(group, dataset, products.scheme)
            pixels = _make_array(group, dataset.count, dataset.shape)
            for window in partition(dataset.shape, _SHARD_PX):
                for band in range(dataset.count):
                    pixels[(band, *window.toslices())] = dataset.read(band + 1, window=window)
        with warnings.catch_warnings():
            # no part of version 3 yet, but what xarray looks for first, and writes itself
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(group.store)
    except OSError as exc:
        raise WriteError(f"probabilities.zarr could not be written: {exc}. Make room and run the same command again.") from exc


def _make_array(group: Any, classes: int, shape: tuple[int, int]) -> Any:
    about = {
        "long_name": "probability of a class",
        "scale_factor": 1 / MEASURE_SCALE,
        "add_offset": 0.0,
        "_FillValue": NODATA_CLASS,
        "grid_mapping": "spatial_ref",
        "coordinates": "spatial_ref",
    }
    shard = min(_SHARD_PX, -(-max(shape) // _CHUNK_PX) * _CHUNK_PX)
    return group.create_array(
        "probability",
        shape=(classes, *shape),
        chunks=(1, _CHUNK_PX, _CHUNK_PX),
        shards=(1, shard, shard),
        dtype="uint8",
        fill_value=NODATA_CLASS,
        dimension_names=("class", "y", "x"),
        attributes=about,
    )


def _place(group: Any, dataset: Any, scheme: ClassScheme) -> None:
    """Write the coordinates of classes, rows and columns, and what they mean."""
    t, (height, width) = dataset.transform, dataset.shape
    # numbers, and names as CF has them: strings are no part of version 3 yet
    values, names = np.array(scheme.values, np.uint8), " ".join(row.name.replace(" ", "_") for row in scheme)
    _add(group, "class", values, "class", {"long_name": "value of the class", "flag_values": list(scheme.values), "flag_meanings": names})
    _add(group, "y", t.f + t.e * (np.arange(height) + 0.5), "y", {"axis": "Y", "standard_name": "projection_y_coordinate"})
    _add(group, "x", t.c + t.a * (np.arange(width) + 0.5), "x", {"axis": "X", "standard_name": "projection_x_coordinate"})
    about = {"GeoTransform": " ".join(repr(value) for value in t.to_gdal())}
    if dataset.crs is not None:
        wkt = dataset.crs.to_wkt()
        about |= {"crs_wkt": wkt, "spatial_ref": wkt}
    group.create_array("spatial_ref", shape=(), dtype="int64", attributes=about)


def _add(group: Any, name: str, values: Any, dimension: str, about: dict[str, Any]) -> None:
    array = group.create_array(name, data=values, dimension_names=(dimension,))
    array.attrs.update(about)

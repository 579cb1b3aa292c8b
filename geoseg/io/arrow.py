"""Features as Arrow batches, from one vector file into another: as fast as GDAL goes, in the memory of a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyogrio import open_arrow, write_arrow
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from geoseg.errors import UsageError, WriteError

BATCH_ROWS = 20_000
"""Features in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureStream:
    """A layer that is read batch by batch, once."""

    batches: Any
    """``pyarrow.RecordBatchReader``, or a stream that only GDAL reads."""
    geometry: str
    """Name of its column of shapes, as WKB."""
    crs: str | None
    """Its CRS, as an authority's code or WKT."""


@contextmanager
def open_features(path: Path, layer: str, columns: list[str] | None = None, *, for_gdal: bool = False) -> Iterator[FeatureStream]:
    """Read a layer of a vector file batch by batch.

    Args:
        path: The file.
        layer: Its layer.
        columns: Columns that are read beside the shapes; None reads all.
        for_gdal: Whether only :func:`write_features` reads the batches, which takes no pyarrow.

    Raises:
        UsageError: If there is no such layer, or it is damaged.
    """
    try:
        with open_arrow(path, layer=layer, columns=columns, batch_size=BATCH_ROWS, use_pyarrow=not for_gdal) as (about, batches):
            yield FeatureStream(batches=batches, geometry=about["geometry_name"] or "wkb_geometry", crs=about["crs"])
    except (DataSourceError, DataLayerError, FeatureError) as exc:
        raise UsageError(f"{path} holds no layer '{layer}' that can be read: {exc}.") from exc


def copy_features(source: Path, layer: str, path: Path, driver: str, geometry_type: str, **options: Any) -> None:
    """Write a layer into a file of its own, in the format of a GDAL driver.

    Args:
        source: File that holds the layer.
        layer: Its name, in both files.
        path: File to write.
        driver: Name of the driver.
        geometry_type: Of the layer.
        options: ``layer_options`` and ``dataset_options`` of the driver.

    Raises:
        UsageError: If the layer cannot be read.
        WriteError: If the disk does not take the file.
    """
    with open_features(source, layer, for_gdal=True) as stream:
        try:
            write_features(stream, layer, path, driver, geometry_type, **options)
        except (DataSourceError, DataLayerError, FeatureError, OSError) as exc:
            raise WriteError(f"{path} could not be written: {exc}. Check the free space; the same command again goes on.") from exc


def write_features(stream: FeatureStream, layer: str, path: Path, driver: str, geometry_type: str, **options: Any) -> None:
    """Write a layer that is being read into a file of its own; see :func:`copy_features`. Errors are GDAL's."""
    write_arrow(
        stream.batches,
        path,
        layer=layer,
        driver=driver,
        geometry_name=stream.geometry,
        geometry_type=geometry_type,
        crs=stream.crs,
        **options,
    )

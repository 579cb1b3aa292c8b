"""GeoParquet 1.1: a bounding box for each feature, features in Hilbert order, large layers as a folder of parts.

The standard is that of https://geoparquet.org/releases/v1.1.0. Parts are ranges of the Hilbert curve over the raster, so that whoever reads
a district of a large run opens one or two of them.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import WriteError
from geoseg.io.arrow import open_features
from geoseg.products.formats.run import GEOMETRY_TYPES, RunProducts

PART_ROWS = 200_000
"""Features of a part, about; they are in memory at once."""
_GROUP_ROWS = 10_000
"""Features of a row group: what a reader takes from a part at least."""
_LEVEL = 16
_BINS = 1 << 16
_KEY, _BOX = "hilbert", ("xmin", "ymin", "xmax", "ymax")

Bounds = tuple[float, float, float, float]


def write_geoparquet(products: RunProducts, target: Path, part_rows: int = PART_ROWS) -> None:
    """Write ``<layer>.parquet`` for every layer: a file, or a folder of ``part-00000.parquet`` and so on.

    Args:
        products: The run.
        target: Empty folder.
        part_rows: Features of a part, about.

    Raises:
        WriteError: If the disk does not take it.
    """
    box = products.geobox.boundingbox
    bounds = box.left, box.bottom, box.right, box.top
    for layer, count in products.layers().items():
        try:
            _write_layer(products.features, layer, _cut_curve(products.features, layer, count, bounds, part_rows), bounds, target)
        except OSError as exc:
            raise WriteError(f"{layer}.parquet could not be written: {exc}. Make room and run the same command again.") from exc


def _cut_curve(path: Path, layer: str, count: int, bounds: Bounds, part_rows: int) -> NDArray[np.uint32]:
    """Return where on the curve a new part begins, so that all have about as many features."""
    if count <= part_rows:
        return np.empty(0, np.uint32)
    found = np.zeros(_BINS, np.int64)
    with open_features(path, layer, columns=[]) as stream:
        for batch in stream.batches:
            keys, _ = _locate(batch.column(stream.geometry), bounds)
            found += np.bincount(keys >> 16, minlength=_BINS)
    parts = -(-count // part_rows)
    ends = np.cumsum(found)
    cuts = np.searchsorted(ends, np.arange(1, parts) * count / parts)
    return np.unique(cuts + 1).astype(np.uint32) << np.uint32(16)


def _locate(column: Any, bounds: Bounds) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Return the place on the curve and the bounding box of each shape."""
    shapes = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    keys = gpd.GeoSeries(shapes).hilbert_distance(total_bounds=bounds, level=_LEVEL).to_numpy(np.uint32)
    return keys, shapely.bounds(shapes)


def _write_layer(path: Path, layer: str, cuts: NDArray[np.uint32], bounds: Bounds, target: Path) -> None:
    with open_features(path, layer) as stream:
        crs = stream.crs
        located = _add_places(stream.batches, stream.geometry, bounds)
        if not len(cuts):
            tables = list(located)
            schema = _schema(stream.batches.schema, stream.geometry)
            _write_part(pa.Table.from_batches(tables, schema=schema), target / f"{layer}.parquet", layer, crs)
            return
        spilled = _spill(located, cuts, target, _schema(stream.batches.schema, stream.geometry))
    folder = target / f"{layer}.parquet"
    folder.mkdir()
    for number, spill in enumerate(spilled):
        with pa.OSFile(str(spill)) as opened:
            _write_part(pa.ipc.open_stream(opened).read_all(), folder / f"part-{number:05d}.parquet", layer, crs)
        spill.unlink()


def _schema(given: Any, geometry: str) -> Any:
    """Return the columns of the file, and the key by which they are sorted."""
    columns = [field for field in given if field.name != geometry]
    box = pa.struct([pa.field(side, pa.float64(), nullable=False) for side in _BOX])
    return pa.schema([*columns, pa.field("geometry", pa.binary()), pa.field("bbox", box), pa.field(_KEY, pa.uint32())])


def _add_places(batches: Any, geometry: str, bounds: Bounds) -> Iterator[Any]:
    schema = _schema(batches.schema, geometry)
    for batch in batches:
        keys, boxes = _locate(batch.column(geometry), bounds)
        box = pa.StructArray.from_arrays([pa.array(side) for side in boxes.T], fields=list(schema.field("bbox").type))
        columns = [batch.column(name) for name in batch.schema.names if name != geometry]
        yield pa.RecordBatch.from_arrays([*columns, batch.column(geometry).cast(pa.binary()), box, pa.array(keys)], schema=schema)


def _spill(batches: Iterator[Any], cuts: NDArray[np.uint32], target: Path, schema: Any) -> list[Path]:
    """Share features out among files that are each small enough for memory."""
    spills = [target / f".part-{number:05d}.arrow" for number in range(len(cuts) + 1)]
    with ExitStack() as stack:
        files = [stack.enter_context(pa.OSFile(str(spill), "wb")) for spill in spills]
        writers = [stack.enter_context(pa.ipc.new_stream(opened, schema)) for opened in files]
        for batch in batches:
            part = np.searchsorted(cuts, batch.column(_KEY).to_numpy(), side="right")
            for number in np.unique(part):
                writers[number].write_batch(batch.take(pa.array(np.flatnonzero(part == number))))
    return spills


def _write_part(table: Any, path: Path, layer: str, crs: str | None) -> None:
    """Sort features along the curve and write them."""
    ordered = table.sort_by(_KEY).drop_columns([_KEY])
    described = ordered.replace_schema_metadata({"geo": json.dumps(_describe(ordered, GEOMETRY_TYPES[layer], crs))})
    pq.write_table(described, path, row_group_size=_GROUP_ROWS, compression="zstd", write_statistics=True)


def _describe(table: Any, geometry_type: str, crs: str | None) -> dict[str, Any]:
    boxes = table.column("bbox").combine_chunks()
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [geometry_type],
        "crs": None if crs is None else CRS.from_user_input(crs).to_json_dict(),
        "edges": "planar",
        "covering": {"bbox": {side: ["bbox", side] for side in _BOX}},
    }
    if table.num_rows:
        sides = [boxes.field(side).to_numpy() for side in _BOX]
        column["bbox"] = [float(sides[0].min()), float(sides[1].min()), float(sides[2].max()), float(sides[3].max())]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}

"""What a run tells about itself: ``summary.json`` and a STAC item."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.windows import Window
from shapely.geometry import mapping

from geoseg import __version__
from geoseg.io.imagery import list_placements
from geoseg.io.raster import RasterSource
from geoseg.model.execution import Backend
from geoseg.performance import Performance
from geoseg.pixels.classes import NODATA_CLASS, ClassKind, ClassScheme, LandClass
from geoseg.planning import RunPlan
from geoseg.provenance import checksum_files, identify_run, list_versions
from geoseg.redact import redact, redact_all
from geoseg.tiling import partition

_BLOCK_PX = 1024
_OBJECT_NAMES = {"building": ClassKind.BUILDING, "buildings": ClassKind.BUILDING, "road": ClassKind.ROAD, "roads": ClassKind.ROAD}
_LIBRARY_OF: dict[Backend, str] = {"torch": "torch", "compile": "torch", "onnx": "onnxruntime"}
_FILE_EXTENSION = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".gpkg": "application/geopackage+sqlite3",
    ".graphml": "application/graphml+xml",
    ".toml": "application/toml",
    ".xml": "application/xml",
    ".json": "application/json",
}


def count_classes(
    read: Callable[[Window], NDArray[np.uint8]], scheme: ClassScheme, row_area_m2: NDArray[np.float64], shape: tuple[int, int]
) -> list[dict[str, Any]]:
    """Count the pixels of each class and their area on the ground.

    Args:
        read: Returns the class map of a window, uint8.
        scheme: Its classes.
        row_area_m2: (H,) area of one pixel of each row.
        shape: Rows and columns of the raster.

    Returns:
        ``value, name, color, kind, pixels, area_m2`` per class; the last row, ``nodata``, has value 255, no color and no kind.
    """
    pixels = np.zeros(256, np.int64)
    area = np.zeros(256)
    for window in partition(shape, _BLOCK_PX):
        block = read(window)
        rows = np.arange(block.shape[0])[:, None] * 256
        counts = np.bincount((rows + block).ravel(), minlength=256 * block.shape[0]).reshape(-1, 256)
        pixels += counts.sum(axis=0)
        area += row_area_m2[window.row_off : window.row_off + window.height] @ counts
    legend: list[dict[str, Any]] = [{"value": c.value, "name": c.name, "color": c.color, "kind": c.kind.value} for c in scheme]
    legend.append({"value": NODATA_CLASS, "name": "nodata", "color": None, "kind": None})
    return [row | {"pixels": int(pixels[row["value"]]), "area_m2": round(float(area[row["value"]]), 2)} for row in legend]


def read_scheme(rows: Iterable[dict[str, Any]]) -> ClassScheme:
    """Return the scheme of the classes in a summary; older ones do not say what kind a class is of, so that its name has to."""
    named = [row for row in rows if row["value"] != NODATA_CLASS]
    kinds = [ClassKind(row["kind"]) if "kind" in row else _kind_by_name(str(row["name"])) for row in named]
    return ClassScheme(
        classes=tuple(LandClass(value=r["value"], name=r["name"], color=r["color"], kind=k) for r, k in zip(named, kinds, strict=True))
    )


def _kind_by_name(name: str) -> ClassKind:
    return _OBJECT_NAMES.get(name.lower(), ClassKind.SURFACE)


def describe_run(
    plan: RunPlan,
    classes: list[dict[str, Any]],
    counts: dict[str, int],
    timing_s: dict[str, float],
    performance: Performance,
    missing: list[dict[str, Any]],
) -> bytes:
    """Write ``summary.json``.

    Args:
        plan: The run.
        classes: What :func:`count_classes` returns.
        counts: Numbers of things.
        timing_s: Seconds by stage.
        performance: What the network did.
        missing: ``chunk``, ``window`` and ``error`` of each chunk that could not be made; the rasters hold nodata there.
    """
    spec, geobox = plan.package.spec, plan.source.geobox
    summary = {
        "geoseg_version": __version__,
        "run_id": identify_run(plan.fingerprint()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": classes,
        "counts": counts,
        "missing": missing,
        "timing_s": timing_s,
        "performance": performance.table(plan),
        "model": {"name": spec.name, "version": spec.version, "sha256": plan.package.sha256, "license": spec.license},
        "source": {
            "path": redact(plan.source.path),
            "height_px": geobox.shape[0],
            "width_px": geobox.shape[1],
            "crs": _name_crs(plan.source),
            "transform": list(geobox.transform)[:6],
            "averaged_by": plan.source.decimation,
        },
        "tiles": {
            "tile_size_px": plan.tiles.tile_size_px,
            "halo_px": plan.tiles.halo_px,
            "stitch": plan.tiles.stitch,
            "halo_work": round(plan.tiles.halo_work, 3),
        },
        "versions": list_versions(_LIBRARY_OF[plan.execution.backend]),
        "attribution": sorted({data.attribution for data in spec.training_data}),
        "warnings": redact_all((*plan.warnings, *performance.notes)),
    }
    return (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode()


def _name_crs(source: RasterSource) -> str | None:
    """Return ``EPSG:code`` where there is one, else WKT."""
    crs = source.geobox.crs
    if crs is None:
        return None
    return f"EPSG:{crs.epsg}" if crs.epsg is not None else str(crs.to_wkt())


def describe_redone(summary: dict[str, Any], run_id: str, counts: dict[str, int], timing_s: dict[str, float]) -> bytes:
    """Write ``summary.json`` again after the objects of a run were made anew.

    Args:
        summary: What it held.
        run_id: Id under the settings that the objects were made with.
        counts: Numbers of things; they replace the ones of the same name.
        timing_s: Seconds by stage, likewise; the total becomes their sum.
    """
    timing = {name: seconds for name, seconds in (summary["timing_s"] | timing_s).items() if name != "total"}
    redone = {
        "geoseg_version": __version__,
        "run_id": run_id,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": summary["counts"] | counts,
        "timing_s": timing | {"total": round(sum(timing.values()), 3)},
    }
    return (json.dumps(summary | redone, indent=2, ensure_ascii=False) + "\n").encode()


def describe_item(plan: RunPlan, folder: Path, products: Iterable[Path]) -> bytes:
    """Write the run as a STAC Item.

    Args:
        plan: The run.
        folder: Run folder; its name is the item's id.
        products: Where the products lie now; each becomes an asset with size and SHA-256.
    """
    box = plan.source.geobox.boundingbox
    to_degrees = Transformer.from_crs(plan.source.geobox.crs, "EPSG:4326", always_xy=True)
    outline = shapely.box(*to_degrees.transform_bounds(box.left, box.bottom, box.right, box.top))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/processing/v1.2.0/schema.json", _FILE_EXTENSION],
        "id": folder.absolute().name,
        "geometry": mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {
            "datetime": now,
            "created": now,
            "processing:software": {"geoseg": __version__},
            "geoseg:model": f"{plan.package.spec.name} {plan.package.spec.version}",
            "geoseg:run_id": identify_run(plan.fingerprint()),
        },
        "links": [],
        "assets": _assets(products),
    }
    return (json.dumps(_admit_footprint(item, plan), indent=2) + "\n").encode()


def _admit_footprint(item: dict[str, Any], plan: RunPlan) -> dict[str, Any]:
    """Return an item that claims no place, or an approximate one, for imagery that has no better."""
    placed = [placement for _, placement in list_placements(plan.source.imagery)]
    if not placed:
        return item
    if not all(placement.is_place for placement in placed):
        return {key: value for key, value in item.items() if key != "bbox"} | {"geometry": None}
    return item | {"properties": item["properties"] | {"geoseg:footprint": "approximate"}}


def describe_item_redone(item: dict[str, Any], run_id: str, products: Iterable[Path]) -> bytes:
    """Write the STAC Item again after some products were made anew; see :func:`describe_redone`."""
    properties = item.get("properties", {}) | {"created": datetime.now(UTC).isoformat(timespec="seconds"), "geoseg:run_id": run_id}
    extensions = sorted({*item.get("stac_extensions", ()), _FILE_EXTENSION})
    redone = item | {"stac_extensions": extensions, "properties": properties, "assets": _assets(products)}
    return (json.dumps(redone, indent=2) + "\n").encode()


def _assets(products: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Describe files that have a media type, but for the item itself."""
    named = {path.name: path for path in products if path.suffix in _MEDIA_TYPES and path.name != "item.json"}
    sums = checksum_files(named.values())
    return {Path(n).stem: {"href": f"./{n}", "type": _MEDIA_TYPES[Path(n).suffix], "roles": ["data"], **sums[n]} for n in sorted(named)}

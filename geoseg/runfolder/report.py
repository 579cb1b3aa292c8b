"""What a run tells about itself: ``summary.json``."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg import __version__
from geoseg.errors import GeosegError, RunFolderError
from geoseg.inference.performance import Performance
from geoseg.inference.runplan import RunPlan
from geoseg.io.raster import RasterSource
from geoseg.model.execution import Backend
from geoseg.pixels.classes import NODATA_CLASS, ClassKind, ClassScheme, LandClass
from geoseg.redact import redact, redact_all
from geoseg.runfolder.provenance import identify_run, list_versions
from geoseg.tiling import partition

_BLOCK_PX = 1024
_OBJECT_NAMES = {"building": ClassKind.BUILDING, "buildings": ClassKind.BUILDING, "road": ClassKind.ROAD, "roads": ClassKind.ROAD}
_LIBRARY_OF: dict[Backend, str] = {"torch": "torch", "compile": "torch", "onnx": "onnxruntime"}


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
    """Return the scheme of the classes in a summary; older ones do not say what kind a class is of, so that its name has to.

    Raises:
        RunFolderError: If rows are no classes.
    """
    try:
        named = [row for row in rows if row["value"] != NODATA_CLASS]
        kinds = [ClassKind(row["kind"]) if "kind" in row else _kind_by_name(str(row["name"])) for row in named]
        return ClassScheme(
            classes=tuple(LandClass(value=r["value"], name=r["name"], color=r["color"], kind=k) for r, k in zip(named, kinds, strict=True))
        )
    except GeosegError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise RunFolderError(f"The classes in summary.json are damaged: {type(exc).__name__} {exc}. Make the run again.") from exc


def _kind_by_name(name: str) -> ClassKind:
    return _OBJECT_NAMES.get(name.lower(), ClassKind.SURFACE)


def describe_run(
    plan: RunPlan,
    classes: list[dict[str, Any]],
    counts: dict[str, int],
    timing_s: dict[str, float],
    performance: Performance,
    more: dict[str, Any],
) -> bytes:
    """Write ``summary.json``.

    Args:
        plan: The run.
        classes: What :func:`count_classes` returns.
        counts: Numbers of things.
        timing_s: Seconds by stage.
        performance: What the network did.
        more: ``missing``: ``chunk``, ``window`` and ``error`` of each chunk that could not be made, where the rasters hold nodata; and
            ``quick``, if there was a first map.
    """
    spec, geobox = plan.package.spec, plan.source.geobox
    summary = {
        "geoseg_version": __version__,
        "run_id": identify_run(plan.fingerprint()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": classes,
        "counts": counts,
        **more,
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

"""What a run left: its results without clocks and names of folders, and what should not be there."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyogrio

RASTERS = ("classes", "confidence", "evidence", "instances", "panoptic")
Identity = tuple[int, int]
"""Inode and time of the last change of a file: another one was written anew."""


def read_result(run: Path) -> dict[str, str]:
    """Return a checksum of everything that a run found: files of rasters as they are, tables by their rows, counts of the summary."""
    found = {name: _hash((run / f"{name}.tif").read_bytes()) for name in RASTERS if (run / f"{name}.tif").exists()}
    features = run / "features.gpkg"
    if features.exists():
        for layer, _ in pyogrio.list_layers(features):
            found[f"features {layer}"] = _hash_layer(features, layer)
    if (run / "roads.graphml").exists():
        found["roads.graphml"] = _hash((run / "roads.graphml").read_bytes())
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return {**found, "counts": json.dumps(summary["counts"], sort_keys=True), "classes in summary": json.dumps(summary["classes"])}


def _hash_layer(path: Path, layer: str) -> str:
    table = pyogrio.read_dataframe(path, layer=layer)
    shapes = b"".join(table.geometry.to_wkb()) if "geometry" in table else b""
    return _hash(table.drop(columns="geometry", errors="ignore").to_csv().encode() + shapes)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Say what is not as it should be."""
    names = sorted(found.keys() | expected.keys())
    return [f"{name}: {found.get(name)} instead of {expected.get(name)}" for name in names if found.get(name) != expected.get(name)]


def identify_chunks(run: Path) -> dict[str, Identity]:
    """Return the chunks that are done, by name."""
    found = {}
    for path in (run / ".work" / "chunks").rglob("*.tif"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found[path.name] = (stat.st_ino, stat.st_mtime_ns)
    return found


def leftovers(run: Path, temporary: Path) -> list[str]:
    """Return what should not have stayed behind a finished run."""
    own = [path for path in run.rglob("*") if path.name == ".work" or ".part" in path.name or "scratch" in path.name]
    # dask keeps an empty folder with two locks for whoever comes next
    kept = {"dask-scratch-space", "global.lock", "purge.lock"}
    return [str(path) for path in (*own, *(path for path in temporary.rglob("*") if path.name not in kept))]


def half_written(run: Path) -> list[str]:
    """Return the files under final names that cannot be read whole; a run that is not finished may have some products already."""
    import rasterio

    bad: list[str] = []
    for path in (*run.glob("*.tif"), *(run / ".work" / "chunks").rglob("*.tif")):
        try:
            with rasterio.open(path) as dataset:
                dataset.checksum(1)
        except (rasterio.errors.RasterioError, OSError) as exc:
            bad.append(f"{path.name}: {exc}")
    for path in run.glob("*.json"):
        bad += [] if _is_json(path) else [path.name]
    return bad


def _is_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False

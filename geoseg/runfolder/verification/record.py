"""Record, summary, item and checksums: do the files of a run belong together, and are they the ones that were written?"""

from collections.abc import Iterator

from geoseg.config import make_config
from geoseg.errors import GeosegError
from geoseg.io.store.chunks import DoneChunks, list_done
from geoseg.model.source import find_model
from geoseg.model.spec import ModelSpec
from geoseg.redact import redact_all
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.provenance import find_differences, identify_run, measure_product
from geoseg.runfolder.verification.run import CheckedRun
from geoseg.tiling import TilePlan

_PRODUCTS = {
    "classes": ("classes.tif",),
    "confidence": ("confidence.tif",),
    "report": ("report.html",),
}
"""Files that each output makes, whatever the model."""
_COUNTED = {"landcover": "features.gpkg", "buildings": "instances.tif", "segments": "panoptic.tif", "roads": "roads.graphml"}
"""Files that a count in the summary tells of."""
_UNCHECKED = {"item.json"}


def look_at_record(run: CheckedRun) -> Iterator[str]:
    """Compare the configuration and the id of the run in ``run.toml``, ``summary.json`` and ``item.json``."""
    fingerprint = run.record.get("fingerprint")
    if not isinstance(fingerprint, dict) or not isinstance(run.record.get("run"), dict):
        yield "run.toml holds no [run] and [fingerprint]"
        return
    try:
        asked = redact_all(make_config({}, run.folder.record).result_keys())
        # absolute paths in a fingerprint
        decided = {key: value for key, value in asked.items() if key not in ("raster", "model")}
        differences = find_differences(fingerprint, decided, recorded_only=True)
        yield from (f"[run] is not what [fingerprint] was made of: {text}" for text in differences)
    except GeosegError as exc:
        yield f"run.toml holds no configuration: {exc}"
    ids = {
        "run.toml": identify_run(fingerprint),
        "summary.json": run.summary.get("run_id"),
        "item.json": run.item.get("properties", {}).get("geoseg:run_id"),
    }
    # geoseg before 0.4 recorded none
    if len(set(ids.values())) > 1 and any(list(ids.values())[1:]):
        yield "run ids differ: " + ", ".join(f"{name} {found or 'has none'}" for name, found in ids.items())
    if run.summary.get("model", {}).get("sha256") != fingerprint.get("model_sha256"):
        yield "summary.json names another model than run.toml"


def look_at_checksums(run: CheckedRun) -> Iterator[str]:
    """Compare size and SHA-256 of every product with what ``item.json`` says."""
    if not run.summary.get("run_id") and not any("file:checksum" in asset for asset in run.item["assets"].values()):
        raise LookupError(f"geoseg {run.summary.get('geoseg_version')} recorded no checksums")
    listed = {}
    for key, asset in run.item["assets"].items():
        name = str(asset.get("href", "")).removeprefix("./")
        if not name or "/" in name:
            yield f"item.json lists '{key}' outside the folder: {asset.get('href')!r}"
            continue
        listed[name] = asset
    for name, asset in sorted(listed.items()):
        yield from _compare(run, name, asset)
    there = {path.name for path in run.folder.products(run.folder.path)} - _UNCHECKED
    for name in sorted(there - listed.keys()):
        yield f"{name} is not listed in item.json: it was not written by this run"


def _compare(run: CheckedRun, name: str, asset: dict[str, object]) -> Iterator[str]:
    path = run.product(name)
    if path is None:
        yield f"{name} is missing"
        return
    if not isinstance(asset.get("file:checksum"), str):
        yield f"{name} has no checksum in item.json"
        return
    size, digest = measure_product(path)
    if size != asset.get("file:size"):
        yield f"{name} has {size} bytes, not {asset.get('file:size')}"
    elif f"1220{digest}" != asset["file:checksum"]:
        hint = "; some programs write into a GeoPackage when they open it" if path.suffix == ".gpkg" else ""
        yield f"{name} was changed: its SHA-256 is not the one that was recorded{hint}"


def look_at_products(run: CheckedRun) -> Iterator[str]:
    """Look for products that were asked for and are not there."""
    wanted = run.record.get("run", {}).get("outputs", ())
    names = {name: f"asked for as {output}" for output in wanted for name in _PRODUCTS.get(output, ())}
    names |= {name: f"counted as {key}" for key, name in _COUNTED.items() if key in run.counts and _is_made(key, wanted)}
    for name, why in sorted(names.items()):
        if run.product(name) is None:
            yield f"{name} is missing, {why}"


def _is_made(key: str, wanted: tuple[str, ...]) -> bool:
    return {"segments": "panoptic"}.get(key, key) in wanted


def list_chunks(folder: RunFolder) -> DoneChunks:
    """Return which chunks of an unfinished run are done.

    Raises:
        GeosegError: As :func:`recall_tiles`; or if the chunks cannot be listed.
    """
    config = make_config({}, folder.record)
    return list_done(folder.chunk_place, recall_tiles(folder, find_model(config.model, config.cache_folder).spec))


def recall_tiles(folder: RunFolder, spec: ModelSpec) -> TilePlan:
    """Return the tiles of an unfinished run, by its record.

    Args:
        folder: The run.
        spec: Its model.

    Raises:
        GeosegError: If ``run.toml`` cannot be read.
    """
    fingerprint = folder.read_record().get("fingerprint", {})
    height, width = fingerprint["grid"][:2]
    return TilePlan(
        height=int(height),
        width=int(width),
        tile_size_px=fingerprint["tile_size"],
        halo_px=fingerprint["halo"],
        stride_px=spec.network.stride_px,
        **{key: fingerprint[key] for key in ("tiles_per_chunk", "stitch", "fit")},
    )

"""The objects of a finished run, made anew with other settings: no model, no imagery, no GPU."""

import time
from pathlib import Path
from typing import Any

from geoseg.config import Output, RunConfig, make_config
from geoseg.errors import RunFolderError
from geoseg.events import Finished, Listener, ignore_events
from geoseg.io.files import write_whole
from geoseg.io.raster import open_raster
from geoseg.io.store.found import open_kept
from geoseg.io.tiffs.layers import read_band_names
from geoseg.products.exports import find_products, keep_zones, make_formats, make_report
from geoseg.products.make import StageLog, make_objects
from geoseg.products.stitched import Stitched
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.item import describe_item_redone, formats_of
from geoseg.runfolder.provenance import identify_run
from geoseg.runfolder.records import describe_config
from geoseg.runfolder.report import describe_redone, read_scheme

_NEEDS: dict[Output, tuple[str, ...]] = {
    "landcover": ("classes",),
    "buildings": ("classes", "evidence"),
    "panoptic": ("classes", "confidence", "evidence"),
    "roads": ("evidence",),
}


def redo_objects(output: Path, changes: dict[str, Any], listener: Listener = ignore_events) -> Path:
    """Make instances, polygons and roads of a finished run again from its rasters.

    The folder keeps its old objects until all new ones are whole.

    Args:
        output: The run folder.
        changes: Settings that change, as in ``[run.objects]`` of ``run.toml``: tables by name, values by name in them.
        listener: Takes events as they come.

    Returns:
        The run folder.

    Raises:
        RunFolderError: If there is no finished run, or it lacks the rasters that objects are made from.
        ConfigError: If a setting does not exist or fit.
        RunError: If something could not be read or written; the old objects stay.
    """
    began = time.monotonic()
    folder = RunFolder(output)
    if not folder.record.exists():
        raise RunFolderError(f"{output} holds no run of geoseg: there is no {folder.record.name}. Make one with geoseg segment.")
    with folder.hold():
        folder.settle()
        folder.check_whole()
        summary = folder.read_summary()
        config = make_config({"objects": changes}, folder.record)
        outputs = _made_before(config, summary)
        stitched = _open_stitched(folder, summary, outputs)
        log = StageLog(listener)
        with folder.redoing() as made:
            make_objects(stitched, config.objects, outputs, made, log, config.checks)
            fingerprint = folder.read_record().get("fingerprint", {}) | {"objects": config.result_keys()["objects"]}
            write_whole(made / folder.record.name, describe_config(config, fingerprint))
            run_id = identify_run(fingerprint)
            item = folder.read_item()
            keep_zones(folder.path / "features.gpkg", made)
            products = find_products(folder, made, config)
            named = make_formats(products, config.formats, made, log)
            if "report" in config.outputs:
                make_report(products, describe_redone(summary, run_id, log.counts, log.timing_s), config, made, log)
            write_whole(made / folder.summary.name, describe_redone(summary, run_id, log.counts, log.timing_s))
            kept = [path for path in folder.products(made) if path.parent == made or path.name not in formats_of(item)]
            write_whole(made / folder.item.name, describe_item_redone(item, run_id, kept, named))
    listener(Finished(output=str(output), elapsed_s=time.monotonic() - began))
    return output


def _made_before(config: RunConfig, summary: dict[str, Any]) -> tuple[Output, ...]:
    """Return the objects that the run has; its model may not have been able to make all that was asked for."""
    has_things = any(name in summary["counts"] for name in ("buildings", "segments"))
    there = {
        "landcover": "landcover" in config.outputs,
        "buildings": "buildings" in config.outputs and has_things,
        "panoptic": "panoptic" in config.outputs and has_things,
        "roads": "roads" in summary["counts"],
    }
    return tuple(name for name in _NEEDS if there[name])


def _open_stitched(folder: RunFolder, summary: dict[str, Any], outputs: tuple[Output, ...]) -> Stitched:
    rasters = {name: folder.path / f"{name}.tif" for name in ("classes", "confidence", "evidence")}
    missing = sorted({name for output in outputs for name in _NEEDS[output] if not rasters[name].exists()})
    if missing or not outputs:
        lacks = " and ".join(f"{name}.tif" for name in missing) or "any objects"
        raise RunFolderError(
            f"The objects in {folder.path} cannot be made again: it lacks {lacks}. "
            f"Run geoseg segment again, with --overwrite and {', '.join(missing) or 'landcover, buildings or roads'} among its --outputs."
        )
    evidence = rasters["evidence"] if rasters["evidence"].exists() else None
    layers = read_band_names(evidence) if evidence is not None else ()
    detected = "detected_building" in layers and not {"buildings", "panoptic"}.isdisjoint(outputs)
    if detected and not folder.detections.exists():
        raise RunFolderError(
            f"The buildings in {folder.path} were found by a detector, whose masks an earlier geoseg did not keep: they cannot be "
            "made again. Run geoseg segment again with the new settings, and --overwrite."
        )
    return Stitched(
        geobox=open_raster(str(next(path for path in rasters.values() if path.exists()))).geobox,
        scheme=read_scheme(summary["classes"]),
        classes=rasters["classes"],
        confidence=rasters["confidence"],
        evidence=evidence,
        layers=layers,
        found=open_kept(folder.detections) if detected else None,
    )

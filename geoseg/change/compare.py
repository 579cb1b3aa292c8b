"""Two dates go in; what changed between them comes out."""

import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import geopandas as gpd

from geoseg.change.classes import bring_together
from geoseg.change.features import find_buildings, find_roads, write_layers, zone_table
from geoseg.change.ground import Ground, find_ground
from geoseg.change.options import ChangeOptions
from geoseg.change.registration import Misregistration, measure_misregistration
from geoseg.change.report import Result, describe_change, write_matrix, write_page
from geoseg.change.side import Side, open_side
from geoseg.change.surfaces import Limits, add_up, draw_changes, draw_unknown, map_transitions
from geoseg.errors import RunFolderError
from geoseg.events import Finished, Listener, Warned, ignore_events
from geoseg.io.files import move_whole, write_error, write_whole
from geoseg.io.ground import pixel_size_m
from geoseg.io.store.locks import hold_folder
from geoseg.products.make import StageLog
from geoseg.writers import check_zones

RECORD = "change.json"
"""Written last: where it stands, the comparison is finished."""
_FILES = (
    "transitions.tif",
    "transitions.tif.aux.xml",
    "transitions.csv",
    "change.gpkg",
    "zones.csv",
    "change.html",
    RECORD,
)
"""In the order in which they get their names."""
RUNS = ("before", "after")
"""Runs that ``geoseg change`` made itself."""
_WORK = ".work"
_TOLERANCE_PX = 2.0
_COARSER = 1.01
"""Pixels that are hardly larger are as large."""


def change_runs(
    before: str | Path,
    after: str | Path,
    output: str | Path,
    options: ChangeOptions | None = None,
    listener: Listener = ignore_events,
    *,
    overwrite: bool = False,
) -> Path:
    """Tell what changed between two finished runs of one place.

    Args:
        before: Run folder of the earlier date.
        after: Run folder of the later date.
        output: Folder for ``transitions.tif``, ``transitions.csv``, ``change.gpkg``, ``change.json`` and ``change.html``.
        options: What counts as a change.
        listener: Takes events as they come.
        overwrite: Replace an earlier comparison of other runs or options.

    Returns:
        The output folder.

    Raises:
        UsageError: If the runs cannot be compared, or the folder holds something else; nothing was changed on disk.
        RunError: If something could not be read or written; the same call begins anew.
    """
    sides = open_side(Path(before), RUNS[0]), open_side(Path(after), RUNS[1])
    return compare(*sides, Path(output), options or ChangeOptions(), listener, overwrite=overwrite)


def compare(before: Side, after: Side, output: Path, options: ChangeOptions, listener: Listener, *, overwrite: bool = False) -> Path:
    """Tell what changed between two dates; see :func:`change_runs`."""
    began = time.monotonic()
    ground = find_ground(before, after, bring_together(before.scheme, after.scheme, options.match))
    check_zones(options.zones, ("classes",), ground.geobox)
    fingerprint = _fingerprint(before, after, options)
    if check_output(output, fingerprint, overwrite=overwrite):
        listener(Finished(output=str(output), elapsed_s=0.0))
        return output
    with hold_folder(output):
        work = _begin(output)
        try:
            _compare(ground, options, work, StageLog(listener), fingerprint)
            _adopt(work, output)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    listener(Finished(output=str(output), elapsed_s=time.monotonic() - began))
    return output


def check_output(output: Path, fingerprint: str | None = None, *, overwrite: bool = False) -> bool:
    """Tell whether a folder holds this very comparison, finished.

    Args:
        output: The folder; it need not exist.
        fingerprint: Of the comparison; None only looks whether the folder can be used at all.
        overwrite: Whether another comparison may stand there.

    Raises:
        RunFolderError: If it holds another comparison, or files of something else.
    """
    if output.exists() and not output.is_dir():
        raise RunFolderError(f"{output} is a file; -o names a folder.")
    foreign = sorted(p.name for p in output.iterdir() if p.name not in {*_FILES, *RUNS, _WORK}) if output.exists() else []
    if foreign:
        raise RunFolderError(f"{output} holds {len(foreign)} files of something else, first {foreign[0]}. Choose another folder with -o.")
    record = output / RECORD
    if overwrite or fingerprint is None or not record.exists():
        return False
    try:
        stands = json.loads(record.read_text(encoding="utf-8")).get("fingerprint")
    except (ValueError, AttributeError, OSError) as exc:
        raise RunFolderError(f"{record} could not be read: {exc}. Make the comparison again with --overwrite.") from exc
    if stands != fingerprint:
        raise RunFolderError(f"{output} holds a comparison of other runs or options. Choose another -o, or replace it with --overwrite.")
    return True


def _begin(output: Path) -> Path:
    """Return an empty folder to work in."""
    work = output / _WORK
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
    except OSError as exc:
        raise write_error(work, exc) from exc
    return work


def _adopt(work: Path, output: Path) -> None:
    """Put what was made in place of what stood there; cut off in between, the folder counts as unfinished."""
    try:
        for name in reversed(_FILES):
            (output / name).unlink(missing_ok=True)
    except OSError as exc:
        raise write_error(output, exc) from exc
    for name in _FILES:
        if (work / name).exists():
            move_whole(work / name, output / name)


def _fingerprint(before: Side, after: Side, options: ChangeOptions) -> str:
    told = [[side.identity, str(side.classes.absolute())] for side in (before, after)]
    text = json.dumps([told, repr(replace(options, zones=None if options.zones is None else options.zones.absolute()))])
    found = hashlib.sha256(text.encode())
    # other zones may stand in the same file; those of a Shapefile have their names beside it
    for part in () if options.zones is None else (options.zones, options.zones.with_suffix(".dbf")):
        if part.is_file():
            found.update(part.read_bytes())
    return found.hexdigest()[:16]


def _compare(ground: Ground, options: ChangeOptions, work: Path, log: StageLog, fingerprint: str) -> None:
    warnings: list[str] = []
    with log.stage("registration"):
        seen = measure_misregistration(ground)
        ground, seen = _align(ground, seen, options, warnings)
    limits = _limits(ground, seen, options, warnings)
    for message in warnings:
        log.listener(Warned(message=message))
    tables: dict[str, gpd.GeoDataFrame] = {}
    with log.stage("transitions"):
        raster = map_transitions(ground, limits, work)
        transitions = add_up(ground, raster)
        write_matrix(work / "transitions.csv", ground.classes.scheme, transitions)
    has = {name: all(getattr(side, name) is not None for side in (ground.before, ground.after)) for name in ("buildings", "roads")}
    unknown = draw_unknown(ground) if any(has.values()) else None
    unknown_m = 0.0
    if has["buildings"] and unknown is not None:
        with log.stage("buildings"):
            tables["buildings"] = find_buildings(ground, options, limits, unknown, raster)
    if has["roads"] and unknown is not None:
        with log.stage("roads"):
            tables["roads"], unknown_m = find_roads(ground, options, limits, unknown)
    if options.zones is not None:
        with log.stage("zones"):
            tables["zones"] = zone_table(ground, raster, options.zones)
            table = tables["zones"]
            write_whole(work / "zones.csv", table.drop(columns=table.geometry.name).to_csv(index_label="zone").encode())
    with log.stage("features"):
        patches = write_layers(work / "change.gpkg", draw_changes(ground, raster), tables, ground.classes.scheme)
    result = Result(
        ground=ground,
        seen=seen,
        limits=limits,
        options=options,
        transitions=transitions,
        patches=patches,
        tables=tables,
        unknown_road_m=unknown_m,
        warnings=tuple(warnings),
    )
    with log.stage("report"):
        write_page(work / "change.html", result, raster)
    write_whole(work / RECORD, describe_change(result, fingerprint, log.timing_s))


def _align(ground: Ground, seen: Misregistration, options: ChangeOptions, warnings: list[str]) -> tuple[Ground, Misregistration]:
    """Move AFTER by the misregistration if that was asked for and can be told."""
    if not options.align:
        return ground, seen
    if not seen.is_reliable:
        warnings.append(
            f"The dates were not aligned: only {seen.agreeing} of {seen.places} places agree on how far they lie beside each other."
        )
        return ground, seen
    return replace(ground, moved_px=(seen.cols_px, seen.rows_px)), replace(seen, corrected=True)


def _limits(ground: Ground, seen: Misregistration, options: ChangeOptions, warnings: list[str]) -> Limits:
    pixel_m = pixel_size_m(ground.geobox)
    # borders of the coarser date lie on its pixels
    coarser_m = max(pixel_size_m(side.geobox) for side in (ground.before, ground.after))
    tolerance_m = options.tolerance_m
    if tolerance_m is None:
        tolerance_m = max(_TOLERANCE_PX * pixel_m, coarser_m + seen.left_px * pixel_m)
    elif seen.left_px * pixel_m > tolerance_m:
        warnings.append(
            f"The dates lie {seen.left_px * pixel_m:.2f} m beside each other, more than the tolerance of {tolerance_m:g} m: borders will "
            "look like changes. Correct it with --align, or raise --tolerance."
        )
    elif coarser_m > _COARSER * max(pixel_m, tolerance_m):
        warnings.append(
            f"One of the dates has pixels of {coarser_m:.2f} m, more than the tolerance of {tolerance_m:g} m: the stairs of its "
            "borders will look like changes. Raise --tolerance."
        )
    min_area_m2 = (2 * tolerance_m) ** 2 if options.min_area_m2 is None else options.min_area_m2
    return Limits(tolerance_m=round(tolerance_m, 4), min_area_m2=round(min_area_m2, 4))

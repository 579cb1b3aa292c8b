"""A run in further formats, and the areas of its classes in zones: while it is finished, or afterwards."""

import json
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from geoseg.config import Output, RunConfig, make_config
from geoseg.errors import GeosegError, LabelError, RunError, RunFolderError
from geoseg.events import Finished, Listener, ignore_events
from geoseg.inference.opening import open_source
from geoseg.inference.runplan import RunPlan
from geoseg.io.files import write_error, write_whole
from geoseg.io.raster import RasterSource, open_raster
from geoseg.io.tiffs.layers import open_layer
from geoseg.model.source import find_model
from geoseg.products.formats.run import RunProducts
from geoseg.products.make import StageLog
from geoseg.products.reporting.judged import ACCURACY, REPORT, Evaluation, read_accuracy, read_evaluation
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.item import describe_item_redone, formats_of
from geoseg.runfolder.names import OWN_NAMES
from geoseg.runfolder.records import describe_config
from geoseg.runfolder.report import describe_redone, read_scheme
from geoseg.writers import FORMATS, check_formats, check_zones, load_writer

ZONES = "zones"
"""Layer of ``features.gpkg``, and name of the CSV file."""


def make_formats(products: RunProducts, formats: Iterable[str], target: Path, log: StageLog) -> dict[str, str]:
    """Write a run in further formats.

    Args:
        products: What the run has made.
        formats: Names of formats.
        target: Folder that takes the files.
        log: Takes times.

    Returns:
        The format of each file, by its name.

    Raises:
        RunError: If one could not be written.
    """
    made: dict[str, str] = {}
    for name in formats:
        work = target / f".{name}"
        with log.stage(name):
            try:
                work.mkdir()
                _write(name, products, work)
                for path in sorted(work.iterdir()):
                    if path.name in OWN_NAMES or path.name in made:
                        raise RunError(f"The format '{name}' writes {path.name}, another product of the run. Leave the format out.")
                    path.replace(target / path.name)
                    made[path.name] = name
                work.rmdir()
            except OSError as exc:
                raise exc if isinstance(exc, GeosegError) else write_error(target / name, exc) from exc
    return made


def _write(name: str, products: RunProducts, work: Path) -> None:
    writer = load_writer(name)
    try:
        writer(products, work)
    except GeosegError:
        raise
    except Exception as exc:
        if name in FORMATS:
            raise
        # whatever other packages raise
        raise RunError(f"The format '{name}', which is another package's, failed: {type(exc).__name__}: {exc}. Leave it out.") from exc


def make_zones(products: RunProducts, zones: Path, target: Path) -> None:
    """Write the areas of classes in zones: ``zones.csv``, and the layer ``zones`` of ``features.gpkg``.

    Args:
        products: What the run has made; ``features.gpkg`` is changed where it lies in the target, else copied there.
        zones: Vector file of polygons.
        target: Folder that takes the files.

    Raises:
        UsageError: If the zones do not fit.
        WriteError: If the disk does not take it.
    """
    from geoseg.io.polygons import read_zones
    from geoseg.io.vector import append_layer
    from geoseg.products.zonal import measure_zones

    class_map = products.find("classes.tif")
    if class_map is None:
        raise RunFolderError("Areas in zones are measured in classes.tif, which this run lacks. Add classes to --outputs.")
    with open_layer(class_map) as read:
        table = measure_zones(read, products.scheme, products.geobox, read_zones(zones, products.geobox))
    write_whole(target / f"{ZONES}.csv", table.drop(columns=table.geometry.name).to_csv(index_label="zone").encode())
    features = products.find("features.gpkg")
    if features is not None and features.parent != target:
        shutil.copyfile(features, target / features.name)
    append_layer(target / "features.gpkg", ZONES, table)


def keep_zones(earlier: Path, target: Path) -> None:
    """Take the layer of zones over into a ``features.gpkg`` that was made anew: the class map is the same."""
    from geoseg.io.vector import append_layer, list_layers, read_layer

    if earlier.exists() and ZONES in list_layers(earlier):
        append_layer(target / "features.gpkg", ZONES, read_layer(earlier, ZONES))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is added to a finished run."""

    formats: tuple[str, ...] = ()
    zones: Path | None = None
    report: bool = False
    accuracy: Path | None = None
    evaluation: Evaluation | None = None


def export_run(output: Path, formats: tuple[str, ...] = (), zones: Path | None = None, listener: Listener = ignore_events) -> Path:
    """Write a finished run in further formats, and measure its classes in zones.

    What the run was written in before stays; its report tells of the zones, if it has one.

    Args:
        output: The run folder.
        formats: Names of formats; ones that are there are written again.
        zones: Vector file of polygons, None measures none.
        listener: Takes events as they come.

    Returns:
        The run folder.

    Raises:
        RunFolderError: If there is no finished run.
        ConfigError: If a format is unknown, or cannot be made of what the run has.
        RunError: If something could not be read or written; the folder stays as it was.
    """
    return _add_to(output, _Wanted(formats=formats, zones=zones), listener)


def report_run(output: Path, accuracy: Path | None = None, evaluation: Path | None = None, listener: Listener = ignore_events) -> Path:
    """Write ``report.html`` of a finished run, anew if it has one.

    Args:
        output: The run folder.
        accuracy: What ``geoseg accuracy area`` said of its class map. It is kept beside it, so that later reports tell of it too.
        evaluation: What ``geoseg evaluate`` said of it, a file or folder; only this report tells of it, since objects may be made anew.
        listener: Takes events as they come.

    Returns:
        The report.

    Raises:
        RunFolderError: If there is no finished run.
        LabelError: If a file is not what its command writes, or speaks of other classes.
        RunError: If something could not be read or written; the folder stays as it was.
    """
    judged = None if evaluation is None else read_evaluation(evaluation)
    _add_to(output, _Wanted(report=True, accuracy=accuracy, evaluation=judged), listener)
    return output / REPORT


def _add_to(output: Path, wanted: _Wanted, listener: Listener) -> Path:
    began = time.monotonic()
    folder = RunFolder(output)
    if not folder.record.exists():
        raise RunFolderError(f"{output} holds no run of geoseg: there is no {folder.record.name}. Make one with geoseg segment.")
    with folder.hold():
        folder.settle()
        _export(folder, wanted, listener)
    listener(Finished(output=str(output), elapsed_s=time.monotonic() - began))
    return output


def add_exports(folder: RunFolder, config: RunConfig, listener: Listener) -> None:
    """Write a finished run, whose folder is held, in the formats and zones that a configuration asks for and that it does not have yet."""
    there = make_config({}, folder.record)
    formats = tuple(name for name in config.formats if name not in there.formats)
    zones = config.zones if config.zones != there.zones else None
    if formats or zones is not None:
        _export(folder, _Wanted(formats=formats, zones=zones), listener)


def _export(folder: RunFolder, wanted: _Wanted, listener: Listener) -> None:
    folder.check_whole()
    summary, item, before = folder.read_summary(), folder.read_item(), make_config({}, folder.record)
    outputs: tuple[Output, ...] = before.outputs if not wanted.report else tuple(dict.fromkeys((*before.outputs, "report")))
    # its model may not have been able to make all that was asked for
    made_before = (output for output in before.outputs if output not in ("buildings", "roads") or output in summary["counts"])
    check_formats(wanted.formats, made_before)
    check_zones(wanted.zones, outputs)
    formats = tuple(dict.fromkeys((*before.formats, *wanted.formats)))
    config = make_config({"formats": formats, "zones": wanted.zones, "outputs": outputs}, folder.record)
    log = StageLog(listener)
    run_id = summary.get("run_id", "")
    with folder.redoing() as made:
        products = find_products(folder, made, config)
        if wanted.zones is not None:
            with log.stage(ZONES):
                make_zones(products, wanted.zones, made)
        named = formats_of(item) | make_formats(products, wanted.formats, made, log)
        if wanted.accuracy is not None:
            _keep_accuracy(products, wanted.accuracy, made)
        if wanted.report or (wanted.zones is not None and "report" in outputs):
            make_report(products, describe_redone(summary, run_id, {}, log.timing_s), config, made, log, wanted.evaluation)
        write_whole(made / folder.record.name, describe_config(config, folder.read_record().get("fingerprint", {})))
        write_whole(made / folder.summary.name, describe_redone(summary, run_id, {}, log.timing_s))
        write_whole(made / folder.item.name, describe_item_redone(item, run_id, folder.products(made), named))


def _keep_accuracy(products: RunProducts, path: Path, target: Path) -> None:
    """Copy what was said about the class map into the run, if it was said about these classes."""
    judged, known = {row.name for row in read_accuracy(path).classes}, {row.name for row in products.scheme}
    if judged != known:
        raise LabelError(
            f"{path} speaks of the classes {', '.join(sorted(judged))}; this run has {', '.join(sorted(known))}. "
            "Name the file that geoseg accuracy area wrote for this run."
        )
    write_whole(target / ACCURACY, path.read_bytes())


def make_report(
    products: RunProducts, summary: bytes, config: RunConfig, target: Path, log: StageLog, evaluation: Evaluation | None = None
) -> None:
    """Write ``report.html`` as a stage of its own.

    Args:
        products: What the run has made.
        summary: ``summary.json`` as far as it is known before the report.
        config: What the run was asked for.
        target: Folder that takes it.
        log: Takes the time.
        evaluation: What labels say about the run.

    Raises:
        RunError: If something could not be read or written.
    """
    # loads what pages and pictures are made with
    from geoseg.products.reporting.write import Told, write_report

    with log.stage("report"):
        write_report(products, Told(summary=json.loads(summary), config=config, evaluation=evaluation), target)


def describe_products(plan: RunPlan, folder: RunFolder, made: Path) -> RunProducts:
    """Return the products of a run that is being finished: the stitched rasters, and what is made of them in another folder."""
    return RunProducts(
        name=folder.path.absolute().name,
        places=(made, folder.path),
        geobox=plan.source.geobox,
        scheme=plan.package.spec.scheme,
        imagery=plan.source,
    )


def make_exports(products: RunProducts, config: RunConfig, made: Path, log: StageLog) -> dict[str, str]:
    """Measure zones and write formats, as far as a run that is being finished asks for them.

    Args:
        products: The stitched rasters and everything else.
        config: What is asked for.
        made: Folder that takes the files.
        log: Takes times.

    Returns:
        The format of each file, by its name.

    Raises:
        RunError: If something could not be read or written.
    """
    if config.zones is not None:
        with log.stage(ZONES):
            make_zones(products, config.zones, made)
    return make_formats(products, config.formats, made, log)


def find_products(folder: RunFolder, made: Path, config: RunConfig) -> RunProducts:
    """Return the products of a finished run, what is being made before what was made earlier.

    Raises:
        RunFolderError: If it has no raster.
    """
    # users keep rasters of their own here
    rasters = sorted(path for path in folder.path.glob("*.tif") if path.name in OWN_NAMES)
    if not rasters:
        raise RunFolderError(f"The run in {folder.path} has no raster any more. Make it again with --overwrite.")
    return RunProducts(
        name=folder.path.absolute().name,
        places=(made, folder.path),
        geobox=open_raster(rasters[0], needs_georeference=False).geobox,
        scheme=read_scheme(folder.read_summary()["classes"]),
        imagery=_find_imagery(config),
    )


def _find_imagery(config: RunConfig) -> RasterSource | None:
    """Return what was segmented; None if it, or the model that says how it is read, is not there any more."""
    with suppress(GeosegError):
        return open_source(config, find_model(config.model, config.cache_folder).spec)
    return None

"""Two dates as users name them: run folders, or rasters that are segmented first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from geoseg.change.classes import bring_together
from geoseg.change.compare import RUNS, check_output
from geoseg.change.options import ChangeOptions
from geoseg.config import RunConfig, make_config
from geoseg.errors import RunFolderError, UsageError
from geoseg.events import Listener
from geoseg.inference.planning import plan_run
from geoseg.io.warp import same_place
from geoseg.pipeline import segment_raster
from geoseg.pixels.classes import ClassScheme
from geoseg.products.exports import find_products
from geoseg.runfolder.folder import RunFolder
from geoseg.writers import check_zones


@dataclass(frozen=True, slots=True, kw_only=True)
class _Date:
    folder: Path
    """The run, finished or still to be made."""
    config: RunConfig | None
    """How it is made; None if it is there."""
    geobox: GeoBox
    """Its grid."""
    scheme: ClassScheme
    """Its classes."""


def make_runs(
    rasters: tuple[str, str], output: Path, options: ChangeOptions, given: dict[str, Any], listener: Listener, *, overwrite: bool = False
) -> tuple[Path, Path]:
    """Return the run folders of two dates; rasters are segmented into ``OUT/before`` and ``OUT/after`` first, going on where that stopped.

    Args:
        rasters: Run folders, or rasters.
        output: Folder of the comparison.
        options: What counts as a change.
        given: Fields of a run's configuration, and ``config``, a TOML file of them.
        listener: Takes events as they come.
        overwrite: Replace runs of other rasters or models that stand there.

    Raises:
        UsageError: If the dates share no ground, their classes do not fit, or a run cannot be made as asked; nothing was changed on disk.
        RunError: If a run could not be finished; the same call goes on.
    """
    check_output(output)
    dates = [_look(raster, output / name, given) for raster, name in zip(rasters, RUNS, strict=True)]
    if given and all(date.config is None for date in dates):
        raise UsageError(
            f"{rasters[0]} and {rasters[1]} are finished runs, so that nothing is segmented and {', '.join(sorted(given))} would count for "
            "nothing. Leave them out, or name the rasters instead of the runs."
        )
    if not same_place(dates[0].geobox, dates[1].geobox):
        raise UsageError(f"{rasters[0]} and {rasters[1]} share no ground. Check the CRS of both.")
    bring_together(dates[0].scheme, dates[1].scheme, options.match)
    check_zones(options.zones, ("classes",), dates[0].geobox)
    for date in dates:
        if date.config is not None:
            if overwrite:
                _clear_other(date.config)
            segment_raster(date.config, listener)
    return dates[0].folder, dates[1].folder


def _look(raster: str, folder: Path, given: dict[str, Any]) -> _Date:
    if (Path(raster) / "run.toml").is_file():
        found = RunFolder(Path(raster))
        found.check_whole()
        products = find_products(found, found.path, make_config({}, found.record))
        return _Date(folder=found.path, config=None, geobox=products.geobox, scheme=products.scheme)
    fields = {name: value for name, value in given.items() if name != "config"}
    config = make_config({**fields, "raster": raster, "output": folder}, given.get("config"))
    plan = plan_run(RunFolder(folder).recall(config))
    return _Date(folder=folder, config=config, geobox=plan.source.geobox, scheme=plan.package.spec.scheme)


def _clear_other(config: RunConfig) -> None:
    """Remove a run of something else; one of the same raster and model goes on."""
    folder = RunFolder(config.output)
    try:
        folder.is_finished(plan_run(folder.recall(config)).fingerprint())
    except RunFolderError:
        with folder.hold():
            folder.clear()

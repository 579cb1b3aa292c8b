"""Is a run folder what it was when it was made? Everything that can be told without imagery and model is told again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shapely.errors import ShapelyError

from geoseg.errors import GeosegError, RunFolderError
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.records import describe_missing
from geoseg.runfolder.verification import rasters, record, tables
from geoseg.runfolder.verification.run import Check, CheckedRun, Faults, Looks, name_faults
from geoseg.tiling import name_chunk

_CHECKS: dict[str, tuple[str, Looks]] = {
    "record": ("run.toml, summary.json and item.json tell of one run", record.look_at_record),
    "products": ("everything that was asked for is there", record.look_at_products),
    "checksums": ("size and SHA-256 of every file are the recorded ones", record.look_at_checksums),
    "cog": ("every raster is a cloud-optimized GeoTIFF", rasters.look_at_cogs),
    "grid": ("every raster lies on the grid of the run", rasters.look_at_grids),
    "legend": ("nodata, colors and names are those of the scheme", rasters.look_at_legend),
    "pixels": ("class pixels and areas are those of the summary", rasters.look_at_pixels),
    "layers": ("all blocks can be read, and the rasters agree", rasters.look_at_layers),
    "ids": ("instances in rasters and tables are the same", rasters.look_at_ids),
    "counts": ("layers hold as many features as the summary says", tables.look_at_counts),
    "geometry": ("all shapes are valid and inside the raster", tables.look_at_geometry),
    "coverage": ("land cover has no overlaps, and covers its pixels", tables.look_at_coverage),
    "roads": ("roads end at nodes", tables.look_at_roads),
}
CHECKS = ("chunks", *_CHECKS)
"""Names of all checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of all checks."""

    output: str
    """The run folder."""
    run_id: str | None
    """Id of the run, if it is finished."""
    checks: tuple[Check, ...]
    """One by one."""

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found a fault."""
        return tuple(check for check in self.checks if check.state == "failed")


def verify_run(output: Path) -> Verdict:
    """Check a run folder; memory does not grow with the raster, only with the number of its features.

    Args:
        output: The run folder, finished or not.

    Raises:
        RunFolderError: If it is no run folder.
    """
    folder = RunFolder(output)
    if not output.is_dir() or not (folder.record.exists() or folder.summary.exists()):
        raise RunFolderError(f"{output} holds no run of geoseg: there is no {folder.record.name}. Name the folder that -o named.")
    chunks = _check_chunks(folder)
    run = None
    try:
        run = CheckedRun(folder=folder, record=folder.read_record(), summary=folder.read_summary(), item=folder.read_item())
    except GeosegError as exc:
        if chunks.state == "ok":
            return Verdict(output=str(output), run_id=None, checks=(chunks, Check(name="record", state="failed", message=str(exc))))
    if run is None:
        return Verdict(output=str(output), run_id=None, checks=(chunks,))
    checks = [chunks, *(_check(name, fine, partial(look, run)) for name, (fine, look) in _CHECKS.items())]
    return Verdict(output=str(output), run_id=run.summary.get("run_id"), checks=tuple(checks))


def _check(name: str, fine: str, look: Callable[[], Faults]) -> Check:
    try:
        faults = list(name_faults(look()))
    except GeosegError as exc:
        faults = [str(exc)]
    except LookupError as exc:
        if type(exc) is not LookupError:
            return Check(name=name, state="failed", message=f"what is recorded is not complete: {type(exc).__name__} {exc}")
        return Check(name=name, state="skipped", message=str(exc))
    except (TypeError, ValueError, AttributeError, ShapelyError) as exc:
        # numbers, tables and shapes of a record that somebody edited may be anything
        faults = [f"what is recorded does not fit: {type(exc).__name__} {exc}"]
    return Check(name=name, state="failed" if faults else "ok", message="; ".join(faults) or fine)


def _check_chunks(folder: RunFolder) -> Check:
    """Look whether the run is finished; one that lacks chunks, and says so, is what it was when it was made."""
    found = _check("chunks", "the run is finished", lambda: _look_at_chunks(folder))
    try:
        missing = folder.missing() if found.state == "ok" else []
        if not missing:
            return found
        named = "; ".join(name_faults(describe_missing(chunk) for chunk in missing))
    except (GeosegError, LookupError, TypeError, ValueError):
        # told of by the check of the record
        return found
    return Check(name="chunks", state="ok", message=f"the run is finished, with nodata instead of {len(missing)} chunks: {named}")


def _look_at_chunks(folder: RunFolder) -> Iterator[str]:
    if folder.is_moving:
        yield "a command was cut off while its products were moved into the folder: the next segment, objects or export ends the move"
        return
    if folder.is_whole:
        if folder.work.exists() and not folder.missing():
            yield (
                f"the run is finished, and what it had is whole, but a later command was cut off and left {folder.work.name}: "
                "the next geoseg segment, objects or export tidies it"
            )
        return
    try:
        done = record.list_chunks(folder)
    except (GeosegError, LookupError, TypeError, ValueError) as exc:
        yield f"the run is not finished, and its chunks cannot be counted: {exc}"
        return
    first = next(done.missing(), None)
    if first is not None:
        yield f"the run is not finished: {done.total - done.count} of {done.total} chunks are missing, first {name_chunk(*first)}"
    else:
        yield f"the run is not finished: all {done.total} chunks are there, its products are not"

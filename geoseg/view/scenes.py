"""What one map shows: a run, many runs side by side, or two states of one place."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from geoseg.errors import GeosegError, MissingFileError, RunError, UsageError
from geoseg.runfolder.folder import RunFolder
from geoseg.view.demand import DemandRun
from geoseg.view.paint import Picture, encode, lay_over, paint_table
from geoseg.view.rasters import Box, TileRaster, WebTile, unite
from geoseg.view.shown import LegendRow, ShownRun
from geoseg.view.vectors import VectorArchive, find_layers, open_archive

_TITLES = {"imagery": "Imagery", "classes": "Classes", "confidence": "Confidence", "uncertainty": "Uncertainty", "transitions": "Changes"}
_WATCHED, _CHANGED = "watch.json", "change.json"
_TABLES = ("watch.gpkg", "change.gpkg", "impact.gpkg")
"""Vector files that hold what was found in a whole folder."""


class Scene:
    """Runs that lie on one map, with the vector layers over them.

    Args:
        name: What the map calls it.
        runs: The runs; those that come first are seen first.
        cache: Folder for vector tiles.
        folder: Holds vector files over all runs, if there are any; ``watch.json`` there tells which runs there are.
        work: Folder for what is made to show it.
        demand: Makes the first run as one looks at it.
    """

    def __init__(
        self, name: str, runs: list[ShownRun], cache: Path, work: Path, folder: Path | None = None, demand: DemandRun | None = None
    ) -> None:
        self.name, self.runs, self.folder, self.demand = name, runs, folder, demand
        self._cache, self._work = cache, work
        self._archives: dict[str, tuple[Any, list[VectorArchive]]] = {}
        self._begun: dict[str, Any] = {}
        self._pending: set[str] = set()
        self._notes: dict[str, str] = {}
        self._watched: list[dict[str, Any]] = []
        self._transitions: TileRaster | None = None
        self._lock = Lock()

    @property
    def bounds(self) -> Box | None:
        """Where it lies, in degrees; None as long as nothing says so."""
        boxes = [box for run in self.runs if (box := run.bounds) is not None]
        if self._transitions is not None:
            boxes.append(self._transitions.bounds)
        return unite(boxes) if boxes else None

    @property
    def archives(self) -> list[VectorArchive]:
        """Its vector layers."""
        # a copy: what is cut in the background comes in between
        return [archive for _, archives in list(self._archives.values()) for archive in archives]

    def refresh(self, background: ThreadPoolExecutor) -> None:
        """Look at its folders again; what takes long is done in the background.

        Raises:
            GeosegError: If what is there is damaged.
        """
        with self._lock:
            self._look_around()
            for run in self.runs:
                self._try(run.name, run.refresh)
                is_lacking = run.backdrop is None and run.config is not None
                self._begin(f"imagery of {run.name}", run.status.run_id, background, is_lacking, run.open_imagery)
            for path in self._tables():
                stat = path.stat() if path.exists() else None
                stamp = (stat.st_mtime_ns, stat.st_size) if stat is not None else None
                known = self._archives.get(str(path), (None, []))[0]
                is_new = stamp is not None and stamp != known
                self._begin(str(path), stamp, background, is_new, lambda p=path, s=stamp: self._cut(p, s))

    def describe(self) -> dict[str, Any]:
        """Return what a page needs to show it."""
        return {
            "name": self.name,
            "bounds": self.bounds,
            "inPixels": any(run.is_in_pixels for run in self.runs),
            "layers": [{"id": layer, "title": _TITLES[layer], **self._describe_layer(layer)} for layer in _TITLES if self.version(layer)],
            "vectors": [self._describe_archive(number, archive) for number, archive in enumerate(self.archives)],
            "legend": [asdict(row) for row in self.legend()],
            "counts": self._counts(),
            "runs": self._describe_runs(),
            "notes": sorted({*list(self._notes.values()), *(warning for run in self.runs for warning in run.warnings)}),
            "preparing": bool(self._pending),
            "live": asdict(self.demand.tell()) if self.demand is not None else None,
        }

    def version(self, layer: str) -> str:
        """Return what changes when a layer does; empty if there is none."""
        if layer == "transitions":
            return "t" if self._transitions is not None else ""
        versions = [run.version(layer) for run in self.runs]
        return "-".join(versions) if any(versions) else ""

    def legend(self) -> list[LegendRow]:
        """Return the classes of all runs, those of one name and color added up."""
        rows: dict[tuple[str, str], float | None] = {}
        for row in (row for run in self.runs for row in run.legend):
            key = (row.name, row.color)
            known = rows.get(key)
            rows[key] = row.area_m2 if known is None else known + (row.area_m2 or 0)
        return [LegendRow(name=name, color=color, area_m2=area) for (name, color), area in rows.items()]

    def paint(self, layer: str, tile: WebTile, hidden: frozenset[str] = frozenset()) -> bytes | None:
        """Return the picture of a layer in a web tile; None where there is nothing.

        Raises:
            RunError: If a file cannot be read there.
        """
        if layer == "transitions":
            picture = self._paint_transitions(tile)
        else:
            picture = lay_over(found for run in self.runs for found in run.paint(layer, tile, hidden))
        if picture is None or not picture[..., 3].any():
            return None
        return encode(picture, exact=layer != "imagery")

    def look_at(self, lon: float, lat: float) -> dict[str, Any]:
        """Return what the first run with data knows of a place in degrees."""
        for run in self.runs:
            found = run.look_at(lon, lat)
            if found:
                return {"run": run.name, **found} if len(self.runs) > 1 else found
        return {}

    def close(self) -> None:
        """Let the files go."""
        for run in self.runs:
            run.close()
        for archive in self.archives:
            archive.close()
        if self._transitions is not None:
            self._transitions.close()

    def _describe_layer(self, layer: str) -> dict[str, Any]:
        if layer == "imagery":
            zoom = max(run.backdrop.zoom for run in self.runs if run.backdrop is not None)
        else:
            zoom = max((run.zoom() for run in self.runs), default=0)
        if self._transitions is not None:
            zoom = max(zoom, self._transitions.zoom)
        # a zoom more than its pixels have, so that these are squares and not blurred triangles
        return {"version": self.version(layer), "maxzoom": min(24, zoom + 1)}

    @staticmethod
    def _describe_archive(number: int, archive: VectorArchive) -> dict[str, Any]:
        layer = archive.layer
        least, most = archive.zooms
        told = {
            "id": number,
            "group": _group(archive),
            "layer": layer.name,
            "kind": layer.kind,
            "count": layer.count,
            "columns": layer.columns,
        }
        return {**told, "file": layer.path.name, "version": archive.version, "minzoom": least, "maxzoom": most}

    def _describe_runs(self) -> list[dict[str, Any]]:
        if self._watched:
            keys = ("name", "state", "error", "bounds")
            return [{key: source.get(key) for key in keys} for source in self._watched]
        return [
            {
                "name": run.name,
                "state": "on demand" if self.demand is not None else run.status.state,
                "chunksDone": run.status.chunks_done,
                "chunks": run.status.chunks,
                "leftS": run.status.left_s,
                "error": run.status.last_error,
                "bounds": run.bounds,
            }
            for run in self.runs
        ]

    def _counts(self) -> dict[str, int]:
        """Return how many features each vector layer has."""
        counts: dict[str, int] = {}
        for archive in self.archives:
            counts[_group(archive)] = counts.get(_group(archive), 0) + archive.layer.count
        return counts

    def _tables(self) -> list[Path]:
        """Return the vector files over all runs, else those of each."""
        over = [self.folder / name for name in _TABLES if (self.folder / name).exists()] if self.folder is not None else []
        if any(path.name == "watch.gpkg" for path in over):
            return over
        # what became of things lies over the things
        return [*(run.features for run in self.runs), *over]

    def _look_around(self) -> None:
        """Find runs that have come to a folder of many."""
        if self.folder is None:
            return
        known = {run.folder.absolute() for run in self.runs}
        self._watched = read_watched(self.folder)
        for path in find_runs(self.folder, self._watched):
            if path.absolute() not in known:
                self.runs.append(ShownRun(path, self._work / f"run{len(self.runs)}"))
        path = self.folder / "transitions.tif"
        if self._transitions is None and path.exists():
            self._try(path.name, lambda: self._open_transitions(path))

    def _open_transitions(self, path: Path) -> None:
        self._transitions = TileRaster(str(path))

    def _paint_transitions(self, tile: WebTile) -> Picture | None:
        raster = self._transitions
        if raster is None or not raster.touches(tile):
            return None
        return paint_table(raster.read_tile(tile), raster.colormap)

    def _cut(self, path: Path, stamp: Any) -> None:
        """Make the vector tiles of a file, and show them in place of those of its former state."""
        grid = next((run.grid for run in self.runs if run.grid is not None), None)
        made = [open_archive(layer, grid, self._cache) for layer in find_layers(path)]
        _, former = self._archives.get(str(path), (None, []))
        self._archives[str(path)] = (stamp, made)
        for archive in former:
            archive.close()

    def _begin(self, what: str, stamp: Any, background: ThreadPoolExecutor, wanted: bool, do: Any) -> None:
        """Do something in the background, once for each state that it is done for."""
        if wanted and (what not in self._begun or self._begun[what] != stamp):
            self._begun[what] = stamp
            self._pending.add(what)
            background.submit(self._try, what, do)

    def _try(self, what: str, do: Any) -> None:
        """Do something; if it fails, the page says so and the rest goes on."""
        try:
            do()
            self._notes.pop(what, None)
        except (GeosegError, OSError) as exc:
            self._notes[what] = str(exc)
        except Exception as exc:  # one damaged file must not take the map of all others with it
            self._notes[what] = f"{what} cannot be shown: {type(exc).__name__}: {exc}"
        finally:
            self._pending.discard(what)


def _group(archive: VectorArchive) -> str:
    """Return what layers have in common that are switched together: their name, and what they tell of."""
    about = archive.layer.path.stem
    return archive.layer.name if about in ("features", "watch") else f"{about}:{archive.layer.name}"


def read_watched(folder: Path) -> list[dict[str, Any]]:
    """Return the sources that ``watch.json`` lists; none if there is no such file, or it is just being written."""
    try:
        told = json.loads((folder / _WATCHED).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    sources = told.get("sources", []) if isinstance(told, dict) else told
    return [source for source in sources if isinstance(source, dict)] if isinstance(sources, list) else []


def find_runs(folder: Path, watched: list[dict[str, Any]]) -> list[Path]:
    """Return the run folders in a folder of many, and none outside of it."""
    named = [Path(str(source["run"])) for source in watched if source.get("run")]
    listed = [path if path.is_absolute() else folder / path for path in named]
    inside = [path for path in listed if _is_inside(path, folder)]
    try:
        beside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        beside = []
    known = {path.resolve() for path in inside}
    return [path for path in (*inside, *(path for path in beside if path.resolve() not in known)) if RunFolder(path).is_begun()]


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve()) and path.is_dir()
    except (OSError, ValueError):
        # no name that a file may have
        return False


def open_scenes(paths: list[Path], cache: Path, work: Path) -> list[Scene]:
    """Find out what folders hold: runs, folders of runs, or the change between two.

    Args:
        paths: The folders.
        cache: Folder for vector tiles.
        work: Folder for what is made to show them.

    Raises:
        MissingFileError: If a folder is not there.
        UsageError: If it holds nothing that a map shows.
    """
    scenes: list[Scene] = []
    for path in paths:
        scenes += _open_folder(path, cache, work / f"scene{len(scenes)}")
    return scenes


def _open_folder(path: Path, cache: Path, work: Path) -> list[Scene]:
    if not path.is_dir():
        raise MissingFileError(f"There is no folder {path}. Name a run folder, or a raster with -m MODEL.")
    if RunFolder(path).is_begun():
        run = ShownRun(path, work / "run")
        return [Scene(run.name, [run], cache, work, path)]
    dates = _read_dates(path)
    if dates:
        runs = [ShownRun(folder, work / name) for name, folder in dates.items()]
        # what has changed is drawn over the later date
        over = {"before": None, "after": path}
        return [Scene(name, [run], cache, work / name, over[name]) for name, run in zip(dates, runs, strict=True)]
    watched = read_watched(path)
    if not find_runs(path, watched) and not (path / _WATCHED).exists() and not any((path / name).exists() for name in _TABLES):
        raise UsageError(f"{path} holds no run of geoseg. Name a run folder, as geoseg segment -o makes it, or a raster with -m MODEL.")
    return [Scene(path.absolute().name, [], cache, work, path)]


def _read_dates(folder: Path) -> dict[str, Path]:
    """Return the run folders before and after that a change was found between; none if it was found otherwise."""
    try:
        told = json.loads((folder / _CHANGED).read_bytes())
        found = {name: Path(str(told[name]["classes"])).parent for name in ("before", "after")}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if all(RunFolder(path).is_begun() for path in found.values()) else {}


def open_demand(demand: DemandRun, cache: Path, work: Path) -> Scene:
    """Return the scene of a raster that is segmented where one looks at it.

    Raises:
        RasterError: If its imagery has no place on a map.
        RunError: If it cannot be read.
    """
    plan = demand.plan
    run = ShownRun(demand.folder.path, work / "run")
    run.name = Path(plan.source.path).name
    run.show_imagery(plan.source, plan.package.spec.bands)
    if run.bounds is None:
        raise RunError(f"{plan.source.path} has no place on a map.")
    return Scene(run.name, [run], cache, work, None, demand)

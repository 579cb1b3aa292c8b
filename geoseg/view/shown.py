"""A run as a map shows it: its rasters, finished or growing, its imagery, its classes with their areas."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from odc.geo.geobox import GeoBox

from geoseg.config import RunConfig, make_config
from geoseg.errors import GeosegError
from geoseg.inference.opening import open_source
from geoseg.inference.planning import find_asked
from geoseg.inference.runplan import list_layers
from geoseg.io.raster import RasterSource
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.pixels.decode import CONFIDENCE_SCALE, MEASURE_SCALE
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.report import read_scheme
from geoseg.runfolder.status import Status, read_status
from geoseg.runfolder.verification.record import recall_tiles
from geoseg.view.backdrop import Backdrop
from geoseg.view.growing import GrowingRaster
from geoseg.view.paint import Picture, paint_classes, paint_measure
from geoseg.view.rasters import Box, TileRaster, WebTile

_FILES = {"classes": "classes.tif", "confidence": "confidence.tif", "uncertainty": "uncertainty.tif"}
_IN_CHUNKS = {"classes": "class", "confidence": "confidence"}
_MEASURES_MOST = {"confidence": CONFIDENCE_SCALE, "uncertainty": MEASURE_SCALE}


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendRow:
    """A class and how much of it there is."""

    name: str
    """The class."""
    color: str
    """``#rrggbb``."""
    area_m2: float | None = None
    """On the ground; None as long as the run is not finished."""


class ShownRun:
    """A run folder that is looked at; what is in it may change at any moment. Nothing is written into it.

    Args:
        folder: The run folder.
        work: Folder for what is made to show it.
    """

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder, self._work = folder, work
        self.name = folder.absolute().name
        self.status = Status(output=str(folder), state="empty")
        self.scheme: ClassScheme | None = None
        self.legend: list[LegendRow] = []
        self.counts: dict[str, int] = {}
        self.config: RunConfig | None = None
        self.backdrop: Backdrop | None = None
        self.warnings: list[str] = []
        self._files: dict[str, tuple[tuple[int, int], TileRaster]] = {}
        self._growing: GrowingRaster | None = None
        self._seen: Any = None
        self._run_id: str | None = None
        self._backdrops = 0
        self._lock = Lock()

    @property
    def bounds(self) -> Box | None:
        """Where it lies, in degrees; None as long as nothing says so."""
        for raster in self._rasters():
            return raster.bounds
        return self.backdrop.bounds if self.backdrop is not None else None

    @property
    def is_in_pixels(self) -> bool:
        """Whether its coordinates are only those of pixels."""
        return self.config is not None and (self.config.assume_crs or "").strip().lower().startswith("pixels")

    @property
    def features(self) -> Path:
        """Its vector layers."""
        return self.folder / "features.gpkg"

    def _rasters(self) -> list[TileRaster]:
        growing = self._growing
        grown = growing.raster_for(0.0) if growing is not None else None
        return [*(raster for _, raster in self._files.values()), *([grown] if grown is not None else [])]

    @property
    def grid(self) -> GeoBox | None:
        """The grid of its rasters; None as long as there are none."""
        return next((raster.geobox for raster in self._rasters()), None)

    def zoom(self) -> int:
        """Return the zoom from which pixels are as large as those of tiles, or larger."""
        return max((raster.zoom for raster in self._rasters()), default=0)

    def version(self, layer: str) -> str:
        """Return what changes when a layer does; empty if there is none."""
        if layer == "imagery":
            return f"i{self._backdrops}" if self.backdrop is not None else ""
        # once each: another thread may put others in their place
        files, growing = self._files, self._growing
        stamp = files[layer][0] if layer in files else None
        grown = growing.version if growing is not None and _IN_CHUNKS.get(layer) in growing.shown else 0
        return f"{stamp[0] % 10**12:x}.{grown}" if stamp else f"g{grown}" if grown else ""

    def refresh(self) -> None:
        """Look at the folder again: files under their final names, then chunks of a run that is not finished.

        Raises:
            GeosegError: If the folder is gone, or what it holds is damaged.
        """
        with self._lock:
            folder = RunFolder(self.folder)
            stamps = {layer: stamp for layer, name in _FILES.items() if (stamp := _stamp(self.folder / name)) is not None}
            seen = (stamps, _stamp(folder.summary), _stamp(folder.record))
            if seen == self._seen and self.status.state == "finished":
                return
            self.status = read_status(self.folder)
            if None not in (self._run_id, self.status.run_id) and self._run_id != self.status.run_id:
                self._forget()
            self._run_id = self.status.run_id or self._run_id
            if folder.summary.exists():
                self._take_summary(folder.read_summary())
            self._open_files(stamps)
            if folder.record.exists() and self.config is None:
                self.config = _recall_config(folder)
            if self.status.state == "finished" or self.config is None:
                self._drop_chunks()
            else:
                self._look_at_chunks(folder, self.config)
            # what could not be read is looked at again
            self._seen = seen

    def open_imagery(self) -> None:
        """Open what was segmented, if it is still there; takes a while where files are many.

        Raises:
            GeosegError: If it cannot be read any more; the message says why.
        """
        if self.config is None or self.backdrop is not None:
            return
        self.show_imagery(open_source(self.config, find_asked(self.config).spec), find_asked(self.config).spec.bands)

    def show_imagery(self, source: RasterSource, names: tuple[str, ...]) -> None:
        """Take imagery that is open already.

        Args:
            source: The imagery.
            names: What the model calls its bands.
        """
        self.backdrop = Backdrop(source, names, self._work / f"imagery{self._backdrops}")
        self._backdrops += 1

    def paint(self, layer: str, tile: WebTile, hidden: frozenset[str] = frozenset()) -> list[Picture]:
        """Return the pictures of a layer in a web tile, those that are seen first before the others.

        Raises:
            RunError: If a file cannot be read there.
        """
        if layer == "imagery":
            return self.backdrop.paint(tile) if self.backdrop is not None else []
        paint = self._painter(layer, hidden)
        if paint is None:
            return []
        return [paint(raster.read_tile(tile, (band,))) for raster, band in self._sources(layer, tile.pixel_m) if raster.touches(tile)]

    def look_at(self, lon: float, lat: float) -> dict[str, Any]:
        """Return class, confidence in percent and uncertainty at a place in degrees, as far as they are known."""
        found: dict[str, Any] = {}
        for layer in _FILES:
            for raster, band in self._sources(layer, 0.0):
                value = raster.read_point(lon, lat, (band,))
                if value is None:
                    continue
                if layer == "classes":
                    found["class"] = next((row.name for row in self.scheme or () if row.value == int(value[0])), None)
                else:
                    found[layer] = round(100 * value[0] / _MEASURES_MOST[layer])
                break
        return found

    def close(self) -> None:
        """Let the files go."""
        self._drop_chunks()
        for _, raster in self._files.values():
            raster.close()
        if self.backdrop is not None:
            self.backdrop.close()

    def _painter(self, layer: str, hidden: frozenset[str]) -> Callable[[Any], Picture] | None:
        if layer in _MEASURES_MOST:
            return lambda pixels: paint_measure(pixels, _MEASURES_MOST[layer])
        scheme = self.scheme
        return None if scheme is None else lambda pixels: paint_classes(pixels, scheme, hidden)

    def _sources(self, layer: str, pixel_m: float) -> list[tuple[TileRaster, int]]:
        """Return the rasters of a layer and the bands in them, chunks over files."""
        found: list[tuple[TileRaster, int]] = []
        name, growing, files = _IN_CHUNKS.get(layer), self._growing, self._files
        if growing is not None and name in growing.shown and (raster := growing.raster_for(pixel_m)) is not None:
            found.append((raster, growing.band(str(name))))
        if layer in files:
            found.append((files[layer][1], 1))
        return found

    def _open_files(self, stamps: dict[str, tuple[int, int]]) -> None:
        """Open the files that are there; all change at once, so that whoever asks meanwhile gets the former ones.

        Raises:
            GeosegError: If one cannot be shown; the others are.
        """
        files, faults = {}, []
        for layer, stamp in stamps.items():
            known = self._files.get(layer)
            try:
                files[layer] = known if known and known[0] == stamp else (stamp, self._open_file(layer))
            except GeosegError as exc:
                faults.append(exc)
        former, self._files = self._files, files
        for layer, known in former.items():
            if files.get(layer) is not known:
                known[1].close()
        if faults:
            raise faults[0]

    def _open_file(self, layer: str) -> TileRaster:
        return TileRaster(str(self.folder / _FILES[layer]), nodata=NODATA_CLASS)

    def _forget(self) -> None:
        """Let go of what belongs to a run that another one has replaced."""
        self._drop_chunks()
        former, self.backdrop, self.config, self.scheme = self.backdrop, None, None, None
        self.legend, self.counts, self.warnings = [], {}, []
        if former is not None:
            former.close()

    def _take_summary(self, summary: dict[str, Any]) -> None:
        self.scheme = read_scheme(summary["classes"])
        rows = [row for row in summary["classes"] if row["value"] != NODATA_CLASS]
        self.legend = [LegendRow(name=str(row["name"]), color=str(row["color"]), area_m2=row.get("area_m2")) for row in rows]
        self.counts = {name: number for name, number in summary["counts"].items() if isinstance(number, int)}
        self.warnings = [str(warning) for warning in summary.get("warnings", ())]

    def _look_at_chunks(self, folder: RunFolder, config: RunConfig) -> None:
        if self._growing is None:
            try:
                spec = find_asked(config).spec
                tiles = recall_tiles(folder, spec)
            except (GeosegError, LookupError, TypeError, ValueError):
                # without its model nobody knows where the chunks lie
                return
            self.scheme = self.scheme or spec.scheme
            self.legend = self.legend or [LegendRow(name=row.name, color=row.color) for row in spec.scheme]
            self._work.mkdir(parents=True, exist_ok=True)
            self._growing = GrowingRaster(folder.chunk_place, tiles, list_layers(config, spec), self._work)
        with suppress(FileNotFoundError):
            self._growing.refresh()

    def _drop_chunks(self) -> None:
        if self._growing is not None:
            self._growing.close()
            self._growing = None


def _recall_config(folder: RunFolder) -> RunConfig | None:
    """Return the configuration of a run, its raster where it was; None if the record holds none."""
    try:
        config = make_config({}, folder.record)
        absolute = folder.read_record().get("fingerprint", {}).get("raster")
    except GeosegError:
        return None
    if isinstance(absolute, str) and isinstance(config.raster, str) and Path(absolute).exists():
        return config.model_copy(update={"raster": absolute})
    return config


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file does; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size

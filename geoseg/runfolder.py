"""The run folder: whose it is, what stands in it, where work goes on."""

import shutil
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.config import RunConfig, to_toml
from geoseg.errors import RunFolderError, WriteError
from geoseg.io.chunks import ChunkStore
from geoseg.io.files import write_error, write_whole
from geoseg.planning import RunPlan

_RUN_TOML = "run.toml"
_SUMMARY = "summary.json"
_PRODUCTS = ("classes.tif", "confidence.tif", "instances.tif", "features.gpkg", "item.json")
_OWN_NAMES = {".work", _RUN_TOML, _SUMMARY, *_PRODUCTS, *(f"{name}.aux.xml" for name in _PRODUCTS), f"{_RUN_TOML}.part"}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder that holds one run, finished or not."""

    path: Path
    """The folder."""

    @property
    def work(self) -> Path:
        """Work in progress; gone when the run is finished."""
        return self.path / ".work"

    @property
    def summary(self) -> Path:
        """Written last: where it stands, the run is finished."""
        return self.path / _SUMMARY

    def chunks(self, plan: RunPlan) -> ChunkStore:
        """Return the store of finished chunks."""
        return ChunkStore(folder=self.work / "chunks", geobox=plan.source.geobox, layers=plan.package.spec.layers.names)

    def is_finished(self, fingerprint: dict[str, Any]) -> bool:
        """Tell whether this very run is finished here.

        Raises:
            RunFolderError: If the folder belongs to another run or holds foreign files.
        """
        self._check_owner(fingerprint)
        return self.summary.exists()

    def begin(self, config: RunConfig, fingerprint: dict[str, Any]) -> None:
        """Make the folder this run's own.

        Raises:
            WriteError: If the folder cannot be made or written to.
        """
        try:
            if not (self.path / _RUN_TOML).exists():
                # chunks without a run.toml are nobody's
                shutil.rmtree(self.work, ignore_errors=True)
            (self.work / "chunks").mkdir(parents=True, exist_ok=True)
            for part in self.work.rglob("*.part"):
                part.unlink()
        except OSError as exc:
            raise write_error(self.path, exc) from exc
        run = config.model_dump(mode="json")
        table = {"geoseg_version": __version__, "run": run, "fingerprint": fingerprint}
        if not (self.path / _RUN_TOML).exists():
            write_whole(self.path / _RUN_TOML, to_toml(table).encode())

    def finish(self) -> None:
        """Remove what was only needed while the run went on."""
        shutil.rmtree(self.work, ignore_errors=True)

    def abandon(self) -> None:
        """Undo :meth:`begin` if nothing was done since."""
        if self.work.exists() and not any((self.work / "chunks").glob("*.tif")):
            self.finish()
            (self.path / _RUN_TOML).unlink(missing_ok=True)
            with suppress(OSError):
                self.path.rmdir()

    def clear(self) -> None:
        """Remove an earlier run; files that geoseg did not write make it refuse.

        Raises:
            RunFolderError: If the folder holds something else, or is a file.
            WriteError: If it cannot be removed.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; -o names a folder.")
        foreign = sorted(p.name for p in self.path.iterdir() if p.name not in _OWN_NAMES)
        if foreign:
            raise RunFolderError(
                f"{self.path} holds {len(foreign)} files that geoseg did not write, first {foreign[0]}; --overwrite only removes runs. "
                "Move them away or choose another -o."
            )
        try:
            shutil.rmtree(self.path)
        except OSError as exc:
            raise WriteError(f"{self.path} could not be removed: {exc}.") from exc

    def _check_owner(self, fingerprint: dict[str, Any]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; -o names a folder.")
        record = self.path / _RUN_TOML
        if not record.exists():
            if self.path.exists() and any(p.name != ".work" for p in self.path.iterdir()):
                raise RunFolderError(f"{self.path} holds files but no run of geoseg. Choose an empty or new folder with -o.")
            return
        try:
            earlier = tomllib.loads(record.read_text(encoding="utf-8")).get("fingerprint", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as exc:
            raise RunFolderError(f"{record} could not be read: {exc}. Choose another -o, or start over with --overwrite.") from exc
        differences = _differences(earlier, fingerprint)
        if differences:
            raise RunFolderError(
                f"{self.path} holds another run: {'; '.join(differences)}. "
                "Choose another -o, or start over with --overwrite, which removes the earlier run."
            )


def _differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    keys = [key for key in now if plain(now[key]) != earlier.get(key)]
    return [f"{key} was {earlier.get(key)!r}, is now {plain(now[key])!r}" for key in keys]

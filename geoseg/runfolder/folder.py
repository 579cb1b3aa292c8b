"""The run folder: what stands in it, and where work goes on."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from geoseg.config import CHOSEN, RunConfig
from geoseg.errors import RunFolderError, WriteError
from geoseg.inference.runplan import RunPlan
from geoseg.io.files import move_folder, move_whole, write_error, write_whole
from geoseg.io.store.bucket import open_place
from geoseg.io.store.chunks import ChunkStore, holds_chunks, move_flat_chunks
from geoseg.io.store.claim import Claim
from geoseg.io.store.found import FoundStore
from geoseg.io.store.locks import hold_folder
from geoseg.io.store.places import Folder, Place
from geoseg.redact import redact_all
from geoseg.runfolder.names import DETECTIONS, RUN_TOML, SUMMARY, list_own
from geoseg.runfolder.notes import note_holder, noting
from geoseg.runfolder.owner import check_owner
from geoseg.runfolder.provenance import identify_run
from geoseg.runfolder.records import describe_config, is_refining, read_item, read_record, read_summary

_MADE, _WHOLE = "objects", "objects.whole"
"""Below ``.work``: objects in the making, and whole ones on their way into the run folder."""
_REOPENED = "reopened"
"""Below ``.work``: products are being removed, as chunks that they lack have been made since."""
_HOLES = "holes"
"""Below ``.work``: rasters that lack chunks may stand under their final names, and no summary says so yet."""
_CHUNKS_AT = "chunks.at"
"""Below ``.work``: where the chunks lie, if that is elsewhere."""


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
    def found(self) -> FoundStore:
        """What a detector found, until objects are made of it."""
        return FoundStore(folder=self.work / "found")

    @property
    def detections(self) -> Path:
        """What a detector found, kept so that objects can be made of it again."""
        return self.path / DETECTIONS

    @property
    def summary(self) -> Path:
        """Written last: where it stands, the run is finished."""
        return self.path / SUMMARY

    @property
    def item(self) -> Path:
        """The run as a STAC Item."""
        return self.path / "item.json"

    @property
    def record(self) -> Path:
        """``run.toml``: the resolved configuration."""
        return self.path / RUN_TOML

    def chunks(self, plan: RunPlan) -> ChunkStore:
        """Return the store of finished chunks."""
        return ChunkStore(place=self.chunk_place, geobox=plan.source.geobox, layers=plan.layers)

    @property
    def chunk_place(self) -> Place:
        """Where finished chunks lie.

        Raises:
            RunFolderError: If the note of it cannot be read.
        """
        try:
            return open_place((self.work / _CHUNKS_AT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Folder(self.work / "chunks")
        except (OSError, UnicodeDecodeError) as exc:
            raise RunFolderError(f"{self.work / _CHUNKS_AT} could not be read: {exc}. Start over with --overwrite.") from exc

    @property
    def claim(self) -> Claim | None:
        """What keeps chunks of an earlier run out; None where they lie elsewhere, in a place that is this run's alone."""
        return None if (self.work / _CHUNKS_AT).exists() else Claim.stake(self.record)

    def is_finished(self, fingerprint: dict[str, Any]) -> bool:
        """Tell whether this very run is finished here.

        Raises:
            RunFolderError: If the folder belongs to another run or holds foreign files.
        """
        check_owner(self.path, self.record, redact_all(fingerprint), is_whole=self.is_whole)
        return self.is_whole

    @property
    def quick(self) -> "RunFolder":
        """The coarse run that a first map is made of, while the run goes on."""
        return RunFolder(self.work / "quick")

    @property
    def is_whole(self) -> bool:
        """Whether a run stands here that is finished: a first map, and one that is being refined, is not."""
        return self.summary.exists() and not self.is_preview

    @property
    def is_preview(self) -> bool:
        """Whether what stands here is a first map of a run that goes on; see :mod:`geoseg.quick`."""
        return is_refining(self.summary)

    def check_whole(self) -> None:
        """Refuse what stands for a finished run only until that is finished.

        Raises:
            RunFolderError: If it is a first map.
        """
        if self.is_preview:
            raise RunFolderError(
                f"The run in {self.path} is not finished: what stands there is its first map, which is being refined. "
                "The same geoseg segment goes on with it."
            )

    def is_begun(self) -> bool:
        """Tell whether a run was begun here, finished or not."""
        return self.record.exists()

    @property
    def is_moving(self) -> bool:
        """Whether products are on their way into the folder; :meth:`settle` ends that."""
        return (self.work / _WHOLE).exists()

    def recall(self, config: RunConfig) -> RunConfig:
        """Fill in what a configuration leaves open with what was chosen when the run here was begun.

        Raises:
            RunFolderError: If its ``run.toml`` cannot be read.
        """
        if not self.is_begun():
            return config
        chosen = self.read_record().get("run", {})
        default = {name: field.default for name, field in RunConfig.model_fields.items()}
        still_open = {name: chosen[name] for name in (*CHOSEN, "chunks_at") if getattr(config, name) == default[name] and name in chosen}
        try:
            return RunConfig.model_validate({**config.model_dump(), **still_open})
        except ValidationError as exc:
            fault = exc.errors()[0]["msg"]
            raise RunFolderError(f"{self.record} holds no run that can go on: {fault}. Start over with --overwrite.") from exc

    def begin(self, config: RunConfig, fingerprint: dict[str, Any]) -> None:
        """Make the folder this run's own.

        Raises:
            WriteError: If the folder cannot be made or written to.
        """
        try:
            if not self.record.exists():
                # chunks without a run.toml are nobody's
                self.finish()
            own = self._choose_place(config.chunks_at, fingerprint)
            (self.work / "chunks").mkdir(parents=True, exist_ok=True)
            # those of chunks are written over when the chunk is done again
            for left in self.work.glob("*.part"):
                left.unlink(missing_ok=True)
        except OSError as exc:
            raise write_error(self.path, exc) from exc
        move_flat_chunks(self.work / "chunks")
        if own is not None:
            write_whole(self.work / _CHUNKS_AT, own.name.encode())
        # the item of a run that is finished, but for some chunks, holds the record's checksum
        if not self.is_whole:
            self.keep_record(config, fingerprint)
        note_holder(self.work)

    def keep_record(self, config: RunConfig, fingerprint: dict[str, Any]) -> None:
        """Write ``run.toml``.

        Raises:
            WriteError: If the disk does not take it.
        """
        content = describe_config(config, fingerprint)
        if not self.record.exists() or self.record.read_bytes() != content:
            write_whole(self.record, content)

    def _choose_place(self, at: str | None, fingerprint: dict[str, Any]) -> Place | None:
        """Return a place of the run's own for its chunks if they lie elsewhere and it has none yet; it stays the same until the end."""
        there = self.chunk_place
        if at is None:
            return None
        over = open_place(at)
        if self.record.exists():
            if not there.name.startswith(f"{over.name}/"):
                raise RunFolderError(
                    f"The chunks of the run in {self.path} lie in {there.name}; they cannot move to {at}. "
                    "Leave --chunks-at out to go on, or start over with --overwrite."
                )
            return None
        own = open_place(f"{over.name}/geoseg-{identify_run(fingerprint)}-{secrets.token_hex(4)}")
        own.prepare()
        return own

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other commands out of the folder, and leave a note of what ends the work before its time.

        Raises:
            RunFolderError: If another one is at work in it.
            WriteError: If the folder cannot be made.
        """
        with hold_folder(self.path), noting(self.work):
            yield

    def products(self, made: Path) -> list[Path]:
        """Return the files of the run, the ones in the making instead of those that they are going to replace.

        Formats of other packages have files of any name: all that was made is the run's, and so is what its item lists.
        """
        found = {path.name: path for path in self.path.iterdir() if path.name in self._own_names() and path.name != self.work.name}
        if made != self.path and made.exists():
            found |= {path.name: path for path in made.iterdir()}
        return [path for _, path in sorted(found.items())]

    def _own_names(self) -> set[str]:
        """Return the names of everything that a run has, or that this one lists."""
        return list_own(self.item, self.work / _WHOLE / self.item.name)

    def begin_objects(self) -> Path:
        """Return an empty folder for everything that is made from the stitched rasters.

        Raises:
            WriteError: If it cannot be made.
        """
        made = self.work / _MADE
        try:
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
        except OSError as exc:
            raise write_error(made, exc) from exc
        return made

    @contextmanager
    def redoing(self) -> Iterator[Path]:
        """Make products of a finished run anew in a folder that is empty at first; if that fails, the run stays as it was.

        Raises:
            WriteError: If the disk does not take it.
        """
        try:
            yield self.begin_objects()
        except BaseException:
            self.finish()
            raise
        self.adopt_objects()

    def adopt_objects(self) -> None:
        """Put what was made into the run folder, all of it: if this is cut off, :meth:`settle` ends it."""
        (self.work / _MADE).replace(self.work / _WHOLE)
        self.settle()

    def settle(self) -> None:
        """End what :meth:`adopt_objects` or :meth:`reopen` began before it was cut off.

        Raises:
            WriteError: If a file cannot be moved.
        """
        if (self.work / _REOPENED).exists():
            self._clear_products()
        whole = self.work / _WHOLE
        if not whole.exists():
            return
        # without a summary the folder is no finished run, so that old and new are never taken for one
        if (whole / SUMMARY).exists():
            self.summary.unlink(missing_ok=True)
        for path in sorted(whole.iterdir(), key=lambda p: p.name == SUMMARY):
            final = self.path / path.name
            if path.is_dir():
                move_folder(path, final)
                continue
            # a layer that has shrunk is one file where it was a folder of parts
            if final.is_dir():
                shutil.rmtree(final, ignore_errors=True)
            move_whole(path, final)
        self.finish()

    def read_record(self) -> dict[str, Any]:
        """Return what ``run.toml`` holds; see :func:`geoseg.runfolder.records.read_record`."""
        return read_record(self.record)

    def read_summary(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds; see :func:`geoseg.runfolder.records.read_summary`."""
        return read_summary(self.summary)

    def read_item(self) -> dict[str, Any]:
        """Return what ``item.json`` holds; see :func:`geoseg.runfolder.records.read_item`."""
        return read_item(self.item)

    def missing(self) -> list[dict[str, Any]]:
        """Return ``chunk``, ``window`` and ``error`` of the chunks that a finished run lacks.

        Raises:
            RunFolderError: If there is no summary, or it cannot be read.
        """
        return list(self.read_summary().get("missing", ()))

    def reopen(self) -> None:
        """Make a run that is finished but for some chunks unfinished again, its chunks kept, so that its rasters are made anew.

        Rasters of a run that was cut off after :meth:`expect_holes` go as well: their chunks may have been made since.

        Raises:
            WriteError: If a file cannot be removed.
        """
        if self.is_whole or (self.work / _HOLES).exists():
            write_whole(self.work / _REOPENED, b"")
            self._clear_products()

    def expect_holes(self) -> None:
        """Note that the rasters which are made from now on lack chunks; gone when the run is finished.

        Raises:
            WriteError: If the disk does not take it.
        """
        write_whole(self.work / _HOLES, b"")

    def _clear_products(self) -> None:
        """Remove what was made of chunks, for :meth:`reopen`; if this is cut off, :meth:`settle` ends it."""
        try:
            # first what says that the run is finished: the rest is never taken for whole
            for name in (SUMMARY, *sorted(self._own_names() - {SUMMARY, RUN_TOML, self.work.name})):
                path = self.path / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            (self.work / _HOLES).unlink(missing_ok=True)
            (self.work / _REOPENED).unlink()
        except OSError as exc:
            raise write_error(self.path, exc) from exc

    def finish(self) -> None:
        """Remove what was only needed while the run went on; chunks stay as long as some are missing, so that they can be tried again.

        Raises:
            WriteError: If chunks that lie elsewhere cannot be removed.
        """
        if self.work.exists() and self.is_whole and self.missing():
            for path in self.work.iterdir():
                if path.name not in ("chunks", "found", _CHUNKS_AT):
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            return
        self._remove_far_chunks()
        shutil.rmtree(self.work, ignore_errors=True)

    def _remove_far_chunks(self) -> None:
        if (self.work / _CHUNKS_AT).exists():
            self.chunk_place.remove()

    def abandon(self) -> None:
        """Undo :meth:`begin` if nothing was done since."""
        if self.work.exists() and not self.summary.exists() and not holds_chunks(self.chunk_place):
            self.finish()
            self.record.unlink(missing_ok=True)
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
        own = self._own_names()
        foreign = sorted(p.name for p in self.path.iterdir() if p.name not in own)
        if foreign:
            raise RunFolderError(
                f"{self.path} holds {len(foreign)} files that geoseg did not write, first {foreign[0]}; --overwrite only removes runs. "
                "Move them away or choose another -o."
            )
        try:
            # first what says that the run is finished: if this is cut off, the rest is never taken for whole
            self.summary.unlink(missing_ok=True)
            self._remove_far_chunks()
            shutil.rmtree(self.path)
        except OSError as exc:
            raise WriteError(f"{self.path} could not be removed: {exc}.") from exc

"""Where the chunks of a run lie, one folder for each row of them: what such a place does, and a folder that does it."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geoseg.errors import RunError
from geoseg.io.files import write_error, write_whole


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a place."""

    name: str
    """Its name in its folder."""
    modified_s: float
    """When it was written, in seconds since 1970."""


class Place(Protocol):
    """Takes files in folders of one level; what stands under a name is whole. Holds nothing open, so it travels between processes."""

    @property
    def name(self) -> str:
        """Name for messages."""

    def address(self, name: str) -> str:
        """Return what GDAL opens for ``folder/file``."""

    def prepare(self) -> None:
        """Make the place.

        Raises:
            UsageError: If it takes no files; the message says why.
            WriteError: If the disk does not take it.
        """

    def open_to_gdal(self) -> None:
        """Make sure that GDAL can read here.

        Raises:
            RunError: If the place cannot be reached.
        """

    def write(self, name: str, content: bytes) -> None:
        """Write ``folder/file``, whole or not at all.

        Raises:
            WriteError: If it cannot be written.
        """

    def list_folders(self) -> Iterator[str]:
        """Yield the names of the folders; none if the place is not there.

        Raises:
            RunError: If the place cannot be looked at.
        """

    def list_names(self, folder: str) -> Iterator[str]:
        """Yield the names of the files of a folder, whole or not.

        Raises:
            RunError: If the folder cannot be looked at.
        """

    def list_files(self, folder: str) -> Iterator[Listed]:
        """Yield the files of a folder with their times; see :meth:`list_names`."""

    def remove(self) -> None:
        """Remove the place with all that it holds.

        Raises:
            WriteError: If it cannot be removed.
        """


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine, or one that all machines of a cluster share."""

    path: Path
    """The folder; made with the first file."""

    @property
    def name(self) -> str:
        """Name for messages."""
        return str(self.path)

    def address(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.path / name)

    def prepare(self) -> None:
        """Make the folder; see :class:`Place`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise write_error(self.path, exc) from exc

    def open_to_gdal(self) -> None:
        """Do nothing: GDAL reads files."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file: aside, flushed, renamed; see :class:`Place`."""
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise write_error(path, exc) from exc
        write_whole(path, content)

    def list_folders(self) -> Iterator[str]:
        """Yield the names of the folders; see :class:`Place`."""
        return (entry.name for entry in self._look(self.path) if entry.is_dir())

    def list_names(self, folder: str) -> Iterator[str]:
        """Yield the names of the files of a folder; see :class:`Place`."""
        return (entry.name for entry in self._look(self.path / folder))

    def list_files(self, folder: str) -> Iterator[Listed]:
        """Yield the files of a folder with their times; see :class:`Place`."""
        for entry in self._look(self.path / folder):
            try:
                yield Listed(entry.name, entry.stat().st_mtime)
            except FileNotFoundError:
                # renamed meanwhile: it was only being written
                continue

    @staticmethod
    def _look(path: Path) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                yield from entries
        except FileNotFoundError:
            return
        except OSError as exc:
            raise RunError(f"{path} could not be looked at: {exc}. Check its permissions; the same command again goes on.") from exc

    def remove(self) -> None:
        """Remove the folder with all that it holds; see :class:`Place`."""
        try:
            shutil.rmtree(self.path)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise write_error(self.path, exc) from exc

"""What a detector found, tile by tile, on disk: until objects are made of it, and beside them, so that they can be made anew.

A folder of NumPy archives, one for each chunk. Each entry is named for the window of a tile, ``column_row_width_height`` in pixels of the
run, and holds the bytes of another archive, that of :func:`geoseg.pixels.detections.pack_detections`. Nothing in them is pickled. Where
they are kept, ``detections.json`` says which version of this form they have.
"""

import io
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import RunError, RunFolderError, WriteError
from geoseg.io.files import write_error, write_whole
from geoseg.pixels.detections import Detections, unpack_detections

_DAMAGE = (
    *(OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy raises on a file that is not whole, or not one of ours."""
_ABOUT = "detections.json"
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStore:
    """A folder with one file per chunk, which holds what was found in each of its tiles."""

    folder: Path
    """Where they lie."""

    def write(self, name: str, tiles: Iterable[tuple[Window, NDArray[np.uint8]]]) -> None:
        """Keep what was found in the tiles of a chunk, whole or not at all.

        Raises:
            WriteError: If the disk does not take it.
        """
        stream = io.BytesIO()
        arrays: dict[str, Any] = {_name(window): packed for window, packed in tiles}
        np.savez(stream, **arrays)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise WriteError(f"{self.folder} could not be made: {exc}.") from exc
        write_whole(self.folder / f"{name}.npz", stream.getvalue())

    def keep(self, folder: Path, classes: Iterable[str]) -> None:
        """Put all of it into a folder of its own; files are linked, so that they take no space twice.

        Args:
            folder: Not there yet.
            classes: Names of the classes that detections hold indices of.

        Raises:
            WriteError: If the disk does not take it.
        """
        archives = sorted(self.folder.glob("*.npz"))
        about = {"type": "geoseg detections", "version": _VERSION, "classes": list(classes), "archives": len(archives)}
        try:
            folder.mkdir(parents=True)
            for path in archives:
                _link(path, folder / path.name)
        except OSError as exc:
            raise write_error(folder, exc) from exc
        write_whole(folder / _ABOUT, json.dumps(about, indent=1).encode())

    def index(self) -> "FoundIndex":
        """Return what reads them.

        Raises:
            RunError: If a file cannot be read.
        """
        places: dict[Window, Path] = {}
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                    places |= {Window(*map(int, name.split("_"))): path for name in arrays.files}
            except _DAMAGE as exc:
                raise _damaged(path, exc) from exc
        return FoundIndex(places=places)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundIndex:
    """Where what was found in each tile lies."""

    places: dict[Window, Path]
    """File by window of the tile."""

    def read(self, window: Window) -> Detections:
        """Return what was found in a tile.

        Raises:
            RunError: If its file cannot be read.
        """
        path = self.places[window]
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                found = unpack_detections(arrays[_name(window)])
            if found.masks.shape[1:] != (window.height, window.width):
                raise ValueError(f"masks of tile {_name(window)} have shape {found.masks.shape[1:]}")
            return found
        except _DAMAGE as exc:
            raise _damaged(path, exc) from exc


def open_kept(folder: Path) -> FoundStore:
    """Return what was kept in a folder.

    Raises:
        RunFolderError: If it is not there, is of another version, or lacks archives: their objects would be missing without a word.
    """
    try:
        about = json.loads((folder / _ABOUT).read_bytes())
        version, archives = about["version"], about["archives"] if about["version"] == _VERSION else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise RunFolderError(f"{folder} holds no detections: {_ABOUT} cannot be read ({exc}). Run again with --overwrite.") from exc
    if version != _VERSION:
        raise RunFolderError(f"{folder} holds detections of version {version}; this geoseg reads {_VERSION}. Install another geoseg.")
    there = len(list(folder.glob("*.npz")))
    if there != archives:
        raise RunFolderError(
            f"{folder} holds {there} of the {archives} archives that were written. Put them back, or run again with --overwrite."
        )
    return FoundStore(folder=folder)


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:
        # some file systems have no hard links
        shutil.copyfile(path, to)


def _damaged(path: Path, exc: Exception) -> RunError:
    return RunError(f"{path} cannot be read: {exc}. Run again with --overwrite.")


def _name(window: Window) -> str:
    return f"{window.col_off}_{window.row_off}_{window.width}_{window.height}"

"""What a detector found, tile by tile, on disk until objects are made of it."""

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import RunError, WriteError
from geoseg.io.files import write_whole
from geoseg.pixels.detections import Detections, unpack_detections

_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)
"""What numpy raises on a file that is not whole."""


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
                return unpack_detections(arrays[_name(window)])
        except _DAMAGE as exc:
            raise _damaged(path, exc) from exc


def _damaged(path: Path, exc: Exception) -> RunError:
    return RunError(f"{path} cannot be read: {exc}. Run again with --overwrite.")


def _name(window: Window) -> str:
    return f"{window.col_off}_{window.row_off}_{window.width}_{window.height}"

"""Finished chunks: one GeoTIFF each, in one folder per row of chunks, so that what is done is told by listing them."""

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import RunError
from geoseg.io.files import write_error
from geoseg.io.store.places import Place
from geoseg.io.tiffs.image import encode_geotiff
from geoseg.tiling import Chunk, ChunkKey, TilePlan, name_chunk

_CHUNK = re.compile(r"r(\d{5,})_c(\d{5,})\.tif")


def name_row(row: int) -> str:
    """Return the name of the folder of a row of chunks."""
    return f"r{row:05d}"


def name_chunk_file(key: ChunkKey) -> str:
    """Return the name of the file of a chunk in the folder of its row."""
    return f"{name_chunk(*key)}.tif"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DoneChunks:
    """Which chunks are done, at one byte each."""

    there: NDArray[np.bool_]
    """(rows, columns) of chunks."""

    def __contains__(self, key: ChunkKey) -> bool:
        return bool(self.there[key])

    @property
    def count(self) -> int:
        """Number of chunks that are done."""
        return int(np.count_nonzero(self.there))

    @property
    def total(self) -> int:
        """Number of chunks in all."""
        return int(self.there.size)

    def missing(self) -> Iterator[ChunkKey]:
        """Yield the chunks that are not done, row-major."""
        for row, there in enumerate(self.there):
            yield from ((row, int(col)) for col in np.flatnonzero(~there))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkStore:
    """A place with one GeoTIFF per finished chunk."""

    place: Place
    """Where the chunks lie."""
    geobox: GeoBox
    """The run's grid."""
    layers: tuple[str, ...]
    """Band names of each chunk, in order."""

    def address(self, key: ChunkKey) -> str:
        """Return what GDAL opens for a chunk, finished or not."""
        return self.place.address(_name(key))

    def is_done(self, key: ChunkKey) -> bool:
        """Tell whether a chunk is done, by a listing of its row: of all chunks :meth:`list_done` tells at once.

        Raises:
            RunError: If the place cannot be looked at.
        """
        return name_chunk_file(key) in self.place.list_names(name_row(key[0]))

    def write(self, chunk: Chunk, layers: NDArray[np.uint8]) -> None:
        """Write a chunk, whole or not at all.

        Args:
            chunk: Which one.
            layers: (L, H, W).

        Raises:
            WriteError: If the place does not take it.
        """
        origin = Affine.translation(chunk.window.col_off, chunk.window.row_off)
        content = encode_geotiff(layers, self.geobox.transform @ origin, self.geobox.crs)
        self.place.write(_name((chunk.row, chunk.col)), content)

    def list_done(self, tiles: TilePlan) -> DoneChunks:
        """Tell which chunks of a plan are done; see :func:`list_done`."""
        return list_done(self.place, tiles)


def list_done(place: Place, tiles: TilePlan) -> DoneChunks:
    """Tell which chunks of a plan are done: one listing for each row of chunks, and a byte of memory for each chunk.

    Raises:
        RunError: If the place cannot be looked at.
    """
    there = np.zeros(tiles.chunk_shape, bool)
    rows, cols = there.shape
    for row, col in _list_keys(place):
        if row < rows and col < cols:
            there[row, col] = True
    return DoneChunks(there=there)


def holds_chunks(place: Place) -> bool:
    """Tell whether any chunk is done in a place.

    Raises:
        RunError: If the place cannot be looked at.
    """
    return next(_list_keys(place), None) is not None


def _list_keys(place: Place) -> Iterator[ChunkKey]:
    for folder in place.list_folders():
        for name in place.list_names(folder):
            match = _CHUNK.fullmatch(name)
            if match is not None:
                yield int(match[1]), int(match[2])


def move_flat_chunks(folder: Path) -> None:
    """Move chunks that lie in one folder, as geoseg 0.4 wrote them, into folders of their rows.

    Raises:
        WriteError: If they cannot be moved.
    """
    for path in folder.glob("r*_c*.tif"):
        match = _CHUNK.fullmatch(path.name)
        if match is not None:
            target = folder / name_row(int(match[1]))
            try:
                target.mkdir(exist_ok=True)
                path.replace(target / path.name)
            except OSError as exc:
                raise write_error(path, exc) from exc


def list_times(place: Place, count: int) -> tuple[int, list[float]]:
    """Return how many chunks are done in a place, and when the last ones were, in order, in seconds since 1970.

    Raises:
        RunError: If the place cannot be looked at.
    """
    found = 0

    def times() -> Iterator[float]:
        nonlocal found
        for folder in place.list_folders():
            for listed in place.list_files(folder):
                if _CHUNK.fullmatch(listed.name):
                    found += 1
                    yield listed.modified_s

    latest = heapq.nlargest(count, times())
    return found, latest[::-1]


def check_complete(store: ChunkStore, done: DoneChunks, *, left_out: int = 0) -> None:
    """Make sure that every chunk is there but those that were given up and are said to be missing: no hole is filled with silence.

    Raises:
        RunError: If more chunks are missing; the message counts and names them.
    """
    if done.total - done.count > left_out:
        first = name_chunk(*next(done.missing()))
        raise RunError(
            f"{done.total - done.count} chunks are missing in {store.place.name}, first {first}. Run the same command again to make them."
        )


def _name(key: ChunkKey) -> str:
    return f"{name_row(key[0])}/{name_chunk_file(key)}"

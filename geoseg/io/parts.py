"""The files that one vector file consists of, while it is written and when it gets its name."""

from pathlib import Path

from geoseg.io.files import move_whole, write_error

_SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg", ".qpj", ".qix", ".sbn", ".sbx", ".fbn", ".fbx", ".ain", ".aih", ".idm", ".ind")
"""Endings of the files beside a Shapefile that hold or index its data; styles and descriptions are not among them."""


def move_parts(made: Path, path: Path) -> None:
    """Give a finished file and those beside it their final names, and remove those of an earlier file that it lacks.

    Raises:
        WriteError: If the disk does not take it.
    """
    moves = [(part, final) for part, final in zip(_list_beside(made), _list_beside(path), strict=True) if part.exists()]
    if moves:
        try:
            # without it nobody takes a mixture of old and new parts for a file
            for old in (path, *_list_beside(path)):
                old.unlink(missing_ok=True)
        except OSError as exc:
            raise write_error(path, exc) from exc
    for part, final in (*moves, (made, path)):
        move_whole(part, final)


def remove_parts(made: Path) -> None:
    """Remove a file and those beside it."""
    for part in (made, *_list_beside(made)):
        part.unlink(missing_ok=True)


def _list_beside(path: Path) -> list[Path]:
    """Return the names that the other files of a Shapefile may have; there are none of other formats."""
    return [path.with_suffix(ending) for ending in _SHAPEFILE_PARTS] if path.suffix.lower() == ".shp" else []

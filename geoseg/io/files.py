"""Files that are whole or not there: write aside, flush to disk, rename."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from geoseg.errors import WriteError

PART = ".part"
"""Ending of files that are being written."""


def is_there(path: Path) -> bool:
    """Tell whether a file or folder exists; a name that no file can have is none."""
    try:
        return path.exists()
    except OSError:
        return False


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that under its name there is only ever a complete one (law 9).

    Raises:
        WriteError: If it cannot be written, for example because the disk is full.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as exc:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise write_error(path, exc) from exc


def move_whole(made: Path, path: Path) -> None:
    """Flush a finished file to disk and give it its final name.

    Raises:
        WriteError: If it cannot be flushed or renamed.
    """
    try:
        with made.open("rb") as stream:
            os.fsync(stream.fileno())
        made.replace(path)
    except OSError as exc:
        raise write_error(path, exc) from exc


def move_folder(made: Path, path: Path) -> None:
    """Give a finished folder its final name, in place of what has it now.

    Raises:
        WriteError: If it cannot be renamed.
    """
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        made.replace(path)
    except OSError as exc:
        raise write_error(path, exc) from exc


def write_error(path: Path, cause: OSError) -> WriteError:
    """Say what could not be written, and what to do."""
    if cause.errno == errno.ENOSPC:
        return WriteError(
            f"The disk of {path.parent} is full; {path.name} was not written. Make room and run the same command again to go on."
        )
    return WriteError(f"{path} could not be written: {cause}. Check the folder's permissions; the same command again goes on.")

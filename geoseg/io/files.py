"""Files that are whole or not there: write aside, flush to disk, rename."""

import errno
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from geoseg.errors import WriteError

PART = ".part"
"""Ending of files that are being written."""
_WRITTEN = re.compile(rf".+\.\d+-[0-9a-f]{{8}}{re.escape(PART)}")
"""Names of the files that :func:`write_whole` writes aside."""
_LEFT_AFTER_S = 3600.0
"""Age from which such a file is that of a writer that was killed: its content is written in one go."""


def is_there(path: Path) -> bool:
    """Tell whether a file or folder exists; a name that no file can have is none."""
    try:
        return path.exists()
    except OSError:
        return False


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that under its name there is only ever a complete one (law 9), however many write it at a time: the last one stays.

    What writers that were killed have left in its folder goes with the first file that a process writes there.

    Raises:
        WriteError: If it cannot be written, for example because the disk is full.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    _clean_once(path.parent)
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException as exc:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise write_error(path, exc) from exc
        raise


@lru_cache(maxsize=4096)
def _clean_once(folder: Path) -> None:
    remove_parts(folder, _LEFT_AFTER_S)


def remove_parts(folder: Path, older_than_s: float = 0.0) -> None:
    """Remove what :func:`write_whole` has left in a folder where its process was killed.

    Args:
        folder: Its files, not those of folders in it.
        older_than_s: Seconds for which a file must not have changed; 0 only where nobody else writes.
    """
    latest_s = time.time() - older_than_s
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _WRITTEN.fullmatch(entry.name):
                with suppress(OSError):
                    if not older_than_s or entry.stat().st_mtime < latest_s:
                        os.unlink(entry.path)


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

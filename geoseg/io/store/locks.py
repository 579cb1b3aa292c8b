"""Folders that one command at a time works in."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geoseg.errors import RunFolderBusyError
from geoseg.io.files import write_error

_PATIENCE_S = (0.02, 0.05, 0.1)
"""``geoseg status`` looks at the lock for less than that."""


@contextmanager
def hold_folder(path: Path) -> Iterator[None]:
    """Make a folder if there is none, keep other commands out of it, and remove it in the end if nothing came of it.

    A file under this name is left to whoever says why it is refused.

    Raises:
        RunFolderBusyError: If another command is at work in it.
        WriteError: If it cannot be made.
    """
    if path.exists() and not path.is_dir():
        yield
        return
    folder = _open_locked(path)
    try:
        yield
    finally:
        with suppress(OSError):
            if _is_at(folder, path):
                # only goes if it is empty
                path.rmdir()
        os.close(folder)


def is_held(path: Path) -> bool | None:
    """Tell whether a command is at work in a folder; None where the file system knows no locks."""
    folder = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(folder)
    return False


def _open_locked(path: Path) -> int:
    """Make the folder if there is none, open and lock it; once more if its holder has removed it meanwhile."""
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder = os.open(path, os.O_RDONLY)
        except OSError as exc:
            raise write_error(path, exc) from exc
        try:
            lock_folder(folder, path)
            if _is_at(folder, path):
                return folder
        except BaseException:
            os.close(folder)
            raise
        os.close(folder)


def lock_folder(folder: int, path: Path) -> None:
    """Lock an open folder until it is closed, also by the end of the process.

    Args:
        folder: Its descriptor.
        path: Its name, for messages.

    Raises:
        RunFolderBusyError: If another process holds it.
    """
    for patience in (*_PATIENCE_S, None):
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as exc:
            if patience is None:
                raise RunFolderBusyError(f"Another geoseg command is at work in {path}. Wait for it, or choose another folder.") from exc
            time.sleep(patience)
        except OSError:
            # some network file systems know no locks
            return


def _is_at(folder: int, path: Path) -> bool:
    """Tell whether an open folder is the one under a path: a lock on one that was removed keeps nobody out."""
    try:
        return os.path.samestat(os.fstat(folder), path.stat())
    except FileNotFoundError:
        return False

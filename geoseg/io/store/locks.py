"""Folders that one command at a time works in.

A command holds two locks. The one on the folder itself is known to all processes of a machine, in whatever way they name it; network file
systems (NFS, Lustre) grant such a lock on each machine for itself, since only files can be locked on their servers. So a file beside the
folder, ``.NAME.lock``, is locked too: it keeps out other machines. It does not lie in the folder, whose work in progress is removed while
the lock is held, and it goes when the folder is let go. Where it cannot be made, other machines are not kept out.
"""

import errno
import fcntl
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geoseg.errors import RunFolderBusyError
from geoseg.io.files import remove_parts, write_error

_PATIENCE_S = (0.02, 0.05, 0.1)
"""``geoseg status`` looks at the locks for less than that."""


@contextmanager
def hold_folder(path: Path) -> Iterator[None]:
    """Make a folder if there is none, keep other commands out of it, and remove it in the end if nothing came of it.

    Files that a killed command was writing in it go. A file under this name is left to whoever says why it is refused.

    Raises:
        RunFolderBusyError: If another command is at work in it.
        WriteError: If it cannot be made.
    """
    if path.exists() and not path.is_dir():
        yield
        return
    folder = _open_locked(path)
    try:
        with _hold_beside(path):
            remove_parts(path)
            try:
                yield
            finally:
                with suppress(OSError):
                    if _is_at(folder, path):
                        # only goes if it is empty
                        path.rmdir()
    finally:
        os.close(folder)


def is_held(path: Path) -> bool | None:
    """Tell whether a command is at work in a folder, on this machine or another; None where the file system knows no locks."""
    found = [_is_locked(path)]
    with suppress(OSError):
        found.append(_is_locked(name_lock(path)))
    return True if True in found else None if None in found else False


def name_lock(path: Path) -> Path:
    """Return the file beside a folder that is locked while a command is at work in it, the same for all names of the folder."""
    real = path.resolve()
    return real.parent / f".{real.name}.lock"


def _is_locked(path: Path) -> bool | None:
    opened = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(opened)
    return False


def _open_locked(path: Path) -> int:
    """Make the folder if there is none, open and lock it; once more if its holder has removed it meanwhile."""
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder = os.open(path, os.O_RDONLY)
        except OSError as exc:
            raise write_error(path, exc) from exc
        if _take(folder, path, path):
            return folder


@contextmanager
def _hold_beside(path: Path) -> Iterator[None]:
    """Hold the file beside a folder; go without where there can be none, as in a folder that takes no files."""
    try:
        name = name_lock(path)
        held = _open_beside(name, path)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        try:
            # first the name: whoever has opened it before finds that it is gone
            with suppress(OSError):
                name.unlink()
        finally:
            os.close(held)


def _open_beside(name: Path, path: Path) -> int:
    while True:
        opened = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        if _take(opened, name, path):
            return opened


def _take(opened: int, name: Path, path: Path) -> bool:
    """Lock what was opened under a name, for the folder at a path; tell whether it stands there still, and close it if not."""
    try:
        if _lock(opened, path) and _is_at(opened, name):
            return True
    except BaseException:
        os.close(opened)
        raise
    os.close(opened)
    return False


def _lock(opened: int, path: Path) -> bool:
    """Lock an open file or folder until it is closed, also by the end of the process; tell whether it is there still.

    Raises:
        RunFolderBusyError: If another process holds it.
    """
    for patience in (*_PATIENCE_S, None):
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError as exc:
            if patience is None:
                raise RunFolderBusyError(f"Another geoseg command is at work in {path}. Wait for it, or choose another folder.") from exc
            time.sleep(patience)
        except OSError as exc:
            if exc.errno == errno.ESTALE:
                return False
            warnings.warn(
                f"The file system of {path.absolute().parent} knows no locks ({exc.strerror}): commands on other machines are not kept out "
                "of run folders there. Start only one for each.",
                RuntimeWarning,
                stacklevel=2,
            )
            return True
    return True


def _is_at(opened: int, path: Path) -> bool:
    """Tell whether what was opened is what stands under a path: a lock on something that was removed keeps nobody out."""
    try:
        return os.path.samestat(os.fstat(opened), path.stat())
    except FileNotFoundError:
        return False

"""Folders that one command at a time works in."""

import fcntl
import os
import time
from pathlib import Path

from geoseg.errors import RunFolderBusyError

_PATIENCE_S = (0.02, 0.05, 0.1)
"""``geoseg status`` looks at the lock for less than that."""


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


def is_at(folder: int, path: Path) -> bool:
    """Tell whether an open folder is the one under a path: a lock on one that was removed keeps nobody out."""
    try:
        return os.path.samestat(os.fstat(folder), path.stat())
    except FileNotFoundError:
        return False

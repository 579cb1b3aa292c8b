"""Starting Python anew."""

import os
import sys


def python_command(*arguments: str) -> list[str]:
    """Return the command that starts this Python with other arguments.

    It takes no modules from the working directory unless this process does: a folder that strangers filled may hold a ``numpy.py``.

    Args:
        arguments: ``-m`` with a module or ``-c`` with code, and what that gets.
    """
    return [sys.executable, *([] if _trusts_working_directory() else ["-P"]), *arguments]


def _trusts_working_directory() -> bool:
    try:
        return bool({"", os.getcwd()} & set(sys.path))
    except FileNotFoundError:
        return False

"""What the machine gives: disk, memory, cores, encoding."""

import locale
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from geoseg.doctor.finding import Finding, failed, ok, warning

_GB = 1e9
_LEAST_DISK_BYTES = 5 * _GB
_LEAST_MEMORY_BYTES = 1.2 * _GB
"""What a run with torch takes (docs/performance.md)."""
_TIGHT_MEMORY_BYTES = 2 * _GB


def look_at_disk(folder: Path) -> Iterator[Finding]:
    """Look for room in the working directory and in that for temporary files, and whether they can be written to."""
    for name, place in (("disk", folder), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        told = f"{free / _GB:.1f} GB free in {place}"
        if not os.access(place, os.W_OK):
            yield warning(name, f"{place} cannot be written to", "Work in another folder, or name one with -o (temporary files: TMPDIR).")
        elif free < _LEAST_DISK_BYTES:
            yield warning(name, told, "Make room: a run takes about 9 bytes for each pixel; geoseg plan says how much. Another disk: -o.")
        else:
            yield ok(name, told)


def look_at_memory() -> Iterator[Finding]:
    """Look for free memory and cores, as the machine or its container gives them."""
    from geoseg.machine import count_cores, free_memory_bytes, name_processor

    free, cores = free_memory_bytes(), count_cores()
    told = f"{free / _GB:.1f} GB of memory free for this process, {cores} cores of {os.cpu_count()} ({name_processor()})"
    if free < _LEAST_MEMORY_BYTES:
        yield failed("memory", told, "A run takes 0.6 to 1.2 GB. End other programs, or raise the limit of the container.")
    elif free < _TIGHT_MEMORY_BYTES:
        yield warning("memory", told, "Say --backend onnx, which takes half the memory, and --memory to keep within a limit.")
    else:
        yield ok("memory", told)


def look_at_encoding() -> Iterator[Finding]:
    """Look whether names and messages of all scripts can be read and printed."""
    names, printed = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "none"
    told = f"file names in {names}, output in {printed}, locale {'.'.join(part or '?' for part in locale.getlocale())}"
    if "utf" in names.lower() and "utf" in printed.lower():
        yield ok("encoding", told)
    else:
        yield warning("encoding", told, "Names with other letters may fail: export PYTHONUTF8=1, or LC_ALL=C.UTF-8.")


def look_at_paths() -> Iterator[Finding]:
    """Look at PYTHONPATH, whose modules are taken before the installed ones."""
    value = os.environ.get("PYTHONPATH")
    if value:
        yield warning(
            "PYTHONPATH", f"is {value}", "Modules in it are taken before those of this environment. If something above fails: unset it."
        )


def look_at_cache() -> Iterator[Finding]:
    """Look whether what is measured and exported once can be kept."""
    from platformdirs import user_cache_dir

    folder = Path(user_cache_dir("geoseg", appauthor=False))
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if os.access(existing, os.W_OK):
        yield ok("cache", str(folder))
    else:
        yield warning("cache", f"{folder} cannot be written to", "Set XDG_CACHE_HOME to a folder of your own, or cache in run.toml.")

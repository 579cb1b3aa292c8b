"""What this machine, or the container around the process, gives a run: cores and memory."""

import math
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_START_FIELD = 19
"""Of ``/proc/self/stat``, counted from the program's name: when it was started, in clock ticks since the machine was."""
_OWN_GROUPS = Path("/proc/self/cgroup")


def count_cores(root: Path = _CGROUPS, own: Path = _OWN_GROUPS) -> int:
    """Return the processors that this process may use: of its affinity, and of its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _groups(root, own) if (quota := _read_quota(folder)) is not None]
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas)]))


def free_memory_bytes(root: Path = _CGROUPS, own: Path = _OWN_GROUPS) -> int:
    """Return the memory that is free on the machine, or that the container's limit leaves if that is less.

    What the kernel keeps of files that were read counts as free: it goes where a process needs the room.
    """
    free = [int(psutil.virtual_memory().available)]
    for folder in _groups(root, own):
        for limit_name, used_name in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, used = _read_number(folder / limit_name), _read_number(folder / used_name)
            if limit is not None and used is not None:
                free.append(max(0, int(limit - max(0.0, used - _cached_bytes(folder)))))
    return min(free)


def memory_bytes(root: Path = _CGROUPS, own: Path = _OWN_GROUPS) -> int:
    """Return the memory of the machine, or the container's limit if that is less, whatever of it is free."""
    limits = (_read_number(folder / name) for folder in _groups(root, own) for name in ("memory.max", "memory.limit_in_bytes"))
    return int(min([psutil.virtual_memory().total, *(limit for limit in limits if limit is not None)]))


def process_age_s() -> float:
    """Return the seconds since this process was started, before Python's own start."""
    try:
        # the name of the program stands in brackets and may hold anything
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.time() - float(psutil.Process().create_time())


def name_processor() -> str:
    """Return the processor's name as its maker gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, and of those around them."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # version 2 has one tree; in version 1 each controller has its own
        for tree in [root] if not controllers else [root / name for name in (controllers, *controllers.split(","))]:
            group = tree / path.lstrip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(tree) and folder.is_dir())


def _read_quota(folder: Path) -> float | None:
    """Return the number of processors that a group may use at a time; None if there is no limit."""
    try:
        both = (folder / "cpu.max").read_text(encoding="ascii").split()
    except OSError:
        both = [str(_read_number(folder / name) or "max") for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        quota, period = (float(text) for text in both)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _cached_bytes(folder: Path) -> float:
    """Return how much of the memory that a group uses holds copies of files."""
    try:
        rows = [line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()]
        stat = {name: float(value) for name, value in rows}
    except (OSError, ValueError):
        return 0.0
    # version 1 counts the groups within only under these names
    prefix = "total_" if "total_inactive_file" in stat else ""
    return sum(stat.get(f"{prefix}{name}", 0.0) for name in ("inactive_file", "active_file"))


def _read_number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None

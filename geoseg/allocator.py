"""How the process keeps freed memory: a network frees and takes the same half gigabyte for every tile."""

import gc
import os
import platform
import sys

from geoseg.interpreter import python_command

KEEPING = {
    "MALLOC_ARENA_MAX": "1",  # what one thread freed another can take
    "MALLOC_MMAP_MAX_": "0",  # large tensors come from the heap as well
    "MALLOC_TRIM_THRESHOLD_": "4000000000",  # and stay there when they are freed
    "MALLOC_TOP_PAD_": "8388608",
    "GDAL_MAX_DATASET_POOL_SIZE": "8",  # of GDAL, which does not hear later of it: chunks that are open at a time, 3 MB each
}
"""See ``man mallopt``. glibc reads them before the first line of Python runs; set later, they do not hold for all threads."""


def restart_keeping_memory(arguments: list[str]) -> None:
    """Start this command once more, in the same process, with an allocator that keeps freed memory.

    Otherwise glibc maps every large tensor anew, zeroes it page by page and unmaps it again: on a CPU a fifth of a run
    (docs/performance.md). Does nothing where that is set already, and on systems without glibc.

    Args:
        arguments: Of the command line, without the program's name.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in KEEPING):
        return
    os.environ.update(KEEPING)
    os.execv(sys.executable, python_command("-m", "geoseg", *arguments))


def collect_seldom() -> None:
    """Have Python look for garbage in circles after more new objects than it does by itself.

    What a command loads are half a million objects, none of them garbage: looking through them again and again takes a tenth of the start.
    """
    gc.set_threshold(10_000, 20, 50)

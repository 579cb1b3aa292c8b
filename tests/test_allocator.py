"""Freed memory is kept where the C library can do so."""

import os
import platform
import subprocess
import sys

import pytest

from geoseg.allocator import restart_keeping_memory
from geoseg.interpreter import python_command

# takes and frees 200 MB ten times; the pages that it faults are pages that were given back in between
TAKE_AND_FREE = """
import resource
import numpy as np
np.ones(25_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(25_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been started, with the environment that it would have got left in place."""
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: calls.append(arguments))
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return calls


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_taken_again_without_page_faults(started: list[list[str]]) -> None:
    def faults() -> int:
        done = subprocess.run([sys.executable, "-c", TAKE_AND_FREE], capture_output=True, text=True, check=True, env=os.environ)
        return int(done.stdout)

    given_back = faults()
    restart_keeping_memory(["segment", "a.tif"])
    assert started == [python_command("-m", "geoseg", "segment", "a.tif")]
    assert faults() < given_back / 5


def test_a_setting_of_the_user_stands(started: list[list[str]]) -> None:
    os.environ["MALLOC_ARENA_MAX"] = "4"
    restart_keeping_memory(["segment"])
    assert started == []

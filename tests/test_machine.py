"""Cores and memory: never more than the container gives."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from geoseg.machine import count_cores, free_memory_bytes, name_processor


def write_group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n", encoding="ascii")


def own_groups(folder: Path, *lines: str) -> Path:
    path = folder / "own"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return path


def test_without_control_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert count_cores(tmp_path / "none", tmp_path / "missing") == len(os.sched_getaffinity(0))
    assert free_memory_bytes(tmp_path / "none", tmp_path / "missing") <= psutil.virtual_memory().total


def test_a_quota_of_one_core_and_a_half_counts_as_two_and_half_a_core_as_one(tmp_path: Path) -> None:
    own = own_groups(tmp_path, "0::/job")
    for quota, cores in (("50000 100000", 1), ("150000 100000", min(2, len(os.sched_getaffinity(0)))), ("max 100000", None)):
        write_group(tmp_path / "job", cpu__max=quota)
        assert count_cores(tmp_path, own) == (cores or len(os.sched_getaffinity(0)))


def test_the_limit_of_any_group_around_the_process_holds(tmp_path: Path) -> None:
    own = own_groups(tmp_path, "0::/pod/box")
    write_group(tmp_path / "pod", memory__max="3000000", memory__current="1000000")
    write_group(tmp_path / "pod" / "box", memory__max="max", memory__current="500000")
    assert free_memory_bytes(tmp_path, own) == 2_000_000
    write_group(tmp_path / "pod" / "box", memory__max="600000", memory__current="700000")
    assert free_memory_bytes(tmp_path, own) == 0


def test_copies_of_files_that_were_read_do_not_count_as_taken(tmp_path: Path) -> None:
    own = own_groups(tmp_path, "0::/job")
    write_group(tmp_path / "job", memory__max="8000", memory__current="7900", memory__stat="anon 900\ninactive_file 5000\nactive_file 2000")
    assert free_memory_bytes(tmp_path, own) == 7100
    write_group(tmp_path / "job", memory__stat="inactive_file 1\nactive_file 1\ntotal_inactive_file 4000\ntotal_active_file 1000")
    assert free_memory_bytes(tmp_path, own) == 5100
    for damaged in ("", "nonsense", "inactive_file many"):
        write_group(tmp_path / "job", memory__stat=damaged)
        assert free_memory_bytes(tmp_path, own) == 100


def test_groups_of_version_1_are_understood(tmp_path: Path) -> None:
    own = own_groups(tmp_path, "4:memory:/box", "3:cpu,cpuacct:/box")
    write_group(tmp_path / "memory" / "box", memory__limit_in_bytes="5000", memory__usage_in_bytes="2000")
    write_group(tmp_path / "cpu,cpuacct" / "box")
    (tmp_path / "cpu,cpuacct" / "box" / "cpu.cfs_quota_us").write_text("100000\n", encoding="ascii")
    (tmp_path / "cpu,cpuacct" / "box" / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert free_memory_bytes(tmp_path, own) == 3000
    assert count_cores(tmp_path, own) == 1


@pytest.mark.parametrize("text", ["", "garbage", "1 2 3"])
def test_files_that_cannot_be_read_are_no_limit(tmp_path: Path, text: str) -> None:
    own = own_groups(tmp_path, "0::/job")
    write_group(tmp_path / "job", cpu__max=text, memory__max=text, memory__current=text)
    assert count_cores(tmp_path, own) == len(os.sched_getaffinity(0))
    assert free_memory_bytes(tmp_path, own) > 0


def test_a_process_knows_how_long_it_has_been_there() -> None:
    code = "import time; time.sleep(0.5); from geoseg.machine import process_age_s; print(process_age_s())"
    began = time.monotonic()
    age_s = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.49 <= age_s <= time.monotonic() - began + 0.02


def test_the_processor_has_a_name() -> None:
    assert name_processor().strip()

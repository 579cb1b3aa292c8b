"""Under a final name there is only ever a complete file (law 9)."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from geoseg.errors import WriteError
from geoseg.io.files import move_whole, remove_parts, write_whole

Fail = Callable[[str, int], None]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Make a function of ``os`` fail as a full or broken disk does."""

    def fail_with(name: str, number: int) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, name, refuse)

    return fail_with


def test_a_written_file_holds_its_content_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for content in (b"first", b"", b"x" * 100_000):
        write_whole(tmp_path / "a.bin", content)
        assert (tmp_path / "a.bin").read_bytes() == content
        assert os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_leaves_nothing_and_is_named(tmp_path: Path, fail: Fail) -> None:
    fail("fsync", errno.ENOSPC)
    with pytest.raises(WriteError, match=rf"disk of {tmp_path} is full; a\.bin"):
        write_whole(tmp_path / "a.bin", b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "number"), [("fsync", errno.ENOSPC), ("fsync", errno.EIO), ("replace", errno.EACCES)])
def test_old_content_survives_a_failed_write(tmp_path: Path, fail: Fail, name: str, number: int) -> None:
    write_whole(tmp_path / "a.bin", b"old")
    fail(name, number)
    with pytest.raises(WriteError, match=r"a\.bin"):
        write_whole(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_the_content_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    flush = os.fsync

    def watch(descriptor: int) -> None:
        seen.append(os.listdir(tmp_path))
        assert os.fstat(descriptor).st_size == 7
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_whole(tmp_path / "a.bin", b"content")
    (names,) = seen
    assert [re.fullmatch(r"a\.bin\.\d+-[0-9a-f]{8}\.part", name) is not None for name in names] == [True]


def test_two_writers_of_one_file_never_take_each_others_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush, seen = os.fsync, []

    def write_another(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", flush)
        write_whole(tmp_path / "a.bin", b"of the other")
        seen.append((tmp_path / "a.bin").read_bytes())
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", write_another)
    write_whole(tmp_path / "a.bin", b"of the first")
    assert [*seen, (tmp_path / "a.bin").read_bytes()] == [b"of the other", b"of the first"]
    assert os.listdir(tmp_path) == ["a.bin"]


def test_what_killed_writers_left_does_not_pile_up(tmp_path: Path) -> None:
    left = [tmp_path / f"{name}.12-0123456{digit}.part" for name in ("a.bin", "b.bin") for digit in range(3)]
    others = [tmp_path / "2.tif.part", tmp_path / ".features.part.gpkg"]
    for path in (*left, *others):
        path.write_bytes(b"half")
        os.utime(path, (1, 1))
    now = tmp_path / "c.bin.12-01234567.part"
    now.write_bytes(b"still being written")
    write_whole(tmp_path / "a.bin", b"")
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", now.name, *(path.name for path in others)}
    remove_parts(tmp_path)
    assert not now.exists()


def test_a_folder_that_is_not_there_is_a_write_error(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="nowhere"):
        write_whole(tmp_path / "nowhere" / "a.bin", b"")


def test_a_folder_that_is_a_file_is_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match="file"):
        write_whole(tmp_path / "file" / "a.bin", b"")


def test_a_moved_file_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"new")
    (tmp_path / "final").write_bytes(b"old")
    move_whole(tmp_path / "made", tmp_path / "final")
    assert (tmp_path / "final").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["final"]


def test_a_move_that_fails_keeps_the_old_file(tmp_path: Path, fail: Fail) -> None:
    (tmp_path / "made").write_bytes(b"new")
    (tmp_path / "final").write_bytes(b"old")
    fail("fsync", errno.ENOSPC)
    with pytest.raises(WriteError, match="full"):
        move_whole(tmp_path / "made", tmp_path / "final")
    assert (tmp_path / "final").read_bytes() == b"old"

"""One command at a time works in a folder: on a machine by the folder itself, between machines by a file beside it."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from geoseg.errors import RunFolderBusyError
from geoseg.io.store.locks import hold_folder, is_held, name_lock


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def of_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let locks on folders keep nobody out, as those of another machine on NFS."""
    lock = fcntl.flock

    def flock(opened: int, how: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{opened}"):
            lock(opened, how)

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def holder(run: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    code = "import sys; from pathlib import Path; from geoseg.io.store.locks import hold_folder\n"
    code += "with hold_folder(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def is_free(path: Path) -> bool:
    with suppress(RunFolderBusyError), hold_folder(path):
        return True
    return False


def test_a_folder_is_one_commands_whatever_it_is_called(run: Path, holder: subprocess.Popen[str]) -> None:
    (run.parent / "link").symlink_to(run)
    for name in (run, run.parent / "link", run / ".." / "run"):
        assert is_held(name)
        assert not is_free(name)
    holder.communicate()
    assert is_free(run)


@pytest.mark.usefixtures("of_files_only")
def test_machines_that_know_only_locks_on_files_keep_each_other_out(run: Path, holder: subprocess.Popen[str]) -> None:
    assert is_held(run)
    # a run that begins removes what was in progress, and its lock with it if that lay there
    shutil.rmtree(run)
    run.mkdir()
    assert not is_free(run)
    holder.kill()
    holder.wait()
    assert not is_held(run)
    with hold_folder(run):
        (run / "kept").touch()
    assert os.listdir(run.parent) == ["run"]


def test_nothing_is_left_of_a_lock(run: Path) -> None:
    with hold_folder(run):
        assert name_lock(run).exists()
        assert os.listdir(run) == []
    assert os.listdir(run.parent) == []
    run.mkdir()
    assert is_held(run) is False
    assert os.listdir(run.parent) == ["run"]


def test_a_lock_on_a_file_that_was_removed_meanwhile_keeps_nobody_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, late = fcntl.flock, []

    def flock(opened: int, how: int) -> None:
        if not late and how & fcntl.LOCK_EX and os.path.isfile(f"/proc/self/fd/{opened}"):
            late.append(opened)
            name_lock(run).unlink()
        lock(opened, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold_folder(run):
        assert late
        assert is_held(run)
        assert name_lock(run).exists()


def test_a_folder_beside_which_nothing_can_be_written_is_held_all_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = os.open

    def refuse(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opening(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    with hold_folder(run):
        assert is_held(run)
        assert not is_free(run)


def test_that_there_are_no_locks_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(RuntimeWarning, match=f"{run.parent} knows no locks") as said, hold_folder(run):
        assert is_held(run) is None
    assert len({str(warning.message) for warning in said}) == 1


def test_what_a_killed_command_was_writing_goes(run: Path) -> None:
    run.mkdir()
    (run / "run.toml.7-00000000.part").write_bytes(b"half")
    with hold_folder(run):
        assert os.listdir(run) == []

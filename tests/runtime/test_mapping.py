"""Chunks over Dask: every key once, few under way, tried three times, and errors that name the key."""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from geoseg.errors import ChunkError, ConfigError, GeosegError, MemoryLimitError, MissingFileError, UsageError, WriteError
from geoseg.runtime import launch
from geoseg.runtime.faults import ChunkFailure
from geoseg.runtime.mapping import Runtime, map_chunks
from geoseg.runtime.workplace import ClusterOptions, Shared, Threads

HERE = ClusterOptions()


@dataclass(frozen=True)
class Doing:
    """A job that does what a function says."""

    function: Callable[[Any], Any]

    def prepare(self, _shared: Shared) -> Callable[[Any], Any]:
        return self.function


@dataclass(frozen=True)
class FailingFirst:
    """A job that fails some times on some keys, and counts in files how often each was tried."""

    folder: Path
    times: int
    error: type[Exception] = RuntimeError
    keys: tuple[int, ...] = ()
    errno: int = 5

    def prepare(self, _shared: Shared) -> Callable[[int], int]:
        return self.do

    def do(self, key: int) -> int:
        with (self.folder / str(key)).open("ab") as stream:
            stream.write(b".")
        if self.tries(key) <= self.times and (not self.keys or key in self.keys):
            raise self.error("the disk hiccuped.") from OSError(self.errno, "cause")
        return key

    def tries(self, key: int) -> int:
        return (self.folder / str(key)).stat().st_size


def test_every_key_comes_back_once_with_its_result() -> None:
    results = dict(map_chunks(Doing(lambda key: 10 * key), range(25), HERE))
    assert results == {key: 10 * key for key in range(25)}


def test_no_keys_give_no_results() -> None:
    assert list(map_chunks(Doing(lambda key: key), [], HERE)) == []


def test_workers_that_leave_when_all_is_done_are_not_waited_for() -> None:
    class Leaving(Threads):
        has_left = False

        def workers(self) -> Mapping[str, int]:
            return {} if self.has_left else super().workers()

    place, done = Leaving(2), []
    for key, _ in Runtime(place).map(Doing(lambda key: key), range(3), ClusterOptions(patience_s=2.0)):
        done.append(key)
        if len(done) == 3:
            place.has_left = True
            # until it is looked who is there
            time.sleep(0.6)
    place.close()
    assert sorted(done) == [0, 1, 2]


def test_few_keys_are_under_way_however_many_there_are() -> None:
    taken, yielded, most = 0, 0, 0

    def keys() -> Iterator[int]:
        nonlocal taken
        for key in range(200):
            taken += 1
            yield key

    for _ in map_chunks(Doing(lambda key: key), keys(), HERE):
        yielded += 1
        most = max(most, taken - yielded)
    assert (yielded, taken) == (200, 200)
    assert most <= 6


def test_a_job_is_prepared_once_however_many_keys_there_are(tmp_path: Path) -> None:
    class Preparing:
        def prepare(self, _shared: Shared) -> Callable[[int], int]:
            (tmp_path / os.urandom(8).hex()).touch()
            return abs

    assert len(list(map_chunks(Preparing(), range(20), HERE))) == 20
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_that_fails_twice_succeeds(tmp_path: Path) -> None:
    job = FailingFirst(tmp_path, times=2)
    assert dict(map_chunks(job, [7, 8], HERE)) == {7: 7, 8: 8}
    assert [job.tries(key) for key in (7, 8)] == [3, 3]


def test_a_key_that_fails_three_times_is_given_up_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    job = FailingFirst(tmp_path, times=99, keys=(7,))
    results = dict(map_chunks(job, range(20), HERE))
    assert results.pop(7) == ChunkFailure(error="RuntimeError: the disk hiccuped.", tries=3)
    assert results == {key: key for key in range(20) if key != 7}
    assert job.tries(7) == 3


def test_where_the_first_keys_all_fail_the_others_are_not_tried(tmp_path: Path) -> None:
    job = FailingFirst(tmp_path, times=99)
    with pytest.raises(ChunkError, match=r"The first chunks all failed, the last one 3 times: RuntimeError: the disk hiccuped\. Nothing"):
        list(map_chunks(job, range(10_000), HERE))
    assert len(list(tmp_path.iterdir())) < 100


def test_all_keys_are_tried_where_that_is_wanted(tmp_path: Path) -> None:
    results = dict(map_chunks(FailingFirst(tmp_path, times=99), range(30), ClusterOptions(give_up_after=0)))
    assert len(results) == 30
    assert all(isinstance(result, ChunkFailure) for result in results.values())


@pytest.mark.parametrize("error", [WriteError, MemoryLimitError, MissingFileError, OSError, MemoryError, KeyError, ZeroDivisionError])
def test_whatever_a_worker_raises_comes_back_with_its_reason(tmp_path: Path, error: type[Exception]) -> None:
    ((key, failure),) = map_chunks(FailingFirst(tmp_path, times=99, error=error), [7], HERE)
    assert key == 7
    assert isinstance(failure, ChunkFailure)
    assert "the disk hiccuped" in failure.error
    assert issubclass(error, GeosegError) or failure.error.startswith(error.__name__)


def test_a_usage_error_of_a_worker_stops_at_once(tmp_path: Path) -> None:
    job = FailingFirst(tmp_path, times=99, error=UsageError)
    with pytest.raises(UsageError, match="hiccuped"):
        list(map_chunks(job, [7], HERE))
    assert job.tries(7) == 1


@pytest.mark.parametrize("error", [WriteError, OSError, RuntimeError])
def test_a_full_disk_stops_at_once(tmp_path: Path, error: type[Exception]) -> None:
    job = FailingFirst(tmp_path, times=99, error=error, errno=errno.ENOSPC)
    with pytest.raises(WriteError, match="hiccuped"):
        list(map_chunks(job, [7], HERE))
    assert job.tries(7) == 1


@pytest.mark.slow
def test_a_key_that_takes_its_workers_down_is_given_up_and_the_others_go_on() -> None:
    results = dict(map_chunks(Doing(lambda key: os._exit(3) if key == 7 else key), range(12), ClusterOptions(workers=1)))
    failure = results.pop(7)
    assert isinstance(failure, ChunkFailure)
    assert failure.took_workers
    assert "probably for want of memory" in failure.error
    assert results == {key: key for key in range(12) if key != 7}


def test_a_run_that_is_left_early_stops(tmp_path: Path) -> None:
    results = map_chunks(FailingFirst(tmp_path, times=0), range(10_000), HERE)
    next(results)
    results.close()
    assert len(list(tmp_path.iterdir())) < 50


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "nonsense://127.0.0.1:1", "tcp://127.0.0.1"], ids=["nobody", "protocol", "no port"]
)
def test_an_unreachable_scheduler_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(launch, "_CONNECT_TIMEOUT_S", 1)
    with pytest.raises(UsageError, match=rf"No Dask scheduler answers at {address}: .*dask scheduler"):
        list(map_chunks(Doing(abs), [1], ClusterOptions(scheduler=address)))


def test_a_scheduler_that_takes_calls_and_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UsageError, match=rf"No Dask scheduler answers at {address}: timed out"):
            list(map_chunks(Doing(abs), [1], ClusterOptions(scheduler=address)))


def test_a_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(ConfigError, match="--workers -1"):
        ClusterOptions(workers=-1)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_on_this_machine_listens_to_no_other_machine(workers: int) -> None:
    heard = set()
    for _ in map_chunks(Doing(abs), [1], ClusterOptions(workers=workers)):
        this = psutil.Process()
        for process in (this, *this.children(recursive=True)):
            heard |= {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    assert heard <= {"127.0.0.1", "::1"}

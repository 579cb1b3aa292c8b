"""Chunks over Dask: every key once, few under way, tried three times, and errors that name the key."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from geoseg import runtime
from geoseg.errors import ChunkError, ConfigError, MemoryLimitError, MissingFileError, UsageError, WriteError
from geoseg.runtime import ClusterOptions, map_chunks

HERE = ClusterOptions()


@dataclass(frozen=True)
class Doing:
    """A job that does what a function says."""

    function: Callable[[Any], Any]

    def prepare(self) -> Callable[[Any], Any]:
        return self.function


@dataclass(frozen=True)
class FailingFirst:
    """A job that fails some times on each key, and counts in files how often it was tried."""

    folder: Path
    times: int
    error: type[Exception] = RuntimeError

    def prepare(self) -> Callable[[int], int]:
        return self.do

    def do(self, key: int) -> int:
        with (self.folder / str(key)).open("ab") as stream:
            stream.write(b".")
        if self.tries(key) <= self.times:
            raise self.error("the disk hiccuped.") from OSError(28, "cause")
        return key

    def tries(self, key: int) -> int:
        return (self.folder / str(key)).stat().st_size


def test_every_key_comes_back_once_with_its_result() -> None:
    results = dict(map_chunks(Doing(lambda key: 10 * key), range(25), HERE))
    assert results == {key: 10 * key for key in range(25)}


def test_no_keys_give_no_results() -> None:
    assert list(map_chunks(Doing(lambda key: key), [], HERE)) == []


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
        def prepare(self) -> Callable[[int], int]:
            (tmp_path / os.urandom(8).hex()).touch()
            return abs

    assert len(list(map_chunks(Preparing(), range(20), HERE))) == 20
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_that_fails_twice_succeeds(tmp_path: Path) -> None:
    job = FailingFirst(tmp_path, times=2)
    assert dict(map_chunks(job, [7, 8], HERE)) == {7: 7, 8: 8}
    assert [job.tries(key) for key in (7, 8)] == [3, 3]


def test_a_key_that_fails_three_times_is_named_with_its_reason(tmp_path: Path) -> None:
    job = FailingFirst(tmp_path, times=99)
    with pytest.raises(ChunkError, match=r"Chunk 7 failed 3 times: the disk hiccuped\. What is done is kept; the same command"):
        list(map_chunks(job, [7], HERE))
    assert job.tries(7) == 3


@pytest.mark.parametrize("error", [WriteError, MemoryLimitError, MissingFileError, OSError, MemoryError, KeyError, ZeroDivisionError])
def test_whatever_a_worker_raises_comes_back_with_its_reason(tmp_path: Path, error: type[Exception]) -> None:
    with pytest.raises(ChunkError, match=r"Chunk 7 failed 3 times: .*the disk hiccuped") as caught:
        list(map_chunks(FailingFirst(tmp_path, times=99, error=error), [7], HERE))
    assert type(caught.value.__cause__) is error


def test_a_usage_error_of_a_worker_stays_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hiccuped"):
        list(map_chunks(FailingFirst(tmp_path, times=99, error=UsageError), [7], HERE))


@pytest.mark.slow
def test_a_key_that_takes_its_worker_down_is_named() -> None:
    with pytest.raises(ChunkError, match=r"Chunk 7 took its worker down \d times.*memory.*--tile-size"):
        list(map_chunks(Doing(lambda _key: os._exit(3)), [7], ClusterOptions(workers=1)))


def test_a_run_that_is_left_early_stops(tmp_path: Path) -> None:
    results = map_chunks(FailingFirst(tmp_path, times=0), range(10_000), HERE)
    next(results)
    results.close()
    assert len(list(tmp_path.iterdir())) < 50


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "nonsense://127.0.0.1:1", "tcp://127.0.0.1"], ids=["nobody", "protocol", "no port"]
)
def test_an_unreachable_scheduler_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(runtime, "_CONNECT_TIMEOUT_S", 1)
    with pytest.raises(UsageError, match=rf"No Dask scheduler answers at {address}: .*dask scheduler"):
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

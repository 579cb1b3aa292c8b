"""Runs on clusters of real processes: killed workers, a scheduler that is lost and comes back, resources, lost devices."""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client

from geoseg.errors import DeviceLostError, RunError, UsageError
from geoseg.events import ClusterReady, Warned
from geoseg.runtime import cluster
from geoseg.runtime.cluster import open_cluster
from geoseg.runtime.faults import ChunkFailure
from geoseg.runtime.mapping import map_chunks
from geoseg.runtime.workplace import ClusterOptions, Shared
from tests.doubles import Listening
from tests.processes import Processes

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Marking:
    """A job that leaves a byte in a file for each try of a key, and takes a while; what else it does is decided by a function."""

    folder: Path
    takes_s: float = 0.05
    also: Callable[[int, int], None] = field(default=lambda _key, _tries: None)

    def prepare(self, _shared: Shared) -> Callable[[int], int]:
        return self.do

    def do(self, key: int) -> int:
        path = self.folder / str(key)
        with path.open("ab") as stream:
            stream.write(b".")
        time.sleep(self.takes_s)
        self.also(key, path.stat().st_size)
        return os.getpid()

    def tries(self, key: int) -> int:
        return (self.folder / str(key)).stat().st_size


def at(processes: Processes, **more: Any) -> ClusterOptions:
    return ClusterOptions(scheduler=processes.address, **{"patience_s": 60.0, **more})


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


@contextmanager
def meanwhile(do: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=do)
    thread.start()
    yield
    thread.join(60)


def marks(folder: Path) -> Path:
    made = folder / "marks"
    made.mkdir()
    return made


def test_a_worker_that_is_killed_costs_no_chunk(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill() -> None:
        for wanted in (5, 40, 80):
            wait_until(lambda wanted=wanted: len(results) > wanted)
            with suppress(ProcessLookupError):
                os.kill(latest[-1], signal.SIGKILL)
                killed.append(latest[-1])

    heard = Listening()
    results: dict[int, Any] = {}
    latest: list[int] = []
    with meanwhile(kill):
        for key, pid in map_chunks(Marking(marks(tmp_path)), range(120), ClusterOptions(workers=2), heard):
            results[key] = pid
            latest.append(pid)
    assert killed
    assert results.keys() == set(range(120))
    assert not [result for result in results.values() if isinstance(result, ChunkFailure)]
    assert any("A worker died" in event.message for event in heard.of(Warned))


def test_a_scheduler_that_is_lost_and_comes_back_with_other_workers_ends_the_run_right(tmp_path: Path, processes: Processes) -> None:
    def restart() -> None:
        wait_until(lambda: len(results) > 10)
        scheduler.kill()
        scheduler.wait(20)
        processes.scheduler()
        for _ in range(2):
            processes.worker()

    scheduler = processes.scheduler()
    for _ in range(2):
        processes.worker()
    heard = Listening()
    results: dict[int, Any] = {}
    wait_until(lambda: _answers(processes.port))
    with meanwhile(restart):
        for key, result in map_chunks(Marking(marks(tmp_path)), range(150), at(processes), heard):
            assert key not in results
            results[key] = result
    assert results.keys() == set(range(150))
    assert len({*results.values()}) > 2
    assert any("The scheduler was lost" in event.message for event in heard.of(Warned))
    assert len(heard.of(ClusterReady)) == 2


def test_a_scheduler_that_stays_away_ends_the_run_in_time(tmp_path: Path, processes: Processes) -> None:
    scheduler = processes.scheduler()
    processes.worker()
    wait_until(lambda: _answers(processes.port))
    folder = marks(tmp_path)
    assert len(list(map_chunks(Marking(folder), [0], at(processes)))) == 1, "a worker is there"
    lost_at: list[float] = []

    def lose() -> None:
        for number, _ in enumerate(map_chunks(Marking(folder), range(10_000), at(processes, patience_s=2.0))):
            if number == 5:
                scheduler.kill()
                lost_at.append(time.monotonic())

    with pytest.raises(RunError, match=r"The scheduler was lost and did not come back within 2 s: .* the same command again goes on"):
        lose()
    assert time.monotonic() - lost_at[0] < 30


def test_work_that_is_left_while_its_scheduler_is_frozen_is_left_in_time(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = processes.scheduler()
    processes.worker("--no-nanny")
    wait_until(lambda: _answers(processes.port))
    monkeypatch.setattr(cluster, "_CLOSE_TIMEOUT_S", 0.5)
    results = map_chunks(Marking(marks(tmp_path), takes_s=0.0), range(10_000), at(processes))
    next(results)
    scheduler.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 10


def test_names_of_tasks_that_are_done_are_used_again(tmp_path: Path, processes: Processes) -> None:
    processes.scheduler()
    processes.worker("--no-nanny")
    wait_until(lambda: _answers(processes.port))
    job = Marking(marks(tmp_path), takes_s=0.0)
    assert dict(map_chunks(job, range(120), at(processes))).keys() == set(range(120))
    assert [job.tries(key) for key in range(120)] == [1] * 120
    with Client(processes.address, set_as_default=False) as client:
        names = client.run_on_scheduler(lambda dask_scheduler: len({entry[0] for entry in dask_scheduler.transition_log}))
    assert 1 <= names < 40


def test_only_workers_that_declare_what_is_needed_get_chunks(tmp_path: Path, processes: Processes) -> None:
    processes.scheduler()
    with_gpu = processes.worker("--resources", "GPU=1", "--no-nanny")
    processes.worker("--no-nanny")
    wait_until(lambda: _answers(processes.port))
    heard = Listening()
    results = dict(map_chunks(Marking(marks(tmp_path)), range(20), at(processes, resources={"GPU": 1.0}), heard))
    assert set(results.values()) == {with_gpu.pid}


def test_no_worker_that_may_take_chunks_is_an_error_in_time(tmp_path: Path, processes: Processes) -> None:
    processes.scheduler()
    wait_until(lambda: _answers(processes.port))
    heard = Listening()
    with pytest.raises(RunError, match=r"No worker that may take chunks has been there for 1 s"):
        list(map_chunks(Marking(marks(tmp_path)), range(3), at(processes, resources={"GPU": 1.0}, patience_s=1.0), heard))
    assert "There is no worker with GPU=1 yet" in heard.of(Warned)[0].message


def test_a_worker_whose_device_is_lost_is_started_anew(tmp_path: Path) -> None:
    folder = marks(tmp_path)
    broken = tmp_path / "broken"

    def lose(key: int, _tries: int) -> None:
        if key == 5 and not broken.exists():
            broken.write_text(str(os.getpid()))
        if broken.exists() and broken.read_text() == str(os.getpid()):
            raise DeviceLostError("CUDA error: an illegal memory access was encountered.")

    heard = Listening()
    results = dict(map_chunks(Marking(folder, also=lose), range(20), ClusterOptions(workers=1), heard))
    assert all(isinstance(result, int) for result in results.values())
    assert int(broken.read_text()) not in {results[key] for key in range(6, 20)}
    assert any("its worker is started anew" in event.message for event in heard.of(Warned))


class Unknown:
    """A job of a library that workers do not have."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no such library",)


def test_a_scheduler_that_tells_somebody_who_has_left_is_not_heard_of(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("distributed").addHandler(caplog.handler)
    with open_cluster(ClusterOptions(workers=1), Listening()) as place:
        client = place._client
        scheduler: Any = client.cluster.scheduler
        tried = threading.Event()

        def tell() -> None:
            scheduler.client_comms[client.id].comm.abort()
            scheduler.client_send(client.id, {"op": "event", "topic": "left", "event": 0})
            tried.set()

        scheduler.loop.add_callback(tell)
        assert tried.wait(20)
    logging.getLogger("distributed").removeHandler(caplog.handler)
    assert caplog.records == []


def test_a_job_that_workers_do_not_know_and_a_worker_that_has_gone_by_itself_are_told_apart_from_a_lost_scheduler() -> None:
    with open_cluster(ClusterOptions(workers=1), Listening()) as place:
        with pytest.raises(UsageError, match=r"cannot do geoseg's work: .*no such library.* All of them need geoseg \d+\.\d+"):
            place.begin(Unknown())
        assert place.restart("tcp://127.0.0.1:1")
        assert len(place.workers()) == 1


def test_whoever_is_at_work_when_the_cluster_is_closed_is_told_at_once() -> None:
    with open_cluster(ClusterOptions(workers=1), Listening()) as place:
        assert len(place.workers()) == 1
    began = time.monotonic()
    with pytest.raises(RunError, match="The work was stopped"):
        place.workers()
    assert time.monotonic() - began < 10


def test_workers_on_gpus_are_started_by_dask_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    class Started(Exception):
        pass

    def start(**given: Any) -> None:
        raise Started(given)

    monkeypatch.setitem(sys.modules, "dask_cuda", SimpleNamespace(LocalCUDACluster=start))
    with pytest.raises(Started) as caught, open_cluster(ClusterOptions(workers=2, gpus=True, chunks_at_once=5), Listening()):
        pass
    given = caught.value.args[0]
    assert (given["n_workers"], given["threads_per_worker"], given["memory_limit"]) == (2, 5, None)
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(UsageError, match=r"install geoseg\[cuda\]"), open_cluster(ClusterOptions(workers=2, gpus=True), Listening()):
        pass


def test_a_scheduler_is_found_by_its_file(tmp_path: Path, processes: Processes) -> None:
    processes.scheduler()
    processes.worker("--no-nanny")
    wait_until(lambda: _answers(processes.port))
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": processes.address}))
    heard = Listening()
    assert len(list(map_chunks(Marking(marks(tmp_path)), range(3), ClusterOptions(scheduler=str(file)), heard))) == 3
    assert heard.of(ClusterReady)[0].dashboard.startswith("http://127.0.0.1:")
    file.write_text("{}")
    with pytest.raises(UsageError, match=r"No Dask scheduler answers at .*scheduler\.json"):
        list(map_chunks(Marking(tmp_path), range(3), ClusterOptions(scheduler=str(file))))


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False

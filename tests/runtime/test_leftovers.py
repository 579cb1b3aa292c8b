"""Schedulers and workers keep nothing of chunks that are done, nor of runs that are gone."""

import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client

from geoseg.runtime import cluster
from geoseg.runtime.leftovers import Sweeping
from geoseg.runtime.mapping import map_chunks
from geoseg.runtime.workplace import ClusterOptions, Shared
from tests.processes import Processes

CHUNKS = 150
UNDER_WAY = 3
"""On the one worker of two threads."""
KILLED = """
import sys
from geoseg.runtime.mapping import map_chunks
from geoseg.runtime.workplace import ClusterOptions
from tests.runtime.test_leftovers import Echo

for key, _ in map_chunks(Echo(), iter(range(1_000_000)), ClusterOptions(scheduler=sys.argv[1])):
    print(key, flush=True)
"""


class Echo:
    """A job that does nothing."""

    def prepare(self, _shared: Shared) -> Callable[[int], int]:
        return int


def count_kept(dask_scheduler: Any) -> dict[str, int]:
    """Count what Dask's spans keep; a change of Dask that moves it fails the test that looks for it."""
    spans = dask_scheduler.extensions["spans"].spans.values()
    return {
        "notes": sum(len(span.metadata["collections"]) for span in spans if span.metadata),
        "groups": sum(len(span.groups) for span in spans),
    }


def name_kept(dask_scheduler: Any) -> list[str]:
    """Name what is there of sessions: plugins, plugins for workers, tasks and events; chunks under way may still tell of themselves."""
    events = [topic for topic, told in dask_scheduler._broker.get_events().items() if len(told) > UNDER_WAY]
    names = [*dask_scheduler.plugins, *dask_scheduler.worker_plugins, *dask_scheduler.tasks, *events]
    return [name for name in names if str(name).startswith("geoseg-")]


@pytest.fixture
def watching(processes: Processes) -> Client:
    processes.scheduler()
    processes.worker("--no-nanny")
    return Client(processes.address, set_as_default=False, timeout=60)


@pytest.mark.slow
def test_a_scheduler_keeps_nothing_of_chunks_that_are_done(watching: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def pass_chunks() -> dict[str, int]:
        before = watching.run_on_scheduler(count_kept)
        results = map_chunks(Echo(), range(CHUNKS), ClusterOptions(scheduler=watching.scheduler.address))
        assert sorted(result for _, result in results) == list(range(CHUNKS))
        return {what: number - before[what] for what, number in watching.run_on_scheduler(count_kept).items()}

    with watching:
        kept = pass_chunks()
        monkeypatch.setattr(cluster, "Sweeping", lambda _client, session: Sweeping("nobody", session))
        left_alone = pass_chunks()
    assert kept["notes"] <= 3
    assert kept["groups"] <= 2
    assert left_alone["notes"] >= 0.9 * CHUNKS, "Dask keeps no notes any more, or elsewhere: look whether Sweeping is still needed"


@pytest.mark.slow
def test_nothing_is_left_of_a_run_that_was_killed(watching: Client) -> None:
    address = watching.scheduler.address
    with watching, subprocess.Popen([sys.executable, "-c", KILLED, address], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert all(run.stdout.readline() for _ in range(3 * UNDER_WAY))
        assert len(watching.run_on_scheduler(name_kept)) >= 5
        run.kill()
        until = time.monotonic() + 60
        while left := [
            *watching.run_on_scheduler(name_kept),
            *(name for names in watching.run(lambda dask_worker: list(dask_worker.plugins)).values() for name in names if "geoseg" in name),
        ]:
            assert time.monotonic() < until, left
            time.sleep(0.05)


def test_a_scheduler_that_keeps_nothing_or_keeps_it_elsewhere_is_left_as_it_is() -> None:
    sweeping = Sweeping("client", "geoseg-1")
    task = SimpleNamespace(group=SimpleNamespace(span_id="1"))
    for extensions in ({}, {"spans": None}, {"spans": SimpleNamespace(spans={})}, {"spans": SimpleNamespace(spans={"1": object()})}):
        sweeping.update_graph(SimpleNamespace(extensions=extensions, tasks={"a": task}), client="client", tasks=["a"])
    sweeping.remove_client(SimpleNamespace(remove_plugin=lambda _: None), "client")


def test_only_notes_that_say_what_the_one_before_says_are_dropped_and_only_those_of_the_client() -> None:
    notes: list[dict[str, str]] = []
    span = SimpleNamespace(metadata={"collections": notes})
    scheduler = SimpleNamespace(
        extensions={"spans": SimpleNamespace(spans={"1": span})}, tasks={"a": SimpleNamespace(group=SimpleNamespace(span_id="1"))}
    )
    sweeping = Sweeping("mine", "geoseg-1")
    for client, note in [("mine", "Future"), ("mine", "Future"), ("other", "Array"), ("other", "Array"), ("mine", "Future")]:
        notes.append({"type": note})
        sweeping.update_graph(scheduler, client=client, tasks=["a"])
    assert [note["type"] for note in notes] == ["Future", "Array", "Array", "Future"]

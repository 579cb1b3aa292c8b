"""A scheduler and two workers in processes of their own; the scheduler is killed in the middle of a run and comes back."""

from pathlib import Path

import pytest

from tests.processes import Processes
from tests.soak.command import count, start
from tests.soak.result import differences, identify_chunks, leftovers, read_result
from tests.soak.small import World


@pytest.mark.slow
def test_a_run_whose_scheduler_is_killed_and_comes_back_ends_as_if_nothing_had_happened(
    world: World, processes: Processes, tmp_path: Path
) -> None:
    run, temporary = tmp_path / "run", tmp_path / "temporary"
    scheduler, _ = processes.scheduler(), processes.worker()
    processes.worker()
    words = (*world.words, "--scheduler", processes.address, "--patience", 120, "-o", run, "--progress", "json")
    command = start(*words, temporary=temporary)
    assert command.wait_for(lambda events: count(events, "ChunkDone") >= 10), command.said
    scheduler.kill()
    scheduler.wait(20)
    done = identify_chunks(run)
    processes.scheduler()
    for _ in range(2):
        processes.worker()
    assert command.wait_for(lambda events: count(events, "ChunkDone") >= len(done) or count(events, "Finished") > 0), command.said
    now = identify_chunks(run)
    assert {name: now[name] for name in done if name in now} == {name: identity for name, identity in done.items() if name in now}
    assert command.wait() == 0, command.said
    assert any("The scheduler was lost" in event.get("message", "") for event in command.events)
    assert differences(read_result(run), world.result) == []
    assert leftovers(run, temporary) == []

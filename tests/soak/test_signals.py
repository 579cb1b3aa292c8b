"""A run that is stopped at any moment ends soon, says how to go on, and goes on to the same bytes."""

from pathlib import Path

from tests.soak.result import differences, leftovers, read_result
from tests.soak.signals import stop_at_random
from tests.soak.small import World


def test_signals_at_any_moment_leave_no_trace(world: World, tmp_path: Path) -> None:
    runs = [tmp_path / str(number) for number in range(2)]
    stops = stop_at_random(world.words, runs, tmp_path / "temporary", world.total_s, seed=4)
    assert stops.faults == []
    assert stops.slowest_s < 5, stops.after
    for run in runs:
        assert differences(read_result(run), world.result) == []
        assert leftovers(run, tmp_path / "temporary") == []

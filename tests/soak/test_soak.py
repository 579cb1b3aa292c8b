"""The short form of ``make soak``: worker processes are killed, the whole run is killed and started again, and nothing of it shows."""

import random
from pathlib import Path

import pytest

from tests.soak.ordeal import Ordeal, judge, plan_deaths
from tests.soak.small import World


@pytest.mark.slow
def test_a_run_whose_processes_are_killed_ends_as_if_nothing_had_happened(world: World, tmp_path: Path) -> None:
    chance = random.Random(1)
    ordeal = Ordeal(
        words=(*world.words, "--workers", 2),
        run=tmp_path / "run",
        temporary=tmp_path / "temporary",
        chance=chance,
        quiet_s=world.quiet_s,
        kill_workers_s=5.0,
    )
    ordeal.suffer(plan_deaths(("chunks", "chunks", "objects"), chance))
    assert judge(ordeal, world.quiet) == []
    assert ordeal.deaths == 3, ordeal.log

"""Chunks that went wrong: what comes again, what is tried alone, what is given up, and what is nobody's fault."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import ChunkError, RunError
from geoseg.runtime.faults import ChunkFailure, Docket
from geoseg.runtime.fleet import Fleet


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drain(docket: Docket[int]) -> list[int]:
    return list(iter(docket.take, None))


def test_a_chunk_that_failed_comes_again_after_one_and_after_four_seconds() -> None:
    clock = Clock()
    docket = Docket([7], clock=clock, back_off_s=1.0)
    assert docket.take() == 7
    assert docket.fail(7, "no") is None
    assert (docket.take(), docket.wait_s()) == (None, 1.0)
    clock.now = 1.0
    assert docket.take() == 7
    assert docket.fail(7, "no") is None
    assert docket.wait_s() == 4.0
    clock.now = 5.0
    assert docket.take() == 7
    assert docket.fail(7, "still no") == ChunkFailure(error="still no", tries=3)
    assert docket.is_empty()


def test_keys_are_taken_when_they_are_needed() -> None:
    taken: list[int] = []
    docket = Docket(taken.append(key) or key for key in range(10**9))
    docket.take()
    docket.take()
    assert taken == [0, 1]


def test_chunks_that_shared_a_dying_worker_once_come_again_together() -> None:
    docket = Docket(range(3))
    docket.lose({*drain(docket)})
    assert docket.suspect() is None
    assert sorted(drain(docket)) == [0, 1, 2]


def test_a_chunk_on_a_second_dying_worker_is_tried_alone_and_no_other_is_blamed() -> None:
    docket = Docket(range(6))
    drain(docket)
    docket.lose({0, 1, 2})
    assert sorted(drain(docket)) == [0, 1, 2]
    docket.lose({0, 3, 4})
    assert sorted(drain(docket)) == [3, 4]
    assert docket.suspect() == docket.take_suspect() == 0
    assert docket.suspect() is None


def test_three_deaths_alone_prove_a_chunk_guilty() -> None:
    clock = Clock()
    docket = Docket(range(3), clock=clock)
    drain(docket)
    for _ in range(2):
        clock.now += 30
        docket.lose({0})
    for _ in range(2):
        clock.now += 30
        docket.take_suspect()
        assert docket.lose_alone(0, 0.5) is None
    docket.take_suspect()
    failure = docket.lose_alone(0, 0.5)
    assert failure is not None
    assert failure.took_workers
    assert "want of memory" in failure.error


@pytest.mark.parametrize("seed", range(5))
def test_chunks_are_not_blamed_where_somebody_kills_a_worker_every_few_seconds(seed: int) -> None:
    """Two workers, chunks of one second, a worker killed every three seconds: simulated for two thousand chunks."""
    rng, clock = random.Random(seed), Clock()
    docket = Docket(range(2000), clock=clock)
    docket.count_workers(2)
    done = 0
    while True:
        alone = docket.suspect() is not None
        keys = {docket.take_suspect()} if alone else {key for key in (docket.take(), docket.take()) if key is not None}
        if not keys:
            break
        if rng.random() < 1 / 6:
            clock.now += rng.random()
            if not alone:
                docket.lose(keys)
            else:
                assert docket.lose_alone(*keys, rng.random()) is None
        else:
            clock.now += 0.5
            for key in keys:
                docket.finish(key)
                done += 1
    assert done == 2000


def test_workers_that_only_die_end_the_run() -> None:
    docket = Docket(range(10_000))
    for key in range(20):
        docket.lose({key})
    with pytest.raises(RunError, match=r"Workers died 21 times in a row, and no chunk was done"):
        docket.lose({20})


def test_where_nothing_succeeds_nothing_better_is_expected() -> None:
    docket = Docket(range(100), give_up_after=8, back_off_s=0.0)
    failures = [docket.fail(key, "no.") for key in range(7) for _ in range(3)]
    assert len([failure for failure in failures if failure is not None]) == 7
    assert [docket.fail(7, "no."), docket.fail(7, "no.")] == [None, None]
    with pytest.raises(ChunkError, match=r"The first chunks all failed, the last one 3 times: no\."):
        docket.fail(7, "no.")


def test_after_eight_in_a_row_chunks_are_tried_once_until_one_is_done() -> None:
    docket = Docket(range(100), back_off_s=0.0)
    docket.finish(99)
    tried = [sum(docket.fail(key, "gone.") is None for _ in range(2)) for key in range(8)]
    given_up = [docket.fail(key, "gone.") for key in range(8)]
    assert tried == [2] * 8
    assert [failure.tries for failure in given_up if failure] == [3] * 8
    one = docket.fail(8, "gone.")
    assert one is not None
    assert one.tries == 1
    docket.finish(9)
    assert docket.fail(10, "slow.") is None


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_a_fleet_never_gives_out_more_than_there_is_room_for(moves: list[tuple[int, bool]]) -> None:
    fleet = Fleet(ahead=1)
    fleet.update({f"w{n}": n + 1 for n in range(3)})
    out: list[str] = []
    for choice, gives in moves:
        if gives and out:
            fleet.give_back(out.pop(choice % len(out)))
        elif (worker := fleet.take()) is not None:
            out.append(worker)
        for number in range(3):
            assert out.count(f"w{number}") <= number + 2
    while (worker := fleet.take()) is not None:
        out.append(worker)
    assert len(out) == 2 + 3 + 4


def test_a_chunk_that_has_to_be_alone_waits_for_an_empty_worker_and_keeps_others_off() -> None:
    fleet = Fleet(ahead=0)
    fleet.update({"a": 2})
    assert [fleet.take(), fleet.take(), fleet.take()] == ["a", "a", None]
    assert fleet.take_alone() is None
    fleet.give_back("a")
    assert fleet.take() is None, "it is kept empty"
    fleet.give_back("a")
    assert fleet.take_alone() == "a"
    assert fleet.take() is None
    fleet.end_alone("a")
    assert [fleet.take(), fleet.take(), fleet.take()] == ["a", "a", None]


def test_a_worker_that_is_gone_is_given_no_chunk_and_one_that_is_back_all_its_room() -> None:
    fleet = Fleet(ahead=0)
    fleet.update({"a": 1, "b": 1})
    assert {fleet.take(), fleet.take()} == {"a", "b"}
    fleet.update({"b": 1})
    fleet.give_back("a")
    assert fleet.take() is None
    fleet.update({"a": 1, "b": 1})
    assert [fleet.take(), fleet.take()] == ["a", None]

"""Memory is never given out twice."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from geoseg.budget import Budget


@pytest.mark.parametrize(("limit", "most"), [(100, 1), (130, 2), (160, 3), (1000, 6)])
def test_no_more_are_under_way_than_there_is_memory_for(limit: int, most: int) -> None:
    budget, lock = Budget(limit), threading.Lock()
    now, seen = 0, 0

    def work() -> None:
        nonlocal now, seen
        with budget.take(30, common_bytes=70):
            with lock:
                now += 1
                seen = max(seen, now)
            time.sleep(0.05)
            with lock:
                now -= 1

    with ThreadPoolExecutor(6) as threads:
        for end in [threads.submit(work) for _ in range(6)]:
            end.result(20)
    assert seen == most


def test_who_comes_alone_gets_what_was_planned_for() -> None:
    with Budget(10).take(30, common_bytes=70):
        pass

"""The benchmark of scale: its simulation obeys what any queue does, and it measures what it says."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.events import ChunkDone, StageDone
from tests.benchmarks.scale import kinds_of_workers, reckon
from tests.benchmarks.scale_files import measure_one, write_chunks
from tests.benchmarks.scale_finish import watch
from tests.benchmarks.scale_model import Costs, Finish, bill, bottleneck, efficiency, scales_to, simulate, with_chunk
from tests.benchmarks.scale_tasks import Nothing, pass_chunks, plan_of, start_cluster

COSTS = Costs(name="2 cores", scheduler_s=0.002, client_s=0.001, worker_s_per_px=1e-6, chunk_px=1000, storage_bytes_s=1e11)


@settings(max_examples=25, deadline=None)
@given(
    workers=st.integers(1, 40),
    chunk_px=st.sampled_from([100, 1000, 5000]),
    slots=st.integers(2, 6),
    bandwidth=st.sampled_from([1e7, 1e9, 1e11]),
)
def test_no_cluster_is_faster_than_its_workers_or_than_what_they_share(workers: int, chunk_px: int, slots: int, bandwidth: float) -> None:
    costs = replace(COSTS, chunk_px=chunk_px, slots=slots, storage_bytes_s=bandwidth)
    rate = simulate(costs, workers)
    assert 0 < rate <= 1.000001 * workers / costs.work_s
    # half of what a part does to a chunk may still be ahead of the last ones
    assert rate <= 1.1 * min(costs.limits.values())


def test_workers_that_share_nothing_that_is_slow_all_work() -> None:
    assert simulate(COSTS, 8) == pytest.approx(8 / COSTS.work_s, rel=0.02)
    assert efficiency(replace(COSTS, scheduler_s=1e-9, client_s=1e-9), 128) == pytest.approx(1, rel=0.02)


def test_a_cluster_ends_at_what_the_slowest_shared_part_lets_through() -> None:
    slow = replace(COSTS, scheduler_s=0.1)
    assert bottleneck(slow) == "scheduler"
    assert simulate(slow, 256) == pytest.approx(10, rel=0.05)
    assert bottleneck(replace(COSTS, storage_bytes_s=1e6)) == "storage"


def test_larger_chunks_move_the_end_where_the_scheduler_is_what_limits() -> None:
    slow = replace(COSTS, scheduler_s=0.1)
    assert (scales_to(slow), scales_to(with_chunk(slow, 2000))) == (8, 32)
    # but not where the storage is
    narrow = replace(COSTS, storage_bytes_s=1e8)
    assert scales_to(with_chunk(narrow, 2000)) == scales_to(narrow)


def test_efficiency_is_one_for_one_worker_and_falls() -> None:
    slow = replace(COSTS, scheduler_s=0.05)
    found = [efficiency(slow, workers) for workers in (1, 16, 64, 256)]
    assert found[0] == pytest.approx(1, abs=0.1)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(20 / 256, rel=0.1)


def test_a_bill_adds_up() -> None:
    finish = Finish(rasters_s=0.36, objects_s=0.72, parallel=1.0)
    found = bill(COSTS, finish, 10, pixels=1e10)
    assert found.chunks == 10_000
    assert found.inference_h == pytest.approx(1e10 * 1e-6 / 10 / 3600, rel=0.05)
    assert found.finish_h == pytest.approx(1.0)
    assert bill(COSTS, finish, 10, pixels=1e10, with_objects=True).finish_h == pytest.approx(3.0)
    assert bill(COSTS, finish, 10, pixels=1e12).disk_tb == pytest.approx(3.1)


def test_every_kind_of_worker_is_reckoned() -> None:
    assert {(kind.name, kind.chunk_px) for kind in kinds_of_workers(COSTS)} >= {("2 cores", 1536), ("GPU (assumed)", 8192)}
    rows = reckon(COSTS, Finish(rasters_s=0.1, objects_s=0.5))
    assert [row.what["outputs"] for row in rows] == ["classes", "all"] * 6
    assert all(float(str(row.values["inference h"])) > 0 for row in rows)


@pytest.mark.parametrize("way", ["tree", "flat"])
def test_both_mosaics_are_measured_and_read_right(tmp_path: Path, way: str) -> None:
    write_chunks(tmp_path, 3)
    found = measure_one(tmp_path, 3, way)
    assert found.keys() >= {"list s", "describe s", "open and 64 windows s", "COG s", "read MB"}
    assert (tmp_path / f"{way}.tif").exists()


def test_chunks_pass_through_a_real_scheduler(tmp_path: Path) -> None:
    keys = itertools.product(range(1000), range(1000))
    with start_cluster(tmp_path, 1) as cluster:
        passed = pass_chunks(cluster, keys, Nothing(), most_s=1.5)
    assert 0 < passed.chunks < 1_000_000
    assert next(keys) < (999, 999), "keys are taken as they are needed"
    assert set(passed.cpu_s) == {"client", "scheduler", "worker 1"}
    assert passed.seconds >= 1.5


def test_a_plan_of_a_million_chunks_has_as_many() -> None:
    assert plan_of(1_000_000).chunk_count >= 1_000_000


def test_stages_are_told_by_what_a_run_reports() -> None:
    times = iter([1.0, 2.0, 5.0, 9.0])
    marks: dict[str, float] = {}
    listen = watch(lambda: next(times), marks)
    for done in (1, 2):
        listen(ChunkDone(chunk="r00000_c00000", done=done, chunks=2, elapsed_s=0.0))
    for stage in ("rasters", "landcover"):
        listen(StageDone(stage=stage, elapsed_s=0.0))
    assert marks == {"chunks": 2.0, "rasters": 5.0, "landcover": 9.0}

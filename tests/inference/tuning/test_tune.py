"""Choosing by measurement: what was measured decides, only what was left open is chosen, and wrong labels are out."""

import errno
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from geoseg.config import RunConfig
from geoseg.errors import RunError
from geoseg.events import Event, Tuned, Warned
from geoseg.inference.planning import plan_run
from geoseg.inference.runplan import RunPlan
from geoseg.inference.tuning import trial as trial_module
from geoseg.inference.tuning import tune as module
from geoseg.inference.tuning.book import TuningBook
from geoseg.inference.tuning.trial import Candidate, Sample, Trial, to_plain, try_candidates
from geoseg.inference.tuning.trial import _compared as compare
from geoseg.inference.tuning.trial import _main as run_trial
from geoseg.inference.tuning.tune import _take_sample as take_sample
from geoseg.inference.tuning.tune import tune
from tests.doubles import CRS, TRANSFORM, configure, draw_blobs, write_network, write_raster


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "package")


@pytest.fixture
def asked(network: Path, tmp_path: Path) -> RunConfig:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(300, 420))
    return configure(raster, network, tmp_path / "out", device="cpu", cache=tmp_path / "cache", threads=1)


@pytest.fixture
def plan(asked: RunConfig) -> RunPlan:
    return plan_run(asked)


class Trials:
    """Stands for what is measured; notes what it was asked to try."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **speeds: tuple[float, float, float]) -> None:
        self.tried: list[list[Candidate]] = []
        self._speeds = speeds
        monkeypatch.setattr(module, "try_candidates", self)

    def __call__(self, package: Any, sample: Sample, candidates: list[Candidate], compare_px: int, scratch: Path) -> list[Trial]:
        assert scratch.is_dir()
        self.tried.append(candidates)
        assert sample.valid.shape[0] >= max(c.tile_size_px for c in candidates)
        found = []
        for candidate in candidates:
            if candidate.execution.backend in self._speeds:
                load_s, mpx_per_s, agreement = self._speeds[candidate.execution.backend]
                batch_s = candidate.batch_size * candidate.tile_size_px**2 / 1e6 / mpx_per_s
                found.append(Trial(candidate=candidate, load_s=load_s, batch_s=batch_s, agreement=agreement))
        return found


def heard(plan: RunPlan, asked: RunConfig, **more: Any) -> tuple[RunPlan, list[Event]]:
    events: list[Event] = []
    return tune(plan, asked, events.append, **more), events


def test_a_short_run_is_not_measured(monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig) -> None:
    trials = Trials(monkeypatch, torch=(0, 1, 1))
    assert heard(plan, asked) == (plan, [])
    assert trials.tried == []


def test_the_fastest_for_the_length_of_the_run_is_chosen_said_and_remembered(
    monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig
) -> None:
    trials = Trials(monkeypatch, torch=(1, 1, 1), onnx=(3, 2, 1))
    short, (event,) = heard(plan, asked, at_once=True)
    assert short.execution.backend == "torch"
    assert isinstance(event, Tuned)
    assert event.chosen.startswith("torch")
    assert any("onnx" in line and "2 Mpx/s, ready after 3.0 s, 100.000% of the labels agree" in line for line in event.measured)
    # a run a hundred times as large: what is measured stands, but now loading counts for less
    monkeypatch.setattr(module, "_inferred_px", lambda _plan: 100_000_000)
    long, (event,) = heard(plan, asked)
    assert long.execution.backend == "onnx"
    assert len(trials.tried) == 1


def test_rasters_that_begin_together_are_measured_once(monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig) -> None:
    trials = Trials(monkeypatch, torch=(1, 1, 1), onnx=(0, 9, 1))

    def slow(*given: Any) -> list[Trial]:
        time.sleep(0.3)
        return trials(*given)

    monkeypatch.setattr(module, "try_candidates", slow)
    with ThreadPoolExecutor(4) as threads:
        plans = [end.result() for end in [threads.submit(tune, plan, asked, lambda _: None, at_once=True) for _ in range(4)]]
    assert len(trials.tried) == 1
    assert {made.execution.backend for made in plans} == {"onnx"}


def test_what_is_faster_by_a_hair_is_not_worth_a_change(monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig) -> None:
    fixed = asked.model_copy(update={"tile_size": plan.tiles.tile_size_px})
    Trials(monkeypatch, torch=(0, 1, 1), onnx=(0, 1.04, 1))
    assert heard(plan, fixed, at_once=True)[0].execution.backend == "torch"
    (plan.config.cache_folder / "tuning.json").unlink()
    Trials(monkeypatch, torch=(0, 1, 1), onnx=(0, 1.06, 1))
    assert heard(plan, fixed, at_once=True)[0].execution.backend == "onnx"


def test_another_graph_of_the_same_weights_is_measured_anew(monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig) -> None:
    Trials(monkeypatch, torch=(0, 1, 1), onnx=(0, 9, 1))
    assert heard(plan, asked, at_once=True)[0].execution.backend == "onnx"
    Trials(monkeypatch, torch=(0, 9, 1), onnx=(0, 1, 1))
    assert heard(plan, asked, at_once=True)[0].execution.backend == "onnx"  # what was measured holds
    other = replace(plan, package=replace(plan.package, graph_sha256="f" * 64))
    assert heard(other, asked, at_once=True)[0].execution.backend == "torch"


def test_labels_that_differ_rule_a_way_out(monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig) -> None:
    Trials(monkeypatch, torch=(1, 1, 1), onnx=(0, 9, 0.9989))
    assert heard(plan, asked, at_once=True)[0].execution.backend == "torch"
    assert json.loads((plan.config.cache_folder / "tuning.json").read_text())
    Trials(monkeypatch, torch=(1, 1, 0.5), onnx=(0, 9, 0.5))
    (plan.config.cache_folder / "tuning.json").unlink()
    assert heard(plan, asked, at_once=True)[0] is plan


def test_the_sample_is_taken_where_data_is(network: Path, tmp_path: Path) -> None:
    pixels = draw_blobs(1500, 1400)
    pixels[:, 300:, :] = 0
    asked = configure(write_raster(tmp_path / "frame.tif", pixels, nodata=0), network, tmp_path / "out", device="cpu")
    candidate = Candidate(execution=plan_run(asked).execution, tile_size_px=256, batch_size=1)
    assert take_sample(plan_run(asked), [candidate]).valid.mean() > 0.5
    x, y = TRANSFORM @ (1300, 100)
    gpd.GeoDataFrame(geometry=[shapely.box(x, y, x + 20, y + 20)], crs=CRS).to_file(tmp_path / "aoi.gpkg")
    inside = asked.model_copy(update={"aoi": tmp_path / "aoi.gpkg"})
    assert take_sample(plan_run(inside), [candidate]).valid.sum() == 40 * 40


def fail_reading(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the first places of a raster be unreadable."""
    read, left = module.read_padded, [RunError("block 3 of blobs.tif is damaged")] * times

    def read_or_fail(source: Any, window: Any) -> Any:
        if left:
            raise left.pop()
        return read(source, window)

    monkeypatch.setattr(module, "read_padded", read_or_fail)


def test_where_a_raster_cannot_be_read_another_place_of_it_is_measured(
    monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig
) -> None:
    Trials(monkeypatch, torch=(1, 1, 1), onnx=(0, 9, 1))
    fail_reading(monkeypatch, 2)
    assert heard(plan, asked, at_once=True)[0].execution.backend == "onnx"


@pytest.mark.parametrize("is_readable", [True, False])
def test_what_cannot_be_measured_ends_no_run_and_is_said(
    monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig, is_readable: bool
) -> None:
    if is_readable:
        # the disk of the cache is full
        monkeypatch.setattr(np, "save", fail_with(OSError(errno.ENOSPC, "No space left on device")))
    else:
        fail_reading(monkeypatch, 99)
    tuned, (event,) = heard(plan, asked, at_once=True)
    assert tuned is plan
    assert isinstance(event, Warned)
    assert ("No space left on device" if is_readable else "block 3 of blobs.tif is damaged") in event.message
    assert not (plan.config.cache_folder / "tuning.json").exists()


def fail_with(fault: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise fault

    return fail


def test_of_trials_that_were_killed_the_whole_ones_count(monkeypatch: pytest.MonkeyPatch, plan: RunPlan) -> None:
    group = [Candidate(execution=plan.execution, tile_size_px=size, batch_size=1) for size in (64, 96, 128)]
    line = '{"index": %d, "load_s": 1.0, "batch_s": 2.0}\n'

    def be_killed(command: list[str], **_: object) -> None:
        folder = Path(command[-1])
        np.save(folder / "0.npy", np.zeros((32, 32), np.uint8))
        (folder / "1.npy").write_bytes((folder / "0.npy").read_bytes()[:200])
        (folder / "results.jsonl").write_text(line % 0 + line % 1 + (line % 2)[:20])

    monkeypatch.setattr(trial_module.subprocess, "run", be_killed)
    sample = Sample(pixels=np.zeros((3, 128, 128), np.uint8), valid=np.ones((128, 128), bool))
    assert [trial.candidate for trial in try_candidates(plan.package, sample, group, 32)] == group[:1]


def test_labels_that_cannot_be_compared_are_no_proof(monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig) -> None:
    labels, nothing = np.zeros((8, 8), np.uint8), np.zeros((8, 8), bool)
    halved = Candidate(execution=replace(plan.execution, precision="bfloat16"), tile_size_px=256, batch_size=1)
    trial = compare(Trial(candidate=halved, load_s=0, batch_s=0.01), labels, labels, nothing)
    assert trial.agreement is None
    monkeypatch.setattr(module, "try_candidates", lambda *_: [trial])
    assert heard(plan, asked, at_once=True)[0] is plan
    tuned, _ = heard(plan, asked.model_copy(update={"precision": "bfloat16"}), at_once=True)
    assert tuned.execution.precision == "bfloat16"


def test_only_what_was_left_open_is_chosen(monkeypatch: pytest.MonkeyPatch, asked: RunConfig) -> None:
    trials = Trials(monkeypatch, torch=(1, 1, 1), onnx=(0, 9, 1))
    given = asked.model_copy(update={"backend": "torch", "tile_size": 224, "batch_size": 3})
    assert heard(plan_run(given), given, at_once=True)[1] == []
    given = asked.model_copy(update={"tile_size": 224, "batch_size": 3})
    tuned, _ = heard(plan_run(given), given, at_once=True)
    assert {(c.tile_size_px, c.batch_size) for c in trials.tried[0]} == {(224, 3)}
    assert (tuned.execution.backend, tuned.tiles.tile_size_px, tuned.batch_size) == ("onnx", 224, 3)
    assert (tuned.config.backend, tuned.config.tile_size, tuned.config.batch_size) == ("onnx", 224, 3)


def test_what_does_not_fit_into_the_memory_is_not_tried(monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig) -> None:
    trials = Trials(monkeypatch, torch=(1, 1, 1))
    heard(plan, asked, at_once=True)
    largest = max(c.tile_size_px for c in trials.tried[0])
    assert largest == 384
    needed = plan_run(asked.model_copy(update={"tile_size": largest, "chunk_size": largest})).memory_bytes
    for limit, sizes in ((needed, {256, 384}), (needed - 1, {256})):
        tight = asked.model_copy(update={"memory": str(limit), "cache": asked.output / str(limit), "batch_size": 1})
        heard(plan_run(tight), tight, at_once=True)
        assert {c.tile_size_px for c in trials.tried[-1] if c.execution.backend == "torch"} == sizes


def test_another_model_machine_or_version_is_measured_anew(monkeypatch: pytest.MonkeyPatch, plan: RunPlan, asked: RunConfig) -> None:
    trials = Trials(monkeypatch, torch=(1, 1, 1), onnx=(1, 1, 1))
    for times in (1, 1):
        heard(plan, asked, at_once=True)
        assert len(trials.tried) == times
    other = replace(plan, package=replace(plan.package, sha256="0" * 64))
    heard(other, asked, at_once=True)
    monkeypatch.setattr(module, "name_processor", lambda: "another processor")
    heard(plan, asked, at_once=True)
    monkeypatch.setattr(module, "_version", lambda _name: "99")
    heard(plan, asked, at_once=True)
    assert len(trials.tried) == 4


@pytest.mark.parametrize("content", ["", "[]", "{", '{"key": 3}', '{"key": [{"candidate": {}}]}', '{"key": [{"nonsense": 1}]}'])
def test_a_damaged_book_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(content)
    book = TuningBook(path)
    assert book.read("key") == []
    book.write("other", [])
    assert book.read("other") == []
    assert isinstance(json.loads(path.read_text()), dict)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    TuningBook(tmp_path / "file" / "tuning.json").write("key", [])


def test_what_a_killed_measurement_left_goes_with_the_next_one(tmp_path: Path) -> None:
    book = TuningBook(tmp_path / "tuning.json")
    left = tmp_path / "tuning.scratch" / "geoseg-tuning-abc"
    left.mkdir(parents=True)
    with book.hold() as scratch:
        assert scratch == left.parent
        assert list(scratch.iterdir()) == []
    assert not left.parent.exists()


def test_who_cannot_be_kept_out_measures_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with TuningBook(tmp_path / "file" / "tuning.json").hold() as scratch:
        assert scratch is None


def test_a_trial_whose_run_was_killed_ends(plan: RunPlan, tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.zeros((3, 64, 64), np.uint8))
    np.save(tmp_path / "valid.npy", np.ones((64, 64), bool))
    candidate = to_plain(Candidate(execution=plan.execution, tile_size_px=64, batch_size=1))
    job = {"model": str(plan.package.folder), "cache": None, "compare_px": 64, "candidates": [candidate]}
    # a process has no parent of its own number
    (tmp_path / "job.json").write_text(json.dumps({**job, "parent": os.getpid()}))
    run_trial(tmp_path)
    assert not (tmp_path / "results.jsonl").exists()
    (tmp_path / "job.json").write_text(json.dumps({**job, "parent": os.getppid()}))
    run_trial(tmp_path)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_candidates_are_timed_and_compared_on_the_real_network(plan: RunPlan) -> None:
    rng = np.random.default_rng(0)
    sample = Sample(pixels=rng.integers(0, 256, (3, 128, 128), dtype=np.uint8), valid=np.ones((128, 128), bool))
    own = [Candidate(execution=plan.execution, tile_size_px=side, batch_size=count) for side, count in ((64, 1), (64, 2), (128, 1))]
    impossible = Candidate(execution=replace(plan.execution, device="cuda"), tile_size_px=64, batch_size=1)
    trials = try_candidates(plan.package, sample, [*own, impossible], 64)
    assert [trial.candidate for trial in trials] == own
    assert all(trial.agreement == 1.0 for trial in trials)
    assert all(0 < trial.batch_s < 60 and trial.mpx_per_s > 0 for trial in trials)

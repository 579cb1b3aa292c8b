"""Runs that were stopped go on; runs of something else are refused (law 9)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import rasterio
import shapely

from geoseg import pipeline
from geoseg.config import RunConfig, make_config
from geoseg.errors import ChunkError, RunError, RunFolderError, WriteError
from geoseg.events import ChunkDone, Event, Finished, RunPlanned
from geoseg.inference.planning import plan_run, replan
from geoseg.inference.runplan import RunPlan
from geoseg.model.package import hash_file, shipped_models, write_card
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import describe_job, segment_raster
from geoseg.runfolder.folder import RunFolder
from geoseg.runtime.workplace import Shared
from geoseg.scene import SceneOptions, draw_scene
from tests.doubles import CRS, TRANSFORM, Listening, Logged, always, bytes_of, configure, contents, draw_blobs, write_package, write_raster

NEAR = NeighborhoodPredictor(spec=double_spec())
SHAPE = 150, 200
STEP = {"chunk_size": 64}


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(*SHAPE), nodata=0)
    return configure(raster, write_package(tmp_path / "package"), tmp_path / "out", **STEP)


@pytest.fixture
def logged(tmp_path: Path) -> Logged:
    return Logged(NEAR, tmp_path / "calls")


@pytest.fixture
def finished(config: RunConfig) -> Path:
    return segment_raster(config, load=always(NEAR))


def change(config: RunConfig, **values: Any) -> RunConfig:
    return config.model_copy(update=values)


def test_a_run_goes_on_from_another_folder_and_with_the_model_moved(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(config.model)
    there = plan_run(config).fingerprint()
    monkeypatch.chdir(package.parent)
    near = change(config, model=package.name)
    assert plan_run(near).fingerprint() == there
    run = segment_raster(near, load=always(NEAR))
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    package.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert segment_raster(change(config, model="moved"), load=always(NEAR)) == run
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def write_square(path: Path, side_m: float) -> Path:
    x, y = TRANSFORM @ (0, 0)
    gpd.GeoDataFrame(geometry=[shapely.box(x, y - side_m, x + side_m, y)], crs=CRS).to_file(path)
    return path


# Broken off, and gone on


@pytest.mark.parametrize("broken_at", [0, 1, 17, 23])
def test_a_broken_run_goes_on_where_it_was(config: RunConfig, logged: Logged, tmp_path: Path, broken_at: int) -> None:
    tiles = plan_run(config).tiles
    with pytest.raises(ChunkError, match="the power is out"):
        segment_raster(config, load=always(replace(logged, fails_from=broken_at)))
    kept = {path.stem for path in (config.output / ".work" / "chunks").rglob("*.tif")}
    missing = [chunk for chunk in tiles.chunks() if chunk.name not in kept]
    assert bool(kept) == (broken_at > 4)
    assert missing

    heard, before = Listening(), logged.calls
    run = segment_raster(config, heard, always(logged))
    assert logged.calls - before == sum(len(chunk.tiles) for chunk in missing)
    assert heard.of(RunPlanned)[0].chunks_done == len(kept)
    assert bytes_of(run) == bytes_of(segment_raster(change(config, output=tmp_path / "unbroken"), load=always(NEAR)))


def test_nothing_but_whole_files_stands_under_final_names_of_a_broken_run(config: RunConfig, logged: Logged) -> None:
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(replace(logged, fails_from=17)))
    assert {path.name for path in config.output.iterdir()} == {"run.toml", ".work"}
    for path in (config.output / ".work" / "chunks").rglob("r*_c*"):
        with rasterio.open(path) as chunk:
            assert chunk.read().shape[0] == len(NEAR.spec.layers.names)


def test_half_written_chunks_are_made_again(config: RunConfig, logged: Logged) -> None:
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(replace(logged, fails_from=1)))
    half = config.output / ".work" / "chunks" / "r00000" / "r00000_c00000.tif.part"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    segment_raster(config, load=always(NEAR))
    assert not [name for name in contents(config.output) if ".part" in name]


def test_a_finished_run_is_not_done_again(config: RunConfig, finished: Path, logged: Logged) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    heard = Listening()
    assert segment_raster(config, heard, always(logged)) == finished
    assert [type(event) for event in heard] == [Finished]
    assert logged.calls == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_run_that_was_killed_after_its_summary_is_tidied(config: RunConfig, finished: Path) -> None:
    (finished / ".work" / "chunks").mkdir(parents=True)
    segment_raster(config, load=always(NEAR))
    assert not (finished / ".work").exists()


def test_more_workers_may_go_on_with_a_run(config: RunConfig, logged: Logged) -> None:
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(replace(logged, fails_from=17)))
    heard = Listening()
    segment_raster(change(config, workers=1, memory="9GB"), heard, always(NEAR))
    assert heard.of(RunPlanned)[0].chunks_done > 0


def test_products_that_an_earlier_call_left_out_are_not_passed_off_as_done(config: RunConfig) -> None:
    segment_raster(change(config, outputs=("classes",)), load=always(NEAR))
    with pytest.raises(RunFolderError, match="outputs was"):
        segment_raster(config, load=always(NEAR))


def test_what_was_chosen_when_a_run_was_begun_stands_when_it_goes_on(config: RunConfig, logged: Logged, tmp_path: Path) -> None:
    chosen = change(config, batch_size=3, tile_size=96)
    with pytest.raises(ChunkError):
        segment_raster(chosen, load=always(replace(logged, fails_from=2)))
    left_open = change(config, batch_size=None, tile_size=None, chunk_size=None)
    heard = Listening()
    run = segment_raster(left_open, heard, always(NEAR))
    assert heard.of(RunPlanned)[0].chunks_done > 0
    assert "batches of 3 tiles" in heard.of(RunPlanned)[0].execution
    assert bytes_of(run) == bytes_of(segment_raster(change(chosen, output=tmp_path / "unbroken"), load=always(NEAR)))


def test_a_run_toml_gives_the_same_run_again(config: RunConfig, finished: Path, tmp_path: Path) -> None:
    again = make_config({"output": tmp_path / "again"}, finished / "run.toml")
    assert None not in (again.tile_size, again.halo, again.stitch, again.batch_size, again.chunk_size, again.precision)
    assert again.backend == "torch"
    assert bytes_of(segment_raster(again, load=always(NEAR))) == bytes_of(finished)


# Somebody else's folder


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"batch_size": 2}, "batch_size was 1, is now 2"),
        ({"halo": 0}, "halo was 16, is now 0"),
        ({"tile_size": 96}, "tile_size was 64, is now 96"),
        ({"chunk_size": 96}, "tiles_per_chunk was 2, is now 3"),
        ({"bands": (3, 2, 1)}, r"bands was \[\], is now \[3, 2, 1\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_options_in_the_same_folder_are_refused_by_name(
    config: RunConfig, finished: Path, values: dict[str, Any], named: str
) -> None:
    before = contents(finished)
    with pytest.raises(RunFolderError, match=f"holds another run: .*{named}.*--overwrite"):
        segment_raster(change(config, **values), load=always(NEAR))
    assert contents(finished) == before


def test_another_model_in_the_same_folder_is_refused(config: RunConfig, finished: Path) -> None:
    weights = Path(config.model, "weights.safetensors")
    weights.write_bytes(b"trained a little more")
    write_card(weights.parent, NEAR.spec)
    with pytest.raises(RunFolderError, match="model_sha256 was"):
        segment_raster(config, load=always(NEAR))


def test_a_model_that_takes_its_weights_for_something_else_is_refused(config: RunConfig, finished: Path) -> None:
    write_card(Path(config.model), NEAR.spec.model_copy(update={"mean": (1.0, 2.0, 3.0)}))
    with pytest.raises(RunFolderError, match="model_spec_sha256 was"):
        segment_raster(config, load=always(NEAR))
    write_card(Path(config.model), NEAR.spec.model_copy(update={"description": "The same, in other words."}))
    assert segment_raster(config, load=always(NEAR)) == finished


def test_a_raster_that_was_changed_is_refused(config: RunConfig, finished: Path) -> None:
    write_raster(Path(config.raster), draw_blobs(*SHAPE, seed=2), nodata=0)
    with pytest.raises(RunFolderError, match="raster_changed was"):
        segment_raster(config, load=always(NEAR))


def at_chunk(number: int, do: Callable[[], object]) -> Callable[[Event], None]:
    def hear(event: Event) -> None:
        if isinstance(event, ChunkDone) and event.done == number:
            do()

    return hear


def test_a_raster_that_changes_during_a_run_ends_it_and_counts_as_another_one_afterwards(config: RunConfig) -> None:
    began_as = plan_run(config).fingerprint()["raster_changed"]

    def change_raster() -> None:
        write_raster(Path(config.raster), draw_blobs(*SHAPE, seed=2), nodata=0)

    with pytest.raises(RunError, match=r"blobs\.tif was changed while it was segmented: .*raster_changed was \d+, is now \d+.*--overwrite"):
        segment_raster(config, at_chunk(3, change_raster), always(NEAR))
    assert contents(config.output).isdisjoint({"summary.json", "classes.tif"})
    assert tomllib.loads((config.output / "run.toml").read_text())["fingerprint"]["raster_changed"] == began_as
    with pytest.raises(RunFolderError, match="raster_changed was"):
        segment_raster(config, load=always(NEAR))


def test_what_is_chosen_by_measuring_leaves_the_raster_as_it_was_noted(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(plan: RunPlan, *_: object) -> RunPlan:
        os.utime(config.raster)
        return replan(plan.config, plan.package, plan.source)

    monkeypatch.setattr(pipeline, "tune", choose)
    monkeypatch.setattr(pipeline, "network_loader", lambda *_: always(NEAR))
    with pytest.raises(RunError, match="was changed while it was segmented"):
        segment_raster(config)


def test_a_raster_that_goes_once_it_was_read_leaves_a_run(config: RunConfig, tmp_path: Path) -> None:
    chunks = plan_run(config).tiles.chunk_count
    elsewhere = change(config, output=tmp_path / "whole")
    segment_raster(elsewhere, load=always(NEAR))
    run = segment_raster(config, at_chunk(chunks, Path(config.raster).unlink), always(NEAR))
    assert bytes_of(run) == bytes_of(elsewhere.output)
    recorded = [tomllib.loads((path / "run.toml").read_text())["fingerprint"] for path in (run, elsewhere.output)]
    assert recorded[0] == recorded[1]


def test_an_area_of_interest_that_changes_during_a_run_is_recorded_as_it_was_read(config: RunConfig, tmp_path: Path) -> None:
    aoi = write_square(tmp_path / "aoi.gpkg", 40.0)
    checksum = hash_file(aoi)
    run = segment_raster(change(config, aoi=aoi), at_chunk(1, lambda: write_square(aoi, 20.0)), always(NEAR))
    assert hash_file(aoi) != checksum
    assert tomllib.loads((run / "run.toml").read_text())["fingerprint"]["aoi_sha256"] == checksum


# Disk space


def leave_free(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_a_run_goes_on_where_only_what_is_left_of_it_fits(config: RunConfig, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(replace(logged, fails_from=17)))
    plan, done = plan_run(config), len(list((config.output / ".work" / "chunks").rglob("*.tif")))
    left = plan.disk_bytes - round(3.0 * done / plan.tiles.chunk_count * SHAPE[0] * SHAPE[1])
    assert 0 < left < plan.disk_bytes
    leave_free(monkeypatch, left - 1000)
    with pytest.raises(WriteError, match="needs about"):
        segment_raster(config, load=always(NEAR))
    # a part of a raster that was being made is written over
    with (config.output / ".work" / "evidence.tif").open("wb") as part:
        part.truncate(20_000)
    leave_free(monkeypatch, left - 20_000)
    segment_raster(config, load=always(NEAR))


def test_rasters_that_stand_need_no_room_again(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RunError("the power is out")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "make_objects", fail)
        with pytest.raises(RunError, match="the power is out"):
            segment_raster(config, load=always(NEAR))
    assert (config.output / "evidence.tif").exists()
    # landcover, buildings, panoptic and roads
    leave_free(monkeypatch, round(1.9 * SHAPE[0] * SHAPE[1]))
    segment_raster(config, load=always(NEAR))


def test_an_area_of_interest_that_was_changed_is_refused(config: RunConfig, tmp_path: Path) -> None:
    inside = change(config, aoi=write_square(tmp_path / "aoi.gpkg", 40.0))
    segment_raster(inside, load=always(NEAR))
    write_square(tmp_path / "aoi.gpkg", 20.0)
    with pytest.raises(RunFolderError, match="aoi"):
        segment_raster(inside, load=always(NEAR))


def test_foreign_files_are_refused_and_kept(config: RunConfig) -> None:
    config.output.mkdir()
    (config.output / "thesis.docx").write_bytes(b"three years")
    with pytest.raises(RunFolderError, match="holds files but no run of geoseg"):
        segment_raster(config, load=always(NEAR))
    assert contents(config.output) == {"thesis.docx"}


def test_chunks_of_nobody_knows_what_are_never_taken_for_done(config: RunConfig, logged: Logged, tmp_path: Path) -> None:
    with pytest.raises(ChunkError):
        segment_raster(change(config, bands=(3, 3, 3)), load=always(replace(logged, fails_from=17)))
    (config.output / "run.toml").unlink()
    try:
        run = segment_raster(config, load=always(NEAR))
    except RunFolderError:
        return
    assert bytes_of(run) == bytes_of(segment_raster(change(config, output=tmp_path / "clean"), load=always(NEAR)))


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"[run", b""], ids=["binary", "half a table", "empty"])
def test_a_damaged_record_is_refused(config: RunConfig, finished: Path, damage: bytes) -> None:
    (finished / "run.toml").write_bytes(damage)
    with pytest.raises(RunFolderError, match=r"--overwrite"):
        segment_raster(config, load=always(NEAR))


# --overwrite


def test_overwriting_removes_the_earlier_run(config: RunConfig, finished: Path, tmp_path: Path) -> None:
    RunFolder(config.output).clear()
    other = change(config, batch_size=2)
    assert bytes_of(segment_raster(other, load=always(NEAR))) == bytes_of(
        segment_raster(change(config, output=tmp_path / "fresh"), load=always(NEAR))
    )


def test_a_worker_of_an_earlier_run_writes_no_chunk_into_a_new_one(config: RunConfig, finished: Path) -> None:
    plan, folder = plan_run(config), RunFolder(config.output)
    folder.clear()
    folder.begin(config, plan.fingerprint())
    work, shared = describe_job(plan, folder.chunks(plan), always(NEAR)), Shared()
    worker = work.prepare(shared)
    try:
        worker((0, 0))
        folder.clear()
        with pytest.raises(RunError, match=r"run\.toml could not be read"):
            worker((0, 1))
        assert not config.output.exists()
        other = plan_run(change(config, chunk_size=128))
        folder.begin(other.config, other.fingerprint())
        with pytest.raises(RunError, match="another run's now"):
            worker((0, 1))
        assert not folder.chunks(other).list_done(other.tiles).count
    finally:
        worker.close()
        shared.close()


def test_overwriting_nothing_does_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path / "none").clear()
    assert contents(tmp_path) == set()


def put_beside(folder: Path) -> None:
    (folder / "thesis.docx").write_bytes(b"three years")


def put_alone(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    put_beside(folder)


@pytest.mark.parametrize("put", [put_alone, put_beside], ids=["alone", "beside a run"])
def test_overwriting_never_removes_foreign_files(finished: Path, put: Callable[[Path], None]) -> None:
    put(finished)
    with pytest.raises(RunFolderError, match=r"\S"):
        RunFolder(finished).clear()
    assert (finished / "thesis.docx").read_bytes() == b"three years"


def test_overwriting_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder(tmp_path / "out").clear()


# The real thing: killed and interrupted processes


SMALL = ["--tile-size", "128", "--halo", "32", "--chunk-size", "64"]
needs_model = pytest.mark.skipif("aerial" not in shipped_models(), reason="no model is shipped in this checkout")


def start(raster: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "geoseg", "segment", str(raster), "-o", str(out), "--progress", "json", *SMALL]
    # a test run in the background of a shell ignores SIGINT, and its children would, too
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)


def wait_for_chunks(process: subprocess.Popen[str], count: int) -> dict[str, Any]:
    """Read events until some chunks are done; return the first one."""
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if sum(event["event"] == "ChunkDone" for event in events) == count:
            return dict(events[0])
    raise AssertionError(f"the process ended early: {process.stderr.read() if process.stderr else ''}")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = draw_scene(SceneOptions(height_px=448, width_px=448))
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", drawn.pixels, transform=drawn.transform, crs=drawn.crs, nodata=0)


@pytest.mark.slow
@needs_model
def test_a_killed_process_goes_on_and_ends_as_if_nothing_had_happened(scene: Path, tmp_path: Path) -> None:
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    process = start(scene, killed)
    planned = wait_for_chunks(process, 8)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {path.name: path.stat().st_mtime_ns for path in (killed / ".work" / "chunks").rglob("*.tif")}
    assert 8 <= len(kept) < planned["chunks"]
    assert not (killed / "classes.tif").exists()

    again = start(scene, killed)
    assert wait_for_chunks(again, 1)["chunks_done"] == len(kept)
    assert {path.name: path.stat().st_mtime_ns for path in (killed / ".work" / "chunks").rglob("*.tif")}.items() >= kept.items()
    whole = start(scene, unbroken)
    assert [process.communicate()[1] for process in (again, whole)] == ["", ""]
    assert [again.returncode, whole.returncode] == [0, 0]
    assert bytes_of(killed) == bytes_of(unbroken)


@pytest.mark.slow
@needs_model
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_process_says_how_to_go_on(scene: Path, tmp_path: Path, stop: signal.Signals) -> None:
    process = start(scene, tmp_path / "out")
    wait_for_chunks(process, 2)
    began = time.monotonic()
    os.killpg(process.pid, stop)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert "Traceback" not in said
    assert "the same command again goes on" in said
    assert process.returncode == 1
    assert len(list((tmp_path / "out" / ".work" / "chunks").rglob("*.tif"))) >= 2

"""Many rasters: all good ones done, bad ones named, batches filled across them, and work shared without a server."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.config import RunConfig
from geoseg.errors import DeviceLostError
from geoseg.events import ClusterReady, Warned
from geoseg.io.store.locks import hold_folder
from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import Keep, NeighborhoodPredictor, Predictor, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from geoseg.runs.attempts import AttemptQueue
from geoseg.runs.batch import LEDGER_NAME, BatchOptions, BatchResult, segment_list
from geoseg.runs.ledger import Entry, Ledger
from geoseg.runs.runlist import RunItem, read_run_list
from geoseg.runtime.workplace import ClusterOptions
from tests.doubles import always, call_geoseg, configure, draw_blobs, write_network, write_package, write_raster

NEAR = NeighborhoodPredictor(spec=double_spec())
QUICK = BatchOptions(back_off_s=0.01)
CLASSES = {"outputs": ("classes",)}


@dataclass
class Counted:
    """A predictor that counts its batches and the tiles in them that differ, and fails where a raster is of one value some times."""

    inner: Predictor = NEAR
    fails: dict[int, int] = field(default_factory=dict)
    filled: list[int] = field(default_factory=list)
    pause_s: float = 0.0

    @property
    def spec(self) -> ModelSpec:
        return self.inner.spec

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        for value, left in self.fails.items():
            if left and ((pixels == value).mean(axis=(1, 2, 3)) > 0.5).any():
                self.fails[value] -= 1
                raise RuntimeError(f"the power is out at {value}")
        self.filled.append(len(np.unique(pixels.reshape(len(pixels), -1), axis=0)))
        time.sleep(self.pause_s)
        return self.inner.predict(pixels, valid, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        raise NotImplementedError


@dataclass(frozen=True)
class CountingLoads:
    """A loader that leaves a file for each time; equal ones load the same, as a package's do."""

    folder: Path

    def __call__(self) -> Predictor:
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return NEAR


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("package") / "double")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        write_raster(folder / f"scene{number}.tif", draw_blobs(60, 60, seed=number))
    return folder


def configuring(package: Path, **options: Any) -> Callable[[str, Path], RunConfig]:
    return lambda raster, folder: configure(Path(raster), package, folder, **{**CLASSES, **options})


def run(images: Path, output: Path, package: Path, predictor: Predictor = NEAR, **options: Any) -> BatchResult:
    return segment_list(read_run_list(str(images)), output, configuring(package, **options), QUICK, load=always(predictor))


def test_every_raster_of_a_list_becomes_what_it_would_alone(images: Path, package: Path, tmp_path: Path) -> None:
    heard: list[Entry] = []
    items = read_run_list(str(images))
    result = segment_list(items, tmp_path / "out", configuring(package), QUICK, heard.append, always(NEAR))
    assert sorted(result.done) == [item.name for item in items] == sorted(entry.name for entry in heard)
    assert (result.failed, result.elsewhere) == ((), ())
    for item in items:
        alone = segment_raster(configuring(package)(item.raster, tmp_path / "alone" / item.name), load=always(NEAR))
        assert (tmp_path / "out" / item.name / "classes.tif").read_bytes() == (alone / "classes.tif").read_bytes()


def test_batches_hold_tiles_of_several_rasters(images: Path, package: Path, tmp_path: Path) -> None:
    # while the first tile is inferred those of other rasters come
    counted = Counted(pause_s=0.5)
    run(images, tmp_path / "out", package, counted, batch_size=4)
    assert sum(counted.filled) == 6
    assert len(counted.filled) < 6


def test_one_failure_never_stops_the_rest(images: Path, package: Path, tmp_path: Path) -> None:
    (images / "scene2.tif").write_bytes(b"no raster")
    cut = (images / "scene4.tif").read_bytes()
    (images / "scene4.tif").write_bytes(cut[: len(cut) // 2])
    write_raster(images / "white.tif", np.full((3, 60, 60), 250, np.uint8))
    counted = Counted(fails={250: 99})
    result = run(images, tmp_path / "out", package, counted)
    assert sorted(result.done) == ["scene0", "scene1", "scene3", "scene5"]
    errors = {entry.name: (entry.error, entry.attempts) for entry in result.failed}
    assert errors.keys() == {"scene2", "scene4", "white"}
    assert "could not be opened as a raster" in str(errors["scene2"][0])
    assert errors["scene2"][1] == 1
    assert "1 of 1 chunks could not be made" in str(errors["white"][0])
    assert "Chunk r00000_c00000 failed 3 times: RuntimeError: the power is out at 250." in str(errors["white"][0])
    assert errors["white"][1] == 1
    kept = Ledger(tmp_path / "out" / LEDGER_NAME).read()
    assert {entry.name for entry in kept.values() if entry.state == "failed"} == errors.keys()
    assert len(kept) == 7


def test_a_lost_device_ends_the_list_and_marks_no_raster_as_failed(images: Path, package: Path, tmp_path: Path) -> None:
    @dataclass
    class Lost(Counted):
        def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
            raise DeviceLostError("the GPU is gone")

    with pytest.raises(DeviceLostError, match="the GPU is gone"):
        run(images, tmp_path / "out", package, Lost())
    ledger = tmp_path / "out" / LEDGER_NAME
    assert not ledger.exists() or "failed" not in ledger.read_text()
    assert len(run(images, tmp_path / "out", package).done) == 6


def test_what_fails_in_passing_is_tried_again_and_goes_on(images: Path, package: Path, tmp_path: Path) -> None:
    write_raster(images / "white.tif", np.full((3, 60, 60), 250, np.uint8))
    result = run(images, tmp_path / "out", package, Counted(fails={250: 2}))
    assert len(result.done) == 7
    assert Ledger(tmp_path / "out" / LEDGER_NAME).read()["white"].attempts == 1


def test_the_same_list_again_only_does_what_is_missing(images: Path, package: Path, tmp_path: Path) -> None:
    (images / "scene2.tif").write_bytes(b"no raster")
    run(images, tmp_path / "out", package)
    write_raster(images / "scene2.tif", draw_blobs(60, 60, seed=2))
    lines = len((tmp_path / "out" / LEDGER_NAME).read_text().splitlines())
    counted = Counted()
    result = run(images, tmp_path / "out", package, counted)
    assert len(result.done) == 6
    assert sum(counted.filled) == 1
    assert len((tmp_path / "out" / LEDGER_NAME).read_text().splitlines()) == lines + 1


def test_a_raster_that_another_command_is_at_work_on_is_left_to_it(images: Path, package: Path, tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Waiting(Counted):
        def predict(self, *given: Any) -> NDArray[np.uint8]:
            inside.set()
            go_on.wait(20)
            return super().predict(*given)

    first = threading.Thread(
        target=segment_raster,
        args=(configuring(package)(str(images / "scene3.tif"), tmp_path / "out" / "scene3"),),
        kwargs={"load": Waiting},
    )
    first.start()
    assert inside.wait(20)
    result = run(images, tmp_path / "out", package)
    go_on.set()
    first.join()
    assert result.elsewhere == ("scene3",)
    assert len(result.done) == 5


@pytest.mark.parametrize("is_done", [True, False])
def test_what_another_command_held_is_looked_at_again_in_the_end(images: Path, package: Path, tmp_path: Path, is_done: bool) -> None:
    items = read_run_list(str(images))
    held = configuring(package)(items[0].raster, tmp_path / "out" / items[0].name)
    with ExitStack() as other:
        other.enter_context(hold_folder(held.output))

        def hear(entry: Entry | ClusterReady | Warned) -> None:
            heard.append(entry)
            if len(heard) == len(items) - 1:
                # the other command ends, with the raster or without
                other.close()
                if is_done:
                    segment_raster(held, load=always(NEAR))

        heard: list[Entry | ClusterReady | Warned] = []
        result = segment_list(items, tmp_path / "out", configuring(package), QUICK, hear, always(NEAR))
    assert sorted(result.done) == [item.name for item in items]
    assert (result.elsewhere, result.failed) == ((), ())
    assert (held.output / "summary.json").exists()


def test_a_list_of_which_another_command_holds_a_part_is_not_done(
    images: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("geoseg.model.load.load_predictor", lambda *_: NEAR)
    words = ("batch", images, "-o", tmp_path / "out", "-m", package, "--outputs", "classes", "--device", "cpu")
    with hold_folder(tmp_path / "out" / "scene1"), hold_folder(tmp_path / "out" / "scene4"):
        assert call_geoseg(monkeypatch, *words) == 3
    said = capsys.readouterr()
    assert "4 of 6 done, 0 failed, 2 at work elsewhere" in said.out
    assert "Another command is still at work on scene1, scene4." in said.err
    assert call_geoseg(monkeypatch, *words) == 0


def test_the_ledger_hears_of_a_raster_that_another_command_has_mended(images: Path, package: Path, tmp_path: Path) -> None:
    (images / "scene2.tif").write_bytes(b"no raster")
    run(images, tmp_path / "out", package)
    ledger = Ledger(tmp_path / "out" / LEDGER_NAME)
    assert ledger.read()["scene2"].state == "failed"
    write_raster(images / "scene2.tif", draw_blobs(60, 60, seed=2))
    segment_raster(configuring(package)(str(images / "scene2.tif"), tmp_path / "out" / "scene2"), load=always(NEAR))
    run(images, tmp_path / "out", package)
    assert ledger.read()["scene2"].state == "done"


def test_rasters_share_a_network_only_where_their_plans_run_it_alike(
    images: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_package: ModelPackage, execution: Execution) -> Predictor:
        loaded.append(execution.backend)
        return NEAR

    loaded: list[str] = []
    monkeypatch.setattr("geoseg.model.load.load_predictor", load)
    ways = {f"scene{number}": {"backend": "onnx" if number == 3 else "torch"} for number in range(6)}
    segment_list(
        read_run_list(str(images)),
        tmp_path / "out",
        lambda raster, folder: configuring(package, **ways[folder.name])(raster, folder),
        BatchOptions(rasters_at_once=1),
    )
    assert loaded == ["torch", "onnx"]


def test_whoever_stops_a_list_does_not_wait_for_the_rasters_under_way(images: Path, package: Path, tmp_path: Path) -> None:
    class Slow(Counted):
        def predict(self, *given: Any) -> NDArray[np.uint8]:
            time.sleep(0.3)
            return super().predict(*given)

    def stop(_entry: Entry) -> None:
        raise KeyboardInterrupt

    write_raster(images / "large.tif", draw_blobs(400, 400))
    (images / "bad.tif").write_bytes(b"no raster")
    before = set(threading.enumerate())
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        segment_list(read_run_list(str(images)), tmp_path / "out", configuring(package, chunk_size=64), QUICK, stop, always(Slow()))
    assert time.monotonic() - began < 5
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
        assert not thread.is_alive()
    assert not (tmp_path / "out" / "large" / "summary.json").exists()
    run(images, tmp_path / "out", package, chunk_size=64)
    assert (tmp_path / "out" / "large" / "summary.json").exists()


def test_lines_that_were_cut_off_count_for_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert ledger.read() == {}
    entry = Entry(name="a", raster="https://me:secret@there/a.tif", state="done", elapsed_s=1.0, attempts=1, ended=5.0, warnings=("w",))
    ledger.add(entry)
    with ledger.path.open("a") as stream:
        stream.write('{"name": "b", "ra\n[]\n\x00\n')
    assert ledger.read()["a"].warnings == ("w",)
    assert list(ledger.read()) == ["a"]
    assert "secret" not in ledger.path.read_text()
    with ledger.path.open("a") as stream:
        stream.write('{"name": "c", "ra')
    ledger.add(replace(entry, name="d"))
    assert list(ledger.read()) == ["a", "d"]


def test_an_attempt_that_waits_lets_others_go_first() -> None:
    items = [RunItem(raster=name, name=name) for name in "abc"]
    queue, taken = AttemptQueue(items), []
    while (attempt := queue.take()) is not None:
        taken.append((attempt.item.name, attempt.number))
        if attempt.item.name == "a" and attempt.number < 3:
            queue.put_back(attempt, 0.05)
        else:
            queue.end()
    assert taken == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("a", 3)]


@pytest.mark.slow
def test_rasters_of_a_list_share_workers_and_their_networks(images: Path, package: Path, tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    loads.mkdir()
    heard: list[Entry | ClusterReady | Warned] = []
    result = segment_list(
        read_run_list(str(images)),
        tmp_path / "out",
        configuring(package, chunk_size=32),
        BatchOptions(cluster=ClusterOptions(workers=1)),
        heard.append,
        CountingLoads(loads),
    )
    assert (len(result.done), result.failed, result.incomplete) == (6, (), ())
    assert len(list(loads.iterdir())) == 1
    assert not list(loads.glob(f"{os.getpid()}-*"))
    assert len([said for said in heard if isinstance(said, ClusterReady)]) == 1
    alone = segment_raster(configuring(package)(str(images / "scene3.tif"), tmp_path / "alone"), load=always(NEAR))
    assert (tmp_path / "out" / "scene3" / "classes.tif").read_bytes() == (alone / "classes.tif").read_bytes()


def test_a_raster_that_lacks_chunks_is_told_of_where_that_is_allowed(images: Path, package: Path, tmp_path: Path) -> None:
    pixels = draw_blobs(60, 120, seed=9)
    pixels[:, :, :56] = 250
    write_raster(images / "half.tif", pixels)
    options = {"allow_missing": True, "chunk_size": 64, "halo": 0}
    result = run(images, tmp_path / "out", package, Counted(fails={250: 99}), **options)
    assert len(result.done) == 6
    assert [(entry.name, entry.state) for entry in result.incomplete] == [("half", "incomplete")]
    assert "1 chunks are missing, first r00000_c00000: RuntimeError: the power is out at 250." in str(result.incomplete[0].error)
    assert len(run(images, tmp_path / "out", package, **options).done) == 7


@pytest.mark.slow
def test_two_commands_share_a_list(images: Path, tmp_path: Path) -> None:
    package = write_network(tmp_path / "network")
    command = [sys.executable, "-m", "geoseg", "batch", str(images), "-o", str(tmp_path / "out"), "-m", str(package)]
    command += ["--outputs", "classes", "--device", "cpu", "--threads", "1", "--backend", "torch"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=200)[0] for process in both]
    # the one that ends first may leave rasters to the other
    assert [process.returncode for process in both] == [3 if "at work elsewhere" in text else 0 for text in said], said
    assert 0 in [process.returncode for process in both], said
    entries = [json.loads(line) for line in (tmp_path / "out" / LEDGER_NAME).read_text().splitlines()]
    assert {entry["name"] for entry in entries} == {f"scene{n}" for n in range(6)}
    assert all((tmp_path / "out" / entry["name"] / "summary.json").exists() for entry in entries)


@pytest.mark.slow
def test_the_command_says_what_is_missing(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = write_network(tmp_path / "network")
    for number in range(2, 6):
        (images / f"scene{number}.tif").unlink()
    (images / "bad.tif").write_bytes(b"no raster")
    words = ["batch", images, "-o", tmp_path / "out", "-m", package, "--outputs", "classes", "--device", "cpu", "--threads", "1"]
    code = call_geoseg(monkeypatch, *words)
    said = capsys.readouterr()
    assert code == 3
    assert "bad: " in said.err
    assert "2 of 3 done, 1 failed" in said.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bbox", "0,0,1,1"), "scene0: .*box"),
        (("--exclude", "nothing.gpkg"), "scene0: .*nothing.gpkg"),
        (("--chunks-at", "s3://key:secret@bucket"), "secrets do not belong"),
        (("--chunk-size", "-5"), "chunk_size"),
        (("--collar", "sideways"), "sideways"),
        (("--formats", "osn"), "scene0: .*did you mean 'osm'"),
    ],
)
def test_the_command_takes_the_options_of_a_single_run(
    images: Path,
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, str],
    message: str,
) -> None:
    words = ("batch", images, "-o", tmp_path / "out", "-m", package, "--retries", "0", "--at-once", "1", *options)
    assert call_geoseg(monkeypatch, *words) in (2, 3)
    assert re.search(message, capsys.readouterr().err)

"""The benchmarks run at a tiny size and hand in plausible rows; how fast anything was is no matter here."""

import fcntl
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.package import find_package
from tests.benchmarks import bare, gpu, memory, start, vectorizer, whole
from tests.benchmarks.__main__ import SECTIONS, parse, write
from tests.benchmarks.children import Child, ChildError, run_child
from tests.benchmarks.forward import measure_forward, run_forward
from tests.benchmarks.models import copy_unscaled, small_spec
from tests.benchmarks.peers.compare import Contender, Job, compare
from tests.benchmarks.peers.handout import hand_out
from tests.benchmarks.peers.network import CARD, ONNX, SCRIPT, WEIGHTS, build
from tests.benchmarks.peers.turnstile import Turnstile
from tests.benchmarks.peers.whole import _in_parts, infer_whole
from tests.benchmarks.place import SIZES, Place, read_sample
from tests.benchmarks.rasters import cut_orthophoto, draw_town, posterized_block, repeat_block
from tests.benchmarks.rows import Row, show
from tests.doubles import draw_blobs, read_all, write_raster


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(folder=tmp_path_factory.mktemp("bench"), sizes=SIZES["tiny"], spec=small_spec(), threads=1, backends=("torch",))


@pytest.fixture(scope="module")
def job(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("peers")
    handout = hand_out(place.network, folder / "handout", 64)
    return Job(raster=place.town, model=place.network.folder, handout=handout, folder=folder, threads=1)


@pytest.fixture(scope="module")
def done(place: Place) -> whole.Done:
    """One whole run, which several tests look at."""
    return whole.run_whole(place, whole.Run(raster=place.town, package=place.network, backend="torch"))


@pytest.fixture
def forward_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bare passes in this process, which has loaded torch already."""

    def run(request: dict[str, Any]) -> Child:
        answer = json.dumps(measure_forward(request))
        return Child(seconds=1.0, cpu_s=1.0, peak_bytes=1_000_000, lines=((0.0, answer),))

    for module in ("bare", "whole"):
        monkeypatch.setattr(f"tests.benchmarks.{module}.run_forward", run)


def forward_request(place: Place, **changes: Any) -> dict[str, Any]:
    fixed = {"device": "cpu", "precision": "float32", "tile": [64, 32], "batch": 2, "batches": 3, "threads": 1}
    return {"model": str(place.network.folder), "backend": "torch", **fixed, **changes}


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_bare_pass_counts_the_pixels_of_all_its_tiles(place: Place, backend: str) -> None:
    found = measure_forward(forward_request(place, backend=backend))
    assert found["mpx"] == pytest.approx(3 * 2 * 64 * 32 / 1e6)
    assert found["seconds"] > 0


def test_a_bare_pass_in_a_process_of_its_own_answers_the_same(place: Place) -> None:
    child = run_forward(forward_request(place))
    assert child.answer.keys() == {"seconds", "cpu_s", "mpx", "first_s"}
    assert child.seconds > child.answer["seconds"] + child.answer["first_s"]


@pytest.mark.usefixtures("forward_here")
def test_bare_passes_are_told_by_backend_tile_and_batch(place: Place) -> None:
    (row,) = bare.measure(place)
    assert row.what == {"backend": "torch", "device": "cpu", "precision": "float32", "tile px": 64, "batch": 2}
    assert row.values["Mpx/s"] > 0


def test_what_cannot_be_measured_says_why(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: dict[str, Any]) -> Child:
        raise ChildError(f"there is no {request['precision']}")

    monkeypatch.setattr("tests.benchmarks.bare.run_forward", fail)
    row = bare.measure_one(place, {"backend": "torch", "device": "cpu", "precision": "float99"}, 64, 1)
    assert not row.values
    assert row.note == "not measured: there is no float99"


@pytest.mark.usefixtures("forward_here")
def test_a_whole_run_is_compared_with_a_bare_pass_over_its_tiles(place: Place, done: whole.Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "run_whole", lambda *_: done)
    (row,) = whole.measure(place)
    values = row.values
    assert (row.what["backend"], row.what["precision"], row.what["batch"]) == ("torch", "float32", 1)
    rows, cols = (int(side) for side in str(row.what["tile px"]).split(" x "))
    # the work of whole tiles, at least one of them
    assert values["halo work"] * 160**2 / (rows * cols) == pytest.approx(round(values["halo work"] * 160**2 / (rows * cols)), abs=0.1)
    assert values["halo work"] >= 1
    assert 0 < values["start s"] < values["whole s"]
    assert values["without start"] < values["whole / bare"]
    assert values["Mpx/s"] == pytest.approx(160**2 / values["whole s"] / 1e6, abs=1e-4)


def test_peak_memory_is_compared_with_that_of_the_first_raster(place: Place) -> None:
    rows = memory.measure(place)
    assert [row.what["raster px"] for row in rows] == ["128 x 128", "128 x 192"]
    assert rows[0].values["against the first"] == 1
    assert 0.5 < rows[1].values["against the first"] < 2
    assert not list(place.folder.rglob("large.tif"))


def test_imports_help_and_the_first_tile_are_timed(place: Place, done: whole.Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "run_whole", lambda *_: done)
    rows = {row.what["what"]: row.values for row in start.measure(place)}
    assert rows["python, nothing done"]["seconds"] <= rows["geoseg --help"]["seconds"]
    run = rows["geoseg segment"]
    assert 0 < run["planned s"] <= run["first chunk s"] <= run["seconds"]
    # to the clock's grain
    assert run["planned s"] < run["first tile began s"] < run["first tile s"] < run["first chunk s"] + 1


def test_the_vectorizer_is_measured_by_the_script_that_stands(place: Place) -> None:
    rows = vectorizer.measure(place)
    assert {row.what["way"] for row in rows} == {"geoseg", "pair", "pair, made valid"}
    assert rows[0].values["valid_coverage"] == "True"


def test_without_a_gpu_its_section_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (row,) = gpu.measure(place)
    assert row.note == "not measured: no CUDA device"


@pytest.mark.usefixtures("forward_here")
def test_the_gpu_section_runs_on_the_processor(place: Place) -> None:
    rows = gpu.measure(place, "cpu")
    sections = {row.section: row for row in rows}
    assert set(sections) == {"gpu: bare", "gpu: whole", "gpu: null"}
    assert sections["gpu: bare"].what["device"] == "cpu"
    run = sections["gpu: whole"]
    assert (run.what["batch"], run.what["precision"]) == (2, "float32")
    assert run.values["whole s"] > 0


def test_a_child_is_not_charged_with_its_parents_memory() -> None:
    held = np.ones(40_000_000)
    child = run_child([sys.executable, "-c", "print('one'); print('{\"two\": 2}')"], threads=1)
    assert child.peak_bytes < held.nbytes / 2
    assert child.answer == {"two": 2}
    assert 0 <= (child.first("one") or 0) <= child.seconds


def test_a_child_that_fails_leaves_its_last_words() -> None:
    with pytest.raises(ChildError, match=r"exit code 1: .*the power is out"):
        run_child([sys.executable, "-c", "raise SystemExit('the power is out')"], threads=1)
    with pytest.raises(ChildError, match=r"ended after 0\.2 s"):
        run_child([sys.executable, "-c", "import time; time.sleep(60)"], threads=1, timeout_s=0.2)


def test_labels_of_random_networks_vary(place: Place) -> None:
    import torch

    from geoseg.model.network import build_network, load_weights

    module = build_network(place.spec).eval()
    load_weights(module, place.network.weights)
    sample = torch.from_numpy(read_sample(place.town)).float()[None, :, :160, :160]
    with torch.inference_mode():
        labels = module((sample - 110) / 55).argmax(dim=1)
    assert (torch.bincount(labels.ravel(), minlength=5) > 0.01 * labels.numel()).sum() >= 3


def test_drawn_rasters_are_the_same_every_time_and_show_no_seam(tmp_path: Path) -> None:
    block = draw_blobs(40, 30)
    pixels = read_all(repeat_block(tmp_path / "a.tif", block, (100, 70)))
    assert np.array_equal(pixels[:, :40, :30], block)
    assert np.array_equal(pixels[:, 40:80, :30], block[:, ::-1])
    assert np.array_equal(pixels[:, 80:, 60:], block[:, :20, :10])
    assert draw_town(tmp_path / "b.tif", 64).read_bytes() == draw_town(tmp_path / "c.tif", 64).read_bytes()
    assert len(np.unique(posterized_block(64))) <= 8


def test_a_cut_of_real_imagery_keeps_pixels_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.rasters.CUT_ROW", 5)
    monkeypatch.setattr("tests.benchmarks.rasters.CUT_COL", 7)
    source = write_raster(tmp_path / "whole.tif", draw_blobs(60, 60))
    cut = cut_orthophoto(tmp_path / "cut.tif", 20, source)
    assert np.array_equal(read_all(cut), read_all(source)[:, 5:25, 7:27])
    with rasterio.open(cut) as part, rasterio.open(source) as full:
        assert part.transform @ (0, 0) == full.transform @ (7, 5)
    with pytest.raises(FileNotFoundError, match="no real imagery"):
        cut_orthophoto(tmp_path / "none.tif", 20, tmp_path / "missing.tif")


def test_an_unscaled_copy_has_the_same_weights_and_no_resolution(tmp_path: Path) -> None:
    shipped, copy = find_package("korea"), copy_unscaled("korea", tmp_path / "copy")
    assert copy.sha256 == shipped.sha256
    assert find_package(copy.folder).spec.resolution_m is None


def test_rows_and_machine_are_written_as_json(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row(section="a", what={"x": 1}, values={"s": 2.5}), Row(section="b", what={"y": "z"}, note="not measured: no reason")]
    write(tmp_path / "bench.json", rows, place)
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["rows"][0] == {"section": "a", "what": {"x": 1}, "values": {"s": 2.5}, "note": ""}
    assert found["machine"]["versions"]["geoseg"]
    show(rows)
    shown = capsys.readouterr().out
    assert "2.5" in shown
    assert "z: not measured: no reason" in shown


def test_an_unknown_section_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["null", "gpu"]).sections == ["null", "gpu"]
    with pytest.raises(SystemExit):
        parse(["nul"])
    assert f"there is no section 'nul'; choose from {', '.join(SECTIONS)}" in capsys.readouterr().err


def test_every_form_of_the_handed_out_weights_gives_the_same_labels(place: Place, job: Job) -> None:
    import onnxruntime
    import torch

    assert {path.name for path in job.handout.iterdir()} >= {CARD, WEIGHTS, ONNX, SCRIPT}
    tile = read_sample(place.town, 64)[None]
    with warnings.catch_warnings():
        # geo-inference takes nothing but TorchScript
        warnings.simplefilter("ignore", FutureWarning)
        scripted = torch.jit.load(job.handout / SCRIPT)(torch.from_numpy(tile)).detach().numpy()
    session = onnxruntime.InferenceSession(str(job.handout / ONNX))
    (exported,) = session.run(None, {"input": tile.astype(np.float32) / 255})
    assert session.get_modelmeta().custom_metadata_map["tiles_overlap"] == "25"
    assert np.abs(scripted - exported).max() < 1e-3
    odd = build(job.handout, divided_by=1.0)(torch.from_numpy(tile[:, :, :60, :50]))
    assert odd.shape == (1, 5, 60, 50)


def test_labels_of_the_whole_image_are_those_of_one_tile_of_geoseg(place: Place, job: Job) -> None:
    labels, how = infer_whole(place.town, job.handout)
    predictor = load_predictor(place.network, Execution())
    pixels = read_all(place.town)[None]
    assert np.array_equal(labels, predictor.predict(pixels, np.ones((1, 160, 160), bool))[0, 0])
    assert how == "one pass over the whole image"


def test_whole_image_inference_in_parts_is_exact_for_a_short_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("tests.benchmarks.peers.whole._TILE", 24)
    monkeypatch.setattr("tests.benchmarks.peers.whole._MARGIN", 4)
    image = torch.from_numpy(draw_blobs(50, 41).astype(np.float32))

    def label(part: torch.Tensor) -> NDArray[np.uint8]:
        blurred = torch.nn.functional.avg_pool2d(part[None], 7, stride=1, padding=3)
        return (blurred[0].sum(dim=0) > 380).to(torch.uint8).numpy()

    assert np.array_equal(_in_parts(image, label), label(image))


@pytest.mark.parametrize(("hold_s", "kept"), [(0.0, False), (60.0, True)])
def test_a_turnstile_keeps_others_out_for_several_turns_but_not_for_long(tmp_path: Path, hold_s: float, kept: bool) -> None:
    turnstile = Turnstile(tmp_path / "lock", hold_s)

    def is_free() -> bool:
        with (tmp_path / "lock").open() as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with turnstile.alone():
        assert not is_free()
    assert is_free() is not kept
    turnstile.release()
    assert is_free()


def test_a_comparison_that_is_stopped_shows_what_was_measured(job: Job) -> None:
    reference, calls = infer_whole(job.raster, job.handout)[0], []

    def run(given: Job, scratch: Path) -> tuple[Child, NDArray[np.uint8]]:
        calls.append(given.raster)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return Child(seconds=2.0, cpu_s=2.0, peak_bytes=1), reference

    one, two = compare(job, [Contender(name=name, settings="own", run=run) for name in ("one", "two")], reference, turns=5)
    assert one.values["seconds"] == 2
    assert two.note == "not measured: stopped before its turn"


def test_contenders_take_turns_and_a_failing_one_says_why(job: Job) -> None:
    reference, order = infer_whole(job.raster, job.handout)[0], []

    def contender(name: str, seconds: float, change: Callable[[NDArray[np.uint8]], None]) -> Contender:
        def run(given: Job, scratch: Path) -> tuple[Child, NDArray[np.uint8]]:
            order.append(name)
            with rasterio.open(given.raster) as source:
                labels = reference[: source.height, : source.width].copy()
            change(labels)
            return Child(seconds=seconds, cpu_s=seconds, peak_bytes=2_000_000), labels

        return Contender(name=name, settings="own", run=run)

    def fail(_: NDArray[np.uint8]) -> None:
        raise ChildError("it has no weights")

    def spoil(labels: NDArray[np.uint8]) -> None:
        labels[:16] += 1

    contenders = [contender("first", 1.0, lambda _: None), contender("slow", 4.0, spoil), contender("broken", 1.0, fail)]
    first, slow, broken = compare(job, contenders, reference, turns=2)
    assert order == ["first", "slow", "broken", "first", "slow", "slow", "first"]
    assert (first.values["agreement %"], slow.values["agreement %"]) == (100, 90)
    assert slow.values["geoseg / this"] == 0.25
    assert slow.values["peak MB"] == 2
    assert broken.note == "failed: it has no weights"
    assert not broken.values

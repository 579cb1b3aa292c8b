"""The command line: help, version, progress, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import geoseg
from geoseg.cli.progress import describe, show_progress
from geoseg.cli.tables import open_console, print_table
from geoseg.events import ChunkDone, Event, Finished, RunPlanned, StageDone, Tuned, Warned
from tests.doubles import call_geoseg, contents, draw_blobs, write_network, write_raster

START = """
import sys
sys.argv = ["geoseg", *sys.argv[1:]]
from geoseg.cli.main import main
try:
    main()
finally:
    print(sorted({"torch", "distributed", "lightning"} & set(sys.modules)))
"""

EVENTS: list[Event] = [
    RunPlanned(
        source="a.tif",
        model="m 1",
        height_px=20,
        width_px=30,
        tiles=4,
        chunks=2,
        chunks_done=1,
        memory_bytes=2_000_000_000,
        execution="onnx on 2 threads",
    ),
    Tuned(chosen="onnx, 1 x 768 px", measured=("onnx, 1 x 768 px: 1.4 Mpx/s", "torch, 1 x 768 px: 1.3 Mpx/s")),
    ChunkDone(chunk="r00000_c00001", done=2, chunks=2, elapsed_s=3.0),
    StageDone(stage="rasters", elapsed_s=0.5),
    Warned(message="Pixels are coarse."),
    Finished(output="out", elapsed_s=4.0),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture
def segment(tmp_path: Path, model: Path) -> list[object]:
    raster = write_raster(tmp_path / "city.tif", draw_blobs(64, 80))
    return ["segment", raster, "-o", tmp_path / "out", "-m", model, "--chunk-size", 64]


@pytest.mark.parametrize("words", [["--help"], ["segment", "--help"], ["--version"]])
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", START, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_importing_geoseg_loads_no_torch() -> None:
    code = "import geoseg, geoseg.pipeline, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_lists_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_geoseg(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    for command in ("segment", "plan", "demo", "train", "evaluate", "accuracy"):
        assert command in said


def test_help_tells_defaults(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for words, default in ((("segment",), "[default: aerial]"), (("qgis", "install"), "[default: default]"), (("view",), "[default: 8765")):
        assert call_geoseg(monkeypatch, *words, "--help") == 0
        assert default in capsys.readouterr().out


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("[old] map", ("what [red]",), [("city[north].tif",), ("[/b]",)])
    open_console().print("Done: out[/x]")
    said = capsys.readouterr().out
    assert all(text in said for text in ("[old] map", "what [red]", "city[north].tif", "[/b]", "Done: out[/x]"))


def test_the_version_is_the_package_s(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_geoseg(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"geoseg {geoseg.__version__}\n"


def test_json_progress_is_one_object_per_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], segment: list[object]
) -> None:
    assert call_geoseg(monkeypatch, *segment, "--progress", "json") == 0
    said = capsys.readouterr()
    names = [json.loads(line)["event"] for line in said.out.splitlines()]
    assert names[0] == "RunPlanned"
    assert names[1] == "ChunkDone"
    assert names[-2:] == ["StageDone", "Finished"]
    assert said.err == ""


def test_no_progress_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], segment: list[object]) -> None:
    assert call_geoseg(monkeypatch, *segment, "--progress", "none") == 0
    assert tuple(capsys.readouterr()) == ("", "")


def test_a_finished_run_is_said_to_be_complete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], segment: list[object]
) -> None:
    assert call_geoseg(monkeypatch, *segment) == 0
    first = capsys.readouterr()
    assert first.out == ""
    assert "80 x 64 px, model small 1" in first.err
    assert "Done in " in first.err
    assert call_geoseg(monkeypatch, *segment) == 0
    assert capsys.readouterr().err == f"Already complete: {segment[3]}\n"


def test_overwriting_starts_over(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], segment: list[object]) -> None:
    assert call_geoseg(monkeypatch, *segment, "--progress", "none") == 0
    assert call_geoseg(monkeypatch, *segment, "--progress", "json", "--overwrite", "--batch-size", 2) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["chunks_done"] == 0


def test_a_run_can_be_repeated_from_its_record(monkeypatch: pytest.MonkeyPatch, segment: list[object], tmp_path: Path) -> None:
    assert call_geoseg(monkeypatch, *segment, "--progress", "none", "--bands", "3,2,1") == 0
    again = ["segment", segment[1], "-o", tmp_path / "again", "--config", tmp_path / "out" / "run.toml", "--progress", "none"]
    assert call_geoseg(monkeypatch, *again) == 0
    assert (tmp_path / "again" / "classes.tif").read_bytes() == (tmp_path / "out" / "classes.tif").read_bytes()


def test_a_plan_prints_numbers_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], segment: list[object], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert call_geoseg(monkeypatch, "plan", segment[1], "-m", segment[5]) == 0
    said = capsys.readouterr().out
    for word in ("tiles", "chunks", "halo work", "memory", "disk", "time", "80 x 64"):
        assert word in said
    assert contents(tmp_path) == before


def test_debug_shows_the_traceback_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], segment: list[object]
) -> None:
    assert call_geoseg(monkeypatch, *segment, "--bands", "7,8,9", "--debug") == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "asks for 7" in said


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_is_said_in_one_line(event: Event) -> None:
    assert describe(event).strip()
    assert "\n" not in describe(event)


def test_the_bar_counts_chunks_and_shows_stages(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("rich") as listener:
        for event in EVENTS:
            listener(event)
    said = capsys.readouterr()
    assert said.out == ""
    assert "2/2" in said.err
    assert "Warning: Pixels are coarse." in said.err

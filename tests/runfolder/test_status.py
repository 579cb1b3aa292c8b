"""``geoseg status``: running, stopped, finished, foreign; how far, why it ended, how to go on; nothing is changed."""

import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from geoseg.config import RunConfig
from geoseg.errors import ChunkError, MissingFileError, RunFolderError
from geoseg.events import Event
from geoseg.inference.planning import plan_run
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.provenance import identify_run
from geoseg.runfolder.status import read_status
from tests.doubles import Logged, always, call_geoseg, configure, contents, draw_blobs, write_package, write_raster

NEAR = NeighborhoodPredictor(spec=double_spec(), radius_px=4)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run that failed on the way."""
    folder = tmp_path_factory.mktemp("broken")
    raster = write_raster(folder / "blobs.tif", draw_blobs(150, 200), nodata=0)
    config = configure(raster, write_package(folder / "package"), folder / "out", chunk_size=32)
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(Logged(NEAR, folder / "calls", fails_from=17)))
    return config


@pytest.fixture
def config(broken: RunConfig, tmp_path: Path) -> RunConfig:
    return broken.model_copy(update={"output": tmp_path / "out"})


@pytest.fixture
def stopped(broken: RunConfig, config: RunConfig) -> Path:
    return Path(shutil.copytree(broken.output, config.output))


def test_a_finished_run_says_so_and_how_to_check_it(config: RunConfig) -> None:
    out = segment_raster(config, load=always(NEAR))
    found = read_status(out)
    assert found.state == "finished"
    assert found.run_id == identify_run(plan_run(config).fingerprint()) == json.loads((out / "summary.json").read_text())["run_id"]
    assert found.chunks == found.chunks_done == plan_run(config).tiles.chunk_count
    assert {"classes.tif", "features.gpkg", "item.json", "run.toml", "summary.json"} <= set(found.products)
    assert found.next == f"geoseg verify {out}"
    assert found.last_error is None


def test_a_stopped_run_counts_its_chunks_and_says_why(config: RunConfig, stopped: Path) -> None:
    found = read_status(stopped)
    done = len(list((stopped / ".work" / "chunks").rglob("*.tif")))
    assert found.state == "stopped"
    assert (found.chunks_done, found.chunks) == (done, plan_run(config).tiles.chunk_count)
    assert 0 < done < plan_run(config).tiles.chunk_count
    assert re.search(r"ChunkError: \d+ of \d+ chunks could not be made", str(found.last_error))
    assert "the power is out" in str(found.last_error)
    assert found.left_s is None, "it is not running"
    assert f"process {os.getpid()} on" in str(found.holder)


def test_the_command_that_is_said_goes_on(config: RunConfig, stopped: Path) -> None:
    program, command, *words = shlex.split(str(read_status(stopped).next))
    assert (program, command) == ("geoseg", "segment")
    assert words == [config.raster, "-o", str(stopped), "--config", str(stopped / "run.toml")]
    segment_raster(config, load=always(NEAR))
    assert read_status(stopped).state == "finished"
    assert read_status(stopped).last_error is None


def test_a_running_run_tells_rate_and_time_left(config: RunConfig, stopped: Path) -> None:
    began = 1_700_000_000.0
    paths = sorted((stopped / ".work" / "chunks").rglob("*.tif"))
    for index, path in enumerate(paths):
        os.utime(path, (began + 2.0 * index,) * 2)
    with RunFolder(stopped).hold():
        found = read_status(stopped)
    assert found.state == "running"
    assert found.chunks_per_min == pytest.approx(30.0)
    assert found.chunks is not None
    assert found.left_s == pytest.approx(2.0 * (found.chunks - len(paths)))
    assert found.next is None
    assert read_status(stopped).state == "stopped"


def test_looking_changes_nothing_and_does_not_stop_a_run_from_beginning(stopped: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    read_status(stopped)
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before
    with RunFolder(stopped).hold():
        pass


def test_a_run_whose_model_is_gone_still_says_what_is_done(config: RunConfig, stopped: Path) -> None:
    record = (stopped / "run.toml").read_text()
    (stopped / "run.toml").write_text(record.replace(config.model, "gone"))
    found = read_status(stopped)
    assert found.chunks is None
    assert found.chunks_done == len(list((stopped / ".work" / "chunks").rglob("*.tif")))


def test_a_user_who_stopped_it_is_named(config: RunConfig) -> None:
    def interrupt(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_raster(config, interrupt, always(NEAR))
    assert "KeyboardInterrupt: stopped by the user" in str(read_status(config.output).last_error)


def test_foreign_and_empty_folders_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.docx").write_bytes(b"three years")
    assert read_status(tmp_path / "empty").state == "empty"
    assert read_status(tmp_path / "foreign").state == "foreign"
    with pytest.raises(MissingFileError, match="There is no folder"):
        read_status(tmp_path / "none")
    assert contents(tmp_path) == {"empty", "foreign", "foreign/thesis.docx"}


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"[run", b"a = " + b"[" * 9000])
def test_a_damaged_record_is_said(stopped: Path, damage: bytes) -> None:
    (stopped / "run.toml").write_bytes(damage)
    with pytest.raises(RunFolderError, match=r"run\.toml could not be read"):
        read_status(stopped)


@pytest.mark.parametrize(
    "content", [b"", b"fingerprint = 3\nrun = 4", b"[fingerprint]\ngrid = 3\n[run]\nraster = 4", b"[fingerprint]\ngrid = []"]
)
def test_a_record_of_any_content_gives_a_status(stopped: Path, content: bytes) -> None:
    (stopped / "run.toml").write_bytes(content)
    found = read_status(stopped)
    assert (found.state, found.chunks) == ("stopped", None)


def test_notes_of_any_content_are_passed_over(stopped: Path) -> None:
    for name in ("holder.json", "error.json"):
        (stopped / ".work" / name).write_bytes(b"[" if name == "holder.json" else b"3")
    assert replace(read_status(stopped), products=()).holder is None


def test_the_command_prints_a_table_or_json(stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert call_geoseg(monkeypatch, "status", stopped) == 0
    said = capsys.readouterr().out
    for word in ("stopped", "chunks", "last error", "the power is out", "geoseg segment"):
        assert word in said
    assert call_geoseg(monkeypatch, "status", stopped, "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"
    assert call_geoseg(monkeypatch, "status", stopped.parent / "none") == 2

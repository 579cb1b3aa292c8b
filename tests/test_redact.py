"""Secrets in addresses are hidden, everything else stays, and nothing that a run writes or says holds one."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import (
    ChunkError,
    ConfigError,
    GeosegError,
    MemoryLimitError,
    MissingFileError,
    RasterError,
    RunFolderError,
    WriteError,
)
from geoseg.events import RunPlanned, Warned, to_json_line
from geoseg.inference.planning import plan_run
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.redact import redact, redact_all
from geoseg.redo import redo_objects
from geoseg.runfolder.provenance import identify_run
from geoseg.runfolder.status import read_status
from geoseg.runfolder.verify import verify_run
from tests.doubles import Listening, Logged, always, call_geoseg, configure, draw_blobs, write_package, write_raster
from tests.hostile.forest import write_forest

NEAR = NeighborhoodPredictor(spec=double_spec(), radius_px=4)
HIDDEN = [
    ("https://ada:hunter2@host/a.tif", "https://***@host/a.tif"),
    ("https://ada:hun@ter2@host/a.tif", "https://***@host/a.tif"),
    ("/vsicurl/https://hunter2@host/a.tif", "/vsicurl/https://***@host/a.tif"),
    ("s3://b/a.tif?X-Amz-Date=2024&X-Amz-Signature=hunter2", "s3://b/a.tif?X-Amz-Date=2024&X-Amz-Signature=***"),
    ("s3://b/a.tif?X-Amz-Security-Token=hunter2%3D&x=1", "s3://b/a.tif?X-Amz-Security-Token=***&x=1"),
    ("https://s.blob/c/a.tif?sv=2024&sr=b&sig=hunter2%3D", "https://s.blob/c/a.tif?sv=2024&sr=b&sig=***"),
    ("https://g/a.tif?GoogleAccessId=x&Signature=hunter2", "https://g/a.tif?GoogleAccessId=x&Signature=***"),
    ("/vsicurl?header.Authorization=Bearer hunter2&url=https://h/a.tif", "/vsicurl?header.Authorization=***&url=https://h/a.tif"),
    ("/vsicurl?header.X-Me=hunter2&url=https%3A%2F%2Fh%2Fa.tif", "/vsicurl?header.X-Me=***&url=https%3A%2F%2Fh%2Fa.tif"),
    ("/vsicurl?url=https%3A%2F%2Fada%3Ahunter2%40h%2Fa.tif", "/vsicurl?url=https%3A%2F%2F***%40h%2Fa.tif"),
    ("/vsicurl?url=https%3A%2F%2Fh%2Fa.tif%3Fsig%3Dhunter2%26x%3D1", "/vsicurl?url=https%3A%2F%2Fh%2Fa.tif%3Fsig%3D***%26x%3D1"),
    ("PG:host=h password='hunter2 x' dbname=d", "PG:host=h password=*** dbname=d"),
    ("Authorization: Bearer hunter2hunter2", "Authorization: Bearer ***"),
    ("got 'https://a:hunter2@h/a' and https://b:hunter2@h/b.", "got 'https://***@h/a' and https://***@h/b."),
]
PLAIN = [
    "/data/city.tif",
    "C:/data/city.tif",
    "https://host/a.tif?format=png&z=3",
    "mail me@home.org",
    "a:b",
    "NETCDF:'a.nc':b",
    "",
    "100 %",
]


@pytest.mark.parametrize(("text", "wanted"), HIDDEN)
def test_secrets_are_hidden(text: str, wanted: str) -> None:
    assert redact(text) == wanted


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(alphabet="abc:/@?&=%3Fsigtoken '\"\n", max_size=60))
def test_hiding_twice_is_hiding_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(st.from_regex(r"[A-Za-z0-9+._~-]{6,20}", fullmatch=True).filter(lambda secret: not secret.isalpha() or len(secret) > 8))
def test_no_signature_survives(secret: str) -> None:
    for form in ("https://u:{}@h/a.tif", "https://h/a.tif?sig={}", "/vsicurl?header.A={}&url=x", "PG:password={} host=h"):
        assert form.format(secret) != redact(form.format(secret)) == redact(form.format("***"))


def test_tables_are_searched_to_their_ends() -> None:
    table = {"a": ["https://u:hunter2@h", {"b": ("x?sig=hunter2", 3, None)}], "c": True}
    assert redact_all(table) == {"a": ["https://***@h", {"b": ["x?sig=***", 3, None]}], "c": True}


@pytest.mark.parametrize("kind", [ChunkError, ConfigError, MemoryLimitError, MissingFileError, RasterError, RunFolderError, WriteError])
def test_no_error_says_a_secret_also_after_it_traveled(kind: type[GeosegError]) -> None:
    error = kind("https://ada:hunter2@host/a.tif could not be read")
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301 - as Dask sends it
        assert str(one) == "https://***@host/a.tif could not be read"
    assert "hunter2" not in repr(error)


def test_no_event_says_a_secret() -> None:
    planned = RunPlanned(**{field.name: 1 for field in fields(RunPlanned)} | {"source": "s3://b/a.tif?sig=hunter2"})
    assert "hunter2" not in repr(planned)
    assert "hunter2" not in repr(Warned(message="https://ada:hunter2@host/a.tif is coarse"))
    assert "hunter2" not in to_json_line(Warned(message="https://ada:hunter2@host/a.tif is coarse"))


# A run over a raster whose name holds secrets


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif?X-Amz-Signature=hunter2&sig=hunter2", draw_blobs(90, 100), nodata=0)


def assert_no_secret(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert "hunter2" not in path.name
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path


def test_no_file_of_a_run_holds_a_secret(raster: Path, tmp_path: Path) -> None:
    heard = Listening()
    config = configure(raster, write_package(tmp_path / "package"), tmp_path / "out")
    out = segment_raster(config, heard, always(NEAR))
    assert_no_secret(out)
    assert "X-Amz-Signature=***" in json.loads((out / "summary.json").read_text())["source"]["path"]
    assert all("hunter2" not in to_json_line(event) for event in heard)
    redo_objects(out, {"buildings": {"min_area_m2": 3.0}})
    assert_no_secret(out)
    assert not verify_run(out).failed


def test_a_new_signature_goes_on_with_the_same_run(raster: Path, tmp_path: Path) -> None:
    package = write_package(tmp_path / "package")
    first = plan_run(configure(raster, package, tmp_path / "out")).fingerprint()
    resigned = shutil.copy2(raster, str(raster).replace("Signature=hunter2", "Signature=swordfish"))
    config = configure(Path(resigned), package, tmp_path / "out")
    assert identify_run(plan_run(config).fingerprint()) == identify_run(first)
    with pytest.raises(ChunkError):
        segment_raster(configure(raster, package, tmp_path / "out"), load=always(Logged(NEAR, tmp_path / "calls", fails_from=1)))
    assert_no_secret(tmp_path / "out")
    assert not verify_run(segment_raster(config, load=always(NEAR))).failed


def test_status_of_a_broken_run_says_no_secret(raster: Path, tmp_path: Path) -> None:
    config = configure(raster, write_package(tmp_path / "package"), tmp_path / "out")
    with pytest.raises(ChunkError) as caught:
        segment_raster(config, load=always(Logged(NEAR, tmp_path / "calls", fails_from=0)))
    found = read_status(tmp_path / "out")
    assert "hunter2" not in str(found) + str(caught.value)
    assert found.next is not None
    assert found.next.startswith("geoseg segment RASTER -o ")


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_the_command_line_says_no_secret(
    raster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], debug: list[str]
) -> None:
    make: Callable[[Path], Path] = write_package
    package = make(tmp_path / "package")
    for name in (raster, tmp_path / "none.tif?sig=hunter2", "/vsicurl/http://ada:hunter2@127.0.0.1:9/a.tif"):
        assert call_geoseg(monkeypatch, "segment", name, "-o", tmp_path / "out", "-m", package, "--bands", "7,8,9", *debug) == 2
        said = capsys.readouterr()
        assert "***" in said.err
        assert "hunter2" not in said.out + said.err


def test_a_plan_says_no_secret(raster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_geoseg(monkeypatch, "plan", raster, "-m", write_forest(tmp_path / "forest")) == 0
    said = capsys.readouterr()
    assert "***" in said.out
    assert "hunter2" not in said.out + said.err

"""``geoseg models`` as it is typed."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from geoseg import probe
from geoseg.model.package import CARD_NAME, GRAPH_NAME, WEIGHTS_NAME, find_package, shipped_models
from tests.doubles import call_geoseg, draw_blobs, write_network, write_package, write_raster
from tests.model.networks import write_small


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    torch.set_num_threads(1)


@pytest.fixture
def fake_field(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(radius_px=93, global_context=False)
    monkeypatch.setitem(sys.modules, "geoseg.model.receptive", SimpleNamespace(measure_receptive_field=lambda _spec, _module: found))


def geoseg(patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = call_geoseg(patch, "models", *words)
    return code, *capsys.readouterr()


def test_list_shows_shipped_models_and_those_below_a_folder(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    write_package(tmp_path / "mine")
    code, out, _ = geoseg(monkeypatch, capsys, "list", "--folder", tmp_path)
    assert code == 0
    for name in (*shipped_models(), str(tmp_path / "mine")):
        assert name in out
    assert "not measured" in out


def test_list_names_a_broken_package_and_shows_the_others(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    write_package(tmp_path / "whole")
    (write_package(tmp_path / "broken") / CARD_NAME).write_text("{", encoding="utf-8")
    code, out, said = geoseg(monkeypatch, capsys, "list", "--json", "--folder", tmp_path)
    assert code == 0
    assert [entry["model"] for entry in json.loads(out)] == [*shipped_models(), str(tmp_path / "whole")]
    assert said.startswith(f"{tmp_path / 'broken'} is left out: ")
    assert len(said.splitlines()) == 1


def test_info_shows_the_card_as_a_table_or_as_it_stands(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    code, out, _ = geoseg(monkeypatch, capsys, "info", "aerial")
    package = find_package("aerial")
    assert code == 0
    for expected in (package.sha256, "#dc2828", "CC BY 4.0", "softmax", f"{package.spec.halo.exact_px} px", package.spec.license):
        assert expected in out, expected
    for metric in package.spec.accuracy:
        assert f"{metric.value:.4f}" in out
    folder = write_package(tmp_path / "mine")
    _, out, _ = geoseg(monkeypatch, capsys, "info", folder, "--json")
    assert json.loads(out) == json.loads((folder / CARD_NAME).read_text())


def test_list_as_json_tells_a_program_what_it_offers(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    folder = write_package(tmp_path / "mine")
    code, out, _ = geoseg(monkeypatch, capsys, "list", "--folder", tmp_path, "--json")
    told = {row["model"]: row for row in json.loads(out)}
    spec = find_package("aerial").spec
    assert code == 0
    assert set(told) == {*shipped_models(), str(folder)}
    assert told["aerial"]["bands"] == list(spec.bands)
    assert (told["aerial"]["resolution_m"], told["aerial"]["coarsest_m"]) == (spec.resolution_m, spec.coarsest_m)
    expected = [(c.value, c.name, c.color, c.kind.value) for c in spec.classes]
    assert [(c["value"], c["name"], c["color"], c["kind"]) for c in told["aerial"]["classes"]] == expected


@pytest.mark.usefixtures("fake_field")
def test_probe_writes_what_it_prints_into_the_card(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    folder = write_network(tmp_path / "network")
    raster = write_raster(tmp_path / "image.tif", draw_blobs(264, 272))
    before = find_package(folder).spec
    code, out, err = geoseg(monkeypatch, capsys, "probe", folder, "--batches", "1", "--device", "cpu")
    assert (code, err) == (0, "")
    assert "93 px" in out
    assert find_package(folder).spec == before, "without --write the card stays"

    code, out, _ = geoseg(monkeypatch, capsys, "probe", folder, "--raster", raster, "--batches", "1", "--device", "cpu", "--write")
    spec = find_package(folder).spec
    assert code == 0
    assert spec.receptive_field_px == 93
    assert spec.halo.measured_on.endswith("image.tif")
    assert [(m.tile_size_px, m.batch_size) for m in spec.measured] == [(128, 1), (256, 1)]
    for measured in spec.measured:
        assert f"{measured.mpx_per_s:.3g} Mpx/s" in out
    assert f"{spec.memory_bytes_per_px} bytes per pixel" in out
    assert spec.created == before.created


@pytest.mark.usefixtures("fake_field")
def test_probe_takes_the_rasters_that_runs_take(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    folder = write_network(tmp_path / "network")
    raster = write_raster(tmp_path / "image.tif", np.concatenate([draw_blobs(272, 300)] * 2), crs=None)
    words = ("probe", folder, "--raster", raster, "--batches", "1", "--device", "cpu", "--write")
    code, _, err = geoseg(monkeypatch, capsys, *words)
    assert code == 2
    assert "--assume-crs" in err
    monkeypatch.setattr(probe, "free_memory_bytes", lambda: 2 * 200**2 * find_package(folder).spec.memory_bytes_per_px)
    monkeypatch.setattr(probe, "measure_memory", lambda predictor: predictor.spec.memory_bytes_per_px)
    code, _, err = geoseg(monkeypatch, capsys, *words, "--assume-crs", "EPSG:32645", "--bands", "6,5,4")
    assert (code, err) == (0, "")
    assert find_package(folder).spec.halo.measured_on.endswith("image.tif (200 x 200 px of it)")


@pytest.mark.usefixtures("fake_field")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batches", "0,1"], "--batches 0,1"),
        (["--data", "."], "--data and --recipe belong together"),
        (["--raster", "{raster}"], "larger than half a tile, 128 px; given were 90 x 80 px"),
    ],
)
def test_what_cannot_be_probed_is_said_before_work_begins(
    tmp_path: Path, monkeypatch: Any, capsys: Any, words: list[str], said: str
) -> None:
    folder = write_network(tmp_path / "network")
    raster = write_raster(tmp_path / "image.tif", draw_blobs(80, 90))
    code, _, err = geoseg(monkeypatch, capsys, "probe", folder, *(word.format(raster=raster) for word in words))
    assert code == 2
    assert said in err


def test_export_and_import_bring_a_package_round(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    folder = write_package(tmp_path / "mine")
    assert geoseg(monkeypatch, capsys, "export", folder, "-o", tmp_path / "a.zip")[0] == 0
    code, out, _ = geoseg(monkeypatch, capsys, "import", tmp_path / "a.zip", "-o", tmp_path / "back", "--name", "theirs")
    assert code == 0
    assert str(tmp_path / "back") in out
    assert find_package(tmp_path / "back").spec.name == "theirs"
    assert (tmp_path / "back" / WEIGHTS_NAME).read_bytes() == (folder / WEIGHTS_NAME).read_bytes()


def test_a_folder_of_something_else_is_no_model(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    code, _, err = geoseg(monkeypatch, capsys, "import", tmp_path, "-o", tmp_path / "back")
    assert code == 2
    assert "it is no model that geoseg knows" in err


def test_graph_writes_what_onnxruntime_runs_without_torch(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    folder = write_small(tmp_path / "mine").folder
    code, out, _ = geoseg(monkeypatch, capsys, "graph", folder)
    assert code == 0
    assert str(folder / GRAPH_NAME) in out
    assert find_package(folder).graph == folder / GRAPH_NAME
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = geoseg(monkeypatch, capsys, "graph", folder)
    assert code == 2
    assert "pip install 'geoseg[onnx]'" in err
    assert find_package(folder).graph == folder / GRAPH_NAME, "the older one stays"

"""The algorithms in a real QGIS: from qgis_process, a model, in batch, with a project."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
from odc.geo.geobox import GeoBox

from geoseg.io.tiffs.image import write_image
from geoseg.scene import SceneOptions, draw_scene
from tests.doubles import draw_blobs, write_raster

InQgis = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("Karten ü")


@pytest.fixture(scope="module")
def town(folder: Path) -> Path:
    """A drawn orthophoto."""
    scene = draw_scene(SceneOptions(height_px=256, width_px=300, seed=5, nodata_corner=False))
    path = folder / "town ü.tif"
    write_image(path, scene.pixels, GeoBox(scene.classes.shape, scene.transform, scene.crs))
    return path


@pytest.fixture(scope="module")
def reference(python: str, town: Path, folder: Path) -> bytes:
    """``classes.tif`` of the command line."""
    out = folder / "command line"
    subprocess.run([python, "-m", "geoseg", "segment", str(town), "-o", str(out), "--outputs", "classes"], check=True, capture_output=True)
    return (out / "classes.tif").read_bytes()


@pytest.fixture(scope="module")
def run(in_qgis: InQgis, town: Path, folder: Path) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A run of qgis_process."""
    out = folder / "run ü"
    return out, in_qgis("run", "geoseg:segment", "--", f"INPUT={town}", f"OUTPUT={out}")


@pytest.fixture(scope="module")
def answers(in_qgis: InQgis, run: tuple[Path, object], town: Path, folder: Path) -> dict[str, Any]:
    """What happened inside of QGIS."""
    polygons = folder / "two.gpkg"
    square = gpd.GeoSeries.from_wkt(["POLYGON((0 0, 0 9, 9 9, 0 0))", "POLYGON((9 9, 0 9, 9 0, 9 9))"], crs=32645)
    gpd.GeoDataFrame({"name": ["one", "two"]}, geometry=square).to_file(polygons)
    bare = write_raster(folder / "bare.tif", draw_blobs(60, 80), crs=None)
    (folder / "only").mkdir()
    task = {
        "load": {"raster": str(town), "output": str(run[0])},
        "change": {"date": str(run[0]), "output": str(folder / "change ü")},
        "model": {"raster": str(town), "output": str(folder / "model"), "file": str(folder / "town.model3")},
        "batch": {"rasters": [str(town), str(town)], "outputs": [str(folder / "batch 1"), str(folder / "batch 2")]},
        "only_in_qgis": {"raster": str(town), "bare": str(bare), "folder": str(folder / "only"), "polygons": str(polygons)},
        "layers": {"raster": str(town), "folder": str(folder / "layers"), "polygons": str(polygons)},
    }
    file = folder / "task.json"
    file.write_text(json.dumps(task), encoding="utf-8")
    done = in_qgis("python", Path(__file__).with_name("inside.py"), in_qgis.plugins, file)  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stderr
    answered: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answered


def test_qgis_process_gives_the_classes_of_the_command_line(run: tuple[Path, Any], reference: bytes) -> None:
    out, done = run
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "classes.tif").read_bytes() == reference
    assert "classes land, water, vegetation, road, building; bands red, green, blue; resolution 0.3 m" in done.stdout
    assert "100 - done" in done.stdout
    assert f"BUILDINGS:\t{out}/features.gpkg|layername=buildings" in done.stdout


def test_a_model_gives_them_too_and_hands_them_on(answers: dict[str, Any], folder: Path, reference: bytes) -> None:
    assert (folder / "model" / "classes.tif").read_bytes() == reference
    assert answers["model"]["polygons"] == len(gpd.read_file(folder / "model-polygons.gpkg")) > 10


def test_so_does_batch(answers: dict[str, Any], folder: Path, reference: bytes) -> None:
    assert answers["batch"] == [[True, ""], [True, ""]]
    for name in ("batch 1", "batch 2"):
        assert (folder / name / "classes.tif").read_bytes() == reference


def test_layers_load_styled_in_a_group_of_their_run(answers: dict[str, Any], run: tuple[Path, Any]) -> None:
    (group,) = answers["load"]
    assert group["group"] == run[0].name
    names = [(layer["name"], layer["shown"]) for layer in group["layers"]]
    assert names == [("Buildings", True), ("Roads", True), ("Land cover", False), ("Classes", True)]
    legend = {layer["name"]: layer["legend"] for layer in group["layers"]}
    classes = json.loads((run[0] / "summary.json").read_text())["classes"]
    assert legend["Classes"] == legend["Land cover"] == [[c["name"], c["color"]] for c in classes if c["value"] != 255]
    assert legend["Buildings"] == [["", "#dc2828"]]


def test_layers_of_a_change_keep_the_colors_that_stand_in_its_file(answers: dict[str, Any]) -> None:
    legend = {layer["name"]: [name for name, _ in layer["legend"]] for layer in answers["change"]["layers"]}
    assert sorted(legend) == ["buildings", "roads", "transitions"]
    assert legend["roads"] == ["new", "lost", "same"]
    assert "unknown" in legend["buildings"]


def test_files_are_passed_on_and_what_is_none_is_exported_or_refused(answers: dict[str, Any], town: Path, folder: Path) -> None:
    told = answers["layers"]
    assert (told["image"], told["whole"]) == (str(town), str(folder / "two.gpkg"))
    assert told["bands"] == ["red", "green", "blue"]
    assert gpd.read_file(told["part"])["name"].tolist() == ["one"]
    assert told["memory"] == str(folder / "layers" / "memory.fgb")
    assert "'tiles' is a WMS, WMTS, XYZ layer: a server draws it anew for every view" in told["refused"]


def test_what_only_qgis_knows_goes_along_or_is_refused(answers: dict[str, Any], folder: Path) -> None:
    told = answers["only_in_qgis"]
    assert (told["told"], told["taken"]) == ("EPSG:32645", str(folder / "bare.tif"))
    assert "declares no CRS" in told["refused"]
    assert "Assign Projection" in told["refused"]
    assert "'other' has the CRS EPSG:3857" in told["other"]
    assert "EPSG:32645" in told["other"]
    assert "table_kind" in gpd.read_file(told["joined"]).columns
    assert (told["stays"], told["is_replaced"]) == (True, True)
    assert told["files"] == ["joined.fgb", "memory.tif"]


def test_an_error_is_that_of_geoseg(in_qgis: InQgis, town: Path, folder: Path) -> None:
    done = in_qgis("run", "geoseg:segment", "--", f"INPUT={town}", f"OUTPUT={folder / 'never'}", "MODEL=nowhere")
    assert done.returncode != 0
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr

"""The report of a run: it tells what the run found, asks for nothing outside, and goes with the run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely

from geoseg.config import make_config
from geoseg.errors import LabelError, MissingFileError, RunFolderError
from geoseg.events import StageDone
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.products.exports import export_run, find_products, report_run
from geoseg.products.reporting.write import Told, write_report
from geoseg.redo import redo_objects
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.verify import verify_run
from tests.doubles import Listening, always, call_geoseg, configure, draw_blobs, write_package, write_raster

NEAR = NeighborhoodPredictor(spec=double_spec(), radius_px=8)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return write_raster(folder / "blobs.tif", draw_blobs(150, 200, corner=60), nodata=0), write_package(folder / "double")


@pytest.fixture(scope="module")
def finished(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return segment_raster(configure(*inputs, tmp_path_factory.mktemp("finished") / "out"), load=always(NEAR))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def accuracy(run: Path, tmp_path: Path) -> Path:
    names = [row["name"] for row in json.loads((run / "summary.json").read_text())["classes"][:-1]]
    parts = {f"{name}{end}": 0.5 for name in ("users", "producers", "area_m2") for end in ("", "_margin", "_error")}
    rows = [{"class": name, "points": 20, "mapped_m2": 9.0, **parts, "area_m2": 40_000.0, "area_m2_margin": 2500.0} for name in names]
    rows[0]["producers"] = rows[0]["producers_margin"] = None
    told = {"overall_accuracy": 0.875, "overall_accuracy_margin": 0.031, "classes": rows, "counts": [], "proportions": [], "notes": []}
    path = tmp_path / "area.json"
    path.write_text(json.dumps(told))
    return path


def text_of(run: Path) -> str:
    html = (run / "report.html").read_text()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r'src="[^"]*"', "", html)))


def test_a_run_ends_with_a_report_of_what_it_found(finished: Path) -> None:
    summary, text = json.loads((finished / "summary.json").read_text()), text_of(finished)
    for row in summary["classes"][:-1]:
        assert f"{row['name']} {row['area_m2'] / 1e4:,.2f}" in text
    buildings = gpd.read_file(finished / "features.gpkg", layer="buildings")
    assert f"{len(buildings)} buildings cover {buildings['area_m2'].sum() / 1e4:,.2f} ha" in text
    assert summary["model"]["sha256"] in text
    assert summary["timing_s"]["report"] > 0
    assert verify_run(finished).failed == ()


def test_a_report_is_one_file_that_asks_for_nothing(finished: Path) -> None:
    html = (finished / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(sources) >= 5
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"<script|@import|url\(", html)
    asset = json.loads((finished / "item.json").read_text())["assets"]["report.html"]
    assert (asset["type"], asset["roles"]) == ("text/html", ["overview"])


def test_a_run_without_a_report_gets_one_later_and_stays_the_same_run(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    config = configure(*inputs, tmp_path / "out", outputs=["classes", "confidence"])
    run = segment_raster(config, load=always(NEAR))
    before = json.loads((run / "summary.json").read_text())["run_id"]
    assert not (run / "report.html").exists()
    heard = Listening()
    assert report_run(run, listener=heard) == run / "report.html"
    assert [event.stage for event in heard.of(StageDone)] == ["report"]
    assert json.loads((run / "summary.json").read_text())["run_id"] == before
    assert "report" in make_config({}, run / "run.toml").outputs
    assert verify_run(run).failed == ()
    # the same command still finds its run finished
    assert segment_raster(config, load=always(NEAR)) == run


def test_areas_get_intervals_where_the_map_was_judged_and_keep_them(run: Path, accuracy: Path) -> None:
    report_run(run, accuracy)
    judged = text_of(run)
    assert "87.5% ± 3.1%" in judged
    assert "4.00 ± 0.25" in judged
    redo_objects(run, {"buildings": {"min_area_m2": 50}})
    assert "4.00 ± 0.25" in text_of(run)
    assert verify_run(run).failed == ()


def test_scores_against_labels_are_told_once(run: Path, tmp_path: Path) -> None:
    told = {"title": "Town", "data": [{"name": "north", "metrics": {"mean IoU": 0.7125}, "notes": []}]}
    (tmp_path / "evaluation.json").write_text(json.dumps(told))
    report_run(run, evaluation=tmp_path)
    assert "north metric value mean IoU 0.7125" in text_of(run)
    redo_objects(run, {"buildings": {"min_area_m2": 50}})
    assert "0.7125" not in text_of(run)


def test_zones_come_into_the_report_when_they_are_measured(run: Path, tmp_path: Path) -> None:
    zones = gpd.GeoDataFrame({"name": ["Old <town>"]}, geometry=[shapely.box(337_000, 3_058_000, 338_000, 3_059_000)], crs="EPSG:32645")
    zones.to_file(tmp_path / "zones.gpkg")
    assert "Areas by zone" not in text_of(run)
    export_run(run, zones=tmp_path / "zones.gpkg")
    assert "Areas by zone" in text_of(run)
    assert "Old &lt;town&gt;" in (run / "report.html").read_text()


def test_a_report_is_written_without_imagery_and_tells_what_is_missing(run: Path, tmp_path: Path) -> None:
    folder = RunFolder(run)
    config = make_config({"raster": str(tmp_path / "gone.tif")}, folder.record)
    products = find_products(folder, tmp_path / "none", config)
    assert products.imagery is None
    chunk = {"chunk": "r00000_c00001", "window": [64, 0, 32, 16], "error": "the disk was pulled out"}
    summary = folder.read_summary() | {"missing": [chunk], "warnings": ["a river ran dry"]}
    write_report(products, Told(summary=summary, config=config), tmp_path)
    text = text_of(tmp_path)
    assert "chunk r00000_c00001 (columns 64-96, rows 0-16): the disk was pulled out" in text
    assert "a river ran dry" in text
    assert "Imagery" not in text.split("Areas by class")[0]
    assert "Classes" in text


def damaged(text: str) -> dict[str, Any]:
    return {"content": text, "error": LabelError, "match": "is not what geoseg accuracy area"}


@pytest.mark.parametrize("case", [damaged("{"), damaged("[]"), damaged('{"classes": [1]}'), damaged('{"classes": []}')])
def test_a_file_that_is_no_accuracy_is_refused_and_the_run_stays(run: Path, tmp_path: Path, case: dict[str, Any]) -> None:
    before = (run / "item.json").read_bytes()
    (tmp_path / "area.json").write_text(case["content"])
    with pytest.raises(case["error"], match=case["match"]):
        report_run(run, tmp_path / "area.json")
    assert (run / "item.json").read_bytes() == before


def test_an_accuracy_of_another_map_is_refused(run: Path, accuracy: Path) -> None:
    accuracy.write_text(accuracy.read_text().replace('"class": "', '"class": "x'))
    with pytest.raises(LabelError, match=r"speaks of the classes x.*; this run has"):
        report_run(run, accuracy)
    with pytest.raises(MissingFileError, match=r"nowhere\.json"):
        report_run(run, evaluation=run / "nowhere.json")


def test_the_command_names_the_page_and_refuses_other_folders(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call_geoseg(monkeypatch, "report", run, "--progress", "none") == 0
    assert f"Report: {run / 'report.html'}" in capsys.readouterr().out
    with pytest.raises(RunFolderError, match="holds no run of geoseg"):
        report_run(tmp_path)

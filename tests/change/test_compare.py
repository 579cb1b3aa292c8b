"""Two dates compared: a drawn town with known edits, run folders, and what is refused."""

import json
import shutil
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

import geoseg
from geoseg.change.compare import compare
from geoseg.change.dates import make_runs
from geoseg.change.options import ChangeOptions
from geoseg.change.side import Side
from geoseg.errors import MissingFileError, RunFolderError, UsageError
from geoseg.events import Finished, StageDone, Warned, ignore_events
from geoseg.model.predictor import double_spec
from geoseg.pipeline import segment_raster
from geoseg.scene import SceneOptions
from tests.doubles import (
    NODATA,
    TRANSFORM,
    Copying,
    Listening,
    always,
    call_geoseg,
    configure,
    read_band,
    write_network,
    write_package,
    write_raster,
)
from tests.town import Town, draw_town, score, sides

BUILDING = 4
MOVED_PX = (1.2, 0.9)
"""One and a half pixels."""


@pytest.fixture(scope="module")
def town() -> Town:
    return draw_town(SceneOptions(height_px=480, width_px=480, seed=3, resolution_m=0.5), edits=5, roads=1)


@pytest.fixture(scope="module")
def dates(town: Town, tmp_path_factory: pytest.TempPathFactory) -> tuple[Side, Side]:
    return sides(town, tmp_path_factory.mktemp("town"), MOVED_PX)


@pytest.fixture(scope="module")
def compared(dates: tuple[Side, Side], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("compared") / "out"
    return compare(*dates, output, ChangeOptions(), ignore_events)


def read_json(output: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((output / "change.json").read_text())
    return told


def test_edits_of_a_misplaced_town_are_found_and_nothing_else(town: Town, compared: Path) -> None:
    whole = reduce(add, score(town, compared).values())
    found, false = whole.shares
    assert whole.edits == 22
    assert found >= 0.95
    assert false <= 0.02


def test_the_same_holds_after_alignment_with_a_smaller_tolerance(town: Town, dates: tuple[Side, Side], tmp_path: Path) -> None:
    output = compare(*dates, tmp_path / "out", ChangeOptions(align=True), ignore_events)
    found, false = reduce(add, score(town, output).values()).shares
    assert found >= 0.95
    assert false <= 0.02
    told = read_json(output)
    assert told["misregistration"]["corrected"]
    assert told["tolerance_m"] == pytest.approx(1.0, rel=0.001), "two pixels of half a metre"


def test_misregistration_is_measured_to_a_fifth_of_a_pixel(compared: Path) -> None:
    seen = read_json(compared)["misregistration"]
    assert seen["reliable"]
    assert (seen["cols_px"], seen["rows_px"]) == pytest.approx(MOVED_PX, abs=0.2)
    assert seen["distance_m"] == pytest.approx(0.75, abs=0.1)


def test_changed_pixels_are_those_of_the_truth_but_for_their_borders(town: Town, compared: Path) -> None:
    codes = read_band(compared / "transitions.tif")
    height, width = codes.shape
    before, after = (scene.classes[-height:, -width:] for scene in (town.before, town.after))
    both = (codes != NODATA) & (before != NODATA) & (after != NODATA)
    np.testing.assert_array_equal((codes // 16)[both], before[both])
    gone = shapely.area([p for kind, p in town.edits if kind == "gone"]).sum()
    was_built = ((codes // 16 == 4) & (codes % 16 != 4) & both).sum()
    shrunk = sum(0.4 * p.area for kind, p in town.edits if kind == "shrunk")
    assert was_built == pytest.approx(gone + shrunk, rel=0.15)


def test_matrix_raster_polygons_and_summary_agree(compared: Path) -> None:
    codes = read_band(compared / "transitions.tif")
    told = read_json(compared)
    for row in told["transitions"]:
        assert row["pixels"] == (codes == row["code"]).sum()
        assert row["area_m2"] == pytest.approx(row["pixels"] * 0.25, rel=0.002)
    assert told["unknown"]["pixels"] == (codes == NODATA).sum()
    changes = gpd.read_file(compared / "change.gpkg", layer="transitions")
    assert changes["area_m2"].sum() == pytest.approx(sum(row["area_m2"] for row in told["transitions"]), rel=0.03)
    lines = (compared / "transitions.csv").read_text().splitlines()
    assert lines[0] == "from \\ to (m2),land,water,vegetation,road,building,before"
    assert float(lines[-1].split(",")[-1]) == pytest.approx((codes != NODATA).sum() * 0.25, rel=0.002)


def test_the_raster_says_itself_what_its_values_mean(compared: Path) -> None:
    with rasterio.open(compared / "transitions.tif") as dataset:
        assert dataset.nodata == NODATA
        assert dataset.driver == "GTiff"
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.colormap(1)[4] != dataset.colormap(1)[64]
    names = (compared / "transitions.tif.aux.xml").read_text()
    assert "building to land" in names


def test_layers_bring_their_colors(compared: Path) -> None:
    styles = gpd.read_file(compared / "change.gpkg", layer="layer_styles")
    assert set(styles["f_table_name"]) == {"transitions", "buildings", "roads"}
    qml = styles.set_index("f_table_name")["styleQML"]
    assert 'value="grown"' in qml["buildings"]
    assert 'attr="code"' in qml["transitions"]


def test_the_page_needs_nothing_else(compared: Path) -> None:
    page = (compared / "change.html").read_text()
    assert "From class to class" in page
    assert page.count("data:image/png") >= 4
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_areas_are_added_up_in_zones(dates: tuple[Side, Side], compared: Path, tmp_path: Path) -> None:
    pytest.importorskip("exactextract")
    grid = dates[0].geobox.boundingbox
    middle = (grid.left + grid.right) / 2
    halves = [shapely.box(grid.left, grid.bottom, middle, grid.top), shapely.box(middle, grid.bottom, grid.right, grid.top)]
    gpd.GeoDataFrame({"name": ["west", "east"]}, geometry=halves, crs=dates[0].geobox.crs.to_wkt()).to_file(tmp_path / "zones.gpkg")
    output = compare(*dates, tmp_path / "out", ChangeOptions(zones=tmp_path / "zones.gpkg"), ignore_events)
    table = gpd.read_file(output / "change.gpkg", layer="zones")
    whole = {f"{row['from']} to {row['to']}": row["area_m2"] for row in read_json(compared)["transitions"]}
    for name, area_m2 in whole.items():
        assert table[f"{name}_m2"].sum() == pytest.approx(area_m2, rel=0.01, abs=1)
    assert "west" in (output / "zones.csv").read_text()


def test_zones_elsewhere_are_refused_before_any_work(dates: tuple[Side, Side], tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 5, 5)], crs=dates[0].geobox.crs.to_wkt()).to_file(tmp_path / "away.gpkg")
    with pytest.raises(UsageError, match="None of the 1 zones"):
        compare(*dates, tmp_path / "out", ChangeOptions(zones=tmp_path / "away.gpkg"), ignore_events)
    assert not (tmp_path / "out").exists()


def test_a_comparison_in_zones_that_were_changed_is_another_one(runs: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("exactextract")
    x, y = TRANSFORM.c, TRANSFORM.f
    zones, options = tmp_path / "zones.geojson", ChangeOptions(zones=tmp_path / "zones.geojson")
    for width in (10, 20):
        zone = gpd.GeoDataFrame({"name": ["one"]}, geometry=[shapely.box(x, y - 10, x + width, y)], crs="EPSG:32645").to_crs("EPSG:4326")
        zone.to_file(zones)
        if width == 10:
            geoseg.change_runs(*runs, tmp_path / "out", options)
            geoseg.change_runs(*runs, tmp_path / "out", options)
    with pytest.raises(RunFolderError, match=r"other runs or options.*--overwrite"):
        geoseg.change_runs(*runs, tmp_path / "out", options)


BEFORE = [(10, 10, 20, 20), (10, 30, 20, 44), (30, 10, 44, 20), (40, 40, 50, 50), (60, 60, 70, 70)]
AFTER = [(10, 10, 20, 20), (10, 30, 20, 36), (30, 10, 44, 30), (70, 8, 80, 20), (60, 60, 70, 70)]
HOLE = (56, 64, 76, 90)


def draw(boxes: list[tuple[int, int, int, int]], hole: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8]:
    classes = np.zeros((96, 96), np.uint8)
    for top, left, bottom, right in boxes:
        classes[top:bottom, left:right] = 1
    if hole is not None:
        top, left, bottom, right = hole
        classes[top:bottom, left:right] = NODATA
    return np.repeat(classes[None], 3, axis=0)


def make_run(folder: Path, name: str, pixels: NDArray[np.uint8], **place: Any) -> Path:
    """A run by a double that copies class values."""
    raster = write_raster(folder / f"{name}.tif", pixels, nodata=NODATA, **place)
    model = folder / "model" if (folder / "model").exists() else write_package(folder / "model")
    return segment_raster(configure(raster, model, folder / name), load=always(Copying(double_spec())))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return make_run(folder, "one", draw(BEFORE)), make_run(folder, "two", draw(AFTER, HOLE))


def test_two_run_folders_are_compared_once(runs: tuple[Path, Path], tmp_path: Path) -> None:
    heard = Listening()
    output = geoseg.change_runs(*runs, tmp_path / "out", listener=heard)
    counts = read_json(output)["counts"]
    assert {name: counts[f"buildings_{name}"] for name in ("new", "gone", "grown", "shrunk", "same", "unknown")} == {
        "new": 1,
        "gone": 1,
        "grown": 1,
        "shrunk": 1,
        "same": 1,
        "unknown": 1,
    }
    assert [event.stage for event in heard.of(StageDone)][:3] == ["registration", "transitions", "buildings"]
    assert not (output / ".work").exists()
    again = Listening()
    geoseg.change_runs(*runs, output, listener=again)
    assert [type(event) for event in again] == [Finished]
    assert again[0].elapsed_s == 0


def test_a_building_that_only_the_objects_lack_is_no_change(dates: tuple[Side, Side], tmp_path: Path) -> None:
    before, after = dates
    assert after.buildings is not None
    fewer = replace(after, buildings=after.buildings.iloc[::2])
    output = compare(before, fewer, tmp_path / "out", ChangeOptions(), ignore_events)
    # the class map still shows them
    assert read_json(output)["counts"]["buildings_gone"] == 5


def with_evidence(dates: tuple[Side, Side], folder: Path, of: tuple[int, int]) -> tuple[Side, Side]:
    """Give each date the evidence that the true classes of one of them are."""
    folder.mkdir()
    made = []
    for side, number in zip(dates, of, strict=True):
        path, geobox = folder / f"{side.name}.tif", dates[number].geobox
        layers = np.stack([np.zeros(geobox.shape, np.uint8), np.uint8(255) * (read_band(dates[number].classes) == BUILDING)])
        write_raster(path, layers, transform=geobox.transform, crs=str(geobox.crs))
        made.append(replace(side, evidence=(path, 2)))
    return made[0], made[1]


def test_evidence_that_says_what_the_classes_say_changes_nothing(dates: tuple[Side, Side], compared: Path, tmp_path: Path) -> None:
    sure = compare(*with_evidence(dates, tmp_path / "e", (0, 1)), tmp_path / "out", ChangeOptions(), ignore_events)
    one, other = (gpd.read_file(output / "change.gpkg", layer="buildings") for output in (compared, sure))
    assert one["status"].tolist() == other["status"].tolist()
    assert one["building_before"].isna().all()
    new, gone = (other[other["status"] == status] for status in ("new", "gone"))
    assert new["building_after"].min() > 0.9
    assert new["building_before"].max() < 0.1
    assert gone["building_before"].min() > 0.9


def test_what_the_models_are_of_one_mind_about_is_no_sure_change(dates: tuple[Side, Side], compared: Path, tmp_path: Path) -> None:
    unsure = compare(*with_evidence(dates, tmp_path / "e", (0, 0)), tmp_path / "out", ChangeOptions(), ignore_events)
    one, other = (gpd.read_file(output / "change.gpkg", layer="buildings")["status"] for output in (compared, unsure))
    assert other.isin(("unsure", "same", "unknown")).all()
    assert (other == "unsure").sum() == one.isin(("new", "gone", "grown", "shrunk")).sum()
    told = json.loads((unsure / "change.json").read_text())
    assert told["counts"]["buildings_unsure"] == (other == "unsure").sum()
    taken = compare(*with_evidence(dates, tmp_path / "f", (0, 0)), tmp_path / "all", ChangeOptions(min_evidence=0.0), ignore_events)
    assert gpd.read_file(taken / "change.gpkg", layer="buildings")["status"].tolist() == one.tolist()


def test_nothing_is_said_where_a_date_has_no_data(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for pair in (runs, runs[::-1]):
        output = geoseg.change_runs(*pair, tmp_path / pair[0].name)
        top, left, bottom, right = HOLE
        codes = read_band(output / "transitions.tif")
        assert (codes[top:bottom, left:right] == NODATA).all()
        a, _, x, _, e, y = tuple(TRANSFORM)[:6]
        hole = shapely.box(x + a * left, y + e * bottom, x + a * right, y + e * top)
        assert not gpd.read_file(output / "change.gpkg", layer="transitions").intersection(hole).area.any()
        buildings = gpd.read_file(output / "change.gpkg", layer="buildings")
        assert set(buildings[buildings.intersects(hole)]["status"]) == {"unknown"}


def test_another_comparison_is_not_overwritten_unless_asked(runs: tuple[Path, Path], tmp_path: Path) -> None:
    output = geoseg.change_runs(*runs, tmp_path / "out")
    wider = ChangeOptions(tolerance_m=3.0)
    with pytest.raises(RunFolderError, match=r"comparison of other runs or options.*--overwrite"):
        geoseg.change_runs(*runs, output, wider)
    geoseg.change_runs(*runs, output, wider, overwrite=True)
    assert read_json(output)["tolerance_m"] == 3.0


def test_grids_of_other_pixels_and_crs_are_compared_on_the_finer_one(runs: tuple[Path, Path], tmp_path: Path) -> None:
    coarse = np.repeat(np.repeat(draw(AFTER)[:, ::2, ::2], 1, axis=1), 1, axis=2)
    other = make_run(tmp_path, "coarse", coarse, transform=TRANSFORM @ TRANSFORM.scale(2))
    output = geoseg.change_runs(runs[0], other, tmp_path / "out")
    told = read_json(output)
    assert told["grid"]["pixel_m"] == pytest.approx([0.5, 0.5], rel=0.01)
    assert {name: told["counts"][f"buildings_{name}"] for name in ("new", "gone", "grown", "shrunk", "same")} == {
        "new": 1,
        "gone": 1,
        "grown": 1,
        "shrunk": 1,
        "same": 2,
    }


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_metres_are_those_on_the_ground_in_other_crs_too(crs: str, tmp_path: Path) -> None:
    # half a metre at 27.6 degrees north
    step = {"EPSG:4326": (0.5 / 98_710, 0.5 / 110_800), "EPSG:3857": (0.5641, 0.5641)}[crs]
    corner = {"EPSG:4326": (85.5, 27.6), "EPSG:3857": (9_517_816.0, 3_197_500.0)}[crs]
    place = {"transform": Affine(step[0], 0, corner[0], 0, -step[1], corner[1]), "crs": crs}
    runs = make_run(tmp_path, "one", draw(BEFORE), **place), make_run(tmp_path, "two", draw(AFTER), **place)
    output = geoseg.change_runs(*runs, tmp_path / "out")
    told = read_json(output)
    assert told["tolerance_m"] == pytest.approx(1.0, rel=0.01)
    assert {name: told["counts"][f"buildings_{name}"] for name in ("new", "gone", "grown", "shrunk", "same")} == {
        "new": 1,
        "gone": 1,
        "grown": 1,
        "shrunk": 1,
        "same": 2,
    }
    assert {row["from"]: row["area_m2"] for row in told["transitions"]} == pytest.approx({"ground": 65.0, "building": 45.0}, rel=0.02)


def test_runs_of_two_places_are_refused_with_where_they_lie(runs: tuple[Path, Path], tmp_path: Path) -> None:
    far = make_run(tmp_path, "far", draw(AFTER), transform=TRANSFORM @ TRANSFORM.translation(500, 0))
    with pytest.raises(UsageError, match=r"share no ground: before \(.*spans \[85\.3.*after \("):
        geoseg.change_runs(runs[0], far, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_beside_two_runs_would_count_for_nothing_and_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="are finished runs, so that nothing is segmented and bands, model would count for nothing"):
        make_runs((str(runs[0]), str(runs[1])), tmp_path / "out", ChangeOptions(), {"model": "aerial", "bands": (1,)}, ignore_events)


def test_a_first_map_is_no_finished_run(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first = shutil.copytree(runs[0], tmp_path / "first")
    told = json.loads((first / "summary.json").read_text()) | {"quick": {"state": "refining"}}
    (first / "summary.json").write_text(json.dumps(told))
    with pytest.raises(RunFolderError, match=r"first is not finished: .* first map"):
        geoseg.change_runs(first, runs[1], tmp_path / "out")
    # before the other date is segmented, too
    with pytest.raises(RunFolderError, match="first is not finished"):
        make_runs((str(first), str(tmp_path / "none.tif")), tmp_path / "out", ChangeOptions(), {}, ignore_events)
    assert not (tmp_path / "out").exists()


def test_folders_that_hold_something_else_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"1 files of something else, first notes\.txt"):
        geoseg.change_runs(*runs, tmp_path)
    with pytest.raises(RunFolderError, match="holds no run"):
        geoseg.change_runs(tmp_path, runs[1], tmp_path / "out")
    with pytest.raises(MissingFileError, match="nothing at"):
        geoseg.change_runs(tmp_path / "none", runs[1], tmp_path / "out")


def test_a_tolerance_below_the_misregistration_is_warned_of(dates: tuple[Side, Side], tmp_path: Path) -> None:
    output = compare(*dates, tmp_path / "out", ChangeOptions(tolerance_m=0.2), ignore_events)
    assert "more than the tolerance of 0.2 m" in read_json(output)["warnings"][0]


@pytest.mark.parametrize("moved_px", [(0.0, 0.0), (3.7, 2.2)])
def test_stairs_of_coarser_pixels_are_no_change(moved_px: tuple[float, float], dates: tuple[Side, Side], tmp_path: Path) -> None:
    fine = replace(dates[0], buildings=None, roads=None)
    place = fine.geobox.transform @ Affine.translation(*moved_px) @ Affine.scale(8)
    path = write_raster(tmp_path / "coarse.tif", read_band(fine.classes)[None, 4::8, 4::8], nodata=NODATA, transform=place)
    coarse = replace(fine, classes=path, geobox=GeoBox(read_band(path).shape, place, fine.geobox.crs), identity="coarse")
    told = read_json(compare(fine, coarse, tmp_path / "out", ChangeOptions(), ignore_events))
    assert told["tolerance_m"] >= 3.99, "a pixel of the coarser date"
    assert sum(row["area_m2"] for row in told["transitions"]) < 0.003 * 240**2
    output = compare(coarse, fine, tmp_path / "given", ChangeOptions(tolerance_m=1.0), ignore_events)
    assert "pixels of 4.00 m, more than the tolerance of 1 m" in read_json(output)["warnings"][0]


def test_what_too_few_places_say_is_not_corrected(runs: tuple[Path, Path], tmp_path: Path) -> None:
    heard = Listening()
    output = geoseg.change_runs(*runs, tmp_path / "out", ChangeOptions(align=True), heard)
    told = read_json(output)
    assert not told["misregistration"]["corrected"]
    assert "not aligned: only" in told["warnings"][0]
    assert [event.message for event in heard.of(Warned)] == told["warnings"]


def test_the_command_reports_json_lines(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call_geoseg(monkeypatch, "change", *runs, "-o", tmp_path / "out", "--tolerance", "1", "--progress", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events][-1] == "Finished"
    assert (tmp_path / "out" / "change.html").exists()
    assert call_geoseg(monkeypatch, "change", *runs, "-o", tmp_path / "out2", "--match", "forest") == 2
    assert "--match takes NAME=NAME" in capsys.readouterr().err


def test_rasters_are_segmented_first_and_only_once(tmp_path: Path) -> None:
    model = write_network(tmp_path / "model")
    rasters = tuple(str(write_raster(tmp_path / f"{name}.tif", draw(boxes))) for name, boxes in (("a", BEFORE), ("b", AFTER)))
    given = {"model": str(model), "memory": "8GB", "backend": "torch", "outputs": ("classes",)}
    first, second = Listening(), Listening()
    made = [make_runs(rasters, tmp_path / "out", ChangeOptions(), given, heard) for heard in (first, second)]
    assert made[0] == made[1] == (tmp_path / "out" / "before", tmp_path / "out" / "after")
    assert [event.elapsed_s for event in second.of(Finished)] == [0, 0]
    output = geoseg.change_runs(*made[0], tmp_path / "out")
    assert (output / "transitions.tif").exists()
    assert "buildings_new" not in read_json(output)["counts"], "no buildings were asked for"

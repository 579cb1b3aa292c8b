"""Results against labels, from files to tables: perfect ones score one, planted faults cost what they should."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.warp import calculate_default_transform, reproject
from rasterio.windows import Window

from geoseg.errors import GeosegError, LabelError, MissingFileError, RunFolderError, UsageError
from geoseg.evaluation.counts import CountOptions, count_pixels
from geoseg.evaluation.evaluate import Judge, evaluate_result
from geoseg.evaluation.found import Found, open_found, read_array
from geoseg.evaluation.measure import EvaluateOptions, measure
from geoseg.evaluation.points import draw_sample, evaluate_points, parse_expected
from geoseg.evaluation.reference import Reference, ReferenceFiles, open_reference, read_buildings
from geoseg.evaluation.sampling import SampleOptions
from geoseg.evaluation.semantic import confusion_matrix
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.labels.site import Site
from geoseg.labels.targets import load_site
from geoseg.model.package import find_package
from geoseg.model.predictor import double_spec
from geoseg.pipeline import segment_raster
from geoseg.pixels.classes import ClassScheme, LandClass
from tests.doubles import CRS, TRANSFORM, Copying, always, call_geoseg, configure, write_package, write_raster

SIZE = 160
BOXES = [(20, 20, 50, 40), (70, 20, 100, 50), (20, 80, 60, 110), (100, 90, 130, 140)]
"""Buildings in pixels: left, top, right, bottom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """Four buildings, found without a fault."""

    folder: Path
    run: Path
    labels: Path
    buildings: Path
    package: Path

    def write_labels(self, name: str, classes: np.ndarray) -> Path:
        return write_raster(self.folder / name, classes[None].astype(np.uint8))

    def write_buildings(self, name: str, boxes: list[tuple[int, int, int, int]], crs: str = CRS) -> Path:
        gpd.GeoDataFrame(geometry=[on_ground(b) for b in boxes], crs=CRS).to_crs(crs).to_file(self.folder / name)
        return self.folder / name


def on_ground(pixels: tuple[int, int, int, int]) -> shapely.Polygon:
    left, top, right, bottom = pixels
    return shapely.box(*(TRANSFORM @ (left, bottom)), *(TRANSFORM @ (right, top)))


def town_classes() -> np.ndarray:
    classes = np.zeros((SIZE, SIZE), np.uint8)
    for left, top, right, bottom in BOXES:
        classes[top:bottom, left:right] = 1
    return classes


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    folder = tmp_path_factory.mktemp("town")
    raster = write_raster(folder / "image.tif", np.repeat(town_classes()[None], 3, axis=0))
    package = write_package(folder / "model")
    run = segment_raster(configure(raster, package, folder / "run"), load=always(Copying(double_spec())))
    labels = write_raster(folder / "labels.tif", town_classes()[None])
    made = Town(folder=folder, run=run, labels=labels, buildings=folder / "buildings.gpkg", package=package)
    made.write_buildings("buildings.gpkg", BOXES)
    return made


def scores(path: Path, options: EvaluateOptions | None = None, **files: object) -> dict[str, float]:
    return dict(evaluate_result(path, ReferenceFiles(**files), options).rows())  # type: ignore[arg-type]


def test_a_perfect_result_scores_one_in_everything(town: Town) -> None:
    rows = scores(town.run, labels=town.labels, buildings=town.buildings)
    assert rows.pop("calibration error") == 0
    assert len(rows) > 20
    assert rows == pytest.approx(dict.fromkeys(rows, 1.0), abs=1e-6)


def test_buildings_alone_judge_pixels_and_objects(town: Town) -> None:
    rows = scores(town.run, buildings=town.buildings)
    assert set(rows) >= {"IoU building", "F1 objects at IoU 0.5", "PQ", "boundary IoU building"}
    assert "mean IoU" not in rows
    assert rows == pytest.approx(dict.fromkeys(rows, 1.0), abs=1e-6)


def test_a_missed_and_an_invented_building_cost_what_they_should(town: Town) -> None:
    other = (60, 60, 90, 75)
    rows = scores(town.run, buildings=town.write_buildings("faults.gpkg", [*BOXES[1:], other]))
    assert rows["precision objects at IoU 0.5"] == rows["recall objects at IoU 0.5"] == 0.75
    area = {b: (b[2] - b[0]) * (b[3] - b[1]) for b in [*BOXES, other]}
    common = sum(area[b] for b in BOXES[1:])
    assert rows["IoU building"] == pytest.approx(common / sum(area.values()))


@pytest.mark.parametrize("ring_px", [1, 6])
def test_contours_where_nothing_is_known_are_nobodys_fault(town: Town, ring_px: int) -> None:
    # labels with an ignored ring around each building, as the ISPRS benchmark has them
    inner, outer = (np.zeros((SIZE, SIZE), bool) for _ in range(2))
    for left, top, right, bottom in BOXES:
        inner[top + ring_px : bottom - ring_px, left + ring_px : right - ring_px] = True
        outer[top - ring_px : bottom + ring_px, left - ring_px : right + ring_px] = True
    labels = np.where(outer & ~inner, UNLABELLED, inner).astype(np.uint8)
    rows = scores(town.run, EvaluateOptions(boundary_m=3.0), labels=town.write_labels(f"ring{ring_px}.tif", labels))
    assert {name: value for name, value in rows.items() if "boundary IoU" in name and value < 1} == {}


def test_classes_that_a_map_lacks_are_named_and_count(town: Town) -> None:
    found = write_raster(town.folder / "map.tif", town_classes()[None], nodata=255)
    truth = town_classes()
    truth[:10] = 2
    labels = town.write_labels("three.tif", truth)
    with pytest.raises(LabelError, match=r"no class of the result: \{2: 1600\}.*--classes"):
        scores(found, labels=labels)
    rows = [LandClass(value=v, name=name, color="#102030") for v, name in enumerate(("land", "house", "lake"))]
    told = evaluate_result(found, ReferenceFiles(labels=labels), scheme=ClassScheme(classes=tuple(rows)))
    assert dict(told.rows())["IoU lake"] == 0
    assert dict(told.rows())["IoU house"] == 1
    with pytest.raises(UsageError, match="shows 1, which is none of the classes"):
        evaluate_result(found, ReferenceFiles(labels=labels), scheme=ClassScheme(classes=(rows[0], rows[2])))
    with pytest.raises(UsageError, match="is a run and knows its classes"):
        evaluate_result(town.run, ReferenceFiles(labels=labels), scheme=ClassScheme(classes=tuple(rows)))


def test_outlines_drawn_as_lines_are_refused_and_strays_are_counted(town: Town) -> None:
    lines = gpd.read_file(town.buildings)
    lines.geometry = lines.geometry.boundary
    lines.to_file(town.folder / "lines.gpkg")
    with pytest.raises(LabelError, match="holds LineString; buildings are compared as polygons"):
        scores(town.run, buildings=town.folder / "lines.gpkg")
    both = pd.concat([gpd.read_file(town.buildings), lines])
    both.to_file(town.folder / "both.gpkg")
    told = evaluate_result(town.run, ReferenceFiles(buildings=town.folder / "both.gpkg"))
    assert dict(told.rows())["PQ"] == pytest.approx(1, abs=1e-6)
    assert any("4 features are no polygons" in note for note in told.tally.notes)


def test_faults_outside_the_labelled_area_cost_nothing(town: Town) -> None:
    faulty = town.write_buildings("east.gpkg", BOXES[1:])
    aoi = town.write_buildings("aoi.gpkg", [(60, 0, SIZE, SIZE)])
    rows = scores(town.run, buildings=faulty, aoi=aoi)
    # the third building only just reaches the area and is not judged
    assert (rows["F1 objects at IoU 0.5"], rows["IoU building"]) == (1, 1)


def test_labels_in_another_crs_are_brought_to_the_result(town: Town) -> None:
    assert scores(town.run, buildings=town.write_buildings("degrees.gpkg", BOXES, "EPSG:4326"))["PQ"] == pytest.approx(1, abs=1e-6)
    with rasterio.open(town.labels) as source:
        transform, width, height = calculate_default_transform(CRS, "EPSG:4326", SIZE, SIZE, *source.bounds)
        turned = np.full((1, height, width), 9, np.uint8)
        reproject(source.read(1), turned[0], src_transform=source.transform, src_crs=CRS, dst_transform=transform, dst_crs="EPSG:4326",
                  init_dest_nodata=False)  # fmt: skip
    path = write_raster(town.folder / "degrees.tif", turned, transform=transform, crs="EPSG:4326", nodata=9)
    assert scores(town.run, labels=path)["mean IoU"] > 0.93


def test_polygons_with_classes_label_only_what_they_cover(town: Town) -> None:
    table = gpd.GeoDataFrame({"class": ["Building", "ground"]}, geometry=[on_ground(BOXES[0]), on_ground((0, 0, 20, 160))], crs=CRS)
    table.to_file(town.folder / "classes.gpkg")
    told = evaluate_result(town.run, ReferenceFiles(labels=town.folder / "classes.gpkg"))
    assert told.tally.pixels is not None
    assert told.tally.pixels.confusion.tolist() == [[20 * 160, 0], [0, 30 * 20]]


@pytest.mark.parametrize(("column", "building"), [("class", 2), ("class_value", 1)])
def test_classes_that_are_called_by_numbers_go_by_their_names(column: str, building: int, town: Town) -> None:
    run = town.folder / f"numbers-{column}"
    shutil.copytree(town.run, run)
    told = json.loads((run / "summary.json").read_text())
    for row in told["classes"][:2]:
        row["name"] = str(row["value"] + 1)
    (run / "summary.json").write_text(json.dumps(told))
    gpd.GeoDataFrame({column: [building]}, geometry=[on_ground(BOXES[0])], crs=CRS).to_file(town.folder / f"{column}.gpkg")
    pixels = evaluate_result(run, ReferenceFiles(labels=town.folder / f"{column}.gpkg")).tally.pixels
    assert pixels is not None
    assert pixels.confusion.tolist() == [[0, 0], [0, 30 * 20]]


def test_polygons_are_ignored_by_value_and_drawn_in_the_order_of_the_scheme(town: Town) -> None:
    shapes = [on_ground((0, 0, 5, 10)), on_ground(BOXES[0]), on_ground((0, 0, SIZE, 100))]
    gpd.GeoDataFrame({"class": [9, 1, 0]}, geometry=shapes, crs=CRS).to_file(town.folder / "order.gpkg")
    told = evaluate_result(town.run, ReferenceFiles(labels=town.folder / "order.gpkg", ignore=(9,)))
    assert told.tally.pixels is not None
    assert told.tally.pixels.known == SIZE * 100 - 50
    assert told.tally.pixels.confusion[1].sum() == 30 * 20


@pytest.mark.parametrize("kind", ["values", "nothing", "elsewhere", "class name", "missing", "none given", "ignored"])
def test_bad_labels_are_refused_with_numbers(town: Town, kind: str) -> None:
    classes = town_classes()
    classes[:2, :10] = 7
    far = [(100_000, 0, 100_010, 10)]
    named = gpd.GeoDataFrame({"class": ["castle"]}, geometry=[on_ground(BOXES[0])], crs=CRS)
    named.to_file(town.folder / "castle.gpkg")
    files, message = {
        "values": (ReferenceFiles(labels=town.write_labels("seven.tif", classes)), r"\{7: 20\}"),
        "nothing": (ReferenceFiles(labels=town.write_labels("nothing.tif", np.full((SIZE, SIZE), 255))), r"all 25600"),
        "elsewhere": (ReferenceFiles(buildings=town.write_buildings("far.gpkg", far)), "does not touch"),
        "class name": (ReferenceFiles(labels=town.folder / "castle.gpkg"), r"\{'castle': 1\}"),
        "missing": (ReferenceFiles(roads=town.folder / "no.gpkg"), "no label file"),
        "none given": (ReferenceFiles(aoi=town.buildings), "--labels"),
        "ignored": (ReferenceFiles(labels=town.labels, ignore=(0, 1)), "labels no pixel"),
    }[kind]
    with pytest.raises(GeosegError, match=message):
        evaluate_result(town.run, files)


def test_ignored_values_are_not_compared(town: Town) -> None:
    classes = town_classes()
    classes[:2, :10] = 7
    told = evaluate_result(town.run, ReferenceFiles(labels=town.write_labels("ignored.tif", classes), ignore=(7,)))
    assert told.tally.pixels is not None
    assert told.tally.pixels.known == SIZE * SIZE - 20


def test_a_class_raster_needs_no_run(town: Town) -> None:
    assert scores(town.run / "classes.tif", labels=town.labels)["accuracy"] == 1
    with pytest.raises(LabelError, match="knows none"):
        scores(town.run / "classes.tif", buildings=town.buildings)
    with pytest.raises(MissingFileError, match="nowhere"):
        scores(town.folder / "nowhere", labels=town.labels)
    with pytest.raises(RunFolderError, match="is not finished"):
        scores(town.folder, labels=town.labels)


@pytest.mark.parametrize("internal", [True, False])
def test_masked_pixels_of_a_class_raster_have_no_class(town: Town, tmp_path: Path, internal: bool) -> None:
    classes = town_classes() + 1
    classes[:40] = 0
    path = write_raster(tmp_path / "map.tif", classes[None])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(classes > 0)
    with open_found(path) as found:
        assert [c.value for c in found.scheme] == [1, 2]
        np.testing.assert_array_equal(found.classes(Window(0, 0, SIZE, SIZE)), np.where(classes > 0, classes, 255))
    told = evaluate_result(path, ReferenceFiles(labels=town.write_labels(f"one_more_{internal}.tif", town_classes() + 1)))
    assert told.tally.pixels is not None
    assert told.tally.pixels.confusion.sum() == (classes > 0).sum()
    assert dict(told.rows())["accuracy"] == 1


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ([("roof", {"kind": "building"}), ("road", {"kind": "surface"})], ["building", "surface"]),
        ([("Building", {}), ("road", {}), ("land", {})], ["building", "road", "surface"]),
    ],
)
def test_the_kind_of_a_class_stands_in_the_summary_and_only_older_ones_tell_it_by_name(
    town: Town, tmp_path: Path, rows: list[tuple[str, dict[str, str]]], kinds: list[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(town.run, run)
    summary = json.loads((run / "summary.json").read_text())
    assert [row["kind"] for row in summary["classes"]] == [*(c.kind.value for c in double_spec().scheme), None]
    summary["classes"] = [{"value": i, "name": name, "color": "#a0b0c0", **more} for i, (name, more) in enumerate(rows)]
    (run / "summary.json").write_text(json.dumps(summary))
    with open_found(run) as found:
        assert [c.kind.value for c in found.scheme] == kinds


def found_of(classes: np.ndarray, confidence: np.ndarray | None = None) -> Found:
    geobox = GeoBox(classes.shape, TRANSFORM, CRS)
    read = None if confidence is None else read_array(confidence)
    return Found(geobox=geobox, scheme=double_spec().scheme, classes=read_array(classes), confidence=read)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(5, 40), st.integers(1, 4))
def test_counts_by_windows_are_those_of_the_whole_raster(seed: int, block_px: int, distance_px: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(8, 60, 2))
    classes = rng.choice([0, 1, 255], shape, p=[0.5, 0.45, 0.05]).astype(np.uint8)
    truth = rng.choice([0, 1, NOT_BUILDING, UNLABELLED], shape, p=[0.4, 0.4, 0.1, 0.1]).astype(np.uint8)
    found = found_of(classes, rng.integers(50, 101, shape).astype(np.uint8))
    small, whole = (
        count_pixels(found, read_array(truth), CountOptions(boundary_px=distance_px, block_px=b, cell_px=b))[0] for b in (block_px, 1000)
    )
    for name in ("confusion", "building", "boundary", "building_boundary", "confidence"):
        np.testing.assert_array_equal(getattr(small, name), getattr(whole, name), err_msg=name)
    there = np.where(classes == 255, UNLABELLED, truth)
    np.testing.assert_array_equal(whole.confusion, confusion_matrix(there, classes, 2))
    known = there != UNLABELLED
    np.testing.assert_array_equal(whole.building, confusion_matrix(there[known] == 1, classes[known] == 1, 2))


def test_the_worst_place_is_named_first() -> None:
    truth = np.zeros((64, 64), np.uint8)
    classes = truth.copy()
    classes[40:44, 40:50] = 1
    classes[0, 0] = 1
    _, worst = count_pixels(found_of(classes), read_array(truth), CountOptions(cell_px=32, block_px=64))
    assert [(p.wrong_px, p.window.row_off, p.window.col_off) for p in worst] == [(40, 32, 32), (1, 0, 0)]


def test_roads_are_measured_in_metres_on_the_ground() -> None:
    """Half of a street of 60 m is found; the CRS is web mercator, whose metres are too long."""
    street = gpd.GeoSeries([shapely.LineString([TRANSFORM @ (10, 20), TRANSFORM @ (130, 20)])], crs=CRS)
    half = gpd.GeoSeries([shapely.LineString([TRANSFORM @ (10, 21), TRANSFORM @ (70, 21)])], crs=CRS)
    mercator = "EPSG:3857"
    geobox = GeoBox.from_bbox(tuple(street.to_crs(mercator).buffer(50).total_bounds), mercator, resolution=1)
    classes = np.zeros(geobox.shape, np.uint8)
    found = replace(found_of(classes), geobox=geobox, roads=gpd.GeoDataFrame(geometry=half.to_crs(mercator)))
    tally = measure(found, Reference(read=None, roads=street.to_crs(mercator).to_numpy()), EvaluateOptions(buffer_m=2))
    assert tally.roads is not None
    assert tally.roads.reference_m == pytest.approx(60, rel=2e-3)
    assert tally.roads.correctness == pytest.approx(1)
    assert tally.roads.completeness == pytest.approx((30 + (4 - 0.25) ** 0.5) / 60, rel=5e-3)


def test_reference_lines_are_cut_at_the_labelled_area(town: Town) -> None:
    lines = [shapely.LineString([TRANSFORM @ (-50, 5), TRANSFORM @ (300, 5)])]
    gpd.GeoDataFrame(geometry=lines, crs=CRS).to_file(town.folder / "roads.gpkg")
    aoi = town.write_buildings("half.gpkg", [(0, 0, SIZE // 2, SIZE)])
    with open_found(town.run) as found, open_reference(ReferenceFiles(roads=town.folder / "roads.gpkg", aoi=aoi), found) as reference:
        assert reference.roads is not None
        assert shapely.length(reference.roads).sum() == pytest.approx(SIZE / 2 * 0.5)
        tally = measure(found, reference, EvaluateOptions())
    assert tally.notes == ("Roads were not compared: the result has no road lines.",)


def test_a_model_is_judged_by_the_run_that_users_get(town: Town) -> None:
    judge = Judge(package=find_package(town.package), data_dir=town.folder, load=always(Copying(double_spec())))
    site = Site(name="town", kind="building_polygons", rasters="image.tif", labels="{parent}/buildings.gpkg")
    card = {m.name: m.value for m in judge.evaluate(site).card()}
    assert card == dict.fromkeys(["IoU building", "precision building", "recall building", "F1 objects at IoU 0.5", "AP50"], 1.0)
    with pytest.raises(LabelError, match="drawn"):
        judge.evaluate(Site(name="drawn", kind="drawn_scenes", seeds=(1,)))


def test_buildings_are_read_from_the_layer_that_the_site_names(town: Town) -> None:
    path = town.folder / "layers.gpkg"
    for layer, boxes in (("parcels", [(0, 0, SIZE, SIZE)]), ("houses", BOXES)):
        gpd.GeoDataFrame(geometry=[on_ground(b) for b in boxes], crs=CRS).to_file(path, layer=layer)
    judge = Judge(package=find_package(town.package), data_dir=town.folder, load=always(Copying(double_spec())))
    site = Site(name="town", kind="building_polygons", rasters="image.tif", labels="{parent}/layers.gpkg", layer="houses")
    (raster,) = load_site(site, judge.package.spec, town.folder)
    assert raster.source is not None
    buildings = judge._reference(raster, raster.source, site).buildings
    assert buildings is not None
    assert len(buildings) == len(BOXES)


def test_a_model_of_three_bands_is_judged_on_rasters_of_four(town: Town, tmp_path: Path) -> None:
    bands = np.repeat(town_classes()[None], 4, axis=0)
    bands[3] = 255
    write_raster(tmp_path / "image.tif", bands)
    write_raster(tmp_path / "labels.tif", town_classes()[None])
    judge = Judge(package=find_package(town.package), data_dir=tmp_path, load=always(Copying(double_spec())))
    told = judge.evaluate(Site(name="four", kind="class_raster", rasters="image.tif", labels="{parent}/labels.tif"))
    assert dict(told.rows())["mean IoU"] == 1


def test_a_model_is_judged_on_imagery_of_sixteen_bits(town: Town, tmp_path: Path) -> None:
    # the double takes the first band for the class, and numbers that no byte holds stand in the others
    bands = np.repeat(town_classes()[None].astype(np.uint16), 3, axis=0)
    bands[1:] += 1000
    write_raster(tmp_path / "image.tif", bands)
    write_raster(tmp_path / "labels.tif", town_classes()[None])
    judge = Judge(package=find_package(town.package), data_dir=tmp_path, load=always(Copying(double_spec())))
    told = judge.evaluate(Site(name="deep", kind="class_raster", rasters="image.tif", labels="{parent}/labels.tif"))
    assert dict(told.rows())["mean IoU"] == 1


def test_a_raster_that_holds_no_building_is_no_fault_where_none_is_needed(town: Town) -> None:
    with open_found(town.run) as found:
        shapes, notes = read_buildings(town.write_buildings("beyond.gpkg", [(9000, 0, 9010, 10)]), found.geobox, needed=False)
    assert (len(shapes), notes) == (0, ())


def test_a_raster_of_a_site_without_labels_is_left_out_and_named(town: Town, tmp_path: Path) -> None:
    for name, classes in (("a", town_classes()), ("b", np.full((SIZE, SIZE), 255))):
        write_raster(tmp_path / f"{name}.tif", np.repeat(town_classes()[None].astype(np.uint8), 3, axis=0))
        write_raster(tmp_path / f"{name}_labels.tif", classes[None].astype(np.uint8))
    site = Site(name="town", kind="class_raster", rasters=("a.tif", "b.tif"), labels="{stem}_labels.tif")
    judged = Judge(package=find_package(town.package), data_dir=tmp_path, load=always(Copying(double_spec()))).evaluate(site)
    assert "b.tif was left out: no pixel of it is labelled." in judged.tally.notes


def test_roads_where_there_is_no_data_are_neither_missed_nor_wrong() -> None:
    classes = np.zeros((64, 64), np.uint8)
    classes[:, 40:] = 255

    def street(row: float, *cols: float) -> shapely.LineString:
        return shapely.LineString([TRANSFORM @ (col, row) for col in cols])

    found = replace(found_of(classes), roads=gpd.GeoDataFrame(geometry=[street(20, 0, 40), street(50, 44, 60)], crs=CRS))
    true = np.array([street(20, 0, 60), street(10, 50, 60)], object)
    tally = measure(found, Reference(read=None, roads=true), EvaluateOptions(buffer_m=2))
    assert tally.roads is not None
    assert (tally.roads.completeness, tally.roads.correctness) == (pytest.approx(1), pytest.approx(1))
    assert tally.roads.reference_m == pytest.approx(20, abs=0.6)


def test_no_roads_on_either_side_are_told(town: Town) -> None:
    with open_found(town.run) as found:
        nothing = replace(found, roads=gpd.GeoDataFrame(geometry=[], crs=CRS))
        told = measure(nothing, Reference(read=None, roads=np.empty(0, object)), EvaluateOptions())
    assert told.notes == ("Roads were not compared: there are none, neither found nor true.",)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_rasters_without_a_place_are_judged_by_their_classes(town: Town, tmp_path: Path) -> None:
    write_raster(tmp_path / "image.tif", np.repeat(town_classes()[None], 3, axis=0), transform=None, crs=None)
    truth = town_classes()
    truth[0, :16] = 1
    write_raster(tmp_path / "labels.tif", truth[None], transform=None, crs=None)
    judge = Judge(package=find_package(town.package), data_dir=tmp_path, load=always(Copying(double_spec())))
    told = judge.evaluate(Site(name="nowhere", kind="class_raster", rasters="image.tif", labels="{parent}/labels.tif"))
    assert dict(told.rows())["accuracy"] == pytest.approx(1 - 16 / SIZE**2)
    assert "without a place" in told.tally.notes[0]
    assert told.tally.pictures[0].panels.shape == (SIZE, 3 * SIZE + 12, 3)


def test_the_command_prints_a_table_and_writes_a_report(
    town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = town_classes()
    classes[:2, :10] = 1
    labels = town.write_labels("faulty.tif", classes)
    words = ("evaluate", town.run, "--labels", labels, "--buildings", town.buildings, "-o", town.folder / "report")
    assert call_geoseg(monkeypatch, *words) == 0
    assert "F1 objects at IoU 0.5" in capsys.readouterr().out
    told = json.loads((town.folder / "report" / "evaluation.json").read_text())["data"][0]
    assert told["pixels"]["confusion"] == [[SIZE**2 - town_classes().sum() - 20, 0], [20, town_classes().sum()]]
    assert told["metrics"]["accuracy"] == pytest.approx(1 - 20 / SIZE**2, abs=1e-6)
    assert len(told["worst_places"]) == 1
    page = (town.folder / "report" / "evaluation.html").read_text()
    assert page.count("<svg") == 2
    assert page.count("<figcaption>") == 1


def test_options_that_do_not_go_together_are_refused(
    town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path(__file__).parents[2] / "configs" / "train-aerial.toml"
    for words, message in (
        ((recipe,), "--data"),
        ((recipe, "--data", town.folder, "--labels", town.labels), "--labels"),
        ((town.run, "--labels", town.labels, "-m", "aerial"), "-m"),
        ((town.run, "--labels", town.labels, "--device", "cpu"), "--device"),
    ):
        assert call_geoseg(monkeypatch, "evaluate", *words) == 2
        assert message in capsys.readouterr().err


def test_points_are_drawn_interpreted_and_estimated_from(
    town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points, classmap = town.folder / "points.gpkg", town.run / "classes.tif"
    draw = ("accuracy", "sample", town.run, "-n", 60, "--minimum", 20, "-o", points)
    assert call_geoseg(monkeypatch, *draw) == 0
    assert call_geoseg(monkeypatch, *draw) == 2
    assert call_geoseg(monkeypatch, "accuracy", "area", points, "--classmap", town.run) == 2
    assert "None of the 60 points" in capsys.readouterr().err
    table = gpd.read_file(points)
    assert table["map_class"].value_counts().min() >= 20
    with rasterio.open(classmap) as dataset:
        values = [int(v[0]) for v in dataset.sample(zip(table.geometry.x, table.geometry.y, strict=True))]
    assert values == table["map_value"].tolist()
    table["reference"] = table["map_class"]
    first = table.index[table["map_class"] == "building"][0]
    table.loc[first, "reference"] = "0"
    estimate = ("accuracy", "area", town.folder / "done.gpkg", "--classmap", town.run, "-o", town.folder / "a.json")
    table.drop(columns=["map_class", "map_value"]).to_file(town.folder / "done.gpkg")
    assert call_geoseg(monkeypatch, *estimate) == 0
    told = json.loads((town.folder / "a.json").read_text())
    drawn = (table["map_class"] == "building").sum()
    by_class = {row["class"]: row for row in told["classes"]}
    assert by_class["building"]["users"] == pytest.approx(1 - 1 / drawn)
    assert by_class["building"]["mapped_m2"] == pytest.approx(town_classes().sum() * 0.25, rel=2e-3)
    assert by_class["building"]["area_m2"] == pytest.approx(by_class["building"]["mapped_m2"] * (1 - 1 / drawn))
    assert "Overall accuracy" in capsys.readouterr().out


def test_a_sample_without_enough_points_of_a_class_is_refused_before_anybody_interprets_it(town: Town, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"too few would be drawn of building 1\. Raise --minimum"):
        draw_sample(town.run, tmp_path / "points.gpkg", SampleOptions(points=4, minimum=1))
    assert not (tmp_path / "points.gpkg").exists()


def test_a_class_of_a_single_pixel_is_known_by_its_one_point(town: Town, tmp_path: Path) -> None:
    classes = town_classes()
    classes[0, 0] = 7
    path = write_raster(tmp_path / "map.tif", classes[None])
    assert draw_sample(path, tmp_path / "points.gpkg", SampleOptions(points=50, minimum=10))["class 7"] == 1
    table = gpd.read_file(tmp_path / "points.gpkg")
    table.assign(reference=table["map_class"]).to_file(tmp_path / "points.gpkg")
    assert evaluate_points(tmp_path / "points.gpkg", path).rows()[2]["users"] == 1


@pytest.mark.parametrize(("crs", "north", "uneven"), [("EPSG:4326", 60.0, True), ("EPSG:4326", 2.0, False), (CRS, 0.0, False)])
def test_a_map_whose_pixels_differ_in_area_is_said_to_bias_the_estimates(tmp_path: Path, crs: str, north: float, uneven: bool) -> None:
    degrees = Affine(0.05, 0, 80, 0, -0.05, north)
    path = write_raster(tmp_path / "map.tif", town_classes()[None], crs=crs, transform=TRANSFORM if crs == CRS else degrees)
    draw_sample(path, tmp_path / "points.gpkg", SampleOptions(points=40, minimum=10))
    table = gpd.read_file(tmp_path / "points.gpkg")
    table.assign(reference=table["map_class"]).to_file(tmp_path / "points.gpkg")
    notes = evaluate_points(tmp_path / "points.gpkg", path).notes
    assert bool(notes) == uneven
    assert all("equal-area CRS" in note for note in notes)


def test_references_that_are_no_class_are_named(town: Town) -> None:
    table = gpd.GeoDataFrame({"reference": ["castle", "castle", None]}, geometry=gpd.points_from_xy([1, 2, 3], [1, 2, 3]), crs=CRS)
    table.to_file(town.folder / "castles.gpkg")
    with pytest.raises(LabelError, match=r"\{'castle': 2\}"):
        evaluate_points(town.folder / "castles.gpkg", town.run)
    assert parse_expected(["water=0.9"]) == {"water": 0.9}
    with pytest.raises(UsageError, match="'water'"):
        parse_expected(["water"])

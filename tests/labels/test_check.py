"""Each planted fault is found, and clean sites give no finding."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoseg.labels.check import Finding, LabelReport, check_labels
from geoseg.labels.coding import UNLABELLED
from geoseg.labels.offset import estimate_offset
from geoseg.labels.preview import draw_preview, write_preview
from geoseg.labels.site import Site
from geoseg.labels.targets import Reading, load_raster
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ClassRow, Head, ModelSpec
from geoseg.pixels.classes import ClassKind
from geoseg.scene import Scene, SceneOptions, draw_scene
from tests.doubles import write_raster

KINDS = {"road": ClassKind.ROAD, "building": ClassKind.BUILDING}
NAMES = ("land", "water", "vegetation", "road", "building")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(SceneOptions(height_px=192, width_px=192, seed=3, nodata_corner=False))


@pytest.fixture(scope="module")
def spec(scene: Scene) -> ModelSpec:
    """The classes that the scene holds."""
    seen = [(int(v), NAMES[v]) for v in np.unique(scene.classes)]
    rows = tuple(ClassRow(value=v, name=name, color="#a0b0c0", kind=KINDS.get(name, ClassKind.SURFACE)) for v, name in seen)
    heads = {"semantic": Head(start=0, stop=len(rows), activation="softmax")}
    return double_spec().model_copy(update={"classes": rows, "heads": heads, "resolution_m": None})


def write_site(folder: Path, name: str, pixels: np.ndarray, classes: np.ndarray, *, east_m: float = 0, **fields: Any) -> Site:
    transform = Affine(0.3, 0, 337_200 + east_m, 0, -0.3, 3_058_800)
    write_raster(folder / f"{name}.tif", pixels, transform=transform)
    write_raster(folder / f"{name}_labels.tif", classes[None], transform=transform)
    return Site(name=name, kind="class_raster", rasters=f"{name}.tif", labels="{stem}_labels.tif", **fields)


@pytest.fixture
def pair(tmp_path: Path, scene: Scene) -> tuple[Site, Site]:
    """A clean training site, and a clean test site far away that looks different."""
    train = write_site(tmp_path, "a", scene.pixels, scene.classes)
    turned = np.ascontiguousarray(scene.pixels[:, ::-1, ::-1]), np.ascontiguousarray(scene.classes[::-1, ::-1])
    return train, write_site(tmp_path, "b", *turned, east_m=5000)


def faults(report: LabelReport) -> list[tuple[str, str, str]]:
    return [(f.severity, f.fault, f.site) for f in report.findings]


def only(report: LabelReport) -> Finding:
    (finding,) = report.findings
    return finding


def test_clean_sites_give_no_finding(tmp_path: Path, pair: tuple[Site, Site], spec: ModelSpec, scene: Scene) -> None:
    report = check_labels({"train": pair[:1], "test": pair[1:]}, spec, tmp_path)
    assert (report.findings, report.errors) == ((), 0)
    train, test = report.sites
    assert (train.part, test.part, train.rasters, train.pixels, train.unlabelled) == ("train", "test", 1, 192 * 192, 0)
    expected = {row.name: (scene.classes == row.value).mean() for row in spec.classes}
    assert train.shares == pytest.approx(expected)


@pytest.mark.parametrize("shift", [(6, 0), (0, -6), (4, 5)])
def test_an_offset_is_found_within_a_pixel_and_a_half(tmp_path: Path, spec: ModelSpec, scene: Scene, shift: tuple[int, int]) -> None:
    moved = np.roll(scene.classes, shift, (0, 1))
    site = write_site(tmp_path, "moved", scene.pixels, moved, east_m=9000)
    report = check_labels({"train": [site], "test": []}, spec, tmp_path)
    finding, found = only(report), report.sites[0].offsets[0][1]
    assert (finding.severity, finding.fault) == ("warning", "offset")
    assert (found.rows_px, found.cols_px) == pytest.approx((-shift[0], -shift[1]), abs=1.5)
    assert f"{found.distance_px:.1f} px ({found.distance_px * 0.3:.1f} m) away" in finding.text


def test_noise_has_no_offset_and_few_edges_none_at_all() -> None:
    rng = np.random.default_rng(1)
    pixels, known = rng.integers(0, 255, (3, 128, 128)).astype(np.uint8), np.ones((128, 128), bool)
    classes = np.kron(rng.integers(0, 2, (16, 16)), np.ones((8, 8))).astype(np.uint8)
    found = estimate_offset(pixels, classes, known)
    assert found is not None
    assert found.strength < 7
    assert estimate_offset(pixels, np.zeros((128, 128), np.uint8), known) is None
    assert estimate_offset(pixels[:, :40, :40], classes[:40, :40], known[:40, :40]) is None


def test_an_unlabelled_hole_is_found_with_its_place(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    classes = scene.classes.copy()
    classes[50:90, 60:120] = UNLABELLED
    report = check_labels({"train": [write_site(tmp_path, "a", scene.pixels, classes)], "test": []}, spec, tmp_path)
    (hole,) = (f for f in report.findings if f.fault == "unlabelled hole")
    assert "40 x 60 px at row 50, column 60" in hole.text
    assert report.sites[0].unlabelled == pytest.approx(40 * 60 / 192**2)


def test_a_run_is_unsure_in_many_places_and_labels_nothing_wrongly(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    transform = Affine(0.3, 0, 337_200, 0, -0.3, 3_058_800)
    sure = np.full((192, 192), 100, np.uint8)
    sure[50:90, 60:120] = 30
    (tmp_path / "run").mkdir()
    write_raster(tmp_path / "a.tif", scene.pixels, transform=transform)
    for name, layer in (("class", np.roll(scene.classes, 6, 0)), ("confidence", sure)):
        path = write_raster(tmp_path / "run" / f"{name}.tif", layer[None], transform=transform)
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = (name,)
    rows = [{"value": row.value, "name": row.name, "color": row.color, "kind": row.kind.value} for row in spec.classes]
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"classes": rows, "counts": {}, "timing_s": {}}))
    (tmp_path / "run" / "class.tif").rename(tmp_path / "run" / "classes.tif")
    report = check_labels({"train": [Site(name="a", kind="run", rasters="a.tif", labels="run")], "test": []}, spec, tmp_path)
    assert [(f.severity, f.text) for f in report.findings] == [("note", "a.tif: run: the run is sure of 93.5% of the pixels")]
    assert report.sites[0].unlabelled == pytest.approx(40 * 60 / 192**2)


def test_a_missing_class_is_named(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    building = next(row.value for row in spec.classes if row.name == "building")
    classes = np.where(scene.classes == building, spec.classes[0].value, scene.classes).astype(np.uint8)
    report = check_labels({"train": [write_site(tmp_path, "a", scene.pixels, classes)], "test": []}, spec, tmp_path)
    assert "no train site labels building" in [f.text for f in report.findings]


def test_an_empty_site_and_one_without_rasters_are_errors(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    empty = write_site(tmp_path, "empty", scene.pixels, np.full_like(scene.classes, UNLABELLED))
    none = Site(name="none", kind="class_raster", rasters="nowhere/*.tif", labels="x")
    report = check_labels({"train": [empty, none], "test": []}, spec, tmp_path)
    assert {("error", "empty site", "empty"), ("error", "no raster", "none")} <= set(faults(report))
    assert report.errors == 2
    assert report.findings[0].severity == "error"


def test_unreadable_labels_do_not_hide_other_rasters(tmp_path: Path, pair: tuple[Site, Site], spec: ModelSpec, scene: Scene) -> None:
    unknown = write_site(tmp_path, "unknown", scene.pixels, np.full_like(scene.classes, 77), east_m=9000)
    report = check_labels({"train": [unknown, pair[0]], "test": []}, spec, tmp_path)
    assert f"{{77: {192 * 192}}}" in only(report).text
    assert [site.rasters for site in report.sites] == [0, 1]


def test_test_data_at_a_place_that_is_learned_from_is_an_error(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    train = write_site(tmp_path, "a", scene.pixels, scene.classes)
    # half of it lies further east, in other pixels
    test = write_site(tmp_path, "b", scene.pixels[:, :, ::-1], np.ascontiguousarray(scene.classes[:, ::-1]), east_m=0.3 * 96)
    finding = only(check_labels({"train": [train], "test": [test]}, spec, tmp_path))
    assert (finding.severity, finding.fault, finding.site) == ("error", "train in test", "b")
    assert finding.text.startswith("50.0% of the labelled pixels of b.tif")


def test_blocks_of_one_raster_do_not_overlap_and_all_of_it_does(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    blocks = {"size_px": 48, "buffer_px": 4}
    parts = [write_site(tmp_path, "a", scene.pixels, scene.classes, blocks={**blocks, "keep": keep}) for keep in ("train", "test")]
    split = check_labels({"train": parts[:1], "test": parts[1:]}, spec, tmp_path)
    assert [f for f in split.findings if f.fault == "train in test"] == []
    whole = write_site(tmp_path, "a", scene.pixels, scene.classes)
    assert "train in test" in [f.fault for f in check_labels({"train": [whole], "test": [whole]}, spec, tmp_path).findings]


def test_tests_are_seen_as_they_are_measured(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    coarse = spec.model_copy(update={"resolution_m": 0.6})
    sites = [
        write_site(tmp_path, "a", scene.pixels, scene.classes, native_resolution=True, blocks={"size_px": 24, "buffer_px": 2, "keep": keep})
        for keep in ("train", "test")
    ]
    report = check_labels({"train": sites[:1], "test": sites[1:]}, coarse, tmp_path)
    assert [site.pixels for site in report.sites] == [192 * 192, 96 * 96]
    assert "train in test" not in [f.fault for f in report.findings]
    drawn = Site(name="drawn", kind="drawn_scenes", seeds=(1,))
    finding = only(check_labels({"test": [drawn]}, spec, tmp_path))
    assert (finding.severity, finding.site) == ("error", "drawn")
    assert "a model is measured on real imagery" in finding.text


def test_a_wrong_value_of_drawn_scenes_is_one_finding(tmp_path: Path, spec: ModelSpec) -> None:
    site = Site(name="drawn", kind="drawn_scenes", seeds=(1, 2, 3), values={"99": "building"})
    finding = only(check_labels({"train": [site]}, spec, tmp_path))
    assert (finding.severity, finding.fault) == ("error", "labels")
    assert "drawn scenes have no value 99" in finding.text


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_picture_that_was_saved_anew_is_recognized(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    noisy = np.clip(scene.pixels.astype(int) + np.random.default_rng(1).integers(-3, 4, scene.pixels.shape), 0, 255).astype(np.uint8)
    for name, pixels in (("a", scene.pixels), ("b", noisy)):
        write_raster(tmp_path / f"{name}.tif", pixels, transform=None, crs=None)
        write_raster(tmp_path / f"{name}_labels.tif", scene.classes[None], transform=None, crs=None)
    one, other = (Site(name=n, kind="class_raster", rasters=f"{n}.tif", labels="{stem}_labels.tif") for n in ("a", "b"))
    finding = only(check_labels({"train": [one], "test": [other]}, spec, tmp_path))
    assert (finding.severity, finding.fault) == ("warning", "train in test")
    assert "b.tif looks like a.tif" in finding.text


def test_a_preview_shows_imagery_and_class_colors(tmp_path: Path, pair: tuple[Site, Site], spec: ModelSpec, scene: Scene) -> None:
    raster = load_raster(tmp_path / "a.tif", pair[0], Reading.of(spec), tmp_path)
    picture = draw_preview(raster, spec.scheme)
    np.testing.assert_array_equal(picture[:192, :192], np.moveaxis(scene.pixels, 0, 2))
    over = picture[:192, 196 : 196 + 192].astype(int)
    # every pixel is drawn toward its class's color
    color = np.array([0xA0, 0xB0, 0xC0])
    assert (np.abs(over - color) <= np.abs(picture[:192, :192].astype(int) - color)).all()
    write_preview([picture, picture], tmp_path / "preview.png")
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_weights_chosen_by_test_data_are_found(tmp_path: Path, spec: ModelSpec, scene: Scene) -> None:
    site = write_site(tmp_path, "a", scene.pixels, scene.classes)
    faults = [f.fault for f in check_labels({"train": [], "validation": [site], "test": [site]}, spec, tmp_path).findings]
    assert "validation in test" in faults

"""``geoseg verify``: a good run passes, and each kind of damage is found by the check that is made for it."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rio_cogeo.cogeo import cog_validate

from geoseg.errors import ChunkError, RunFolderError
from geoseg.inference.planning import plan_run
from geoseg.model.package import hash_file, shipped_models
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from geoseg.redo import redo_objects
from geoseg.runfolder.verify import CHECKS, verify_run
from geoseg.scene import SceneOptions, draw_scene
from tests.doubles import Logged, always, call_geoseg, configure, draw_blobs, read_all, read_layer, write_package, write_raster

NEAR = NeighborhoodPredictor(spec=double_spec(), radius_px=4)
SHAPE = 150, 200
STEP = {"chunk_size": 64}


def road_spec() -> ModelSpec:
    """Like the double, with a road class instead of buildings."""
    spec = double_spec().model_dump()
    spec["classes"] = [spec["classes"][0], {"value": 7, "name": "road", "color": "#fadc3c", "kind": "road"}]
    return ModelSpec.model_validate(spec | {"heads": {"semantic": spec["heads"]["semantic"]}})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    raster = write_raster(folder / "blobs.tif", draw_blobs(*SHAPE, corner=60), nodata=0)
    return segment_raster(configure(raster, write_package(folder / "package"), folder / "out", **STEP), load=always(NEAR))


@pytest.fixture
def run(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "run"))


def failed(run: Path) -> set[str]:
    return {check.name for check in verify_run(run).failed}


def states(run: Path) -> dict[str, str]:
    return {check.name: check.state for check in verify_run(run).checks}


def reseal(run: Path) -> None:
    """Write the checksums of what is there now, as a forger would, so that checksums find nothing."""
    item = json.loads((run / "item.json").read_text())
    for asset in item["assets"].values():
        path = run / asset["href"]
        asset |= {"file:size": path.stat().st_size, "file:checksum": f"1220{hash_file(path)}"}
    (run / "item.json").write_text(json.dumps(item))


# Good runs


def test_a_good_run_passes_every_check(good: Path) -> None:
    assert states(good) == dict.fromkeys(CHECKS, "ok") | {"roads": "skipped"}


def test_verifying_changes_nothing(good: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, hash_file(path)) for path in good.iterdir()}
    verify_run(good)
    assert {path: (path.stat().st_mtime_ns, hash_file(path)) for path in good.iterdir()} == before


def test_a_run_with_redone_objects_passes_under_its_new_id(run: Path) -> None:
    before = verify_run(run).run_id
    redo_objects(run, {"landcover": {"simplify_m": 0.0}, "buildings": {"min_area_m2": 3.0}})
    assert failed(run) == set()
    assert verify_run(run).run_id != before


@pytest.mark.parametrize("outputs", [("classes",), ("confidence",), ("buildings",), ("landcover", "panoptic")])
def test_a_run_of_few_outputs_passes(tmp_path: Path, outputs: tuple[str, ...]) -> None:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(80, 90), nodata=0)
    config = configure(raster, write_package(tmp_path / "package"), tmp_path / "out", outputs=outputs)
    assert failed(segment_raster(config, load=always(NEAR))) == set()


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roads")
    pixels = np.full((3, 160, 200), 20, np.uint8)
    pixels[:, 76:84] = pixels[:, :, 96:104] = 250
    raster = write_raster(folder / "cross.tif", pixels)
    predictor = NeighborhoodPredictor(spec=road_spec(), radius_px=1)
    return segment_raster(configure(raster, write_package(folder / "package", road_spec()), folder / "out"), load=always(predictor))


def test_a_run_with_roads_passes(roads: Path) -> None:
    assert states(roads)["roads"] == "ok"
    assert len(read_layer(roads, "roads")) == 4
    assert failed(roads) == set()


def test_a_road_that_ends_nowhere_is_found(roads: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(roads, tmp_path / "run"))
    edit_rows(run, "UPDATE roads SET to_node = 99 WHERE edge_id = 1")
    reseal(run)
    assert failed(run) == {"roads"}


@pytest.mark.slow
@pytest.mark.parametrize("model", shipped_models())
def test_a_run_of_each_shipped_model_passes(model: str, tmp_path: Path) -> None:
    drawn = draw_scene(SceneOptions(height_px=256, width_px=256))
    raster = write_raster(tmp_path / "scene.tif", drawn.pixels, transform=drawn.transform, crs=drawn.crs, nodata=0)
    config = configure(raster, Path(model), tmp_path / "out", tile_size=256, halo=64)
    assert failed(segment_raster(config)) == set()


def test_a_run_of_an_early_version_without_checksums_is_checked_as_far_as_it_goes(run: Path) -> None:
    edit_json(run / "summary.json", lambda summary: summary.pop("run_id"))
    edit_json(run / "item.json", lambda item: item["properties"].pop("geoseg:run_id"))
    edit_json(run / "item.json", lambda item: [asset.pop("file:checksum") for asset in item["assets"].values()])
    assert states(run) == dict.fromkeys(CHECKS, "ok") | {"roads": "skipped", "checksums": "skipped"}


def test_options_that_a_later_version_added_are_no_fault_of_a_run(run: Path) -> None:
    record = run / "run.toml"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(line for line in lines if not line.startswith("min_part_share")))
    assert record.read_text().count("\n") == len(lines) - 2
    (message,) = [check.message for check in verify_run(run).checks if check.name == "record"]
    # the id is that of the record, which was changed here
    assert message.startswith("run ids differ")


# Damage to files: found by checksums, whatever it hits


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(
    "name", ["classes.tif", "classes.tif.aux.xml", "confidence.tif", "evidence.tif", "instances.tif", "panoptic.tif", "features.gpkg"]
)
def test_damage_to_any_product_is_found_and_named(run: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(run / name)
    found = {check.name: check.message for check in verify_run(run).failed}
    assert name in found["checksums"]
    assert found["checksums"].count(";") <= (damage is flip and name == "features.gpkg"), "only this one"


def test_two_swapped_files_are_found(run: Path) -> None:
    (run / "classes.tif").rename(run / "aside")
    (run / "confidence.tif").rename(run / "classes.tif")
    (run / "aside").rename(run / "confidence.tif")
    assert {"checksums", "legend", "pixels", "layers"} <= failed(run)


def test_a_product_of_another_run_beside_the_others_is_found(run: Path) -> None:
    (run / "roads.graphml").write_text("<graphml/>")
    found = {check.name: check.message for check in verify_run(run).failed}
    assert found == {"checksums": "roads.graphml is not listed in item.json: it was not written by this run"}


# Damage to what files say, checksums forged: found by the check that is made for it


def rewrite(
    path: Path, change: Callable[[NDArray[Any]], NDArray[Any]] = lambda pixels: pixels, *, driver: str = "COG", **more: Any
) -> None:
    """Write a raster again, with other pixels or another profile."""
    pixels = change(read_all(path))
    with rasterio.open(path) as dataset:
        _, height, width = pixels.shape
        shape = {"count": len(pixels), "height": height, "width": width, "dtype": pixels.dtype}
        profile = shape | {"crs": dataset.crs, "transform": dataset.transform, "nodata": dataset.nodata, "compress": "deflate"} | more
        colors = dataset.colormap(1) if dataset.colorinterp[0].name == "palette" else None
        mask = dataset.dataset_mask()
        is_masked = path.name == "panoptic.tif"
    colors = profile.pop("colors", colors)
    made = path.with_name("made.tif")
    with rasterio.open(made, "w", driver=driver, **profile) as out:
        out.write(pixels)
        if is_masked:
            out.write_mask(mask)
        if colors is not None:
            out.write_colormap(1, colors)
    made.replace(path)


def replace(pixels: NDArray[Any], where: NDArray[np.bool_], value: int) -> NDArray[Any]:
    return np.where(where, value, pixels).astype(pixels.dtype)


def edit_rows(run: Path, command: str) -> None:
    with sqlite3.connect(run / "features.gpkg") as opened:
        # the triggers of spatial indexes need functions that SQLite itself does not have
        for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            opened.execute(f'DROP TRIGGER "{name}"')
        opened.execute(command)
    opened.close()


def edit_layer(run: Path, layer: str, change: Callable[[gpd.GeoDataFrame], gpd.GeoDataFrame]) -> None:
    table = read_layer(run, layer)
    change(table).to_file(run / "features.gpkg", layer=layer, engine="pyogrio")


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def shrink_first(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    largest = table.geometry.area.idxmax()
    table.loc[largest, "geometry"] = max(table.geometry[largest].buffer(-2.0).geoms, key=lambda part: part.area)
    return table


def grow_first(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    inner = table.geometry.area.idxmin()
    table.loc[inner, "geometry"] = table.geometry[inner].buffer(0.4, join_style="mitre")
    return table


def cross_first(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    x, y = (337_200 + 70, 3_058_800 - 50)
    table.loc[0, "geometry"] = shapely.Polygon([(x, y), (x + 2, y + 2), (x + 2, y), (x, y + 2)])
    return table


def move_first(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    table.loc[0, "geometry"] = shapely.affinity.translate(table.geometry[0], 500)
    return table


def unplace_first(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Give a polygon a corner that lies nowhere."""
    points = shapely.get_coordinates(table.geometry[0].exterior)
    points[1] = np.nan
    table.loc[0, "geometry"] = shapely.Polygon(points)
    return table


def other_run_classes(run: Path) -> None:
    """Of a run over another raster of the same grid."""
    rewrite(run / "classes.tif", lambda pixels: np.where(pixels == 255, 255, 1 - pixels).astype(np.uint8))


def edit_option(run: Path) -> None:
    """Only where it is repeated from, so that the id stays."""
    text = (run / "run.toml").read_text()
    assert text.index("batch_size = 1") < text.index("[fingerprint]")
    (run / "run.toml").write_text(text.replace("batch_size = 1", "batch_size = 2", 1))


DAMAGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "classes of another raster": (other_run_classes, {"pixels", "layers"}),
    "a grid that is moved": (lambda r: rewrite(r / "confidence.tif", transform=Affine(0.5, 0, 337_201, 0, -0.5, 3_058_800)), {"grid"}),
    "a raster that is cut": (lambda r: rewrite(r / "confidence.tif", lambda p: p[:, :-1]), {"grid", "layers"}),
    "no COG": (lambda r: rewrite(r / "confidence.tif", driver="GTiff", tiled=False), {"cog"}),
    "another nodata value": (lambda r: rewrite(r / "confidence.tif", nodata=0), {"legend"}),
    "other colors": (lambda r: rewrite(r / "classes.tif", colors={0: (1, 2, 3, 255)}), {"legend"}),
    "other names": (lambda r: (r / "classes.tif.aux.xml").write_text("<PAMDataset/>"), {"legend"}),
    "confidence without bounds": (lambda r: rewrite(r / "confidence.tif", lambda p: replace(p, p < 255, 200)), {"layers"}),
    "data where there is none": (lambda r: rewrite(r / "confidence.tif", np.zeros_like), {"layers"}),
    "another instance": (lambda r: rewrite(r / "instances.tif", lambda p: replace(p, p == 1, 2)), {"ids", "layers"}),
    "an unknown instance": (lambda r: rewrite(r / "instances.tif", lambda p: replace(p, p == 1, 999)), {"ids", "layers"}),
    "pixels of a segment": (lambda r: edit_rows(r, "UPDATE panoptic SET pixels = pixels + 1 WHERE segment_id = 3"), {"ids"}),
    "pixels of a surface": (lambda r: edit_rows(r, "UPDATE panoptic SET pixels = pixels + 1 WHERE segment_id = 1"), {"ids"}),
    "an id twice": (lambda r: edit_rows(r, "UPDATE buildings SET instance_id = 1 WHERE instance_id = 2"), {"ids"}),
    "a lost building": (lambda r: edit_layer(r, "buildings", lambda t: t.iloc[1:]), {"ids", "counts"}),
    "a lost layer": (lambda r: edit_rows(r, "DELETE FROM gpkg_contents WHERE table_name = 'buildings'"), {"ids", "counts"}),
    "a polygon that crosses itself": (lambda r: edit_layer(r, "buildings", cross_first), {"geometry"}),
    "a polygon outside": (lambda r: edit_layer(r, "buildings", move_first), {"geometry"}),
    "a gap in land cover": (lambda r: edit_layer(r, "landcover", shrink_first), {"coverage"}),
    "an overlap in land cover": (lambda r: edit_layer(r, "landcover", grow_first), {"coverage"}),
    "lost land cover": (lambda r: edit_layer(r, "landcover", lambda t: t.drop(t.geometry.area.idxmax())), {"coverage", "counts"}),
    "an edited option": (edit_option, {"record"}),
    "an edited fingerprint": (
        lambda r: (r / "run.toml").write_text((r / "run.toml").read_text().replace("[fingerprint]\n", "[fingerprint]\nx = 1\n")),
        {"record"},
    ),
    "no record": (lambda r: (r / "run.toml").write_text("x = 1"), {"record"}),
    "another model": (lambda r: edit_json(r / "summary.json", lambda s: s["model"].update(sha256="0" * 64)), {"record"}),
    "edited pixels": (lambda r: edit_json(r / "summary.json", lambda s: s["classes"][0].update(pixels=7)), {"pixels", "coverage"}),
    "edited areas": (lambda r: edit_json(r / "summary.json", lambda s: s["classes"][0].update(area_m2=7.0)), {"pixels"}),
    "edited counts": (lambda r: edit_json(r / "summary.json", lambda s: s["counts"].update(buildings=7)), {"counts"}),
    "work left behind": (lambda r: (r / ".work").mkdir(), {"chunks"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_forged_damage_is_found_by_the_check_that_is_made_for_it(run: Path, name: str) -> None:
    damage, wanted = DAMAGES[name]
    damage(run)
    reseal(run)
    assert failed(run) == wanted


def test_the_layout_check_agrees_with_another_validator(run: Path) -> None:
    assert [cog_validate(path)[0] for path in sorted(run.glob("*.tif"))] == [True] * 5
    rewrite(run / "evidence.tif", lambda p: np.tile(p, (1, 5, 5)), driver="GTiff", tiled=False)
    assert not cog_validate(run / "evidence.tif")[0]
    found = {check.name: check.message for check in verify_run(run).failed}
    assert "evidence.tif is not laid out as a COG" in found["cog"]
    assert "evidence.tif has 0 overviews, the smallest of 1000 px" in found["cog"]


def test_what_was_appended_to_a_cog_is_found(run: Path) -> None:
    with rasterio.open(run / "classes.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.write(np.random.default_rng(1).integers(0, 2, (1, *SHAPE)).astype(np.uint8))
    reseal(run)
    assert "cog" in failed(run)


# Runs that are not finished


def test_the_missing_chunks_of_an_unfinished_run_are_counted_and_named(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(*SHAPE), nodata=0)
    config = configure(raster, write_package(tmp_path / "package"), tmp_path / "out", **STEP)
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(Logged(NEAR, tmp_path / "calls", fails_from=17)))
    kept = sorted(path.stem for path in (tmp_path / "out" / ".work" / "chunks").rglob("*.tif"))
    total = plan_run(config).tiles.chunk_count
    (check,) = verify_run(tmp_path / "out").checks
    assert (check.name, check.state) == ("chunks", "failed")
    assert f"{total - len(kept)} of {total} chunks are missing" in check.message
    assert check.message.split("first ")[1] not in kept


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunFolderError, match=r"holds no run of geoseg: there is no run\.toml"):
            verify_run(folder)


@pytest.mark.parametrize("name", ["summary.json", "item.json", "run.toml"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"{}", b'{"classes": 3, "counts": 4, "timing_s": 5}'])
def test_records_of_any_content_give_a_verdict(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    assert verify_run(run).failed


# The command


def test_the_command_prints_a_table_and_names_each_failure(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert call_geoseg(monkeypatch, "verify", run) == 0
    assert "checksums" in capsys.readouterr().out
    flip(run / "confidence.tif")
    assert call_geoseg(monkeypatch, "verify", run) == 1
    assert "\nchecksums: confidence.tif was changed" in capsys.readouterr().out


def test_the_command_prints_json(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_geoseg(monkeypatch, "verify", run, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"]
    assert [check["name"] for check in said["checks"]] == list(CHECKS)
    assert len(said["run_id"]) == 16


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_corner_that_lies_nowhere_is_told_of_as_not_valid(run: Path) -> None:
    edit_layer(run, "landcover", unplace_first)
    reseal(run)
    assert failed(run) == {"geometry"}

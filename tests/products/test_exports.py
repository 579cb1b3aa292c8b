"""``geoseg export`` and ``geoseg areas``: what a finished run is written in afterwards."""

import json
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geoseg import plugins, writers
from geoseg.config import make_config
from geoseg.errors import ConfigError, RunError, RunFolderError, UsageError
from geoseg.inference.planning import plan_run
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.products import exports
from geoseg.products.exports import export_run
from geoseg.products.formats.run import RunProducts
from geoseg.redo import redo_objects
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.verify import verify_run
from geoseg.writers import check_zones
from tests.doubles import (
    CRS,
    TRANSFORM,
    always,
    bytes_of,
    call_geoseg,
    configure,
    contents,
    draw_blobs,
    read_layer,
    write_package,
    write_raster,
)

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
def zones(tmp_path: Path) -> Path:
    table = gpd.GeoDataFrame({"name": ["all"]}, geometry=[shapely.box(337_000, 3_058_000, 338_000, 3_059_000)], crs="EPSG:32645")
    table.to_file(tmp_path / "zones.gpkg")
    return tmp_path / "zones.gpkg"


def write_words(products: RunProducts, target: Path) -> None:
    """A third party's writer."""
    (target / "words.txt").write_text(f"{products.name}: {sum(products.layers().values())} features")


def write_rival(_products: RunProducts, target: Path) -> None:
    (target / "classes.tif").write_bytes(b"mine")


def write_nothing(_products: RunProducts, _target: Path) -> None:
    raise KeyError("no such thing")


def install(patch: pytest.MonkeyPatch, name: str) -> None:
    """Pretend that a package adds a writer."""
    entry = EntryPoint(name, f"{__name__}:{name}", plugins.WRITERS)
    object.__setattr__(entry, "load", lambda: globals()[name])
    patch.setattr(plugins, "entry_points", lambda **asked: [entry] if asked.get("name", name) == name else [])


def test_a_finished_run_gets_formats_and_zones_afterwards_and_stays_verified(run: Path, finished: Path, zones: Path) -> None:
    export_run(run, formats=("geojson", "styles"))
    export_run(run, zones=zones)
    export_run(run, formats=("geojson",))
    assert contents(run) - contents(finished) == {
        "zones.csv",
        *(f"{layer}.{ending}" for layer in ("landcover", "buildings") for ending in ("geojson", "qml", "sld")),
        "classes.qml",
        "classes.sld",
    }
    assert bytes_of(run) == bytes_of(finished)
    assert not verify_run(run).failed
    assert tomllib.loads((run / "run.toml").read_text())["run"]["formats"] == ["geojson", "styles"]
    assert read_layer(run, "zones")["name"].tolist() == ["all"]


def test_a_raster_that_users_keep_in_the_run_folder_is_not_taken_for_the_runs(run: Path, zones: Path) -> None:
    write_raster(run / "AOI.tif", draw_blobs(20, 30), transform=Affine(7, 0, 100, 0, -7, 900))
    export_run(run, zones=zones)
    (mapped_m2,) = read_layer(run, "zones")["mapped_m2"]
    classes = json.loads((run / "summary.json").read_text())["classes"]
    assert mapped_m2 == pytest.approx(sum(row["area_m2"] for row in classes if row["value"] != 255), rel=1e-5)


def test_the_same_command_with_another_format_adds_it_without_the_network(inputs: tuple[Path, Path], run: Path) -> None:
    def never() -> None:
        raise AssertionError("the network was loaded")

    segment_raster(configure(*inputs, run, formats=("flatgeobuf",)), load=never)
    assert (run / "buildings.fgb").exists()
    stamp = (run / "buildings.fgb").stat().st_mtime_ns
    segment_raster(configure(*inputs, run, formats=("flatgeobuf",)), load=never)
    assert (run / "buildings.fgb").stat().st_mtime_ns == stamp


def test_objects_made_anew_are_exported_anew_and_zones_are_kept(run: Path, zones: Path) -> None:
    export_run(run, formats=("geojson",), zones=zones)
    before = read_layer(run, "zones")
    zones.unlink()
    redo_objects(run, {"buildings": {"min_area_m2": 60}})
    assert len(gpd.read_file(run / "buildings.geojson")) == len(read_layer(run, "buildings"))
    assert read_layer(run, "zones").equals(before)
    assert not verify_run(run).failed


def test_a_run_without_its_imagery_is_exported_all_the_same(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    raster = Path(shutil.copy(inputs[0], tmp_path))
    run = segment_raster(configure(raster, inputs[1], tmp_path / "out"), load=always(NEAR))
    raster.unlink()
    export_run(run, formats=("coco",))
    assert [path.name for path in (run / "coco").iterdir()] == ["annotations.json"]


def test_another_package_adds_a_format(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "write_words")
    export_run(run, formats=("write_words",))
    count = sum(len(read_layer(run, layer)) for layer in ("landcover", "buildings"))
    assert (run / "words.txt").read_text() == f"out: {count} features"
    assert json.loads((run / "item.json").read_text())["assets"]["words.txt"]["geoseg:format"] == "write_words"
    assert not verify_run(run).failed
    # what its item lists is the run's own, and goes with it
    RunFolder(run).clear()
    assert not run.exists()


@pytest.mark.parametrize(("name", "message"), [("write_rival", "writes classes.tif"), ("write_nothing", "KeyError: 'no such thing'")])
def test_a_format_that_goes_wrong_leaves_the_run_as_it_was(
    run: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    install(monkeypatch, name)
    with pytest.raises(RunError, match=message):
        export_run(run, formats=(name,))
    RunFolder(run).finish()
    assert contents(run) == contents(finished)
    assert not verify_run(run).failed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ("geojsn",)}, "no format 'geojsn'; did you mean 'geojson'"),
        ({"formats": ("zarr",)}, "'zarr' is written from probabilities"),
        ({"formats": ("osm",), "outputs": ("classes", "landcover")}, "'osm' is written from buildings"),
        ({"outputs": ("landcover",), "zones": "here.gpkg"}, "Add classes to --outputs"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(
    inputs: tuple[Path, Path], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    (tmp_path / "here.gpkg").touch()
    if "zones" in options:
        options = {**options, "zones": tmp_path / "here.gpkg"}
    with pytest.raises(ConfigError, match=message):
        plan_run(configure(*inputs, tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_zones_that_cannot_be_measured_are_refused_before_any_work(tmp_path: Path) -> None:
    geobox = GeoBox((100, 100), TRANSFORM, CRS)
    (tmp_path / "empty.gpkg").touch()
    points = gpd.GeoDataFrame(geometry=[shapely.Point(337_210, 3_058_790)], crs=CRS)
    points.to_file(tmp_path / "points.gpkg")
    away = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 5, 5)], crs=CRS)
    away.to_file(tmp_path / "away.gpkg")
    (tmp_path / "nowhere.csv").write_text('WKT\n"POLYGON ((0 0, 5 0, 5 5, 0 0))"\n')
    for name, message in (
        ("empty.gpkg", "could not be read as vector data"),
        ("points.gpkg", "holds 1 features and no polygon"),
        ("nowhere.csv", "declares no CRS"),
    ):
        with pytest.raises(UsageError, match=message):
            check_zones(tmp_path / name, ("classes",))
    check_zones(tmp_path / "away.gpkg", ("classes",))
    with pytest.raises(UsageError, match="None of the 1 zones"):
        check_zones(tmp_path / "away.gpkg", ("classes",), geobox)


def test_a_package_that_is_missing_is_named(inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"'pmtiles' needs pyarrow and pmtiles\. Install them with: pip install 'geoseg\[formats\]'"):
        plan_run(configure(*inputs, tmp_path / "out", formats=("pmtiles",)))
    # what is written already is read without them
    assert make_config({"raster": "a.tif", "output": tmp_path, "formats": ["pmtiles"]}).formats == ("pmtiles",)


def test_the_command_line_exports(run: Path, zones: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_geoseg(monkeypatch, "export", run, "--formats", "osm,styles", "--progress", "none") == 0
    assert call_geoseg(monkeypatch, "areas", run, "--zones", zones, "--progress", "none") == 0
    assert {"buildings.osm", "classes.qml", "zones.csv"} <= contents(run)
    assert call_geoseg(monkeypatch, "areas", run, "--zones", "nowhere.gpkg", "--progress", "none") == 2
    assert "There is no vector file nowhere.gpkg" in capsys.readouterr().err


def test_a_folder_without_a_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"holds no run of geoseg"):
        export_run(tmp_path, formats=("styles",))


def test_what_fails_afterwards_leaves_a_run_that_verifies(run: Path, zones: Path, tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 5, 5)], crs="EPSG:32645").to_file(tmp_path / "away.gpkg")
    before = contents(run)
    with pytest.raises(UsageError, match="None of the 1 zones"):
        export_run(run, zones=tmp_path / "away.gpkg")
    assert contents(run) == before
    assert not verify_run(run).failed


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_an_item_that_lists_the_folder_itself_or_the_one_above_removes_neither(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    item = json.loads((run / "item.json").read_text())
    item["assets"]["evil"] = {"href": f"./{name}"}
    (run / "item.json").write_text(json.dumps(item))
    (run / ".work").mkdir()
    (run / ".work/reopened").touch()
    RunFolder(run).settle()
    assert (tmp_path / "precious.txt").exists()
    assert (run / "run.toml").exists()


def test_a_layer_that_was_a_folder_becomes_a_file_when_it_has_shrunk(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoseg.products.formats.geoparquet import write_geoparquet

    monkeypatch.setattr(exports, "load_writer", lambda _name: partial(write_geoparquet, part_rows=1))
    export_run(run, formats=("geoparquet",))
    assert (run / "landcover.parquet").is_dir()
    monkeypatch.undo()
    redo_objects(run, {})
    assert (run / "landcover.parquet").is_file()
    assert not verify_run(run).failed


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("geoseg.products.exports.make_formats", "what it had is whole, but a later command was cut off"),
        ("geoseg.runfolder.folder.move_whole", "cut off while its products were moved"),
    ],
)
def test_a_killed_export_leaves_a_folder_that_verify_understands_and_the_next_one_ends(run: Path, place: str, message: str) -> None:
    module, _, name = place.rpartition(".")
    kill = f"import os, {module} as m; m.{name} = lambda *_: os.kill(os.getpid(), 9)"
    export = (
        f"from pathlib import Path; from geoseg.products.exports import export_run; export_run(Path({str(run)!r}), formats=('styles',))"
    )
    # what is imported first is not patched
    command = [sys.executable, "-c", f"import geoseg.products.exports; {kill}; {export}"]
    assert subprocess.run(command, check=False).returncode == -9
    (failed, *_) = verify_run(run).failed
    assert message in failed.message
    export_run(run, formats=("styles",))
    assert not verify_run(run).failed
    assert (run / "classes.qml").exists()

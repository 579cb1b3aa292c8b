"""What users get wrong: one paragraph that says what to do, the right exit code, and nothing left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.control import GroundControlPoint

from geoseg.errors import RunError
from geoseg.events import ChunkDone, Event
from geoseg.model.predictor import ThresholdPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.runtime import launch
from tests.doubles import (
    CRS,
    TRANSFORM,
    always,
    call_geoseg,
    configure,
    contents,
    draw_blobs,
    network_spec,
    write_network,
    write_package,
    write_raster,
)

PIXELS = draw_blobs(64, 80)
FAILED, USAGE = 1, 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can be planned with but not run."""
    return write_package(tmp_path_factory.mktemp("model") / "double")


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "city.tif", PIXELS)


class Said(NamedTuple):
    """How a command ended."""

    code: int
    error: str


@pytest.fixture
def geoseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line in this process; what would be a traceback fails the test."""
    return lambda *words: Said(call_geoseg(monkeypatch, *words), capsys.readouterr().err)


@pytest.fixture
def segment(geoseg: Callable[..., Said], package: Path, tmp_path: Path) -> Callable[..., Said]:
    """``segment(raster, *options)`` into ``out``, without progress; nothing may be left behind."""

    def run(raster: object, *options: object) -> Said:
        before = contents(tmp_path)
        said = geoseg("segment", raster, "-o", tmp_path / "out", "-m", package, "--progress", "none", *options)
        assert contents(tmp_path) == before
        return said

    return run


def check(said: Said, code: int, *words: str) -> None:
    assert said.code == code, said
    assert said.error.startswith("Error: ")
    assert said.error.count("\n") == 1, said
    for word in words:
        assert word in said.error


# Rasters


def text(path: Path) -> None:
    path.write_text("this is a letter, not a raster\n")


def no_crs(path: Path) -> None:
    write_raster(path, PIXELS, crs=None)


def no_georeference(path: Path) -> None:
    write_raster(path, PIXELS, crs=None, transform=None)


def rotated(path: Path) -> None:
    write_raster(path, PIXELS, transform=TRANSFORM @ Affine.rotation(20))


def by_control_points(path: Path) -> None:
    corners = [(0, 0), (0, 80), (64, 0), (64, 80)]
    points = [GroundControlPoint(row, col, 337_200 + col / 2, 3_058_800 - row / 2) for row, col in corners]
    write_raster(path, PIXELS, transform=None, crs=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = (points, rasterio.crs.CRS.from_string(CRS))


def two_bands(path: Path) -> None:
    write_raster(path, PIXELS[:2])


def complex_numbers(path: Path) -> None:
    write_raster(path, PIXELS.astype(np.complex64))


def all_nodata(path: Path) -> None:
    write_raster(path, np.zeros_like(PIXELS), nodata=0)


def all_nan(path: Path) -> None:
    write_raster(path, np.full(PIXELS.shape, np.nan, np.float32))


def cut_off(path: Path) -> None:
    """The header and the first blocks are there, the rest never arrived."""
    write_raster(path, np.random.default_rng(1).integers(1, 255, (3, 600, 600), np.uint8), compress="deflate", nodata=0)
    path.write_bytes(path.read_bytes()[:200_000])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _path: None, ["There is no file", "Check the path"]),
        (Path.mkdir, ["could not be opened as a raster"]),
        (text, ["could not be opened as a raster", "GDAL"]),
        (no_crs, ["declares no CRS", "--assume-crs"]),
        (no_georeference, ["declares no CRS", "--assume-crs"]),
        (rotated, ["is rotated", "--warp"]),
        (by_control_points, ["ground control points", "--warp"]),
        (two_bands, ["needs 3 bands", "has 2", "--bands"]),
        (complex_numbers, ["complex"]),
        (all_nodata, ["No pixel", "nodata"]),
        (all_nan, ["No pixel"]),
        (cut_off, ["could not be read", "gdalinfo"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_raster_that_cannot_be_used(segment: Callable[..., Said], tmp_path: Path, make: Callable[[Path], None], words: list[str]) -> None:
    path = tmp_path / "city.tif"
    make(path)
    check(segment(path), FAILED if make is cut_off else USAGE, "city.tif", *words)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("make", "option"), [(no_crs, ["--assume-crs", CRS]), (rotated, ["--warp"]), (by_control_points, ["--warp"])])
def test_the_advice_given_for_a_raster_helps(
    geoseg: Callable[..., Said], model: Path, tmp_path: Path, make: Any, option: list[str]
) -> None:
    make(tmp_path / "city.tif")
    out = ["-o", tmp_path / "out", "-m", model, "--progress", "none"]
    assert geoseg("segment", tmp_path / "city.tif", *out, *option).code == 0
    with rasterio.open(tmp_path / "out" / "classes.tif") as made:
        assert made.crs == rasterio.crs.CRS.from_string(CRS)


# Areas of interest


def area(*polygons: shapely.Geometry, crs: str | None = CRS) -> Callable[[Path], None]:
    return lambda path: gpd.GeoDataFrame(geometry=list(polygons), crs=crs).to_file(path, driver="GeoJSON" if crs else "FlatGeobuf")


def table(path: Path) -> None:
    path.write_text("name,value\nparis,1\n")


@pytest.mark.filterwarnings("ignore:.*crs. was not provided:UserWarning")
@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("aoi.gpkg", lambda _path: None, ["There is no vector file"]),
        ("aoi.gpkg", text, ["could not be read as vector data"]),
        ("aoi.csv", table, ["aoi.csv is a table without geometry"]),
        ("aoi.json", area(shapely.Point(337_210, 3_058_790)), ["no polygon"]),
        ("aoi.json", area(), ["no polygon"]),
        ("aoi.json", area(shapely.box(0, 0, 100, 100)), ["does not touch", "CRS"]),
        ("aoi.json", area(shapely.box(-100, 40, -99, 41), crs="EPSG:4326"), ["does not touch", "CRS"]),
        ("aoi.fgb", area(shapely.box(337_200, 3_058_700, 337_300, 3_058_800), crs=None), ["declares no CRS"]),
        ("aoi.json", area(shapely.box(337_200.01, 3_058_799.9, 337_200.02, 3_058_799.99)), ["No pixel"]),
    ],
    ids=["missing", "text", "table", "points", "empty", "far", "other side of the earth", "no CRS", "between pixel centers"],
)
def test_an_area_that_cannot_be_used(
    segment: Callable[..., Said], raster: Path, tmp_path: Path, name: str, make: Callable[[Path], None], words: list[str]
) -> None:
    make(tmp_path / name)
    check(segment(raster, "--aoi", tmp_path / name), USAGE, *words)


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bands", "1,2"], ["needs 3 bands", "names 2"]),
        (["--bands", "1,2,4"], ["has 3 bands", "asks for 4"]),
        (["--bands", "0,1,2"], ["asks for 0"]),
        (["--bands", "x,y,z"], ["bands", "'x'"]),
        (["--memory", "lots"], ["lots", "4GB"]),
        (["--memory", "1.2.3GB"], ["1.2.3GB", "4GB"]),
        (["--halo", "wide"], ["halo", "wide"]),
        (["--halo", "-8"], ["halo", "-8"]),
        (["--halo", "400"], ["halo", "--tile-size"]),
        (["--tile-size", "0"], ["tile_size"]),
        (["--chunk-size", "-1"], ["chunk_size"]),
        (["--batch-size", "0"], ["batch_size"]),
        (["--workers", "-1"], ["workers"]),
        (["--outputs", "classes,trees"], ["outputs", "trees"]),
        (["--device", "gpu"], ["device", "gpu"]),
        (["--device", "cuda"], ["CUDA", "--device cpu"]),
        (["--assume-crs", "EPSG:0"], ["EPSG:0"]),
        (["--config", "nowhere.toml"], ["nowhere.toml", "--config"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_an_option_that_does_not_fit(segment: Callable[..., Said], tmp_path: Path, options: list[str], words: list[str]) -> None:
    if options == ["--device", "cuda"]:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    bare = options[0] == "--assume-crs"
    check(segment(write_raster(tmp_path / "city.tif", PIXELS, crs=None if bare else CRS), *options), USAGE, *words)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("tile_sise = 512", ["there is no option 'tile_sise'", "did you mean 'tile_size'"]),
        ("[run]\nunheard_of = 1", ["there is no option 'unheard_of'"]),
        ("tile_size = ", ["is not valid TOML"]),
        ("tile_size = 'big'", ["tile_size", "'big'"]),
    ],
    ids=["misspelled", "unknown", "no TOML", "no number"],
)
def test_a_configuration_that_does_not_fit(segment: Callable[..., Said], raster: Path, tmp_path: Path, toml: str, words: list[str]) -> None:
    (tmp_path / "run.toml").write_text(toml)
    check(segment(raster, "--config", tmp_path / "run.toml"), USAGE, *words)


def test_an_unreachable_scheduler(segment: Callable[..., Said], raster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_CONNECT_TIMEOUT_S", 1)
    check(segment(raster, "--scheduler", "tcp://127.0.0.1:1"), USAGE, "tcp://127.0.0.1:1", "dask scheduler")


def test_too_little_memory(segment: Callable[..., Said], raster: Path) -> None:
    check(segment(raster, "--memory", "10MB"), FAILED, "GB of memory", "--memory")


@pytest.mark.parametrize("words", [["segmnt"], ["segment"], ["segment", "a.tif"], ["segment", "a.tif", "-o", "out", "--progress", "loud"]])
def test_a_command_that_typer_refuses_is_a_usage_error(geoseg: Callable[..., Said], words: list[str]) -> None:
    said = geoseg(*words)
    assert said.code == USAGE
    assert "Usage" in said.error
    assert "Traceback" not in said.error


# Models


def change_card(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    card = folder / "model.json"
    item = json.loads(card.read_text())
    change(item)
    card.write_text(json.dumps(item))


def cut_card(folder: Path) -> None:
    (folder / "model.json").write_text("{")


def change_weights(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"other")


def remove_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


def misspell(folder: Path) -> None:
    change_card(folder, lambda item: item["properties"]["geoseg:spec"].update(tile_sise=3))


def remove_spec(folder: Path) -> None:
    change_card(folder, lambda item: item["properties"].pop("geoseg:spec"))


def climb_out(folder: Path) -> None:
    change_card(folder, lambda item: item["assets"]["weights"].update(href="../../secret"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_card, ["not a model card"]),
        (change_weights, ["SHA-256", "damaged"]),
        (remove_weights, ["holds no weights"]),
        (misspell, ["tile_sise"]),
        (remove_spec, ["geoseg:spec"]),
        (climb_out, ["must name ./weights.safetensors", "secret"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_model(
    segment: Callable[..., Said], raster: Path, tmp_path: Path, damage: Callable[[Path], None], words: list[str]
) -> None:
    damage(write_package(tmp_path / "package"))
    check(segment(raster, "-m", tmp_path / "package"), USAGE, *words)


def test_an_unknown_model(segment: Callable[..., Said], raster: Path) -> None:
    check(segment(raster, "-m", "arial"), USAGE, "'arial'", "Check -m")


def test_weights_that_are_no_weights(segment: Callable[..., Said], raster: Path, tmp_path: Path) -> None:
    """The checksum is right and the content is not: what a web page saved under the name of a file looks like."""
    check(segment(raster, "-m", write_package(tmp_path / "package", network_spec())), USAGE, "do not fit the network")


def test_a_network_that_cannot_be_built(segment: Callable[..., Said], raster: Path) -> None:
    check(segment(raster), USAGE, "'double'", "cannot be built")


# Output folders


@pytest.mark.parametrize("options", [[], ["--overwrite"]], ids=["", "overwrite"])
def test_an_output_that_is_a_file(segment: Callable[..., Said], raster: Path, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "out").write_text("precious")
    check(segment(raster, *options), USAGE, "is a file; -o names a folder")
    assert (tmp_path / "out").read_text() == "precious"


def test_an_output_that_cannot_be_made(segment: Callable[..., Said], raster: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    check(segment(raster, "-o", tmp_path / "file" / "out"), FAILED, "could not be written")


def test_overwriting_is_not_begun_for_a_run_that_cannot_be_planned(segment: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.toml").write_text("[fingerprint]")
    check(segment(tmp_path / "nowhere.tif", "--overwrite"), USAGE, "nowhere.tif")


def test_overwriting_never_removes_the_raster_that_is_segmented(
    segment: Callable[..., Said], raster: Path, package: Path, tmp_path: Path
) -> None:
    load = always(ThresholdPredictor(spec=double_spec()))
    run = segment_raster(configure(raster, package, tmp_path / "out"), load=load)
    check(segment(raster.rename(run / "city.tif"), "--overwrite"), USAGE, "city.tif")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_refused_before_work_begins(segment: Callable[..., Said], raster: Path, small_disk: Path) -> None:
    large = write_raster(raster.with_name("large.tif"), np.ones((3, 2000, 2000), np.uint8), compress="deflate")
    check(segment(large, "-o", small_disk / "out"), FAILED, "needs about 31 MB", "4 MB are free")
    assert contents(small_disk) == set()


def test_a_disk_that_fills_up_leaves_only_whole_files_and_the_run_goes_on(small_disk: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (3, 700, 700), np.uint8)
    raster = write_raster(tmp_path / "noise.tif", noise)
    config = configure(raster, write_package(tmp_path / "package"), small_disk / "out", chunk_size=96, outputs=("classes", "evidence"))
    ballast = small_disk / "ballast"
    load = always(ThresholdPredictor(spec=double_spec()))

    def take_space(event: Event) -> None:
        # another program takes what the plan counted on
        if isinstance(event, ChunkDone) and event.done == 1:
            ballast.write_bytes(b"x" * 3_500_000)

    with pytest.raises(RunError, match=r"(?s)full.*same command"):
        segment_raster(config, take_space, load=load)
    chunks = list((small_disk / "out" / ".work" / "chunks").rglob("r*_c*"))
    assert chunks
    for path in chunks:
        with rasterio.open(path) as chunk:
            chunk.read()
    ballast.unlink()
    assert (segment_raster(config, load=load) / "classes.tif").exists()


# The real thing, for exit codes and streams


def test_a_process_says_one_paragraph_and_exits(raster: Path, package: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "geoseg", "segment", str(raster), "-o", str(tmp_path / "out"), "-m", str(package)]
    usage = subprocess.run([*command, "--bands", "7,8,9"], capture_output=True, text=True, check=False)
    assert usage.stdout == ""
    check(Said(usage.returncode, usage.stderr), USAGE, "asks for 7")
    failed = subprocess.run([*command, "--memory", "1MB"], capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "40"})
    assert failed.stdout == ""
    check(Said(failed.returncode, failed.stderr), FAILED, "GB of memory")


def test_a_process_whose_chunk_fails_says_one_paragraph(model: Path, tmp_path: Path) -> None:
    """The file is cut off after its first rows, so that work begins and then fails."""
    path = write_raster(tmp_path / "cut.tif", np.random.default_rng(1).integers(1, 255, (3, 600, 600), np.uint8), compress="deflate")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    command = [sys.executable, "-m", "geoseg", "segment", str(path), "-o", str(tmp_path / "out"), "-m", str(model), "--progress", "none"]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    check(Said(failed.returncode, failed.stderr), FAILED, "cut.tif")

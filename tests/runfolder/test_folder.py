"""The settings guard: another model, raster or option that changes results is refused, with what differs."""

import shutil
import threading
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely

from geoseg.checkrules import CheckRule
from geoseg.config import RESULT_DEFAULTS, RunConfig
from geoseg.errors import RunFolderBusyError, RunFolderError
from geoseg.inference.planning import plan_run
from geoseg.model.package import WEIGHTS_NAME, write_card
from geoseg.model.predictor import double_spec
from geoseg.poststeps import MajorityStep
from geoseg.runfolder.folder import RunFolder
from tests.doubles import CRS, TRANSFORM, configure, contents, draw_blobs, write_package, write_raster


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rasters without CRS, two areas, two models."""
    folder = tmp_path_factory.mktemp("files")
    x, y = TRANSFORM @ (0, 0)
    for name, side_m in (("one", 30.0), ("other", 20.0)):
        write_raster(folder / f"{name}.tif", draw_blobs(70, 90), crs=None)
        gpd.GeoDataFrame(geometry=[shapely.box(x, y - side_m, x + side_m, y)], crs=CRS).to_file(folder / f"{name}.gpkg")
        package = write_package(folder / name)
        (package / WEIGHTS_NAME).write_bytes(name.encode())
        write_card(package, double_spec())
    return folder


@pytest.fixture
def config(files: Path, tmp_path: Path) -> RunConfig:
    return configure(files / "one.tif", files / "one", tmp_path / "out", assume_crs=CRS, aoi=files / "one.gpkg")


def begin(config: RunConfig) -> RunFolder:
    folder = RunFolder(config.output)
    config.output.mkdir(exist_ok=True)
    folder.begin(config, plan_run(config).fingerprint())
    return folder


CHANGES: dict[str, tuple[Any, str]] = {
    "raster": ("other.tif", r"raster was '.*one\.tif', is now '.*other\.tif'"),
    "model": ("other", r"model was '.*one', is now '.*other'; .*model_sha256 was"),
    "bands": ((3, 2, 1), r"bands was \[\], is now \[3, 2, 1\]"),
    "assume_crs": ("EPSG:32644", r"assume_crs was 'EPSG:32645', is now 'EPSG:32644'"),
    "warp": (True, r"warp was False, is now True"),
    "aoi": ("other.gpkg", r"aoi was '.*one\.gpkg', is now '.*other\.gpkg'"),
    "tile_size": (96, r"tile_size was \S+, is now 96"),
    "halo": (0, r"halo was \S+, is now 0"),
    "stitch": ("blend", r"stitch was 'crop', is now 'blend'"),
    "batch_size": (3, r"batch_size was 1, is now 3"),
    "outputs": (("classes",), r"outputs was \['classes', .*\], is now \['classes'\]"),
    "post": ((MajorityStep(step="majority", radius_m=1),), r"post was None, is now \[\{'step': 'majority', 'radius_m': 1\.0\}\]"),
    "chunk_size": (96, r"tiles_per_chunk was \d+, is now \d+"),
}


@pytest.mark.parametrize("key", CHANGES)
def test_another_value_is_refused_with_the_difference(config: RunConfig, files: Path, key: str) -> None:
    value, said = CHANGES[key]
    value = files / value if key in ("raster", "model", "aoi") else value
    changed = config.model_copy(update={key: str(value) if key in ("raster", "model") else value})
    folder = begin(config)
    if key == "assume_crs":
        changed = changed.model_copy(update={"aoi": None})
    before = contents(config.output)
    with pytest.raises(RunFolderError, match=rf"holds another run: .*{said}.*--overwrite"):
        folder.is_finished(plan_run(changed).fingerprint())
    assert contents(config.output) == before


def test_every_key_that_decides_results_is_guarded(config: RunConfig) -> None:
    # how it is computed may need what this machine lacks
    assert config.result_keys().keys() - {"objects", "backend", "precision"} <= CHANGES.keys()


LEFT_OUT: dict[str, tuple[Any, str]] = {
    "mosaic": ("last", "'last'"),
    "feather": (2, "2"),
    "stack": (True, "True"),
    "bbox": ((80.0, 0.0, 95.0, 80.0), r"\[80\.0, 0\.0, 95\.0, 80\.0\]"),
    "exclude": ("one.gpkg", r"'.*one\.gpkg'"),
    "collar": ("auto", "'auto'"),
    "tta": ("d4", "'d4'"),
    "tta_scales": ((0.75,), r"\[0\.75\]"),
    "checks": ((CheckRule(name="small", smaller_m2=9.0),), r"\[\{.*'small'.*\}\]"),
}


@pytest.mark.parametrize("key", RESULT_DEFAULTS)
def test_an_option_that_is_left_out_is_missed(config: RunConfig, files: Path, key: str) -> None:
    value, was = LEFT_OUT[key]
    plain = config.model_copy(update={"aoi": files / "other.gpkg"})
    with_it = plain.model_copy(update={"aoi": None, "exclude": files / value} if key == "exclude" else {key: value})
    plain = plain.model_copy(update={"aoi": with_it.aoi})
    folder = begin(with_it)
    assert not folder.is_finished(plan_run(with_it).fingerprint())
    for is_whole in (False, True):
        if is_whole:
            folder.summary.write_text("{}")
        with pytest.raises(RunFolderError, match=rf"holds another run: {key} was {was}, is now the default\..*--overwrite"):
            folder.is_finished(plan_run(plain).fingerprint())


@pytest.mark.parametrize("line", ['mosaic = "first"', "tta_scales = []", "overlap = 3"])
def test_what_another_version_recorded_refuses_no_run(config: RunConfig, line: str) -> None:
    folder = begin(config)
    text = folder.record.read_text()
    folder.record.write_text(text.replace("[fingerprint]\n", f"[fingerprint]\n{line}\n"))
    assert folder.record.read_text() != text
    assert not folder.is_finished(plan_run(config).fingerprint())


def test_several_differences_are_all_said(config: RunConfig) -> None:
    folder = begin(config)
    changed = config.model_copy(update={"batch_size": 2, "bands": (1, 1, 1)})
    with pytest.raises(RunFolderError, match=r"bands was \[\], is now \[1, 1, 1\]; batch_size was 1, is now 2\."):
        folder.is_finished(plan_run(changed).fingerprint())


@pytest.mark.parametrize("values", [{"workers": 2}, {"memory": "9GB"}, {"device": "cpu"}, {"scheduler": "tcp://127.0.0.1:1"}], ids=str)
def test_what_does_not_change_results_may_change(config: RunConfig, values: dict[str, Any]) -> None:
    folder = begin(config)
    assert not folder.is_finished(plan_run(config.model_copy(update=values)).fingerprint())


def test_a_raster_of_another_time_or_size_is_another_one(config: RunConfig, tmp_path: Path) -> None:
    copy = Path(shutil.copy(config.raster, tmp_path / "copy.tif"))
    mine = config.model_copy(update={"raster": str(copy)})
    folder = begin(mine)
    copy.touch()
    with pytest.raises(RunFolderError, match=r"raster_changed was \d+, is now \d+"):
        folder.is_finished(plan_run(mine).fingerprint())


def test_objects_made_otherwise_are_sent_to_their_command(config: RunConfig) -> None:
    folder = begin(config)
    settings = config.objects.model_copy(update={"buildings": config.objects.buildings.model_copy(update={"min_area_m2": 77.0})})
    changed = plan_run(config.model_copy(update={"objects": settings})).fingerprint()
    assert not folder.is_finished(changed), "they come last"
    folder.summary.write_text("{}")
    with pytest.raises(RunFolderError, match=r"objects\.buildings\.min_area_m2 was [\d.]+, is now 77\.0\. geoseg objects"):
        folder.is_finished(changed)


def test_who_waits_for_a_folder_that_its_holder_removes_still_keeps_others_out(tmp_path: Path) -> None:
    folder, inside, done = RunFolder(tmp_path / "out"), threading.Event(), threading.Event()

    def second() -> None:
        with RunFolder(folder.path).hold():
            inside.set()
            done.wait(20)

    waiting = threading.Thread(target=second)
    with folder.hold():
        waiting.start()
        # the second one is in the middle of its patience
        assert not inside.wait(0.05)
    assert inside.wait(20)
    with pytest.raises(RunFolderBusyError), folder.hold():
        pass
    done.set()
    waiting.join()
    assert not folder.path.exists()


def test_who_finds_a_folder_held_leaves_it_to_its_holder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    with folder.hold():
        for _ in range(2):
            with pytest.raises(RunFolderBusyError), RunFolder(folder.path).hold():
                pass
        assert folder.path.exists()


def test_a_removal_that_is_cut_off_leaves_no_run_that_counts_as_finished(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(_path: Path) -> None:
        raise KeyboardInterrupt

    folder = begin(config)
    folder.finish()
    folder.summary.write_text("{}")
    assert folder.is_finished(plan_run(config).fingerprint())
    monkeypatch.setattr(shutil, "rmtree", cut_off)
    with pytest.raises(KeyboardInterrupt):
        folder.clear()
    assert not folder.is_finished(plan_run(config).fingerprint())

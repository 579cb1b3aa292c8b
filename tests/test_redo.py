"""``geoseg objects``: the objects of a finished run made anew from its rasters, all of them or none."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.config import make_config
from geoseg.errors import ConfigError, RunError, RunFolderError
from geoseg.events import Finished, StageDone
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.products import things
from geoseg.redo import redo_objects
from geoseg.runfolder import folder as runfolder
from geoseg.runfolder.folder import RunFolder
from tests.doubles import (
    Listening,
    Logged,
    always,
    bytes_of,
    call_geoseg,
    configure,
    contents,
    draw_blobs,
    read_all,
    read_layer,
    write_package,
    write_raster,
)

NEAR = NeighborhoodPredictor(spec=double_spec(), radius_px=8)
LARGE = {"buildings": {"min_area_m2": 40}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    raster = write_raster(folder / "blobs.tif", draw_blobs(150, 200, corner=60), nodata=0)
    return raster, write_package(folder / "double")


@pytest.fixture(scope="module")
def finished(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return segment_raster(configure(*inputs, tmp_path_factory.mktemp("finished") / "out"), load=always(NEAR))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_the_same_settings_make_the_same_objects(run: Path, finished: Path) -> None:
    redo_objects(run, {})
    assert bytes_of(run) == bytes_of(finished)
    assert contents(run) == contents(finished)


def test_other_settings_make_what_a_run_with_them_makes(run: Path, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    heard = Listening()
    redo_objects(run, LARGE, heard)
    fresh = segment_raster(configure(*inputs, tmp_path / "fresh", objects=LARGE), load=always(NEAR))
    assert bytes_of(run) == bytes_of(fresh)
    assert [event.stage for event in heard.of(StageDone)] == ["landcover", "buildings", "report"]
    assert isinstance(heard[-1], Finished)
    areas = read_layer(run, "panoptic").query("is_thing").area_m2
    assert 0 < len(areas) == json.loads((run / "summary.json").read_text())["counts"]["buildings"]
    assert areas.min() >= 40


def test_neither_model_nor_imagery_is_needed(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    raster, package = shutil.copy(inputs[0], tmp_path), shutil.copytree(inputs[1], tmp_path / "model")
    run = segment_raster(configure(Path(raster), Path(package), tmp_path / "out"), load=always(NEAR))
    before = bytes_of(run)
    Path(raster).unlink()
    shutil.rmtree(package)
    redo_objects(run, {})
    assert bytes_of(run) == before


def test_run_toml_says_how_the_objects_were_made_and_a_second_change_adds_to_the_first(run: Path) -> None:
    redo_objects(run, LARGE)
    redo_objects(run, {"landcover": {"simplify_m": 0}})
    config = make_config({}, run / "run.toml")
    assert (config.objects.buildings.min_area_m2, config.objects.landcover.simplify_m) == (40, 0)
    assert tomllib.loads((run / "run.toml").read_text())["fingerprint"]["objects"]["buildings"]["min_area_m2"] == 40


def test_segmenting_again_with_other_settings_points_to_the_command_that_changes_them(run: Path, inputs: tuple[Path, Path]) -> None:
    changed = configure(*inputs, run, objects=LARGE)
    with pytest.raises(RunFolderError, match=r"min_area_m2 was 5.0, is now 40.0.*geoseg objects"):
        segment_raster(changed, load=always(NEAR))
    redo_objects(run, LARGE)
    heard = Listening()
    segment_raster(changed, heard, always(NEAR))
    assert [type(event) for event in heard] == [Finished]


def test_a_failure_keeps_the_old_objects(run: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RunError("the disk is gone")

    monkeypatch.setattr(things, "label_instances", fail)
    with pytest.raises(RunError, match="the disk is gone"):
        redo_objects(run, LARGE)
    assert bytes_of(run) == bytes_of(finished)


@pytest.mark.parametrize("moves", [0, 1, 3])
def test_cut_off_while_moving_it_is_no_finished_run_until_the_move_is_ended(run: Path, monkeypatch: pytest.MonkeyPatch, moves: int) -> None:
    moved: list[Path] = []
    move = runfolder.move_whole

    def cut_off(made: Path, path: Path) -> None:
        if len(moved) == moves:
            raise KeyboardInterrupt
        moved.append(path)
        move(made, path)

    monkeypatch.setattr(runfolder, "move_whole", cut_off)
    with pytest.raises(KeyboardInterrupt):
        redo_objects(run, LARGE)
    assert not (run / "summary.json").exists()
    monkeypatch.undo()
    redo_objects(run, {})
    assert make_config({}, run / "run.toml").objects.buildings.min_area_m2 == 40
    assert not (run / ".work").exists()
    assert read_layer(run, "panoptic").query("is_thing").area_m2.min() >= 40


def test_without_evidence_among_its_outputs_a_run_makes_the_same_objects_but_cannot_make_them_anew(
    inputs: tuple[Path, Path], finished: Path, tmp_path: Path
) -> None:
    outputs = ("classes", "landcover", "buildings", "panoptic")
    run = segment_raster(configure(*inputs, tmp_path / "out", outputs=outputs), load=always(NEAR))
    assert not (run / "evidence.tif").exists()
    assert (read_all(run / "panoptic.tif") == read_all(finished / "panoptic.tif")).all()
    with pytest.raises(RunFolderError, match=r"lacks confidence\.tif and evidence\.tif"):
        redo_objects(run, {})


def test_the_panoptic_map_alone_leaves_nothing_else_behind(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    run = segment_raster(configure(*inputs, tmp_path / "out", outputs=("panoptic",)), load=always(NEAR))
    assert contents(run) == {"features.gpkg", "panoptic.tif", "run.toml", "summary.json", "item.json"}


def test_one_folder_is_for_one_command_at_a_time(run: Path, finished: Path, inputs: tuple[Path, Path]) -> None:
    with RunFolder(run).hold():
        with pytest.raises(RunFolderError, match=r"Another geoseg command is at work in .*out"):
            redo_objects(run, LARGE)
        with pytest.raises(RunFolderError, match="Another geoseg command"):
            segment_raster(configure(*inputs, run), load=always(NEAR))
    assert bytes_of(run) == bytes_of(finished)
    redo_objects(run, {})


def test_a_run_that_is_not_finished_goes_on_with_other_settings(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    fails = Logged(NEAR, tmp_path / "log", fails_from=3)
    with pytest.raises(RunError):
        segment_raster(configure(*inputs, tmp_path / "out", chunk_size=64), load=always(fails))
    run = segment_raster(configure(*inputs, tmp_path / "out", chunk_size=64, objects=LARGE), load=always(NEAR))
    assert read_layer(run, "panoptic").query("is_thing").area_m2.min() >= 40
    assert make_config({}, run / "run.toml").objects.buildings.min_area_m2 == 40


@pytest.mark.parametrize(("content", "message"), [("{", "could not be read"), ("[]", "could not be read"), ("{}", "lacks classes, counts")])
def test_a_damaged_summary_is_named(run: Path, content: str, message: str) -> None:
    (run / "summary.json").write_text(content)
    with pytest.raises(RunFolderError, match=rf"summary\.json.*{message}"):
        redo_objects(run, {})


def test_what_is_no_finished_run_is_refused_and_left_alone(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run of geoseg"):
        redo_objects(tmp_path, {})
    (run / "summary.json").unlink()
    before = contents(run)
    with pytest.raises(RunFolderError, match="is not finished"):
        redo_objects(run, {})
    assert contents(run) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buildings": {"min_aera_m2": 4}}, "'objects.buildings.min_aera_m2'; did you mean 'min_area_m2'"),
        ({"building": {"min_area_m2": 4}}, "'objects.building'; did you mean 'buildings'"),
        ({"buildings": {"mask_threshold": 50}}, "less than or equal to 1 .got 50"),
        ({"roads": {"min_length_m": -1}}, "greater than or equal to 0 .got -1"),
    ],
)
def test_a_setting_that_does_not_exist_or_fit_is_named(run: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        redo_objects(run, changes)


def test_the_command_takes_settings_as_toml_writes_them(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--set", "buildings.min_area_m2=40", "--set", "landcover.simplify_m = 0", "--progress", "none")
    assert call_geoseg(monkeypatch, "objects", run, *words) == 0
    config = make_config({}, run / "run.toml")
    assert (config.objects.buildings.min_area_m2, config.objects.landcover.simplify_m) == (40, 0)


@pytest.mark.parametrize("words", [("buildings=3",), ("min_area_m2",), ("buildings.min_area_m2=3", "buildings.min_area_m2=4")])
def test_the_command_explains_settings_that_it_cannot_read(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    given = [word for text in words for word in ("--set", text)]
    assert call_geoseg(monkeypatch, "objects", run, *given) == 2
    assert "--set" in capsys.readouterr().err


def test_the_panoptic_map_has_a_mask_and_no_nodata_value_that_an_instance_could_have(run: Path) -> None:
    with rasterio.open(run / "panoptic.tif") as dataset:
        assert dataset.nodata is None
        assert dataset.descriptions == ("class", "instance")
        classes, instances = dataset.read()
        assert (dataset.dataset_mask() > 0).tolist() == (classes != 255).tolist()
    assert (instances == read_all(run / "instances.tif")[0]).all()
    assert set(np.unique(classes[instances > 0])) == {1}

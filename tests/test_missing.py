"""Runs that lack chunks: nodata, a name for each, exit code 3, and whole again as soon as they can be made."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray

from geoseg.change.side import open_side
from geoseg.config import RunConfig
from geoseg.errors import ChunkError
from geoseg.events import ChunkFailed, Finished, RunPlanned
from geoseg.model.predictor import Keep, NeighborhoodPredictor, Predictor, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from geoseg.redo import redo_objects
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.status import read_status
from geoseg.runfolder.verify import verify_run
from tests.doubles import (
    NODATA,
    TRANSFORM,
    Listening,
    always,
    bytes_of,
    call_geoseg,
    configure,
    contents,
    draw_blobs,
    read_band,
    read_layer,
    write_network,
    write_package,
    write_raster,
)

NEAR = NeighborhoodPredictor(spec=double_spec())
MARK = 253
LACKING = (slice(64, 128), slice(64, 128))
"""Rows and columns of the chunk that holds the mark."""


@dataclass(frozen=True)
class Afraid:
    """A predictor that fails where it sees a mark."""

    inner: Predictor = NEAR

    @property
    def spec(self) -> ModelSpec:
        return self.inner.spec

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        if ((pixels == MARK).mean(axis=(1, 2, 3)) > 0.2).any():
            raise RuntimeError("the mark is there")
        return self.inner.predict(pixels, valid, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run that is finished but for one chunk of twelve."""
    folder = tmp_path_factory.mktemp("lacking")
    pixels = draw_blobs(192, 256)
    pixels[:, 70:120, 70:120] = MARK
    config = configure(
        write_raster(folder / "marked.tif", pixels, nodata=0), write_package(folder / "package"), folder / "out", chunk_size=64, halo=0
    )
    with pytest.raises(
        ChunkError, match=r"1 of 12 chunks could not be made \(r00001_c00001\)\. .* 3 times: .*the mark is there\. .*--allow-missing"
    ):
        segment_raster(config, load=always(Afraid()))
    assert not (config.output / "summary.json").exists()
    config = config.model_copy(update={"allow_missing": True})
    heard = Listening()
    segment_raster(config, heard, always(Afraid()))
    assert heard.of(RunPlanned)[0].chunks_done == 11
    assert [(event.chunk, event.window) for event in heard.of(ChunkFailed)] == [("r00001_c00001", (64, 64, 64, 64))]
    assert heard.of(Finished)[0].missing == 1
    return config


@pytest.fixture
def run(lacking: RunConfig, tmp_path: Path) -> RunConfig:
    shutil.copytree(lacking.output, tmp_path / "out")
    return lacking.model_copy(update={"output": tmp_path / "out"})


def test_a_missing_chunk_is_nodata_in_every_raster(lacking: RunConfig) -> None:
    for name, empty in (("classes", NODATA), ("confidence", NODATA), ("evidence", 0), ("instances", 0), ("panoptic", NODATA)):
        assert (read_band(lacking.output / f"{name}.tif")[LACKING] == empty).all(), name
    classes = read_band(lacking.output / "classes.tif")
    classes[LACKING] = 0
    assert (classes != NODATA).mean() > 0.9


def test_no_polygon_covers_a_missing_chunk(lacking: RunConfig) -> None:
    rows, cols = LACKING
    hole = shapely.box(*(TRANSFORM @ (cols.start, rows.stop)), *(TRANSFORM @ (cols.stop, rows.start)))
    for layer in ("landcover", "buildings"):
        shapes = read_layer(lacking.output, layer).geometry
        assert len(shapes)
        assert shapes.intersection(hole.buffer(-0.01)).area.sum() == 0


def test_the_summary_names_what_is_missing_and_why(lacking: RunConfig) -> None:
    summary = json.loads((lacking.output / "summary.json").read_text())
    assert summary["missing"] == [{"chunk": "r00001_c00001", "window": [64, 64, 64, 64], "error": "RuntimeError: the mark is there."}]


def test_status_and_verify_name_it_and_call_nothing_broken(lacking: RunConfig) -> None:
    found = read_status(lacking.output)
    assert (found.state, found.chunks_done, found.chunks) == ("finished", 11, 12)
    assert found.missing == ("chunk r00001_c00001 (columns 64-128, rows 64-128): RuntimeError: the mark is there.",)
    assert str(found.next).startswith("geoseg segment ")
    verdict = verify_run(lacking.output)
    assert verdict.failed == ()
    assert "nodata instead of 1 chunks: chunk r00001_c00001" in verdict.checks[0].message


def test_a_run_is_another_date_when_it_has_the_chunk_that_it_lacked(run: RunConfig) -> None:
    lacking = open_side(run.output, "before").identity
    assert open_side(run.output, "before").identity == lacking
    segment_raster(run, load=always(NEAR))
    # the id of the run is the same
    assert open_side(run.output, "before").identity.split()[0] == lacking.split()[0]
    assert open_side(run.output, "before").identity != lacking


def test_the_same_command_tries_it_again_and_ends_with_a_whole_run(run: RunConfig, tmp_path: Path) -> None:
    heard = Listening()
    segment_raster(run, heard, always(NEAR))
    assert heard.of(RunPlanned)[0].chunks_done == 11
    assert heard.of(Finished)[0].missing == 0
    whole = segment_raster(run.model_copy(update={"output": tmp_path / "whole"}), load=always(NEAR))
    assert bytes_of(run.output) == bytes_of(whole)
    assert contents(run.output) == contents(whole)
    assert json.loads((run.output / "summary.json").read_text())["missing"] == []


def test_what_is_still_missing_leaves_the_run_as_it_is(run: RunConfig) -> None:
    before = {path.name: path.read_bytes() for path in run.output.iterdir() if path.is_file()}
    heard = Listening()
    segment_raster(run, heard, always(Afraid()))
    assert heard.of(Finished)[0].missing == 1
    with pytest.raises(ChunkError, match="1 of 12 chunks"):
        segment_raster(run.model_copy(update={"allow_missing": False}), load=always(Afraid()))
    assert {path.name: path.read_bytes() for path in run.output.iterdir() if path.is_file()} == before
    assert verify_run(run.output).failed == ()


def test_a_run_that_is_killed_while_it_becomes_whole_keeps_no_raster_with_holes(run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(_path: Path, missing_ok: bool = False) -> None:
        if removed and removed[-1].name == "classes.tif":
            raise KeyboardInterrupt
        removed.append(_path)
        remove(_path, missing_ok=missing_ok)

    removed: list[Path] = []
    remove = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "begin", lambda *_: None)
        patch.setattr(Path, "unlink", cut_off)
        with pytest.raises(KeyboardInterrupt):
            segment_raster(run, load=always(NEAR))
    assert (removed[0].name, removed[-1].name) == ("summary.json", "classes.tif")
    segment_raster(run, load=always(NEAR))
    assert (read_band(run.output / "confidence.tif")[LACKING] != NODATA).all()


def test_rasters_with_holes_of_a_run_that_was_cut_off_are_not_taken_for_whole(
    lacking: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    config = lacking.model_copy(update={"output": tmp_path / "out"})
    with monkeypatch.context() as patch:
        patch.setattr("geoseg.pipeline.make_objects", cut_off)
        with pytest.raises(KeyboardInterrupt):
            segment_raster(config, load=always(Afraid()))
    assert (read_band(config.output / "classes.tif")[LACKING] == NODATA).all()
    segment_raster(config, load=always(NEAR))
    assert RunFolder(config.output).missing() == []
    assert (read_band(config.output / "classes.tif")[LACKING] != NODATA).all()


def test_objects_made_anew_keep_what_is_missing_and_the_chunks(run: RunConfig) -> None:
    redo_objects(run.output, {"buildings": {"min_area_m2": 1.0}})
    assert len(RunFolder(run.output).missing()) == 1
    assert verify_run(run.output).failed == ()
    heard = Listening()
    with pytest.raises(Exception, match="made otherwise"):
        segment_raster(run, heard, always(NEAR))
    settings = run.objects.model_copy(update={"buildings": run.objects.buildings.model_copy(update={"min_area_m2": 1.0})})
    segment_raster(run.model_copy(update={"objects": settings}), heard, always(NEAR))
    assert heard.of(RunPlanned)[0].chunks_done == 11
    assert RunFolder(run.output).missing() == []


def test_nothing_but_nodata_is_no_result(lacking: RunConfig, tmp_path: Path) -> None:
    white = write_raster(tmp_path / "white.tif", np.full((3, 60, 60), MARK, np.uint8))
    with pytest.raises(ChunkError, match=r"1 of 1 chunks .* Nothing is there to be kept; the same command tries again\.$"):
        segment_raster(lacking.model_copy(update={"raster": str(white), "output": tmp_path / "out"}), load=always(Afraid()))
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_damaged_block_costs_its_chunk_and_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    raster = write_raster(tmp_path / "damaged.tif", draw_blobs(192, 256), **tiled)
    with rasterio.open(raster) as dataset:
        place = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    whole = raster.read_bytes()
    raster.write_bytes(whole[:place] + bytes(200) + whole[place + 200 :])
    words = ["segment", raster, "-o", tmp_path / "out", "-m", write_network(tmp_path / "model"), "--outputs", "classes"]
    words += ["--chunk-size", 64, "--tile-size", 64, "--halo", 0, "--backend", "torch", "--threads", 1]
    assert call_geoseg(monkeypatch, *words) == 1
    assert "1 of 12 chunks could not be made (r00001_c00001)" in capsys.readouterr().err
    assert call_geoseg(monkeypatch, *words, "--allow-missing") == 3
    said = capsys.readouterr().err
    assert "Chunk r00001_c00001 could not be made: " in said
    assert "could not be read at columns 64-128, rows 64-128" in said
    assert "but for 1 chunks that could not be made" in said
    classes = read_band(tmp_path / "out" / "classes.tif")
    assert (classes[LACKING] == NODATA).all()
    assert (classes != NODATA).sum() == 192 * 256 - 64 * 64
    assert call_geoseg(monkeypatch, "verify", tmp_path / "out") == 0
    assert call_geoseg(monkeypatch, "status", tmp_path / "out") == 0
    assert "r00001_c00001" in capsys.readouterr().out

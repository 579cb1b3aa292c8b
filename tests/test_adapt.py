"""Batch statistics that are fitted to imagery."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from safetensors.torch import load_file
from torch import nn

from geoseg.adapt import AdaptOptions, adapt_package, draw_windows
from geoseg.errors import ConfigError, ModelError, RasterError, UsageError
from geoseg.inference.whole import infer_raster, tiles_of
from geoseg.io.raster import RasterSource, open_raster, read_whole
from geoseg.model import statistics
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.package import ModelPackage, find_package, write_card
from geoseg.model.spec import Metric
from geoseg.model.statistics import Shift, mix_statistics
from geoseg.scene import SceneOptions, draw_scene
from tests.doubles import CRS, TRANSFORM, call_geoseg, draw_blobs, write_network, write_raster
from tests.model.networks import small_spec, write_small

FEW = AdaptOptions(windows=8, window_px=64, batch_size=4)


def write_source(path: Path, *, height: int = 160, width: int = 200, **more: Any) -> RasterSource:
    return open_raster(write_raster(path, draw_blobs(height, width), **more))


def test_statistics_are_mixed_with_those_of_all_batches() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU())
    layer = network[0]
    assert isinstance(layer, nn.BatchNorm2d)
    layer.running_mean, layer.running_var = torch.tensor([2.0]), torch.tensor([9.0])
    batches = [torch.tensor([4.0, 8.0]).reshape(2, 1, 1, 1), torch.tensor([10.0, 14.0]).reshape(2, 1, 1, 1)]
    shift = mix_statistics(network, batches, 0.25)
    # averages of 6 and 12, unbiased variances of 8 and 8
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.75 * 2 + 0.25 * 9]))
    torch.testing.assert_close(layer.running_var, torch.tensor([0.75 * 9 + 0.25 * 8]))
    assert (shift.layers, shift.distance) == (1, pytest.approx(7 / 3, abs=1e-5))
    assert not network.training
    # the last batch is smaller, and counts less
    layer.running_mean, layer.running_var = torch.tensor([2.0]), torch.tensor([9.0])
    mix_statistics(network, [batches[0], torch.tensor([9.0] * 6).reshape(2, 1, 3, 1)], 1.0)
    torch.testing.assert_close(layer.running_mean, torch.tensor([(2 * 6 + 6 * 9) / 8]))
    assert (layer.momentum, int(layer.num_batches_tracked or 0)) == (0.1, 0)


class Bypass(nn.Module):
    """A layer that is used, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.BatchNorm2d(1), nn.BatchNorm2d(1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.used(pixels))


def test_a_layer_that_nothing_passes_keeps_its_statistics() -> None:
    network = Bypass()
    network.idle.running_mean, network.idle.running_var = torch.tensor([5.0]), torch.tensor([7.0])
    shift = mix_statistics(network, [torch.tensor([4.0, 8.0]).reshape(2, 1, 1, 1)], 0.5)
    assert shift.layers == 1
    assert (network.idle.running_mean, network.idle.running_var) == (torch.tensor([5.0]), torch.tensor([7.0]))
    torch.testing.assert_close(network.used.running_mean, torch.tensor([3.0]))


def test_values_without_averages_are_refused() -> None:
    with pytest.raises(RasterError, match="gdal_edit -a_nodata"):
        mix_statistics(Bypass(), [torch.full((2, 1, 1, 1), -3e38)], 0.5)


def test_a_network_without_batch_statistics_is_refused() -> None:
    with pytest.raises(ModelError, match="holds no batch normalization"):
        mix_statistics(nn.Conv2d(3, 2, 1), [], 0.5)


def test_only_statistics_change_and_the_card_says_so(tmp_path: Path) -> None:
    package = find_package(write_network(tmp_path / "model"))
    measured = package.spec.model_copy(update={"accuracy": (Metric(dataset="elsewhere", name="IoU", value=0.5),)})
    package = write_card(package.folder, measured)
    source, said = write_source(tmp_path / "here.tif"), list[str]()
    adapted = adapt_package(package, [source], tmp_path / "new" / "adapted", FEW, said.append)
    before, after = load_file(package.weights), load_file(adapted.weights)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) != name.endswith(("running_mean", "running_var")), name
    assert (adapted.spec.name, adapted.spec.version) == ("small-adapted", f"{package.spec.version}+adapted")
    assert adapted.spec.accuracy == ()
    assert adapted.spec.halo == package.spec.halo.model_copy(update={"measured_on": ""})
    assert "fitted to 8 windows of here.tif, without labels, by 0.5. Its accuracy" in adapted.spec.description
    assert adapted.graph is not None
    assert said[0] == "looked at 8 windows of 64 px"
    assert {path.name for path in tmp_path.iterdir()} == {"here.tif", "model", "new"}
    assert {path.name for path in adapted.folder.parent.iterdir()} == {"adapted"}
    again = adapt_package(package, [source], tmp_path / "again", FEW, said.append, name="mine")
    assert (again.sha256, again.spec.name) == (adapted.sha256, "mine")
    twice = adapt_package(adapted, [source], tmp_path / "twice", FEW, said.append).spec
    assert (twice.name, twice.version) == (adapted.spec.name, adapted.spec.version)
    assert twice.description.count("were fitted to") == 2
    assert twice.description.count("accuracy was not measured since") == 1


def test_windows_are_drawn_by_area_and_only_where_there_is_data(tmp_path: Path) -> None:
    spec = find_package(write_network(tmp_path / "model")).spec
    half = draw_blobs(128, 512)
    half[:, :, 256:] = 0
    large = open_raster(write_raster(tmp_path / "large.tif", half, nodata=0))
    small = write_source(tmp_path / "small.tif", height=64, width=64)
    windows = draw_windows([large, small], spec, replace(FEW, windows=40))
    assert len(windows) == 40
    assert all(window.pixels.shape == (3, 64, 64) and window.valid.mean() >= 0.9 for window in windows)
    # a sixteenth of the larger one's area, half of which holds nothing
    assert 1 <= sum(np.array_equal(window.pixels, read_whole(small)[0]) for window in windows) <= 12


def test_a_raster_smaller_than_a_window_gives_smaller_ones_and_the_card_names_only_what_was_seen(tmp_path: Path) -> None:
    package = find_package(write_network(tmp_path / "model"))
    chips = [write_source(tmp_path / f"chip{i}.tif", height=40, width=48) for i in (1, 2)]
    large, sliver = write_source(tmp_path / "large.tif", height=80, width=64), write_source(tmp_path / "sliver.tif", height=8, width=400)
    said = list[str]()
    adapted = adapt_package(package, [*chips, large, sliver], tmp_path / "adapted", replace(FEW, windows=25), said.append)
    assert said[0] == "looked at 25 windows of 40 to 64 px, of 3 of 4 rasters"
    assert all(f"{name}.tif" in adapted.spec.description for name in ("chip1", "chip2", "large"))
    assert "sliver" not in adapted.spec.description


def test_windows_shrink_where_few_are_nearly_all_data(tmp_path: Path) -> None:
    spec = find_package(write_network(tmp_path / "model")).spec
    squares = draw_blobs(256, 256)
    rows, cols = np.indices((256, 256)) // 40 % 2
    squares[:, rows == cols] = 0
    windows = draw_windows([open_raster(write_raster(tmp_path / "squares.tif", squares, nodata=0))], spec, FEW)
    assert [window.side for window in windows] == [32] * 8
    assert all(window.valid.mean() >= 0.9 for window in windows)


def test_a_network_that_sees_its_input_larger_is_given_smaller_windows(tmp_path: Path) -> None:
    spec = find_package(write_network(tmp_path / "model")).spec
    larger = spec.model_copy(update={"network": spec.network.model_copy(update={"magnification": 2.0})})
    windows = draw_windows([write_source(tmp_path / "here.tif")], larger, FEW)
    assert [window.side for window in windows] == [32] * 8


@pytest.mark.parametrize(("windows", "batches"), [(8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (1, [2])])
def test_no_window_counts_twice_while_there_is_another_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: int, batches: list[int]
) -> None:
    seen: list[int] = []

    def count(network: nn.Module, given: Iterator[torch.Tensor], strength: float) -> Shift:
        seen.extend(len(batch) for batch in given)
        return Shift(layers=1, distance=0.0)

    monkeypatch.setattr(statistics, "mix_statistics", count)
    package = find_package(write_network(tmp_path / "model"))
    options = replace(FEW, windows=windows)
    adapt_package(package, [write_source(tmp_path / "here.tif")], tmp_path / "adapted", options, lambda line: None)
    assert seen == batches


def test_too_few_windows_are_told_of(tmp_path: Path) -> None:
    package = find_package(write_network(tmp_path / "model"))
    sparse = draw_blobs(300, 300)
    sparse[:, 60:] = sparse[:, :, 60:] = 0
    said = list[str]()
    adapt_package(package, [open_raster(write_raster(tmp_path / "sparse.tif", sparse, nodata=0))], tmp_path / "adapted", FEW, said.append)
    assert re.match(r"looked at [1-7] windows of \d+ px; 8 were wanted", said[0])


def test_what_cannot_be_adapted_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    package, source = find_package(write_network(tmp_path / "model")), write_source(tmp_path / "here.tif")

    def adapt(package: ModelPackage, source: RasterSource, folder: Path = tmp_path / "adapted") -> None:
        adapt_package(package, [source], folder, FEW, lambda line: None)

    with pytest.raises(UsageError, match=r"model exists\. Choose another --output"):
        adapt(package, source, package.folder)
    with pytest.raises(RasterError, match=r"at most 90 x 7 px .* it takes 16 x 16"):
        adapt(package, write_source(tmp_path / "tiny.tif", height=7, width=90))
    stripes = draw_blobs(160, 200)
    stripes[:, ::2] = 0
    with pytest.raises(RasterError, match="None of 480 windows drawn"):
        adapt(package, open_raster(write_raster(tmp_path / "stripes.tif", stripes, nodata=0)))
    with pytest.raises(RasterError, match="None of 160 windows drawn"):
        adapt_package(package, [open_raster(tmp_path / "stripes.tif")], tmp_path / "adapted", replace(FEW, window_px=16), lambda line: None)
    with pytest.raises(ModelError, match="holds no batch normalization"):
        adapt(write_small(tmp_path / "plain", small_spec("pixel")), source)
    whole = package.spec.model_copy(update={"network": package.spec.network.model_copy(update={"library": "onnx"})})
    with pytest.raises(ModelError, match=r"no network that geoseg builds \(onnx\)"):
        adapt(replace(package, spec=whole), source)
    with pytest.raises(ConfigError, match=r"--strength 1\.5: a share above 0 and at most 1"):
        AdaptOptions(strength=1.5)
    with pytest.raises(ConfigError, match="batch_size 1: at least 2"):
        AdaptOptions(batch_size=1)
    with pytest.raises(RasterError, match="There is no raster"):
        adapt_package(package, [], tmp_path / "adapted", FEW, lambda line: None)
    assert not (tmp_path / "adapted").exists()


def test_adapted_to_dim_and_tinted_imagery_a_model_finds_more(tmp_path: Path) -> None:
    scene = draw_scene(SceneOptions(height_px=768, width_px=768, seed=77))
    dim = np.clip(scene.pixels * np.array([0.3, 0.36, 0.5]).reshape(3, 1, 1) + 8, 0, 255).astype(np.uint8)
    source = open_raster(write_raster(tmp_path / "dim.tif", dim))
    package = find_package("aerial")
    adapted = adapt_package(package, [source], tmp_path / "adapted", replace(FEW, windows=24, window_px=256), lambda line: None)
    right = [(classes_of(model, source) == scene.classes).mean() for model in (package, adapted)]
    assert right[1] > right[0] + 0.02


def classes_of(package: ModelPackage, source: RasterSource) -> Any:
    predictor = load_predictor(package, Execution())
    return infer_raster(predictor, source, tiles_of(package.spec, source.shape, 48))[0]


def test_the_command_adapts_to_several_rasters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_network(tmp_path / "model")
    rasters = [write_raster(tmp_path / f"{i}.tif", draw_blobs(96, 96, seed=i), crs=None) for i in (1, 2)]
    words = ("models", "adapt", folder, *rasters, "-o", tmp_path / "adapted")
    assert call_geoseg(monkeypatch, *words) == 2
    assert "--assume-crs, for example" in capsys.readouterr().err
    assert call_geoseg(monkeypatch, *words, "--assume-crs", "EPSG:32645", "--strength", "0.3", "--name", "here") == 0
    out = capsys.readouterr().out
    assert "looked at 64 windows of 96 px" in out
    assert f"geoseg models probe {tmp_path / 'adapted'} --raster" in out
    spec = find_package(tmp_path / "adapted").spec
    assert spec.name == "here"
    assert "64 windows of 1.tif, 2.tif, without labels, by 0.3" in spec.description


def test_the_command_looks_at_the_bands_and_the_area_that_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_network(tmp_path / "model")
    bright = np.full((3, 200, 200), 250, np.uint8)
    bright[:, 20:120, 20:120] = draw_blobs(100, 100)
    raster = write_raster(tmp_path / "five.tif", np.concatenate([bright, bright[:2]]))
    inner = write_raster(tmp_path / "inner.tif", bright[:, 20:120, 20:120])
    (left, top), (right, bottom) = TRANSFORM * (20, 20), TRANSFORM * (120, 120)
    gpd.GeoDataFrame(geometry=[shapely.box(left, bottom, right, top)], crs=CRS).to_file(tmp_path / "area.geojson")

    def weigh(name: str, *words: object) -> str:
        assert call_geoseg(monkeypatch, "models", "adapt", folder, *words, "-o", tmp_path / name) == 0
        return find_package(tmp_path / name).sha256

    everywhere, there = weigh("everywhere", raster), weigh("there", inner)
    assert weigh("area", raster, "--aoi", tmp_path / "area.geojson") == there != everywhere
    assert weigh("bands", raster, "--bands", "5,4,3", "--aoi", tmp_path / "area.geojson") != there


def test_rasters_outside_the_area_are_left_out_while_one_is_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, here = write_network(tmp_path / "model"), write_raster(tmp_path / "here.tif", draw_blobs(96, 96))
    there = write_raster(tmp_path / "there.tif", draw_blobs(96, 96), transform=Affine.translation(5000, 0) * TRANSFORM)
    (left, top), (right, bottom) = TRANSFORM * (0, 0), TRANSFORM * (96, 96)
    gpd.GeoDataFrame(geometry=[shapely.box(left, bottom, right, top)], crs=CRS).to_file(tmp_path / "area.geojson")
    words = ("-o", tmp_path / "adapted", "--aoi", tmp_path / "area.geojson")
    assert call_geoseg(monkeypatch, "models", "adapt", folder, there, *words) == 2
    assert f"does not touch {there}" in capsys.readouterr().err
    assert call_geoseg(monkeypatch, "models", "adapt", folder, there, here, *words) == 0
    assert f"A raster is left out: The area of interest {tmp_path / 'area.geojson'} does not touch {there}" in capsys.readouterr().err
    assert "windows of here.tif, without" in find_package(tmp_path / "adapted").spec.description


def test_values_of_another_type_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    package = find_package(write_network(tmp_path / "model"))
    write_card(package.folder, package.spec.model_copy(update={"dtype": "uint8"}))
    raster = write_raster(tmp_path / "wide.tif", draw_blobs(96, 96).astype(np.uint16) * 40)
    assert call_geoseg(monkeypatch, "models", "adapt", package.folder, raster, "-o", tmp_path / "adapted") == 2
    assert "scales uint8 values" in capsys.readouterr().err

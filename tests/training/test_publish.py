"""What stands in a card is what an evaluation of the package gives."""

import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch

from geoseg.evaluation.evaluate import evaluate_site
from geoseg.labels.site import Site
from geoseg.model.export import write_graph
from geoseg.model.network import build_network, save_weights
from geoseg.model.package import GRAPH_NAME, WEIGHTS_NAME, find_package, write_card
from geoseg.training import publish
from geoseg.training.module import TrainingModule
from geoseg.training.publish import measure_package
from geoseg.training.recipe import LossWeights, Recipe, Schedule
from tests.doubles import CRS, TRANSFORM, draw_blobs, network_spec, write_raster
from tests.model.networks import small_spec


def test_the_accuracy_in_the_card_is_reproduced_from_the_package(tmp_path: Path) -> None:
    write_raster(tmp_path / "image.tif", draw_blobs(96, 128))
    corners = np.array([TRANSFORM @ (x, y) for x, y in ((10, 60), (60, 20), (20, 80), (90, 40))]).reshape(2, 4)
    gpd.GeoDataFrame(geometry=[shapely.box(*c) for c in corners], crs=CRS).to_file(tmp_path / "buildings.gpkg")
    site = Site(name="blobs", kind="building_polygons", rasters="image.tif", labels="{parent}/buildings.gpkg")
    spec = network_spec()
    recipe = Recipe(model=spec, sites=(site,), tests=(site,), schedule=Schedule(epochs=1), loss=LossWeights(classes=(1.0, 1.0)))
    folder = tmp_path / "package"
    folder.mkdir()
    save_weights(build_network(spec), folder / WEIGHTS_NAME)
    said: list[str] = []
    measure_package(spec, recipe, tmp_path, folder, said.append)
    package = find_package(folder)
    assert package.graph is not None
    assert any(line.startswith("graph: its logits differ from torch's by at most ") for line in said)
    names = [metric.name for metric in package.spec.accuracy]
    assert {"IoU building", "recall building"} <= set(names)
    assert package.spec.accuracy == evaluate_site(package, site, tmp_path, device="cpu").card()
    assert sum(line.startswith("blobs: ") for line in said) == len(names)


def test_a_network_that_sees_the_whole_tile_gets_the_tile_it_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "measure_field", lambda spec: (None, True))
    spec, said = network_spec(), list[str]()
    schedule = Schedule(epochs=1, window_px=128)
    assert spec.tile_size_px != schedule.window_px
    recipe = Recipe(
        model=spec, sites=(Site(name="drawn", kind="drawn_scenes", seeds=(1,)),), schedule=schedule, loss=LossWeights(classes=(1.0, 1.0))
    )
    save_weights(build_network(spec), tmp_path / WEIGHTS_NAME)
    made = measure_package(spec, recipe, tmp_path, tmp_path, said.append).spec
    assert (made.tile_size_px, made.halo.default_px, made.network.global_context) == (128, 32, True)
    assert any(line.startswith("tile size: 128 px, the windows it learned from") for line in said)


def test_the_package_that_was_there_stays_whole_until_the_new_one_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    spec, folder = network_spec(), tmp_path / "package"
    site = Site(name="drawn", kind="drawn_scenes", seeds=(1,))
    recipe = Recipe(model=spec, sites=(site,), schedule=Schedule(epochs=1), loss=LossWeights(classes=(1.0, 1.0)))
    module = TrainingModule(recipe)
    first = publish.publish(module, recipe, tmp_path, folder, lambda line: None, "cpu")
    files = {path.name for path in folder.iterdir()}
    with torch.no_grad():
        next(module.parameters()).add_(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "measure_halo", stop)
        with pytest.raises(KeyboardInterrupt):
            publish.publish(module, recipe, tmp_path, folder, lambda line: None, "cpu")
    assert find_package(folder).sha256 == first.sha256
    assert {path.name for path in folder.iterdir()} == files


def test_a_package_is_whole_without_a_graph_where_none_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, said = small_spec("pixel"), []
    save_weights(build_network(spec), tmp_path / WEIGHTS_NAME)
    (tmp_path / GRAPH_NAME).write_bytes(b"of other weights")
    monkeypatch.setitem(sys.modules, "onnx", None)
    write_graph(tmp_path, spec, said.append)
    assert said == ["graph: none. ONNX models are run without the package onnx, but writing one needs it: pip install 'geoseg[onnx]'."]
    assert write_card(tmp_path, spec).graph is None

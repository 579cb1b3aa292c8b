"""The whole way: sites to weights to a package, through the command line too."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geoseg.errors import ConfigError, ModelError
from geoseg.evaluation.evaluate import evaluate_site
from geoseg.inference.whole import infer_raster, tiles_of
from geoseg.io.raster import open_raster
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.network import build_network, save_weights
from geoseg.model.package import CARD_NAME, find_package
from geoseg.tiling import TilePlan
from geoseg.training.history import EpochDone, TrainingEvent, read_history
from geoseg.training.loop import FitOptions, fit
from geoseg.training.publish import publish
from geoseg.training.recipe import Recipe, read_recipe
from geoseg.training.start import start_from_packages
from tests.training.drawn import AERIAL, land_cover_only, tiny_recipe, write_site

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning.*", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_a_tiny_model_learns_another_drawn_scene_and_becomes_a_package(tmp_path: Path) -> None:
    """An untrained network has a mean IoU below 0.1; this reaches 0.46 in 60 steps."""
    town, village = write_site(tmp_path, "town", 7, 384), write_site(tmp_path, "village", 8, 256)
    schedule = {"batch_size": 6, "learning_rate": 4e-3, "ema_decay": 0.8}
    recipe = tiny_recipe(5, 12, sites=(town,), validation=(village,), schedule=schedule)
    rows: list[TrainingEvent] = []
    module = fit(recipe, tmp_path, tmp_path / "work", FitOptions(page=tmp_path / "training.html"), rows.append)
    scores = [row.score or 0.0 for row in rows if isinstance(row, EpochDone)]
    assert scores[-1] >= 0.35
    assert rows[-1].losses["total"] < 0.85 * rows[0].losses["total"]
    assert "Worst windows" in (tmp_path / "training.html").read_text()
    package = publish(module, recipe, tmp_path, tmp_path / "package", lambda text: None)
    assert json.loads((package.folder / CARD_NAME).read_text())["properties"]["mlm:name"] == "aerial"
    predictor = load_predictor(find_package(str(package.folder)), Execution())
    layers = predictor.predict(np.full((1, 3, 64, 64), 100, np.uint8), np.ones((1, 64, 64), bool))
    assert layers.shape == (1, len(recipe.model.layers.names), 64, 64)


def test_a_start_keeps_what_fits_and_says_what_does_not() -> None:
    package = find_package("aerial")
    recipe = land_cover_only(read_recipe(AERIAL))
    module = build_network(recipe.model)
    notice = start_from_packages(module, recipe.model, [package])
    assert notice is not None
    assert "2 start fresh, the first is segmentation_head.0.weight" in notice
    assert start_from_packages(build_network(package.spec), package.spec, [package]) is None


@pytest.mark.parametrize(
    ("depth", "channels", "fresh"), [(5, [256, 128, 64, 32, 16], {"encoder.layer4", "decoder.blocks.0"}), (3, [64, 32, 16], set())]
)
def test_a_start_at_another_depth_keeps_the_stages_of_the_same_resolution(depth: int, channels: list[int], fresh: set[str]) -> None:
    package = find_package("aerial")
    options = {"encoder_depth": depth, "decoder_channels": channels}
    network = package.spec.network.model_copy(update={"options": options, "stride_px": 2**depth})
    spec = package.spec.model_copy(update={"network": network})
    module = build_network(spec)
    notice = start_from_packages(module, spec, [package])
    assert (notice is not None) == bool(fresh)
    stored, own = load_file(package.weights), module.state_dict()
    for block in range(1, 4):
        at = "decoder.blocks.{}.conv2.0.weight"
        torch.testing.assert_close(own[at.format(block + depth - 4)], stored[at.format(block)].float())
    kept = {name for name, tensor in own.items() if any(torch.equal(tensor, other.float()) for other in stored.values())}
    convolutions = {name for name, tensor in own.items() if tensor.dim() == 4}
    assert {name.rsplit(".", 3)[0] if "decoder" in name else ".".join(name.split(".")[:2]) for name in convolutions - kept} == fresh


def test_a_start_from_several_packages_is_their_average() -> None:
    packages = [find_package(name) for name in ("aerial", "satellite")]
    module = build_network(packages[0].spec)
    assert start_from_packages(module, packages[0].spec, packages) is None
    one, other = (load_file(package.weights) for package in packages)
    for name, found in module.state_dict().items():
        wanted = (one[name].float() + other[name].float()) / 2 if found.is_floating_point() else one[name]
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_what_one_of_several_packages_lacks_is_said(tmp_path: Path) -> None:
    package = find_package("aerial")
    lacking = replace(package, folder=shutil.copytree(package.folder, tmp_path / "lacking"))
    save_weights(build_network(land_cover_only(read_recipe(AERIAL)).model), lacking.weights)
    notice = start_from_packages(build_network(package.spec), package.spec, [package, lacking])
    assert notice == "138 of 140 tensors of 'aerial' fit; what one lacks is that of the others."


def test_a_recipe_names_one_start_several_or_none(tmp_path: Path) -> None:
    written = write_recipe(tiny_recipe().model_copy(update={"start_from": ("aerial", "satellite")}), tmp_path / "recipe.toml")
    assert read_recipe(written).start_from == ("aerial", "satellite")
    assert tiny_recipe().start_from == ()
    text = written.read_text()
    for given, read in (('"base"', ("base",)), ("[]", ())):
        written.write_text(text.replace('["aerial", "satellite"]', given))
        assert read_recipe(written).start_from == read
    written.write_text(text.replace('["aerial", "satellite"]', "3"))
    with pytest.raises(ConfigError, match=r"start_from: .*tuple"):
        read_recipe(written)


def test_a_start_from_another_network_is_refused() -> None:
    spec = tiny_recipe().model
    network = spec.network.model_copy(update={"encoder": "mobilenet_v2"})
    other = spec.model_copy(update={"network": network})
    with pytest.raises(ModelError, match="unet with resnet18; the recipe asks for a unet with mobilenet_v2"):
        start_from_packages(build_network(other), other, [find_package("aerial")])


def write_recipe(recipe: Recipe, path: Path) -> Path:
    """Write a recipe as TOML, which needs no more than inline tables of JSON with = in place of : here."""
    dumped = recipe.model_dump(mode="json", exclude_none=True)
    path.write_text("\n".join(f"{key} = {_inline(value)}" for key, value in dumped.items()))
    return path


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(v) for v in value) + "]"
    return json.dumps(value)


def test_killed_in_the_middle_the_same_command_reaches_the_same_score(tmp_path: Path) -> None:
    town, village = write_site(tmp_path, "town", 7), write_site(tmp_path, "village", 8)
    recipe = tiny_recipe(4, 2, sites=(town,), validation=(village,))
    path = write_recipe(recipe, tmp_path / "recipe.toml")
    work = tmp_path / "model" / ".training"
    command = [sys.executable, "-m", "geoseg", "train", str(path), "--data", str(tmp_path), "-o", str(tmp_path / "model")]
    with subprocess.Popen([*command, "--progress", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shown = [json.loads(process.stdout.readline()) for _ in range(3)]
        os.kill(process.pid, signal.SIGKILL)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert [row["epoch"] for row in shown] == [1, 2, 3]
    fit(recipe, tmp_path, work)
    fit(recipe, tmp_path, tmp_path / "unbroken")
    resumed, unbroken = (read_history(folder)[-1] for folder in (work, tmp_path / "unbroken"))
    assert resumed.epoch == unbroken.epoch == 4
    assert resumed.score == pytest.approx(unbroken.score, abs=0.01)


def test_the_shipped_model_stands_where_its_card_says(shared_data: Path) -> None:
    """The building IoU in the card is the one that is measured, and above the bar that it was shipped for."""
    package = find_package("aerial")
    recipe = read_recipe(AERIAL)
    card = evaluate_site(package, recipe.tests[0], shared_data, device="cpu").card()
    metric = next(m for m in card if m.name == "IoU building")
    written = next(m for m in package.spec.accuracy if m.dataset == metric.dataset and m.name == metric.name)
    assert metric.value == pytest.approx(written.value, abs=0.002)
    assert metric.value >= 0.65
    assert open_raster(shared_data / recipe.tests[0].rasters).shape == (3072, 4096)


@pytest.mark.slow
def test_the_shipped_halos_keep_what_the_card_promises(shared_data: Path) -> None:
    """Tiled against whole-image inference, on imagery that the halos were not measured on."""
    predictor = load_predictor(find_package("aerial"), Execution())
    spec = predictor.spec
    source = open_raster(shared_data / "buildings/test/banepa_b/image.tif", resolution_m=spec.resolution_m)
    side = max(source.shape) + -max(source.shape) % spec.network.stride_px
    one_tile = TilePlan(
        height=source.shape[0], width=source.shape[1], tile_size_px=side, halo_px=0, stride_px=spec.network.stride_px, tiles_per_chunk=1
    )
    whole = infer_raster(predictor, source, one_tile)[0]
    for halo, limit in ((spec.halo.default_px, 0.005), (spec.halo.exact_px, 0.0005)):
        tiled = infer_raster(predictor, source, tiles_of(spec, source.shape, halo))[0]
        assert (tiled != whole).mean() <= limit

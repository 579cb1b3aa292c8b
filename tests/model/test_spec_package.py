"""Model cards and packages: what fits is read back, what does not is refused with its reason."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from geoseg.errors import MissingFileError, ModelError
from geoseg.model.package import CARD_NAME, WEIGHTS_NAME, find_package, shipped_models, to_stac_item, write_card
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import Evidence

WEIGHTS = b"weights of a network that does not exist" * 10
Card = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package with weights that no network has."""
    (tmp_path / WEIGHTS_NAME).write_bytes(WEIGHTS)
    write_card(tmp_path, double_spec())
    return tmp_path


def edit(folder: Path, change: Callable[[Card], object]) -> None:
    path = folder / CARD_NAME
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def spec_with(**changes: Any) -> ModelSpec:
    return ModelSpec.model_validate({**double_spec().model_dump(mode="json"), **changes})


def test_a_written_package_is_read_back(folder: Path) -> None:
    package = find_package(folder)
    assert package.spec.model_copy(update={"created": None}) == double_spec()
    assert package.spec.created is not None
    assert abs((datetime.now(UTC) - package.spec.created).total_seconds()) < 60
    assert package.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert package.weights.read_bytes() == WEIGHTS
    assert find_package(str(folder)) == package


def test_a_card_is_a_stac_item_that_describes_its_weights() -> None:
    item = to_stac_item(double_spec(bands=4), "ab" * 32, 123)
    assert (item["type"], item["stac_version"], item["id"]) == ("Feature", "1.1.0", "double-1")
    assert item["assets"]["weights"]["file:checksum"] == "1220" + "ab" * 32
    assert item["assets"]["weights"]["file:size"] == 123
    properties = item["properties"]
    assert properties["mlm:input"][0]["input"]["shape"] == [-1, 4, 64, 64]
    assert [output["result"]["shape"][1] for output in properties["mlm:output"]] == [2, 1, 1]
    assert properties["mlm:tasks"] == ["semantic-segmentation", "instance-segmentation"]
    assert [c["color_hint"] for c in properties["mlm:output"][0]["classification:classes"]] == ["C8B48C", "DC2828"]


def test_a_spec_says_which_layers_a_run_stores() -> None:
    layers = double_spec().layers
    assert layers.names == ("class", "confidence", "building_interior", "building_boundary", "building")
    assert layers.evidence[2] == Evidence(name="building", channel=1, among=(0, 2))
    assert double_spec().channels == 4


def test_changed_weights_are_refused_with_both_checksums(folder: Path) -> None:
    (folder / WEIGHTS_NAME).write_bytes(WEIGHTS + b"!")
    with pytest.raises(ModelError, match="damaged") as caught:
        find_package(folder)
    for content in (WEIGHTS, WEIGHTS + b"!"):
        assert hashlib.sha256(content).hexdigest()[:12] in str(caught.value)


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS_NAME).unlink()
    with pytest.raises(MissingFileError, match=WEIGHTS_NAME):
        find_package(folder)
    with pytest.raises(MissingFileError, match=WEIGHTS_NAME):
        write_card(tmp_path, double_spec())


@pytest.mark.parametrize("model", ["no-such-model", "/nowhere/at/all", ""])
def test_an_unknown_model_is_named_beside_those_that_are_shipped(model: str) -> None:
    with pytest.raises(MissingFileError, match=f"Model '{model}' is neither") as caught:
        find_package(model)
    for name in shipped_models():
        assert name in str(caught.value)


@pytest.mark.parametrize("href", ["../x", "../weights.safetensors", "/etc/passwd", "weights.safetensors", "https://example.org/w", None])
def test_a_card_that_names_another_file_is_refused(folder: Path, href: str | None) -> None:
    edit(folder, lambda card: card["assets"]["weights"].update(href=href))
    with pytest.raises(ModelError, match="must name") as caught:
        find_package(folder)
    assert repr(href) in str(caught.value)


@pytest.mark.parametrize("checksum", ["", "ab" * 32, 1220, None, "1114" + "ab" * 20])
def test_a_card_without_a_sha256_is_refused(folder: Path, checksum: object) -> None:
    edit(folder, lambda card: card["assets"]["weights"].update({"file:checksum": checksum}))
    with pytest.raises(ModelError, match="SHA-256 multihash"):
        find_package(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"\xff\xfe", b"[]", b"null", b'"text"', b"{}", b'{"properties": null}', b'{"properties": {"geoseg:spec": []}}'],
)
def test_what_is_no_card_is_refused_with_its_name(folder: Path, content: bytes) -> None:
    (folder / CARD_NAME).write_bytes(content)
    with pytest.raises(ModelError, match=CARD_NAME):
        find_package(folder)


@pytest.mark.parametrize("asset", ["weights", [], None, {}])
def test_a_card_whose_asset_has_no_fields_is_refused(folder: Path, asset: object) -> None:
    edit(folder, lambda card: card["assets"].update(weights=asset))
    with pytest.raises(ModelError, match=CARD_NAME):
        find_package(folder)


GROUND = {"value": 0, "name": "ground", "color": "#c8b48c"}
FAULTS: dict[str, tuple[Card, str]] = {
    "an unknown field": ({"colour": 1}, "colour"),
    "another number of classes": ({"classes": [GROUND]}, "there are 1 classes"),
    "no semantic head": ({"heads": {"roof": {"start": 0, "stop": 2, "activation": "softmax"}}}, "semantic"),
    "too few means": ({"mean": [1.0]}, "there are 3 bands"),
    "too few stds": ({"std": [1.0, 2.0]}, "there are 3 bands"),
    "a tile that does not fit the stride": ({"tile_size_px": 100}, "tile_size_px 100 must be a multiple of the stride 16"),
    "a tile of no size": ({"tile_size_px": 0}, "greater than 0"),
    "a resolution of nothing": ({"resolution_m": 0}, "greater than 0"),
    "a negative halo": ({"halo": {"default_px": -1, "exact_px": 0}}, "default_px"),
    "a class value used twice": ({"classes": [GROUND, {**GROUND, "name": "house"}]}, "same value twice: 0"),
    "a class value that is nodata": ({"classes": [GROUND, {"value": 255, "name": "house", "color": "#dc2828"}]}, "255"),
    "a color that is none": ({"classes": [GROUND, {"value": 1, "name": "house", "color": "red"}]}, "'red'"),
    "a std of zero": ({"std": [1.0, 0.0, 1.0]}, "0.0"),
    "a head without channels": (
        {"heads": {**double_spec().model_dump()["heads"], "building_interior": {"start": 3, "stop": 2, "activation": "sigmoid"}}},
        "building_interior",
    ),
}


@pytest.mark.parametrize(("change", "named"), FAULTS.values(), ids=FAULTS.keys())
def test_a_spec_that_does_not_fit_together_is_refused(change: Card, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        spec_with(**change)


@pytest.mark.parametrize(("change", "named"), FAULTS.values(), ids=FAULTS.keys())
def test_a_card_whose_spec_does_not_fit_is_refused_with_the_reason(folder: Path, change: Card, named: str) -> None:
    edit(folder, lambda card: card["properties"]["geoseg:spec"].update(change))
    with pytest.raises(ModelError, match=named):
        find_package(folder)


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_models_are_whole(name: str) -> None:
    package = find_package(name)
    assert package.spec.scheme.values
    assert package.spec.scaling.std
    assert package.spec.training_data, "who must be named is part of the model"

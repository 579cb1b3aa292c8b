"""Model cards as others read them: STAC core by its schemas, the MLM extension by pystac."""

import json
from pathlib import Path
from typing import Any

import pystac
import pytest
from jsonschema import Draft7Validator
from pystac.extensions.mlm import AcceleratorType, AssetGeneralMLMExtension, MLMExtension, TaskType
from referencing import Registry, Resource

from geoseg.model.package import CARD_NAME, find_package, shipped_models, write_card
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ModelSpec
from tests.doubles import write_package

CORE = "https://schemas.stacspec.org/v1.1.0"
SCHEMAS = Path(pystac.__file__).parent / "validation" / "jsonschemas"
SPEC = ModelSpec.model_validate(
    {
        **double_spec().model_dump(),
        "training_data": [{"name": "A town", "attribution": "(c) the town, CC BY 4.0"}],
        "accuracy": [{"dataset": "a village", "name": "IoU building", "value": 0.5}],
        "measured": [
            {"machine": "m", "threads": 2, "date": "2026-01-01", "tile_size_px": 64, "batch_size": size, "mpx_per_s": size}
            for size in (1, 4)
        ],
    }
)


def card_of(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / CARD_NAME).read_text())
    return card


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("package") / "double", SPEC)


@pytest.fixture(params=["drawn", *sorted(shipped_models())])
def card(request: pytest.FixtureRequest, drawn: Path) -> dict[str, Any]:
    return card_of(drawn if request.param == "drawn" else shipped_models()[request.param])


@pytest.fixture(scope="module")
def core() -> Draft7Validator:
    """STAC's own schema of an Item, which pystac brings along."""
    # by their places, as they refer to one another; one of the identifiers is misspelled
    places = {f"{CORE}/item-spec/json-schema/{path.name}": path for path in (SCHEMAS / "stac-spec" / "v1.1.0").glob("*.json")}
    places |= {f"https://geojson.org/schema/{path.name}": path for path in (SCHEMAS / "geojson").glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (place, Resource.from_contents(json.loads(path.read_text()))) for place, path in places.items()
    )
    item = json.loads((SCHEMAS / "stac-spec" / "v1.1.0" / "item.json").read_text())
    return Draft7Validator(item, registry=registry)


def test_cards_are_stac_items(card: dict[str, Any], core: Draft7Validator) -> None:
    assert [error.message for error in core.iter_errors(card)] == []


@pytest.mark.parametrize(
    "fault", [{"license": "a licence"}, {"datetime": "today"}, {"providers": [{}]}], ids=lambda fault: next(iter(fault))
)
def test_the_schema_would_find_a_fault(card: dict[str, Any], core: Draft7Validator, fault: dict[str, Any]) -> None:
    card["properties"] |= fault
    assert list(core.iter_errors(card))


def test_pystac_reads_every_field_of_the_extension(card: dict[str, Any]) -> None:
    item = pystac.Item.from_dict(card)
    mlm, spec = MLMExtension.ext(item), card["properties"]["geoseg:spec"]
    assert mlm.mlm_name == spec["name"]
    assert set(mlm.tasks) <= set(TaskType)
    assert mlm.framework == "PyTorch"
    assert mlm.accelerator in {None, *AcceleratorType}
    assert mlm.batch_size_suggestion
    assert mlm.hyperparameters is not None
    (image,) = mlm.input
    assert [getattr(band, "name", band) for band in image.bands] == spec["bands"] == [band["name"] for band in card["properties"]["bands"]]
    assert image.input.shape == [-1, len(spec["bands"]), spec["tile_size_px"], spec["tile_size_px"]]
    # pystac's own object takes one scaling for all bands, the extension one for each
    scaling = [(band["type"], band["mean"], band["stddev"]) for band in image.properties["value_scaling"]]
    assert scaling == [("z-score", mean, std) for mean, std in zip(spec["mean"], spec["std"], strict=True)]
    semantic = next(output for output in mlm.output if output.name == "semantic")
    assert [c.name for c in semantic.classes] == [c["name"] for c in spec["classes"]]
    assert all(c.description for c in semantic.classes), "version 1.1 of the classification extension requires it"
    weights = item.assets["weights"]
    assert "mlm:model" in weights.roles
    assert AssetGeneralMLMExtension.ext(weights).artifact_type == "safetensors"


def test_every_extension_that_a_card_names_has_a_field_in_it(card: dict[str, Any]) -> None:
    fields = [*card["properties"], *card["assets"]["weights"]]
    for schema in card["stac_extensions"]:
        prefix = schema.split("github.io/")[1].split("/")[0]
        assert any(field.startswith(f"{prefix}:") for field in fields), prefix


def test_cards_name_data_licence_metrics_and_context(drawn: Path) -> None:
    properties = card_of(drawn)["properties"]
    assert properties["providers"] == [{"name": "A town", "description": "(c) the town, CC BY 4.0", "roles": ["licensor"]}]
    assert properties["geoseg:training_data"][0]["attribution"] == "(c) the town, CC BY 4.0"
    assert properties["geoseg:accuracy"] == [{"dataset": "a village", "name": "IoU building", "value": 0.5}]
    assert properties["geoseg:global_context"] is False
    assert properties["mlm:hyperparameters"]["stitch"] == "crop"
    assert properties["mlm:batch_size_suggestion"] == 4, "that of the fastest measurement"
    assert "mlm:total_parameters" not in properties, "these weights are no safetensors file"


def test_parameters_are_those_that_torch_counts() -> None:
    from geoseg.model.network import build_network

    folder = shipped_models()["aerial"]
    network = build_network(find_package(folder).spec)
    properties = card_of(folder)["properties"]
    assert properties["mlm:total_parameters"] == sum(p.numel() for p in network.parameters())
    assert properties["mlm:memory_size"] == 4 * sum(t.numel() for t in network.state_dict().values())


def test_a_card_of_an_early_version_takes_its_creation_from_stac(drawn: Path, tmp_path: Path) -> None:
    card = card_of(drawn)
    for field in ("created", "receptive_field_px", "measured"):
        del card["properties"]["geoseg:spec"][field]
    card["properties"]["datetime"] = "2025-02-03T04:05:06Z"
    folder = write_package(tmp_path / "old")
    (folder / CARD_NAME).write_text(json.dumps(card))
    spec = find_package(folder).spec
    assert spec.created is not None
    assert spec.created.isoformat() == "2025-02-03T04:05:06+00:00"
    assert write_card(folder, spec).spec.created == spec.created

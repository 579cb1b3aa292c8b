"""What docs/models.md prints of the shipped models is what their cards hold."""

import re
from pathlib import Path

import pytest

from geoseg.model.package import find_package, shipped_models

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
SHIPPED = sorted(shipped_models())


def section_of(name: str) -> str:
    """The part of the page under the model's heading."""
    found = re.search(rf"^## {name} .*?(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/models.md has no section of {name}"
    return found.group()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_prints_each_number_of_the_card(name: str) -> None:
    spec, section = find_package(name).spec, section_of(name)
    assert f"## {name} {spec.version}" in section
    assert spec.accuracy
    missing = [m for m in spec.accuracy if f"| {m.dataset} | {m.name} | {m.value:.3f} |" not in section]
    assert not missing
    assert f"{spec.halo.default_px} px" in section
    assert f"{spec.receptive_field_px} px" in section


@pytest.mark.parametrize("name", SHIPPED)
def test_a_card_names_its_data_and_their_licenses(name: str) -> None:
    spec = find_package(name).spec
    assert spec.license
    assert spec.training_data
    assert all(re.search(r"CC|ODbL|MIT|Copernicus", data.attribution) for data in spec.training_data)
    assert spec.halo.measured_on
    assert spec.halo.default_px <= spec.halo.exact_px
    assert not spec.network.global_context


def test_the_shipped_weights_stay_small() -> None:
    sizes = {name: find_package(name).weights.stat().st_size for name in SHIPPED}
    assert max(sizes.values()) < 10e6
    assert sum(sizes.values()) < 45e6

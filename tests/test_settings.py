"""Settings say on the ground what the options of objects say in pixels."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from geoseg.objects.regularize import RegularizeOptions
from geoseg.objects.roads import RoadOptions
from geoseg.settings import BuildingSettings, LandcoverSettings, ObjectSettings, RoadSettings

PAGE = Path(__file__).parents[1] / "docs" / "objects.md"


def test_defaults_are_those_of_the_options() -> None:
    assert RoadSettings().road_options() == RoadOptions()
    assert BuildingSettings().regularize_options() == RegularizeOptions()


def test_metres_become_pixels_of_their_size() -> None:
    options = BuildingSettings(min_area_m2=20, fill_holes_m2=4, growth_m=3).instance_options((0.5, 0.4), knows_boundary=True, block_px=64)
    assert (options.min_area_px, options.fill_holes_px, options.growth_px, options.block_px) == (100, 20, 7, 64)
    assert LandcoverSettings().vectorize_options((0.5, 2.0)).simplify_m == pytest.approx(1.5)
    assert LandcoverSettings(simplify_m=0).vectorize_options((0.5, 2.0)).simplify_m == 0


def test_a_model_without_boundaries_is_asked_for_less() -> None:
    with_boundary = BuildingSettings().instance_options((1, 1), knows_boundary=True, block_px=64)
    without = BuildingSettings().instance_options((1, 1), knows_boundary=False, block_px=64)
    assert (with_boundary.min_part_px, without.min_part_px, with_boundary.min_score, without.min_score) == (20, 0, 0.7, 0)
    asked = BuildingSettings(seed_threshold=0.6, min_part_m2=40, min_score=0.1).instance_options((1, 1), knows_boundary=False, block_px=64)
    assert (asked.seed_threshold, asked.min_part_px, asked.min_score) == (0.6, 40, 0.1)


@pytest.mark.parametrize(
    "values",
    [
        {"seed_threshold": 1.5},
        {"tolerance_m": 0},
        {"method": "round"},
        {"growth_m": -1},
        {"min_radius": 1},
        {"min_area_m2": float("inf")},
        {"fill_holes_m2": float("nan")},
        {"min_radius_m": 200},
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BuildingSettings.model_validate(values)


def test_the_page_lists_every_setting_with_its_default() -> None:
    page = PAGE.read_text()
    for table, field in ObjectSettings.model_fields.items():
        section = page.split(f"### `{table}`")[1].split("#")[0]
        listed = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE))
        settings = field.annotation.model_fields
        assert list(listed) == list(settings)
        for name, setting in settings.items():
            if setting.default is not None:
                assert listed[name] == (f"{setting.default:g}" if isinstance(setting.default, int | float) else str(setting.default))

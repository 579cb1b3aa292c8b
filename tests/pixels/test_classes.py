"""The class scheme: what it holds, what it refuses."""

import pytest

from geoseg.errors import ConfigError
from geoseg.pixels.classes import NODATA_CLASS, ClassKind, ClassScheme, LandClass


def test_a_scheme_keeps_channel_order(scheme: ClassScheme) -> None:
    assert scheme.values == (1, 4, 2)
    assert [c.name for c in scheme] == ["water & ice", "forest", "house <new>"]
    assert len(scheme) == 3


def test_classes_are_found_by_their_kind(scheme: ClassScheme) -> None:
    assert [c.value for c in scheme.of_kind(ClassKind.BUILDING)] == [2]
    assert [c.value for c in scheme.of_kind(ClassKind.SURFACE)] == [1, 4]
    assert scheme.of_kind(ClassKind.ROAD) == ()


def test_a_color_becomes_red_green_and_blue() -> None:
    assert LandClass(value=0, name="a", color="#01FfA0").rgb == (1, 255, 160)


@pytest.mark.parametrize("value", [-1, NODATA_CLASS, 256])
def test_values_outside_0_to_254_are_refused(value: int) -> None:
    with pytest.raises(ConfigError, match=str(value)):
        LandClass(value=value, name="a", color="#000000")


@pytest.mark.parametrize("color", ["", "red", "#12345", "#1234567", "##12345", "#12345g", "rgb(0,0,0)", "#١٢٣٤٥٦", "c8b48c"])
def test_colors_other_than_rrggbb_are_refused(color: str) -> None:
    with pytest.raises(ConfigError, match="rrggbb"):
        LandClass(value=0, name="a", color=color)


@pytest.mark.parametrize(
    ("rows", "named"), [((), "none"), (((7, "a"), (7, "b")), "value twice: 7"), (((7, "same"), (8, "same")), "name twice: same")]
)
def test_empty_and_ambiguous_schemes_are_refused(rows: tuple[tuple[int, str], ...], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        ClassScheme(classes=tuple(LandClass(value=v, name=n, color="#000000") for v, n in rows))

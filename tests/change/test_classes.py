"""Classes of two dates come together by name, and codes tell both."""

import numpy as np
import pytest

from geoseg.change.classes import UNCHANGED, bring_together, code_transitions, is_change, merge_unchanged, split_codes, transition_scheme
from geoseg.change.options import ChangeOptions, parse_matches
from geoseg.errors import ConfigError, UsageError
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme, LandClass


def scheme(*names: str, start: int = 0) -> ClassScheme:
    return ClassScheme(classes=tuple(LandClass(value=start + n, name=name, color=f"#0000{n:02x}") for n, name in enumerate(names)))


def test_classes_are_the_same_by_name_whatever_their_values() -> None:
    common = bring_together(scheme("land", "Water", "road"), scheme("road", "land", "water", start=10), {})
    assert [c.name for c in common.scheme] == ["land", "Water", "road"]
    assert common.scheme.values == (0, 1, 2)
    assert common.before[[0, 1, 2, 3]].tolist() == [0, 1, 2, NODATA_CLASS]
    assert common.after[[10, 11, 12, 255]].tolist() == [2, 0, 1, NODATA_CLASS]


def test_a_class_that_one_date_lacks_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"forest only before; vegetation only after.*--match 'forest=NAME'"):
        bring_together(scheme("land", "forest"), scheme("land", "vegetation"), {})


def test_matched_classes_become_one_and_given_up_ones_no_data() -> None:
    match = parse_matches(["forest=vegetation", "shrub = vegetation", "cloud="])
    common = bring_together(scheme("forest", "shrub", "land"), scheme("land", "vegetation", "cloud"), match)
    assert [c.name for c in common.scheme] == ["vegetation", "land"]
    assert common.before[:3].tolist() == [0, 0, 1]
    assert common.after[:3].tolist() == [1, 0, NODATA_CLASS]
    assert common.scheme.classes[0].color == "#000001", "the class that has the name lends its color"


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["forest"], "NAME=NAME.*'forest'"), (["=land"], "'=land'"), (["a=b", "A=c"], "'A' twice: 'b' and 'c'")],
)
def test_matches_that_say_nothing_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_matches(texts)


def test_a_match_of_no_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="'forrest', which is no class of either run; they have forest, land"):
        bring_together(scheme("forest", "land"), scheme("forest", "land"), {"forrest": "land"})


def test_more_classes_than_fit_into_codes_are_refused() -> None:
    many = scheme(*(f"class {n}" for n in range(16)))
    with pytest.raises(ConfigError, match="1 to 15 classes; these runs share 16"):
        bring_together(many, many, {})


def test_a_class_with_the_name_of_a_change_is_refused_with_advice_and_may_be_renamed() -> None:
    names = ("land", "Water", "land to water")
    with pytest.raises(ConfigError, match=r"'land to Water' has the name of a change.*--match 'land to Water=NAME'"):
        bring_together(scheme(*names), scheme(*names), {})
    common = bring_together(scheme(*names), scheme(*names), parse_matches(["land to Water=flooded"]))
    assert len(transition_scheme(common.scheme)) == 9


def test_a_class_may_be_called_something_to_something() -> None:
    common = bring_together(scheme("house", "house to let"), scheme("house", "house to let"), {})
    legend = {row.name: is_change(row.value) for row in transition_scheme(common.scheme)}
    assert legend == {"house": False, "house to let": False, "house to house to let": True, "house to let to house": True}


def test_codes_tell_both_classes_and_what_stayed() -> None:
    before, after = np.meshgrid(np.array([0, 7, 14, NODATA_CLASS], np.uint8), np.array([0, 7, 14, NODATA_CLASS], np.uint8))
    codes = code_transitions(before, after)
    known = (before != NODATA_CLASS) & (after != NODATA_CLASS)
    np.testing.assert_array_equal(codes == NODATA_CLASS, ~known)
    for got, wanted in zip(split_codes(codes), (before, after), strict=True):
        np.testing.assert_array_equal(got[known], wanted[known])
    np.testing.assert_array_equal(merge_unchanged(codes) == UNCHANGED, known & (before == after))


def test_the_legend_names_every_code() -> None:
    legend = {row.value: row.name for row in transition_scheme(scheme("land", "water"))}
    assert legend == {0: "land", 1: "land to water", 16: "water to land", 17: "water"}


def test_the_largest_code_is_not_that_of_no_data() -> None:
    assert max(transition_scheme(scheme(*(f"class {n}" for n in range(15)))).values) == 14 * 16 + 14


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tolerance_m": -1.0}, "-1.0"),
        ({"tolerance_m": 2000.0}, "2000"),
        ({"min_area_m2": float("inf")}, "inf"),
        ({"min_growth": -0.5}, "-0.5"),
    ],
)
def test_numbers_out_of_range_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChangeOptions(**given)  # type: ignore[arg-type]

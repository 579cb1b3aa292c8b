"""Ids, versions and checksums: what a result comes from."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import geoseg
from geoseg.config import to_toml
from geoseg.io.files import write_whole
from geoseg.runfolder.provenance import checksum_files, find_differences, identify_run, list_versions

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8),
    lambda inner: st.dictionaries(st.from_regex("[a-z]{1,4}", fullmatch=True), inner, max_size=4),
    max_leaves=8,
)
TABLES = st.dictionaries(st.from_regex("[a-z]{1,4}", fullmatch=True), VALUES, max_size=5)


@given(TABLES)
def test_an_id_survives_being_written_and_read(table: dict[str, object]) -> None:
    import tomllib

    assert identify_run(tomllib.loads(to_toml(table))) == identify_run(table)


@given(TABLES)
def test_an_id_does_not_depend_on_the_order_of_keys(table: dict[str, object]) -> None:
    assert identify_run(dict(reversed(table.items()))) == identify_run(table)


@given(TABLES, TABLES)
def test_other_values_have_other_ids(one: dict[str, object], other: dict[str, object]) -> None:
    assert (identify_run(one) == identify_run(other)) == (to_json(one) == to_json(other))


def to_json(table: object) -> str:
    def without_none(value: object) -> object:
        return {k: without_none(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value

    return json.dumps(without_none(table), sort_keys=True)


def test_lists_and_tuples_are_the_same() -> None:
    assert identify_run({"a": (1, 2)}) == identify_run({"a": [1, 2]}) != identify_run({"a": [2, 1]})


@pytest.mark.parametrize("recorded_only", [False, True])
def test_an_option_that_is_left_out_differs_unless_it_was_at_its_default(recorded_only: bool) -> None:
    earlier = {"halo": 3, "feather": 2, "mosaic": "first", "checks": [], "gone": 1}
    said = ["feather was 2, is now the default"]
    assert find_differences(earlier, {"halo": 3}, recorded_only=recorded_only) == said
    assert find_differences(earlier, {"halo": 3, "feather": 2}, recorded_only=recorded_only) == []
    new = find_differences({"halo": 3}, {"halo": 4, "feather": 2}, recorded_only=recorded_only)
    assert new == ["halo was 3, is now 4", *([] if recorded_only else ["feather was None, is now 2"])]


def test_checksums_are_those_of_the_files(tmp_path: Path) -> None:
    contents = {"b.tif": b"abc", "a.toml": b"", "c.gpkg": bytes(range(256)) * 9000}
    for name, content in contents.items():
        write_whole(tmp_path / name, content)
    found = checksum_files(tmp_path.iterdir())
    assert list(found) == sorted(contents)
    for name, content in contents.items():
        assert found[name] == {"file:size": len(content), "file:checksum": "1220" + hashlib.sha256(content).hexdigest()}
    with pytest.raises(FileNotFoundError):
        checksum_files([tmp_path / "none"])


def test_versions_are_those_that_run() -> None:
    found = list_versions("onnx", "no-such-library")
    assert (found["geoseg"], found["numpy"], found["gdal"]) == (geoseg.__version__, np.__version__, rasterio.__gdal_version__)
    assert "onnx" in found
    assert "no-such-library" not in found

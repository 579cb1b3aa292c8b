"""Configuration: what is given wins over TOML, TOML over defaults; what is written can be read."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geoseg.config import ALL_OUTPUTS, RunConfig, make_config, parse_bytes, to_toml
from geoseg.errors import ConfigError, MissingFileError

NEEDED = {"raster": "a.tif", "output": "out"}


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text('[run]\nraster = "from_toml.tif"\noutput = "out"\ntile_size = 256\nbatch_size = 4\nbands = [3, 2, 1]\n')
    return path


def test_given_values_win_over_toml_and_toml_over_defaults(toml: Path) -> None:
    config = make_config({"raster": "given.tif", "batch_size": 8, "tile_size": None}, toml)
    assert (config.raster, config.batch_size) == ("given.tif", 8)
    assert (config.tile_size, config.bands) == (256, (3, 2, 1))
    assert (config.chunk_size, config.outputs) == (RunConfig.model_fields["chunk_size"].default, ALL_OUTPUTS)


def test_toml_may_hold_its_values_at_the_top_level(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text('raster = "a.tif"\noutput = "out"\nhalo = "exact"\n')
    assert make_config({}, path).halo == "exact"


@pytest.mark.parametrize(("wrong", "right"), [("tilesize", "tile_size"), ("chunk_sise", "chunk_size"), ("rasters", "raster")])
def test_a_misspelled_option_is_named_and_the_right_one_suggested(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError, match=f"'{wrong}'; did you mean '{right}'"):
        make_config({**NEEDED, wrong: 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tile_size", 0),
        ("chunk_size", -4),
        ("batch_size", "many"),
        ("workers", -1),
        ("halo", "wide"),
        ("outputs", ["trees"]),
        ("memory", "a lot"),
        ("memory", "1.2.3GB"),
        ("memory", "1e999"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_option(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config({**NEEDED, key: value})
    assert key in str(caught.value)
    assert str(value[0] if isinstance(value, list) else value) in str(caught.value)


def test_missing_and_broken_toml_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.toml"):
        make_config(NEEDED, tmp_path / "nowhere.toml")
    for content in (b"raster = ", b"raster = '\xff'"):
        (tmp_path / "broken.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML"):
            make_config(NEEDED, tmp_path / "broken.toml")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("512 MiB", 512 * 2**20),
        ("4GB", 4 * 10**9),
        (" 1.5 gib ", 3 * 2**29),
        ("2e9", 2 * 10**9),
        ("3k", 3000),
        ("1TB", 10**12),
    ],
)
def test_sizes_are_read_in_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert make_config({**NEEDED, "memory": text}).memory_bytes == size


@pytest.mark.parametrize("text", ["", "GB", "4 XB", "-1GB", "4GB of it", ".", "1.2.3GB", "1e999"])
def test_what_is_no_size_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bytes(text)
    assert repr(text) in str(caught.value)


plain = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"]))
values = plain | st.lists(plain, max_size=4)
keys = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@settings(deadline=None, max_examples=150)
@given(table=st.dictionaries(keys, values, max_size=4), run=st.dictionaries(keys, values, max_size=4))
@example(table={}, run={"raster": "delete\x7f.tif"})
@example(table={}, run={"grid": [float("inf")]})
@example(table={"my gpu": 1}, run={"GPU.large": 1, "": 2, 'a"b': 3})
def test_written_toml_is_read_back_as_it_was(table: dict[str, Any], run: dict[str, Any]) -> None:
    table.pop("run", None)
    whole = {**table, "run": {**run, "in a.table": {"x y": run}, "in a list": [{"x.y": 1}]}}
    assert tomllib.loads(to_toml(whole)) == whole


def test_toml_leaves_out_what_is_none() -> None:
    assert tomllib.loads(to_toml({"a": None, "b": 1, "run": {"c": None, "d": 2}})) == {"b": 1, "run": {"d": 2}}


def test_a_written_run_gives_the_same_configuration(tmp_path: Path) -> None:
    config = make_config(
        {**NEEDED, "bands": [4, 2], "memory": "2GB", "halo": "exact", "outputs": ["roads"], "resources": {"my gpu": 1, "GPU.large": 2}}
    )
    path = tmp_path / "run.toml"
    path.write_text(to_toml({"geoseg_version": "1", "run": config.model_dump(mode="json")}), encoding="utf-8")
    assert make_config({}, path) == config


def test_result_keys_are_those_that_change_the_result() -> None:
    one = make_config(NEEDED)
    assert one.result_keys() == RunConfig(**NEEDED, chunk_size=64, device="cuda", memory="9GB", workers=3).result_keys()
    for change in (
        {"tile_size": 64},
        {"halo": 3},
        {"batch_size": 2},
        {"bands": [2]},
        {"warp": True},
        {"model": "other"},
        {"outputs": ["roads"]},
    ):
        assert one.result_keys() != make_config({**NEEDED, **change}).result_keys()

"""Layers of many runs in one GeoPackage."""

from pathlib import Path

import geopandas as gpd
import pyogrio
import pytest
import shapely

from geoseg.errors import WriteError
from geoseg.io import collection
from geoseg.io.collection import gather_layers
from geoseg.io.vector import read_layer, read_within


def write_run(path: Path, count: int, crs: str, x: float, y: float, layer: str = "buildings") -> Path:
    boxes = [shapely.box(x + 20 * i, y, x + 20 * i + 10, y + 10) for i in range(count)]
    table = gpd.GeoDataFrame({"instance_id": range(1, count + 1)}, geometry=boxes, crs=crs)
    pyogrio.write_dataframe(table, path, layer=layer, driver="GPKG", geometry_type="Polygon", append=path.exists())
    return path


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return write_run(tmp_path / "a.gpkg", 5, "EPSG:32645", 337_200, 3_058_800), write_run(tmp_path / "b.gpkg", 3, "EPSG:3857", 9.5e6, 3.2e6)


def test_runs_of_several_zones_lie_in_one_layer_with_their_source(runs: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "all.gpkg"
    assert [gather_layers(path, path.stem, target) for path in runs] == [5, 3]
    table = read_layer(target, "buildings")
    for path in runs:
        alone = read_layer(path, "buildings").to_crs("EPSG:4326")
        mine = table[table["source"] == path.stem].reset_index()
        assert mine.geometry.geom_equals_exact(alone.geometry, 1e-9).all()
        assert list(mine["instance_id"]) == list(alone["instance_id"])


def test_a_source_that_comes_again_is_there_once_and_is_found_by_place(runs: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "all.gpkg"
    for path in (*runs, runs[0], runs[0]):
        gather_layers(path, path.stem, target)
    assert dict(read_layer(target, "buildings")["source"].value_counts()) == {"a": 5, "b": 3}
    assert pyogrio.read_info(target, layer="buildings")["features"] == 8
    place = read_layer(runs[0], "buildings").to_crs("EPSG:4326").iloc[[2]]
    found = read_within(target, "buildings", tuple(place.total_bounds))
    assert list(found["instance_id"]) == [3]


def test_batches_make_the_same_as_one_piece(runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gather_layers(runs[0], "a", tmp_path / "whole.gpkg")
    monkeypatch.setattr(collection, "_BATCH", 2)
    gather_layers(runs[0], "a", tmp_path / "parts.gpkg")
    whole, parts = (read_layer(tmp_path / f"{name}.gpkg", "buildings") for name in ("whole", "parts"))
    assert whole.equals(parts)


def test_layers_that_only_later_runs_have_are_added(runs: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "all.gpkg"
    gather_layers(runs[0], "a", target)
    gather_layers(write_run(runs[1], 4, "EPSG:3857", 9.5e6, 3.2e6, "landcover"), "b", target)
    assert dict(read_layer(target, "landcover")["source"].value_counts()) == {"b": 4}


def test_nothing_stands_under_the_name_until_the_first_run_is_in(
    tmp_path: Path, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(collection, "write_dataframe", fail)
    with pytest.raises(WriteError, match=r"all\.gpkg could not take a: no space"):
        gather_layers(runs[0], "a", tmp_path / "all.gpkg")
    assert not (tmp_path / "all.gpkg").exists()

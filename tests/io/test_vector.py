"""Vector files: what is written is read back, what is read lies in the run's CRS and is valid."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal
from pyogrio import write_dataframe

from geoseg.errors import MissingFileError, UsageError, WriteError
from geoseg.io import layerfile
from geoseg.io.vector import FIXED_DATE, append_layer, open_layers, open_vector, read_layer, read_vector, write_vector

UTM = "EPSG:32645"


@pytest.fixture
def layers() -> dict[str, gpd.GeoDataFrame]:
    boxes = shapely.box([0, 10.5], 0, [5, 20], 5)
    buildings = gpd.GeoDataFrame({"instance_id": np.array([1, 2]), "class": "house", "score": [0.5, 1.0]}, geometry=boxes, crs=UTM)
    roads = gpd.GeoDataFrame({"edge_id": np.array([1])}, geometry=[shapely.LineString([(0, 0), (3, 4.25)])], crs=UTM)
    return {"buildings": buildings, "roads": roads}


def write(layers: dict[str, gpd.GeoDataFrame], path: Path) -> None:
    with open_layers(path) as add:
        for name, table in layers.items():
            add(name, table)


def test_written_layers_are_read_back(tmp_path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    write(layers, tmp_path / "features.gpkg")
    assert [p.name for p in tmp_path.iterdir()] == ["features.gpkg"]
    for name, table in layers.items():
        assert_geodataframe_equal(read_layer(tmp_path / "features.gpkg", name), table, check_dtype=False)


def test_equal_tables_make_equal_bytes_at_any_time(tmp_path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(layers, tmp_path / name / "features.gpkg")
        made.append((tmp_path / name / "features.gpkg").read_bytes())
        time.sleep(0.02)
    assert made[0] == made[1]
    # what others write in this process has its time
    write_dataframe(layers["roads"], tmp_path / "theirs.gpkg", layer="roads", driver="GPKG")
    assert f"{datetime.now(UTC).year}-".encode() in (tmp_path / "theirs.gpkg").read_bytes()


def test_layers_replace_those_of_an_earlier_run(tmp_path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    (tmp_path / ".features.part.gpkg").write_bytes(b"left by a run that was killed")
    write(layers, tmp_path / "features.gpkg")
    write({"roads": layers["roads"]}, tmp_path / "features.gpkg")
    assert gpd.list_layers(tmp_path / "features.gpkg")["name"].tolist() == ["roads"]


def test_a_layer_without_features_keeps_its_name_columns_type_and_crs(tmp_path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    write({"buildings": layers["buildings"][:0]}, tmp_path / "features.gpkg")
    table = read_layer(tmp_path / "features.gpkg", "buildings")
    assert len(table) == 0
    assert list(table.columns) == ["instance_id", "class", "score", "geometry"]
    assert table.crs == UTM
    assert gpd.list_layers(tmp_path / "features.gpkg")["geometry_type"].tolist() == ["Polygon"]


def test_layers_that_cannot_be_written_leave_the_old_file(tmp_path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    (tmp_path / "features.gpkg").write_bytes(b"old")
    with pytest.raises(AttributeError, match="NoneType"):
        write({**layers, "panoptic": None}, tmp_path / "features.gpkg")
    assert [p.name for p in tmp_path.iterdir()] == ["features.gpkg"]
    assert (tmp_path / "features.gpkg").read_bytes() == b"old"
    with pytest.raises(WriteError, match=r"features\.gpkg could not be written"):
        write(layers, tmp_path / "nowhere" / "features.gpkg")


def test_batches_of_a_layer_follow_one_another_and_a_table_needs_no_geometry(tmp_path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    with open_layers(tmp_path / "features.gpkg") as add:
        add("buildings", layers["buildings"][:1])
        add("panoptic", pd.DataFrame({"segment_id": [1, 2], "class": ["land", "house"]}))
        add("buildings", layers["buildings"][1:])
    assert_geodataframe_equal(read_layer(tmp_path / "features.gpkg", "buildings"), layers["buildings"], check_dtype=False)
    assert gpd.read_file(tmp_path / "features.gpkg", layer="panoptic")["class"].tolist() == ["land", "house"]


def boxes(start: int, stop: int, crs: str | None = UTM) -> gpd.GeoDataFrame:
    numbers = np.arange(start, stop)
    return gpd.GeoDataFrame({"number": numbers}, geometry=list(shapely.box(numbers, 0, numbers + 1, 1)), crs=crs)


def write_batches(path: Path, *batches: gpd.GeoDataFrame) -> None:
    with open_vector(path, "areas", "Polygon") as add:
        for batch in batches:
            add(batch)


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson", ".shp", ".SHP"])
def test_every_format_takes_several_batches_and_no_name_but_its_own(tmp_path: Path, ending: str, first: int) -> None:
    (tmp_path / "areas.shp").write_bytes(b"of somebody else")
    (tmp_path / ".map.part.txt").write_bytes(b"of somebody else")
    write_batches(tmp_path / f"map{ending}", boxes(0, first), boxes(first, 4), boxes(4, 7))
    table = gpd.read_file(tmp_path / f"map{ending}").to_crs(UTM).sort_values("number")
    assert table["number"].tolist() == list(range(7))
    np.testing.assert_allclose(table.bounds["minx"], np.arange(7), atol=1e-3)
    others = {p.name for p in tmp_path.iterdir() if p.stem != "map"}
    assert others == {"areas.shp", ".map.part.txt"}
    assert (tmp_path / "areas.shp").read_bytes() == b"of somebody else"


@pytest.mark.parametrize("crs", [UTM, None])
@pytest.mark.parametrize("ending", [".fgb", ".geojson"])
def test_formats_that_are_written_anew_to_add_to_them_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, crs: str | None
) -> None:
    write_batches(tmp_path / f"whole{ending}", boxes(0, 30, crs))
    added: list[str] = []

    def count(*args: Any, **how: Any) -> None:
        added.append(how["driver"])
        write_dataframe(*args, **how)

    monkeypatch.setattr(layerfile, "write_dataframe", count)
    write_batches(tmp_path / f"map{ending}", *(boxes(start, start + 3, crs) for start in range(0, 30, 3)))
    assert set(added) == {"GPKG"}, "adding to the file itself takes time with the square of its size"
    assert (tmp_path / f"map{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {f"map{ending}", f"whole{ending}"}


@pytest.mark.parametrize("ending", [".fgb", ".geojson"])
def test_batches_that_fail_leave_the_old_file_and_nothing_else(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"map{ending}"
    path.write_bytes(b"old")
    with pytest.raises(AttributeError, match="NoneType"):
        write_batches(path, boxes(0, 2), boxes(2, 4), None)  # type: ignore[arg-type]  # what fails in between
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson"])
def test_a_table_of_mixed_shapes_is_written_under_the_name_of_its_file(tmp_path: Path, ending: str) -> None:
    table = gpd.GeoDataFrame({"number": [1, 2]}, geometry=[shapely.box(0, 0, 1, 1), shapely.Point(5, 5)], crs=UTM)
    write_vector(table, tmp_path / f"map{ending}")
    read = read_vector(tmp_path / f"map{ending}", UTM, "map").sort_values("number")
    assert [shape.geom_type for shape in read.geometry] == ["Polygon", "Point"]
    np.testing.assert_allclose(read.bounds["minx"], [0, 5], atol=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == [f"map{ending}"]


@pytest.mark.parametrize("name", ["map.shp", "map.dwg", "map"])
def test_one_table_is_not_written_in_formats_of_several_files_or_unknown_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"ends in .*; expected \.gpkg, \.geojson, \.fgb\."):
        write_vector(boxes(0, 1), tmp_path / name)


def test_columns_that_are_called_as_those_of_a_geopackage_are_kept(tmp_path: Path) -> None:
    columns = {"fid": [7, 7], "FID_1": ["a", "b"], "geom": ["c", "d"]}
    table = gpd.GeoDataFrame(columns, geometry=[shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)], crs="EPSG:32645")
    with open_vector(tmp_path / "out.gpkg", "out", "Polygon") as add:
        add(table.iloc[:1])
        add(table.iloc[1:])
    assert_geodataframe_equal(gpd.read_file(tmp_path / "out.gpkg"), table, check_dtype=False)


def test_columns_that_differ_by_capitals_only_are_kept_in_layers_too(tmp_path: Path) -> None:
    table = gpd.GeoDataFrame({"Name": ["a"], "name": ["b"], "NAME": ["c"]}, geometry=[shapely.box(0, 0, 5, 5)], crs=UTM)
    path = tmp_path / "features.gpkg"
    with open_layers(path, {"zones": "Polygon"}) as add:
        add("zones", table)
        add("zones", table)
        add("names", pd.DataFrame(table.drop(columns="geometry")))
    append_layer(path, "districts", table)
    for layer, count in (("zones", 2), ("names", 1), ("districts", 1)):
        found = read_layer(path, layer)
        assert found[["Name", "name_2", "NAME_3"]].to_numpy().tolist() == [["a", "b", "c"]] * count


def test_a_shapefile_takes_nothing_over_from_the_one_that_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "map.shp"
    write_batches(path, boxes(0, 5))
    for ending in (".qix", ".sbn", ".qml"):
        path.with_suffix(ending).write_bytes(b"old")
    write_batches(path, boxes(0, 2, crs=None))
    assert {p.suffix for p in tmp_path.iterdir()} == {".shp", ".shx", ".dbf", ".cpg", ".qml"}
    table = gpd.read_file(path)
    assert table.crs is None
    assert len(table) == 2


def test_a_shapefile_that_fails_leaves_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "map.shp"
    write_batches(path, boxes(0, 5))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(WriteError, match=r"map\.shp could not be written"):
        write_batches(path, boxes(0, 2), boxes(2, 4).set_geometry([shapely.Point(0, 0)] * 2, crs=UTM))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_layer_that_is_not_there_is_named(tmp_path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    write(layers, tmp_path / "features.gpkg")
    with pytest.raises(UsageError, match="'rivers'"):
        read_layer(tmp_path / "features.gpkg", "rivers")


def test_a_vector_file_is_brought_into_the_crs_that_is_asked_for(tmp_path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    layers["buildings"].translate(500000, 3000000).to_crs("EPSG:4326").to_file(tmp_path / "aoi.geojson")
    table = read_vector(tmp_path / "aoi.geojson", UTM)
    assert table.crs == UTM
    np.testing.assert_allclose(table.bounds, layers["buildings"].translate(500000, 3000000).bounds, atol=0.01)


def test_invalid_polygons_are_repaired(tmp_path: Path) -> None:
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    gpd.GeoDataFrame(geometry=[bow], crs=UTM).to_file(tmp_path / "aoi.gpkg")
    table = read_vector(tmp_path / "aoi.gpkg", UTM)
    assert table.is_valid.all()
    assert table.area.sum() == pytest.approx(2)


def test_a_missing_vector_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.gpkg"):
        read_vector(tmp_path / "nowhere.gpkg", UTM)


@pytest.mark.parametrize("content", ["", "no vector data", '{"type": "FeatureCollection", "features": ['])
def test_a_file_that_holds_no_vector_data_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "aoi.geojson").write_text(content)
    with pytest.raises(UsageError, match=r"aoi\.geojson could not be read as vector data"):
        read_vector(tmp_path / "aoi.geojson", UTM)


def test_a_table_without_geometry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "aoi.csv").write_text("name,area\na,1\n")
    with pytest.raises(UsageError, match=r"aoi\.csv"):
        read_vector(tmp_path / "aoi.csv", UTM)


def test_a_vector_file_without_a_crs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "aoi.shp"
    gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=UTM).to_file(path)
    path.with_suffix(".prj").unlink()
    with pytest.raises(UsageError, match="declares no CRS"):
        read_vector(path, UTM)


def test_features_without_a_shape_are_no_obstacle(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[None, shapely.box(0, 0, 1, 1)], crs=UTM).to_file(tmp_path / "aoi.gpkg")
    assert read_vector(tmp_path / "aoi.gpkg", UTM).area.sum() == pytest.approx(1)


def test_a_layer_that_is_appended_holds_no_time_of_day(tmp_path: Path) -> None:
    table = gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=UTM)
    append_layer(tmp_path / "f.gpkg", "zones", table)
    with closing(sqlite3.connect(tmp_path / "f.gpkg")) as store:
        assert store.execute("SELECT last_change FROM gpkg_contents").fetchall() == [(FIXED_DATE,)]

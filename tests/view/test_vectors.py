"""Vector tiles: cut once for each state of a file, forgotten after a while, none of what has no shape."""

import gzip
import os
import sqlite3
import time
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from pyogrio import write_dataframe

from geoseg.errors import RunError
from geoseg.view.vectors import find_layers, open_archive
from tests.view.test_rasters import tile_at


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "things.gpkg"
    boxes = gpd.GeoDataFrame({"instance_id": [1, 2]}, geometry=[shapely.box(0, 0, 50, 50), shapely.box(80, 80, 120, 120)], crs=3857)
    write_dataframe(boxes, path, layer="boxes")
    write_dataframe(boxes.head(0), path, layer="nothing", append=True)
    write_dataframe(boxes.drop(columns="geometry"), path, layer="table", append=True)
    write_dataframe(boxes.set_geometry(boxes.centroid), path, layer="dots", append=True)
    return path


def test_only_layers_with_shapes_are_shown(file: Path, tmp_path: Path) -> None:
    assert [(layer.name, layer.kind, layer.count) for layer in find_layers(file)] == [("boxes", "polygon", 2), ("dots", "point", 2)]
    (tmp_path / "torn.gpkg").write_bytes(b"SQLite format 3\0 and no more")
    assert find_layers(tmp_path / "torn.gpkg") == []


def test_tiles_are_cut_once_for_each_state_of_a_file(file: Path, tmp_path: Path) -> None:
    boxes = find_layers(file)[0]
    archive = open_archive(boxes, None, tmp_path / "cache")
    (made,) = (tmp_path / "cache").glob("*.pmtiles")
    first = made.stat().st_ino
    tile, _, _ = tile_at(1e-4, 1e-4, archive.zooms[1])
    assert b"instance_id" in gzip.decompress(archive.read(tile))
    archive.close()
    again = open_archive(boxes, None, tmp_path / "cache")
    assert (made.stat().st_ino, again.version) == (first, archive.version)
    again.close()
    os.utime(file, ns=(1, 1))
    other = open_archive(boxes, None, tmp_path / "cache")
    assert other.version != archive.version
    other.close()


def test_the_name_of_a_layer_leads_nowhere(tmp_path: Path) -> None:
    path, cache = tmp_path / "strange.gpkg", tmp_path / "inner" / "cache"
    boxes = gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
    write_dataframe(boxes, path, layer="plain")
    with sqlite3.connect(path) as file:
        # pyogrio itself refuses to write such a name
        for table in ("gpkg_contents", "gpkg_geometry_columns", "gpkg_ogr_contents"):
            file.execute(f"UPDATE {table} SET table_name = '../../outside'")
        file.execute('ALTER TABLE "plain" RENAME TO "../../outside"')
    open_archive(find_layers(path)[0], None, cache).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inner", "strange.gpkg"]
    assert [p.parent for p in tmp_path.rglob("*.pmtiles")] == [cache]


def test_tiles_that_nobody_looked_at_for_a_month_are_forgotten(file: Path, tmp_path: Path) -> None:
    boxes, dots = find_layers(file)
    open_archive(boxes, None, tmp_path).close()
    (old,) = tmp_path.glob("*.pmtiles")
    long_ago = time.time() - 40 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    open_archive(dots, None, tmp_path).close()
    assert not old.exists()


def test_a_layer_without_a_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.gpkg"
    with pytest.warns(UserWarning, match="crs"):
        write_dataframe(gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.box(0, 0, 1, 1)]), path)
    with pytest.raises(RunError, match="declares no CRS"):
        open_archive(find_layers(path)[0], None, tmp_path / "cache")

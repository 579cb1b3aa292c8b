"""Formats of shapes that the double does not draw: courtyards, shared walls, several pictures, roads."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from odc.geo.geobox import GeoBox

from geoseg.io.vector import open_layers
from geoseg.labels.coco import read_coco
from geoseg.pixels.classes import ClassKind, ClassScheme, LandClass
from geoseg.products.formats import coco
from geoseg.products.formats.coco import write_coco_folder
from geoseg.products.formats.osm import write_osm
from geoseg.products.formats.pmtiles import choose_zooms, write_pmtiles
from geoseg.products.formats.run import RunProducts
from geoseg.products.formats.styles import write_styles
from tests.doubles import TRANSFORM

SCHEME = ClassScheme(classes=(LandClass(value=3, name="road & rail", color="#102030", kind=ClassKind.ROAD),))
BOX = GeoBox((400, 600), TRANSFORM, "EPSG:32645")
LEFT, TOP = 337_200, 3_058_800


def write_run(folder: Path, **layers: list[shapely.Geometry]) -> RunProducts:
    with open_layers(folder / "features.gpkg") as add:
        for name, shapes in layers.items():
            add(name, gpd.GeoDataFrame({"number": np.arange(len(shapes))}, geometry=shapes, crs="EPSG:32645"))
    (folder / "made").mkdir()
    return RunProducts(name="drawn", places=(folder,), geobox=BOX, scheme=SCHEME)


def block(x: float, y: float, side: float = 10) -> shapely.Polygon:
    """A square whose upper left corner lies so many metres right and down of the raster's."""
    return shapely.box(LEFT + x, TOP - y - side, LEFT + x + side, TOP - y)


def test_a_courtyard_becomes_a_relation_and_shared_walls_share_nodes(tmp_path: Path) -> None:
    ring = block(10, 10, 20).difference(block(15, 15, 10))
    write_osm(write_run(tmp_path, buildings=[block(60, 10), ring, block(70, 10)]), tmp_path / "made")
    root = ET.parse(tmp_path / "made" / "buildings.osm").getroot()
    # the two neighbors have six corners together, the ring has eight
    assert len(list(root.iter("node"))) == 6 + 8
    (relation,) = root.iter("relation")
    assert sorted(member.attrib["role"] for member in relation.iter("member")) == ["inner", "outer"]
    assert {(tag.attrib["k"], tag.attrib["v"]) for tag in relation.iter("tag")} == {("type", "multipolygon"), ("building", "yes")}
    tagged = [way for way in root.iter("way") if way.find("tag") is not None]
    assert len(tagged) == 2
    ids = [element.attrib["id"] for element in root]
    assert len(set(ids)) == len(ids)
    walls = [{nd.attrib["ref"] for nd in way.iter("nd")} for way in tagged]
    assert len(walls[0] & walls[1]) == 2


def test_buildings_are_cut_at_the_edges_of_pictures(tmp_path: Path, monkeypatch: object) -> None:
    assert coco.PICTURE_PX == 1024
    monkeypatch.setattr(coco, "PICTURE_PX", 256)  # type: ignore[attr-defined]
    # in pixels: x 120 to 140, and the picture ends at 256 px = 128 m
    write_coco_folder(write_run(tmp_path, buildings=[block(120, 10, 20), block(200, 150)]), tmp_path / "made")
    content = (tmp_path / "made" / "coco" / "annotations.json").read_bytes()
    annotations = read_coco(content)
    assert [(image.width, image.height) for image in annotations.images] == [
        (256, 256),
        (256, 256),
        (88, 256),
        (256, 144),
        (256, 144),
        (88, 144),
    ]
    areas = {image.name: [round(shape.geometry.area) for shape in image.shapes] for image in annotations.images if image.shapes}
    assert areas == {"0000000_0000000.png": [16 * 40], "0000000_0000256.png": [24 * 40], "0000256_0000256.png": [20 * 20]}
    assert [row["id"] for row in json.loads(content)["annotations"]] == [1, 2, 3]
    # without the imagery there are no pictures
    assert [path.name for path in (tmp_path / "made" / "coco").iterdir()] == ["annotations.json"]


def test_lines_and_points_become_tiles_beside_polygons(tmp_path: Path) -> None:
    line = shapely.LineString([(LEFT, TOP - 50), (LEFT + 200, TOP - 60)])
    products = write_run(tmp_path, buildings=[], roads=[line], road_nodes=[shapely.Point(LEFT, TOP - 50)])
    write_pmtiles(products, tmp_path / "made")
    path = tmp_path / "made" / "features.pmtiles"
    assert {str(name) for name, _ in pyogrio.list_layers(path)} == {"roads", "road_nodes"}
    assert [each.name for each in path.parent.iterdir()] == ["features.pmtiles"]
    length = gpd.read_file(path, layer="roads").to_crs("EPSG:32645").length.sum()
    # parts of a line that is cut reach a little over the borders of tiles
    assert 200 < length < 230


def test_zooms_reach_from_one_tile_to_the_pixel() -> None:
    least, most = choose_zooms(BOX)
    assert 40_075_017 * np.cos(np.radians(27.6)) / 2**least >= 300
    assert 40_075_017 * np.cos(np.radians(27.6)) / 2**most / 4096 <= 0.5
    assert choose_zooms(GeoBox((18_000, 36_000), TRANSFORM.__class__(0.01, 0, -180, 0, -0.01, 90), "EPSG:4326")) == (0, 4)


def test_styles_quote_what_names_hold(tmp_path: Path) -> None:
    write_styles(write_run(tmp_path, landcover=[block(0, 0)], roads=[]), tmp_path / "made")
    root = ET.parse(tmp_path / "made" / "landcover.qml").getroot()
    assert [row.attrib["label"] for row in root.iter("category")] == ["road & rail"]
    lines = ET.parse(tmp_path / "made" / "roads.sld").getroot().iter("{http://www.opengis.net/sld}CssParameter")
    assert [row.text for row in lines] == ["#102030", "2"]

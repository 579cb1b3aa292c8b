"""Labels go to COCO and CVAT and come back as they were; what cannot be carried is counted."""

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoseg.errors import LabelError, MissingFileError
from geoseg.labels import annotations
from geoseg.labels.annotations import AnnotatedImage, Annotations, Shape, outline_mask, without_holes
from geoseg.labels.coco import decode_runs, read_coco, write_coco
from geoseg.labels.coco import encode_runs as encode_text
from geoseg.labels.convert import convert
from geoseg.labels.cvat import read_cvat, write_cvat
from tests.doubles import CRS, TRANSFORM, draw_blobs, write_raster

SQUARE_WITH_HOLES = shapely.box(2, 2, 30, 30).difference(shapely.union_all([shapely.box(5, 5, 9, 12), shapely.box(15, 15, 20, 25)]))
PIXEL_M = 0.5


def annotated(*shapes: Any) -> Annotations:
    rows = tuple(Shape(label=f"class {i % 2}", geometry=shape) for i, shape in enumerate(shapes))
    return Annotations(images=(AnnotatedImage(name="a.tif", width=60, height=40, shapes=rows),))


def encode_runs(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], ends])).tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images side by side, and polygons in degrees over both."""
    (tmp_path / "images").mkdir()
    for name, left in (("a.tif", 0), ("b.tif", 60)):
        write_raster(tmp_path / "images" / name, draw_blobs(40, 60), transform=TRANSFORM @ TRANSFORM.translation(left, 0))
    shapes = [SQUARE_WITH_HOLES, shapely.box(50, 10, 75.5, 20.25), shapely.Polygon([(90, 5), (110, 8), (100, 30)])]
    table = gpd.GeoDataFrame({"kind": ["yard", "house", "pond"]}, geometry=shapes, crs=CRS)
    a, _, c, _, e, f = tuple(TRANSFORM)[:6]
    table.set_geometry(table.affine_transform([a, 0, 0, e, c, f])).to_crs("EPSG:4326").to_file(tmp_path / "labels.geojson")
    return tmp_path


@pytest.mark.parametrize("form", ["json", "xml"])
def test_polygons_come_back_within_a_pixel_fraction(folder: Path, form: str) -> None:
    convert(folder / "labels.geojson", folder / f"made.{form}", images=folder / "images", column="kind")
    convert(folder / f"made.{form}", folder / "back.gpkg", images=folder / "images", column=None)
    before = gpd.read_file(folder / "labels.geojson").to_crs(CRS).dissolve("kind")
    after = gpd.read_file(folder / "back.gpkg")
    assert sorted(after["class"]) == ["house", "house", "pond", "yard"]  # the house lies in both images
    assert set(after["image"]) == {"a.tif", "b.tif"}
    joined = after.dissolve("class")
    assert joined.index.tolist() == before.index.tolist()
    changed = joined.geometry.symmetric_difference(before.geometry).area
    # 0.01 px all along the borders
    assert (changed < 0.01 * PIXEL_M * before.length).all()


@pytest.mark.parametrize(("write", "read"), [(write_coco, read_coco), (write_cvat, read_cvat)])
def test_holes_survive(write: Any, read: Any) -> None:
    (image,) = read(write(annotated(SQUARE_WITH_HOLES, shapely.box(40, 5, 50, 15)))).images
    assert [s.label for s in image.shapes] == ["class 0", "class 1"]
    assert image.shapes[0].geometry.symmetric_difference(SQUARE_WITH_HOLES).area < 0.1
    assert (image.name, image.width, image.height) == ("a.tif", 60, 40)


def test_cutting_through_holes_keeps_the_area() -> None:
    parts = without_holes(SQUARE_WITH_HOLES)
    assert not any(part.interiors for part in parts)
    assert sum(part.area for part in parts) == pytest.approx(SQUARE_WITH_HOLES.area)
    assert shapely.union_all(parts).equals(SQUARE_WITH_HOLES)


def test_boxes_and_areas_are_those_of_the_shapes() -> None:
    (row,) = json.loads(write_coco(annotated(SQUARE_WITH_HOLES)))["annotations"]
    assert row["bbox"] == [2, 2, 28, 28]
    assert row["area"] == pytest.approx(28 * 28 - 4 * 7 - 5 * 10)


@settings(max_examples=40, deadline=None)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
def test_run_lengths_decode_to_their_mask(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_runs(encode_runs(mask), mask.shape), mask)


def test_the_text_form_of_run_lengths_is_read() -> None:
    # 6, 1, 40, 4, 5, 4, 5, 4, 21 as the format's own reference library writes them
    mask = decode_runs("61X13mN000`0", (9, 10))
    counts = mask.sum()
    assert encode_text(mask, (0, 0), (9, 10)) == "61X13mN000`0"
    assert counts == 1 + 4 + 4 + 4


@given(
    mask=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    top=st.sampled_from([0, 1, 70]),
    left=st.integers(0, 5),
    below=st.sampled_from([0, 1, 40]),
    right=st.integers(0, 3),
)
@example(mask=np.ones((3, 2), bool), top=3, left=2, below=0, right=4)
def test_a_mask_in_its_image_comes_back_from_text(mask: np.ndarray, top: int, left: int, below: int, right: int) -> None:
    size = top + mask.shape[0] + below, left + mask.shape[1] + right
    image = np.zeros(size, bool)
    image[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    np.testing.assert_array_equal(decode_runs(encode_text(mask, (top, left), size), size), image)


def test_run_lengths_that_do_not_fill_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 7, not to 2 x 4"):
        decode_runs([3, 4], (2, 4))


def test_masks_of_cvat_and_coco_have_the_outline_of_their_pixels() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:45] = True
    node = '<mask label="x" rle="0,150" left="30" top="10" width="15" height="10"/>'
    xml = f'<annotations><image id="0" name="a" width="60" height="40">{node}</image></annotations>'
    (image,) = read_cvat(xml.encode()).images
    assert image.shapes[0].geometry.equals(shapely.box(30, 10, 45, 20))
    assert outline_mask(mask).equals(shapely.box(30, 10, 45, 20))


def test_boxes_turn_clockwise_on_the_screen_and_lines_stay() -> None:
    xml = (
        '<annotations><image id="0" name="a" width="60" height="40">'
        '<box label="x" xtl="10" ytl="10" xbr="20" ybr="14" rotation="90"/><polyline label="road" points="0,0;5,5;9,5"/>'
        '<points label="y" points="3,3"/></image></annotations>'
    )
    found = read_cvat(xml.encode())
    turned = found.images[0].shapes[0].geometry
    assert turned.symmetric_difference(shapely.box(13, 7, 17, 17)).area == pytest.approx(0, abs=1e-6)
    assert found.images[0].shapes[1].geometry.equals(shapely.LineString([(0, 0), (5, 5), (9, 5)]))
    assert found.notes == ("1 shapes of kind points were left out",)


def test_lines_that_coco_has_no_place_for_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(write_cvat(annotated(shapely.LineString([(0, 0), (5, 5)]))))
    assert convert(tmp_path / "a.xml", tmp_path / "a.json", images=None, column=None) == ("1 lines were left out: COCO has none",)


@pytest.mark.parametrize(
    "prologue", ['<!DOCTYPE a [<!ENTITY b "bb">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">', '<!DOCTYPE a [<!ENTITY % p "x"> %p;]>']
)
def test_declarations_in_xml_are_refused(prologue: str) -> None:
    with pytest.raises(LabelError, match="declares a document type or entities"):
        read_cvat(f'<?xml version="1.0"?>{prologue}<annotations/>'.encode())


@pytest.mark.parametrize("content", [b"", b"<annotations>", b"<annotations/>", b'<annotations><image name="a"/></annotations>'])
def test_xml_that_is_no_cvat_is_refused(content: bytes) -> None:
    with pytest.raises(LabelError, match="CVAT for images"):
        read_cvat(content)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"images": [{"id": 1}], "categories": [], "annotations": []}'])
def test_json_that_is_no_coco_is_refused(content: bytes) -> None:
    with pytest.raises(LabelError, match="no COCO file"):
        read_coco(content)


def test_features_without_a_class_are_left_out_and_numbers_stay_whole(folder: Path) -> None:
    table = gpd.read_file(folder / "labels.geojson")
    # whole numbers that lack one are floats
    table.assign(kind=[1.0, None, 3.0]).to_file(folder / "numbers.gpkg")
    notes = convert(folder / "numbers.gpkg", folder / "a.json", images=folder / "images", column="kind")
    assert [row["name"] for row in json.loads((folder / "a.json").read_text())["categories"]] == ["1", "3"]
    assert [note for note in notes if "no 'kind'" in note] == [f"{name}.tif: 1 features have no 'kind' and were left out" for name in "ab"]
    table.assign(kind=["yard", None, " "]).to_file(folder / "names.gpkg")
    convert(folder / "names.gpkg", folder / "b.json", images=folder / "images", column="kind")
    assert [row["name"] for row in json.loads((folder / "b.json").read_text())["categories"]] == ["yard"]
    table.assign(kind=[None, None, ""]).to_file(folder / "none.gpkg")
    with pytest.raises(LabelError, match=r"No feature of .* with a value in 'kind' touches any of 2 images"):
        convert(folder / "none.gpkg", folder / "c.json", images=folder / "images", column="kind")


def test_the_outline_of_a_small_mask_in_a_large_image_looks_at_the_mask_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((5000, 4000), bool)
    mask[2040:2060, 1020:1030] = True
    mask[2045:2050, 1022:1025] = False
    shapes = []
    whole = annotations.vectorize

    def looking(read: Any, shape: tuple[int, int], *rest: Any) -> Any:
        shapes.append(shape)
        return whole(read, shape, *rest)

    monkeypatch.setattr(annotations, "vectorize", looking)
    assert outline_mask(mask).equals(shapely.box(1020, 2040, 1030, 2060).difference(shapely.box(1022, 2045, 1025, 2050)))
    assert shapes == [(20, 10)]
    assert outline_mask(np.zeros((9, 9), bool)).is_empty


def test_the_way_to_the_ground_needs_images(folder: Path) -> None:
    with pytest.raises(LabelError, match="--images"):
        convert(folder / "labels.geojson", folder / "a.json", images=None, column=None)
    with pytest.raises(MissingFileError, match="nowhere"):
        convert(folder / "labels.geojson", folder / "a.json", images=folder / "nowhere", column=None)


def test_images_of_another_size_are_refused(folder: Path) -> None:
    (folder / "a.json").write_bytes(write_coco(annotated(shapely.box(0, 0, 5, 5))).replace(b'"width": 60', b'"width": 61'))
    with pytest.raises(LabelError, match=r"\(40, 60\) pixels, the annotations say \(40, 61\)"):
        convert(folder / "a.json", folder / "a.gpkg", images=folder / "images", column=None)

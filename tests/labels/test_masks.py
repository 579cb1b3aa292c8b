"""Polygons become masks and masks polygons, on the grid and with the areas that they had; the commands do it."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from geoseg.errors import ConfigError, LabelError, WriteError
from geoseg.labels.masks import rasterize_file, vectorize_file
from geoseg.labels.scheme import find_scheme
from tests.doubles import CRS, TRANSFORM, call_geoseg, draw_blobs, read_band, write_raster

CLASSES = """classes = [
  { value = 2, name = "field", color = "#c8b48c" },
  { value = 9, name = "house", color = "#dc2828", kind = "building" },
]"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_raster(tmp_path / "image.tif", draw_blobs(40, 60))
    (tmp_path / "classes.toml").write_text(CLASSES)
    a, _, c, _, e, f = tuple(TRANSFORM)[:6]
    shapes = gpd.GeoSeries([shapely.box(10, 10, 20, 30), shapely.box(0, 0, 40, 40)], crs=CRS).affine_transform([a, 0, 0, e, c, f])
    gpd.GeoDataFrame({"kind": ["house", "field"]}, geometry=shapes).to_crs("EPSG:4326").to_file(tmp_path / "labels.geojson")
    return tmp_path


def test_masks_and_polygons_turn_into_one_another_by_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = folder / "classes.toml"
    words = ["labels", "rasterize", folder / "labels.geojson", "--like", folder / "image.tif", "-o", folder / "mask.tif"]
    assert call_geoseg(monkeypatch, *words, "--column", "kind", "--classes", classes) == 0
    expected = np.full((40, 60), 255, np.uint8)
    expected[:, :40], expected[10:30, 10:20] = 2, 9
    np.testing.assert_array_equal(read_band(folder / "mask.tif"), expected)
    assert call_geoseg(monkeypatch, "labels", "vectorize", folder / "mask.tif", "-o", folder / "back.gpkg", "--classes", classes) == 0
    back = gpd.read_file(folder / "back.gpkg").set_index("class")
    assert back["area_m2"].to_dict() == pytest.approx({"field": (1600 - 200) * 0.25, "house": 200 * 0.25}, rel=2e-3)
    assert back.crs == CRS
    assert back.total_bounds.tolist() == pytest.approx([337_200, 3_058_780, 337_220, 3_058_800])


def test_without_a_column_polygons_are_ones(folder: Path) -> None:
    rasterize_file(folder / "labels.geojson", folder / "image.tif", folder / "mask.tif", scheme=None, column=None, all_touched=False)
    expected = np.zeros((40, 60), np.uint8)
    expected[:, :40] = 1
    np.testing.assert_array_equal(read_band(folder / "mask.tif"), expected)
    assert sorted(p.suffix for p in folder.iterdir() if p.name.startswith((".", "mask"))) == [".tif"]


def test_a_mask_goes_into_a_new_folder_and_a_file_in_its_place_is_told(folder: Path) -> None:
    words = (folder / "labels.geojson", folder / "image.tif")
    rasterize_file(*words, folder / "new" / "below" / "mask.tif", scheme=None, column=None, all_touched=False)
    assert (read_band(folder / "new" / "below" / "mask.tif") == 1).sum() == 1600
    with pytest.raises(WriteError, match=r"m\.tif could not be written"):
        rasterize_file(*words, folder / "image.tif" / "m.tif", scheme=None, column=None, all_touched=False)


def test_classes_that_are_not_in_the_scheme_are_counted(folder: Path) -> None:
    scheme = find_scheme(str(folder / "classes.toml"))
    table = gpd.read_file(folder / "labels.geojson").assign(kind=["house", "barn"])
    table.to_file(folder / "labels.geojson")
    with pytest.raises(LabelError, match=r"no class: \{'barn': 1\}"):
        rasterize_file(folder / "labels.geojson", folder / "image.tif", folder / "m.tif", scheme=scheme, column="kind", all_touched=False)


def test_fractions_get_no_polygons(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "dem.tif", np.zeros((1, 8, 8), np.float32))
    with pytest.raises(LabelError, match="of type float32"):
        vectorize_file(path, tmp_path / "a.gpkg", tolerance_m=0, scheme=None)


def test_schemes_stand_in_files_recipes_and_models(folder: Path) -> None:
    assert [c.name for c in find_scheme(str(folder / "classes.toml"))] == ["field", "house"]
    recipe = Path(__file__).parents[2] / "configs" / "train-aerial.toml"
    assert [c.name for c in find_scheme(str(recipe))] == [c.name for c in find_scheme("aerial")]
    (folder / "bad.toml").write_text("classes = [{ value = 2 }]")
    with pytest.raises(ConfigError, match="name"):
        find_scheme(str(folder / "bad.toml"))

"""``geoseg vectorize``: any class raster to any vector format, whole or not at all, and clear errors."""

import re
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize

from geoseg.errors import ConfigError, RasterError, UsageError, WriteError
from geoseg.io import layerfile
from geoseg.io.ground import row_areas_m2
from geoseg.io.raster import open_raster
from geoseg.objects.vectorize import VectorizeOptions
from geoseg.products.classmap import ClassMapOptions, vectorize_class_map
from tests.doubles import call_geoseg

EXACT = VectorizeOptions()


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.kron(rng.integers(1, 4, (6, 8)), np.ones((5, 5), int)).astype(np.uint8)


def read_back(path: Path) -> gpd.GeoDataFrame:
    table = gpd.read_file(path)
    return table.rename(columns={"class_valu": "class_value"})


@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson", ".shp"])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_every_format_holds_the_same_polygons(tmp_path, write_tif, values, ending, connectivity) -> None:
    output = tmp_path / "out" / f"map{ending}"
    output.parent.mkdir()
    options = ClassMapOptions(drawing=VectorizeOptions(connectivity=connectivity), names={1: "wåter"})
    count = vectorize_class_map(str(write_tif(values[None])), output, options)
    table = read_back(output)
    assert len(table) == count
    assert table.geometry.is_valid.all()
    assert set(table["class"]) == {"wåter", "class 2", "class 3"}
    assert table["area_m2"].sum() == pytest.approx(row_areas_m2(open_raster(tmp_path / "image.tif").geobox).sum() * 40, rel=1e-3)
    placed = table.to_crs("EPSG:32645")
    with rasterio.open(tmp_path / "image.tif") as dataset:
        pairs = list(zip(placed.geometry, placed["class_value"].astype(int), strict=True))
        np.testing.assert_array_equal(rasterize(pairs, dataset.shape, transform=dataset.transform), values)
    assert {p.stem for p in output.parent.iterdir()} == {"map"}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64"])
def test_every_type_of_whole_numbers_keeps_its_values(tmp_path, write_tif, dtype) -> None:
    info = np.iinfo(dtype)
    ends = np.array([[[info.min + 1, info.max], [5, 5]]]).astype(dtype)
    vectorize_class_map(str(write_tif(ends)), tmp_path / "a.gpkg", ClassMapOptions(drawing=EXACT))
    assert sorted(read_back(tmp_path / "a.gpkg")["class_value"].tolist()) == sorted([info.min + 1, int(info.max), 5])


def test_the_smallest_number_of_64_bits_is_nodata_or_refused_but_never_lost(tmp_path, write_tif) -> None:
    least = int(np.iinfo(np.int64).min)
    path = str(write_tif(np.array([[[least, 3, 3]]], np.int64)))
    with pytest.raises(RasterError, match=r"image\.tif holds the class -9223372036854775808.*--nodata=-9223372036854775808"):
        vectorize_class_map(path, tmp_path / "a.gpkg", ClassMapOptions(drawing=EXACT))
    assert [p.name for p in tmp_path.iterdir()] == ["image.tif"]
    assert vectorize_class_map(path, tmp_path / "a.gpkg", ClassMapOptions(drawing=EXACT, nodata=least)) == 1
    sidecar = f'<PAMDataset><PAMRasterBand band="1"><NoDataValue>{least}</NoDataValue></PAMRasterBand></PAMDataset>'
    (tmp_path / "image.tif.aux.xml").write_text(sidecar)
    assert vectorize_class_map(path, tmp_path / "b.gpkg", ClassMapOptions(drawing=EXACT)) == 1


def test_nodata_of_the_raster_and_a_given_one_get_no_polygons(tmp_path, write_tif) -> None:
    values = np.array([[[0, 1, 1], [9, 2, 2]]], np.uint8)
    vectorize_class_map(str(write_tif(values, nodata=0)), tmp_path / "a.gpkg", ClassMapOptions(drawing=EXACT, nodata=9))
    assert sorted(read_back(tmp_path / "a.gpkg")["class_value"]) == [1, 2]


@pytest.mark.parametrize("ending", [".gpkg", ".geojson"])
def test_a_raster_of_nodata_gives_an_empty_layer_with_columns(tmp_path, write_tif, ending) -> None:
    assert vectorize_class_map(str(write_tif(np.zeros((1, 4, 4), np.uint8), nodata=0)), tmp_path / f"a{ending}", ClassMapOptions()) == 0
    table = gpd.read_file(tmp_path / f"a{ending}")
    assert len(table) == 0
    assert ending == ".geojson" or {"class_value", "class", "area_m2"} <= set(table.columns)


def test_rotated_grids_and_degrees_have_their_true_areas(tmp_path, write_tif, values) -> None:
    turned = Affine(2, 0, 300000, 0, -2, 3000000) @ Affine.rotation(30)
    degrees = Affine(0.001, 0, 10, 0, -0.001, 60)
    vectorize_class_map(str(write_tif(values[None], transform=turned)), tmp_path / "a.gpkg", ClassMapOptions(drawing=EXACT))
    table = read_back(tmp_path / "a.gpkg")
    assert table["area_m2"].sum() == pytest.approx(4 * values.size, rel=2e-3)
    assert shapely.coverage_is_valid(table.geometry.to_numpy())
    path = write_tif(values[None], "b.tif", crs="EPSG:4326", transform=degrees)
    vectorize_class_map(str(path), tmp_path / "b.gpkg", ClassMapOptions(drawing=EXACT))
    expected = row_areas_m2(open_raster(path).geobox).sum() * values.shape[1]
    assert read_back(tmp_path / "b.gpkg")["area_m2"].sum() == pytest.approx(expected, rel=1e-5)


def test_without_a_crs_pixels_are_the_unit(tmp_path, values) -> None:
    Image.fromarray(values).save(tmp_path / "a.png")
    vectorize_class_map(str(tmp_path / "a.png"), tmp_path / "a.gpkg", ClassMapOptions(drawing=EXACT))
    table = gpd.read_file(tmp_path / "a.gpkg")
    assert list(table.columns) == ["class_value", "class", "area_px", "geometry"]
    assert table.area.tolist() == table["area_px"].tolist()
    assert table["area_px"].sum() == values.size


@pytest.mark.parametrize(
    "tables",
    [
        "<CategoryNames><Category/><Category>sea</Category><Category>land</Category></CategoryNames>",
        """
  <GDALRasterAttributeTable tableType="thematic">
    <FieldDefn index="0"><Name>Value</Name><Type>0</Type><Usage>5</Usage></FieldDefn>
    <FieldDefn index="1"><Name>Label</Name><Type>2</Type><Usage>2</Usage></FieldDefn>
    <Row index="0"><F>1</F><F>sea</F></Row><Row index="1"><F>2</F><F>land</F></Row>
  </GDALRasterAttributeTable>""",
    ],
)
def test_names_come_from_the_raster(tmp_path, write_tif, tables, monkeypatch) -> None:
    path = write_tif(np.array([[[1, 2, 3]]], np.uint8))
    sidecar = f'<PAMDataset><PAMRasterBand band="1">{tables}</PAMRasterBand></PAMDataset>'
    path.with_name("image.tif.aux.xml").write_text(sidecar)
    assert call_geoseg(monkeypatch, "vectorize", path, "-o", tmp_path / "a.gpkg", "--classes", "my land=2") == 0
    assert read_back(tmp_path / "a.gpkg")["class"].tolist() == ["sea", "my land", "class 3"]


def test_options_of_the_command_line_arrive(tmp_path, write_tif, values, monkeypatch, capsys) -> None:
    path = write_tif(np.stack([np.zeros_like(values), values]))
    words = ["--band", "2", "--tolerance", "3", "--method", "visvalingam", "--smooth", "1", "--min-area", "250", "--connectivity", "8"]
    assert call_geoseg(monkeypatch, "vectorize", path, "-o", tmp_path / "a.gpkg", *words, "--layer", "areas") == 0
    table = gpd.read_file(tmp_path / "a.gpkg", layer="areas")
    assert f"{len(table)} polygons" in capsys.readouterr().out
    drawing = VectorizeOptions(simplify_m=3, method="visvalingam", smooth_rounds=1, min_area_m2=250, connectivity=8)
    vectorize_class_map(str(path), tmp_path / "b.gpkg", ClassMapOptions(drawing=drawing, band=2))
    assert table.geometry.to_wkb().tolist() == gpd.read_file(tmp_path / "b.gpkg").geometry.to_wkb().tolist()
    assert (table["area_m2"] > 240).all()


def test_an_existing_file_is_replaced_only_if_asked(tmp_path, write_tif, values) -> None:
    path, output = str(write_tif(values[None])), tmp_path / "a.gpkg"
    output.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"a\.gpkg exists.*--overwrite"):
        vectorize_class_map(path, output, ClassMapOptions())
    assert output.read_bytes() == b"mine"
    vectorize_class_map(path, output, ClassMapOptions(overwrite=True))
    assert len(gpd.read_file(output)) > 0


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_not_replaced_and_refused_before_the_raster_is_read(tmp_path, overwrite) -> None:
    (tmp_path / "a.gpkg").mkdir()
    with pytest.raises(UsageError, match=r"a\.gpkg is a folder"):
        vectorize_class_map("missing.tif", tmp_path / "a.gpkg", ClassMapOptions(overwrite=overwrite))


def test_a_write_that_fails_leaves_nothing(tmp_path, write_tif, values, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "no space left")

    path = str(write_tif(values[None]))
    monkeypatch.setattr(layerfile, "write_dataframe", fail)
    with pytest.raises(WriteError, match=r"a\.shp could not be written"):
        vectorize_class_map(path, tmp_path / "a.shp", ClassMapOptions())
    assert [p.name for p in tmp_path.iterdir()] == ["image.tif"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.tif", "-o", "a.gpkg"], 2, "no file missing.tif"),
        (["image.tif", "-o", "a.dwg"], 2, "ends in .dwg"),
        (["image.tif", "-o", "no/a.gpkg"], 2, "no folder no"),
        (["image.tif", "-o", "a.gpkg", "--tolerance", "-2"], 2, "-2.0"),
        (["image.tif", "-o", "a.gpkg", "--band", "3"], 2, "has 1 bands; band 3"),
        (["image.tif", "-o", "a.gpkg", "--smooth", "9"], 2, "0 to 5 times; got 9"),
        (["image.tif", "-o", "a.gpkg", "--classes", "water"], 2, "NAME=VALUE"),
        (["float.tif", "-o", "a.gpkg"], 2, "float.tif is of type float32"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(tmp_path, write_tif, values, monkeypatch, capsys, words, code, said) -> None:
    write_tif(values[None])
    write_tif(values[None].astype(np.float32), "float.tif")
    monkeypatch.chdir(tmp_path)
    assert call_geoseg(monkeypatch, "vectorize", *words) == code
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*.gpkg"))


def test_a_value_named_twice_is_refused(monkeypatch, tmp_path, write_tif, values, capsys) -> None:
    words = ["--classes", "sea=1", "--classes", "water=1"]
    assert call_geoseg(monkeypatch, "vectorize", write_tif(values[None]), "-o", tmp_path / "a.gpkg", *words) == 2
    assert "Value 1 is named twice" in capsys.readouterr().err


def test_real_class_map_of_io_zoo_is_a_coverage(shared_data, tmp_path) -> None:
    path = shared_data / "io_zoo" / "omnicloudmask" / "cloud_classes_10980x10980.tif"
    with rasterio.open(path) as dataset:
        part = dataset.read(1, window=((4000, 5200), (4000, 5200)))
        profile = {"transform": dataset.transform, "crs": dataset.crs}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=1, dtype="uint8", height=1200, width=1200, **profile) as dataset:
        dataset.write(part, 1)
    vectorize_class_map(str(tmp_path / "a.tif"), tmp_path / "a.fgb", ClassMapOptions(default_tolerance=True))
    table = read_back(tmp_path / "a.fgb")
    assert shapely.coverage_is_valid(table.geometry.to_numpy())
    assert table.area.sum() == pytest.approx(1200 * 1200 * 100)


def test_mars_has_no_metres_on_the_earth(shared_data, tmp_path) -> None:
    with pytest.raises(RasterError, match=r"mars.*(earth|type)"):
        vectorize_class_map(str(shared_data / "io_zoo/rio-tiler/cog_hirise_mars.tif"), tmp_path / "a.gpkg", ClassMapOptions())


def test_a_raster_placed_by_control_points_is_refused(shared_data, tmp_path) -> None:
    with pytest.raises(RasterError, match=r"ground control points.*gdalwarp"):
        vectorize_class_map(str(shared_data / "io_zoo/s1_grd_gcps.tiff"), tmp_path / "a.gpkg", ClassMapOptions())


def test_names_need_a_value() -> None:
    from geoseg.products.classmap import parse_names

    assert parse_names(["a=b=3", "sea=-1"]) == {3: "a=b", -1: "sea"}
    for text in ("=3", "x=", "x=--1", "x=²", "x=1.5"):
        with pytest.raises(ConfigError, match=re.escape(f"NAME=VALUE, for example water=1; got {text!r}")):
            parse_names([text])


@pytest.mark.parametrize("words", [[], ["--tolerance", "15"], ["--min-area", "50"]])
def test_metres_that_are_called_degrees_are_refused(tmp_path, write_tif, values, monkeypatch, capsys, words) -> None:
    path = write_tif(values[None])
    with rasterio.open(path, "r+") as dataset:
        dataset.crs = "EPSG:4326"
    assert call_geoseg(monkeypatch, "vectorize", path, "-o", tmp_path / "a.gpkg", *words) == 2
    assert "its transform does not fit its CRS" in capsys.readouterr().err
    assert not (tmp_path / "a.gpkg").exists()


def test_a_band_of_classes_that_gdal_takes_for_opacity_keeps_its_zeros(tmp_path, values) -> None:
    path = tmp_path / "four.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", width=40, height=30, count=4, dtype="uint8") as dataset:
            dataset.write(np.stack([values, values, values, (values > 1).astype(np.uint8)]))
            assert dataset.colorinterp[3].name == "alpha"
    vectorize_class_map(str(path), tmp_path / "a.gpkg", ClassMapOptions(drawing=EXACT, band=4))
    areas = read_back(tmp_path / "a.gpkg").groupby("class_value")["area_px"].sum()
    assert areas.to_dict() == {0: (values == 1).sum(), 1: (values > 1).sum()}


def test_areas_of_tiny_pixels_add_up(tmp_path, values) -> None:
    path = tmp_path / "fine.tif"
    profile = {"driver": "GTiff", "width": 40, "height": 30, "count": 1, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(path, "w", transform=Affine(0.004, 0, 337_200, 0, -0.004, 3_058_800), **profile) as dataset:
        dataset.write(values[None])
    vectorize_class_map(str(path), tmp_path / "a.gpkg", ClassMapOptions(drawing=EXACT))
    table = read_back(tmp_path / "a.gpkg")
    assert (table["area_m2"] > 0).all()
    assert table["area_m2"].sum() == pytest.approx(row_areas_m2(open_raster(path).geobox).sum() * 40, rel=1e-3)

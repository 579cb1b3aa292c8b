"""Real imagery of every kind through whole runs: pixels that are expected, and areas that are right on the ground."""

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.windows import Window

from geoseg.errors import RasterError
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.dataset import RasterOptions
from geoseg.io.sources.gather import gather_imagery
from geoseg.model.predictor import NeighborhoodPredictor, Predictor, ThresholdPredictor, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from tests.doubles import NODATA, always, configure, draw_blobs, read_band, write_package, write_raster

_DATA = Path(__file__).parents[1] / "../shared/data"
_NAIP = ("timeseries/m_4709963_se_14_1_20100629.tif", "timeseries/m_4709963_se_14_1_20200831.tif")


def real(name: str) -> Path:
    path = _DATA / name
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


def segment(raster: Path | tuple[str, ...], out: Path, predictor: Predictor, **options: Any) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Class map and summary of a run."""
    package = out.parent / f"{out.name}_model"
    write_package(package, predictor.spec)
    given = raster if isinstance(raster, tuple) else str(raster)
    config = configure(Path("x"), package, out, outputs=("classes",), **options).model_copy(update={"raster": given})
    segment_raster(config, load=always(predictor))
    return read_band(out / "classes.tif"), json.loads((out / "summary.json").read_text())


def threshold(count: int, value: float, **spec: Any) -> ThresholdPredictor:
    return ThresholdPredictor(spec=double_spec(count).model_copy(update=spec), threshold=value)


def area_by_name(summary: dict[str, Any]) -> dict[str, float]:
    return {row["name"]: row["area_m2"] for row in summary["classes"]}


def ground_m2(path: Path, shape: shapely.Geometry | None = None) -> float:
    """Area on the ellipsoid of a raster's outline, or of a shape in its CRS."""
    with rasterio.open(path) as dataset:
        outline = shape or shapely.box(*dataset.bounds)
        step = max(dataset.bounds.right - dataset.bounds.left, dataset.bounds.top - dataset.bounds.bottom) / 50
        to_degrees = Transformer.from_crs(dataset.crs, "EPSG:4326", always_xy=True).transform
    placed = shapely.transform(shapely.segmentize(outline, step), to_degrees, interleaved=False)
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(placed)[0])


def check_areas(summary: dict[str, Any], classes: NDArray[np.uint8], whole_m2: float) -> None:
    """All pixels of a small raster are nearly of one size on the ground."""
    found = area_by_name(summary)
    assert sum(found.values()) == pytest.approx(whole_m2, rel=5e-3)
    for name, value in (("ground", 0), ("building", 1), ("nodata", NODATA)):
        assert found[name] == pytest.approx(whole_m2 * float((classes == value).mean()), rel=5e-3), name


def test_the_48_pieces_of_an_orthophoto_give_exactly_its_class_map(tmp_path: Path) -> None:
    path = real("buildings/train/banepa_a/image.tif")
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    with rasterio.open(path) as dataset:
        profile = {**dataset.profile, "width": 512, "height": 512, "compress": None, "photometric": "rgb"}
        for row in range(8):
            for col in range(6):
                window = Window(512 * col, 512 * row, 512, 512)
                with rasterio.open(pieces / f"{row}_{col}.tif", "w", **profile | {"transform": dataset.window_transform(window)}) as piece:
                    piece.write(dataset.read(window=window))
    spec: ModelSpec = double_spec(tile_size_px=512, halo_px=32).model_copy(update={"resolution_m": 0.264})
    predictor = NeighborhoodPredictor(spec=spec, radius_px=9)
    whole, one = segment(path, tmp_path / "whole", predictor)
    mosaic, other = segment(pieces, tmp_path / "mosaic", predictor)
    assert len(list(pieces.iterdir())) == 48
    assert whole.shape == (2048, 1536)
    assert 0.01 < (whole == 1).mean() < 0.99
    np.testing.assert_array_equal(mosaic, whole)
    assert one["classes"] == other["classes"]


@pytest.mark.parametrize("name", _NAIP)
def test_four_bands_of_naip(tmp_path: Path, name: str) -> None:
    path = real(name)
    classes, summary = segment(path, tmp_path / "out", threshold(4, 110.0, bands=("red", "green", "blue", "nir")))
    with rasterio.open(path) as dataset:
        valid = (dataset.read_masks() != 0).all(axis=0)
        expected = np.where(valid, dataset.read().astype(np.float32).mean(axis=0) >= 110, NODATA)
    np.testing.assert_array_equal(classes, expected)
    check_areas(summary, classes, ground_m2(path))


def test_two_dates_on_shifted_grids_are_one_stack_of_eight_bands(tmp_path: Path) -> None:
    first, second = (real(name) for name in _NAIP)
    classes, summary = segment((str(first), str(second)), tmp_path / "out", threshold(8, 110.0), stack=True)
    with rasterio.open(first) as dataset:
        assert classes.shape == dataset.shape
        before = dataset.read().astype(np.float32).mean(axis=0)
    with rasterio.open(second) as dataset:
        after = dataset.read().astype(np.float32).mean(axis=0)
    # a fifth of a pixel apart
    agree = ((before + after) / 2 >= 110) == (classes == 1)
    assert agree[classes != NODATA].mean() > 0.97
    check_areas(summary, classes, ground_m2(first))


def test_eight_bands_of_sixteen_bits_in_degrees_with_a_collar(tmp_path: Path) -> None:
    path = real("buildings/test/spacenet_rio/8band/8band_013022223130_Public_img10.tif")
    classes, summary = segment(path, tmp_path / "out", threshold(8, 300.0), collar="auto")
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    collar = (pixels == 0).all(axis=0)
    np.testing.assert_array_equal(classes, np.where(collar, NODATA, pixels.astype(np.float32).mean(axis=0) >= 300))
    assert 0.4 < collar.mean() < 0.9
    check_areas(summary, classes, ground_m2(path))


def test_radar_in_decibels_with_nan(tmp_path: Path) -> None:
    path = next((p for p in sorted(real("flood/S1").glob("*.tif")) if np.isnan(rasterio.open(p).read(1)).mean() not in (0.0, 1.0)), None)
    assert path is not None
    classes, summary = segment(path, tmp_path / "out", threshold(2, -17.0, mean=(-12.0, -20.0), std=(5.0, 5.0)))
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    valid = np.isfinite(pixels).all(axis=0)
    np.testing.assert_array_equal(classes == NODATA, ~valid)
    np.testing.assert_array_equal(classes[valid], pixels.mean(axis=0)[valid] >= -17)
    check_areas(summary, classes, ground_m2(path))


def test_a_drone_orthophoto_of_two_centimetres_inside_an_area_in_another_crs(tmp_path: Path) -> None:
    path, aoi = real("drone/dummy_fotomap_small.tif"), real("drone/dummy_fotomap_area_3857.gpkg")
    classes, summary = segment(path, tmp_path / "out", threshold(3, 120.0, bands=("red", "green", "blue")), aoi=aoi)
    with rasterio.open(path) as dataset:
        assert gpd.read_file(aoi).crs != dataset.crs
        inside = gpd.read_file(aoi).to_crs(dataset.crs).union_all().intersection(shapely.box(*dataset.bounds))
        opaque = dataset.read(4) != 0
    assert opaque.all()
    assert 0 < inside.area < shapely.box(*rasterio.open(path).bounds).area
    found = area_by_name(summary)
    assert found["ground"] + found["building"] == pytest.approx(ground_m2(path, inside), rel=5e-3)
    check_areas(summary, classes, ground_m2(path))


def test_what_lies_outside_a_box_or_is_excluded_is_neither_read_nor_inferred(tmp_path: Path) -> None:
    path = real("drone/dummy_fotomap_small.tif")
    with rasterio.open(path) as dataset:
        left, bottom, right, top = dataset.bounds
        crs = dataset.crs
    west, south, east, north = rasterio.warp.transform_bounds(crs, "EPSG:4326", left, bottom, (left + right) / 2, top)
    hole = gpd.GeoDataFrame(geometry=[shapely.box(left, bottom, left + 5, bottom + 5)], crs=crs).to_crs("EPSG:4326")
    hole.to_file(tmp_path / "hole.geojson")
    options = {"bbox": (west, south, east, north), "exclude": tmp_path / "hole.geojson"}
    classes, summary = segment(path, tmp_path / "out", threshold(3, 120.0), **options)
    found = area_by_name(summary)
    wanted = gpd.GeoSeries([shapely.box(west, south, east, north)], crs="EPSG:4326").to_crs(crs).iloc[0]
    wanted = wanted.intersection(shapely.box(left, bottom, right, top)).difference(shapely.box(left, bottom, left + 5, bottom + 5))
    assert found["ground"] + found["building"] == pytest.approx(ground_m2(path, wanted), rel=5e-3)
    assert (classes[:, 700:] == NODATA).all()
    assert (classes[-200:, :200] == NODATA).all()


def test_rasters_far_apart_are_refused_with_the_size_that_their_grid_would_have(tmp_path: Path) -> None:
    near = write_raster(tmp_path / "near.tif", draw_blobs(20, 20))
    far = write_raster(tmp_path / "far.tif", draw_blobs(20, 20), transform=Affine(0.5, 0, 437_200, 0, -0.5, 2_858_800))
    with pytest.raises(RasterError, match=r"2 rasters .* lie far apart: .* 200,020 x 400,020 px, 100 x 200 km, .* cover 1e-08 at most"):
        gather_imagery([str(near), str(far)], RasterOptions(), Arrangement())
    # a large mosaic that is covered, and a small one that is not, are made
    beside = write_raster(tmp_path / "beside.tif", draw_blobs(20, 20), transform=Affine(0.5, 0, 338_200, 0, -0.5, 3_058_800))
    assert gather_imagery([str(near), str(beside)], RasterOptions(), Arrangement()).geobox.shape == (20, 2020)

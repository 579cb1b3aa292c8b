"""Zarr arrays: any window of one is the window of the file with the same pixels."""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import MissingFileError, RasterError, RunError
from geoseg.inference.planning import plan_run
from geoseg.io.raster import open_raster, place_source, read_whole
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.dataset import RasterOptions
from geoseg.io.sources.gather import gather_imagery
from geoseg.model.predictor import ThresholdPredictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import CRS, TRANSFORM, always, configure, draw_blobs, read_band, write_package, write_raster

xr = pytest.importorskip("xarray", reason="xarray reads Zarr")
pytest.importorskip("zarr", reason="xarray reads Zarr with it")

PIXELS = draw_blobs(60, 90)


def write_zarr(path: Path, more: bool = False, crs: str | None = CRS) -> Path:
    from odc.geo.xr import xr_coords

    values = PIXELS.astype(np.float32)
    values[:, :10, :10] = np.nan
    coords: dict[str, Any] = dict(xr_coords(GeoBox(PIXELS.shape[1:], TRANSFORM, CRS)))
    if crs is None:
        coords = {"y": np.arange(60.0), "x": np.arange(90.0)}
    array = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": ["blue", "green", "red"], **coords}, name="scene")
    table = array.to_dataset()
    if more:
        table["other"] = array[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.chunk({"y": 16, "x": 32}).to_zarr(path, mode="w")
    return path


def gather(name: Path | str) -> Any:
    return gather_imagery([str(name)], RasterOptions(), Arrangement())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zarr(tmp_path_factory.mktemp("cube") / "scene.zarr")


def test_a_window_of_an_array_is_that_of_its_pixels(scene: Path) -> None:
    source = place_source(gather(scene), None)
    assert source.imagery.bands == (("blue",), ("green",), ("red",))
    assert source.geobox == GeoBox((60, 90), TRANSFORM, CRS)
    pixels, valid = source.choose((3, 1)).read(Window(5, 3, 40, 30))
    expected = np.ones((60, 90), bool)
    expected[:10, :10] = False
    np.testing.assert_array_equal(valid, expected[3:33, 5:45])
    np.testing.assert_array_equal(pixels[:, valid], PIXELS[[2, 0], 3:33, 5:45][:, valid])


def test_a_run_on_an_array_finds_what_one_on_the_file_does_with_bands_by_name(scene: Path, tmp_path: Path) -> None:
    spec = double_spec().model_copy(update={"bands": ("red", "green", "blue")})
    load, package = always(ThresholdPredictor(spec=spec)), write_package(tmp_path / "model", spec)
    values = PIXELS[::-1].astype(np.float32)
    values[:, :10, :10] = np.nan
    file = write_raster(tmp_path / "scene.tif", values)
    runs = [
        read_band(segment_raster(configure(raster, package, tmp_path / name, outputs=("classes",)), load=load) / "classes.tif")
        for raster, name in ((scene, "array"), (file, "file"))
    ]
    np.testing.assert_array_equal(*runs)
    assert plan_run(configure(scene, package, tmp_path / "x")).source.bands == (3, 2, 1)


def test_an_array_that_changed_is_another_one(scene: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(scene, tmp_path / "copy.zarr"))
    package = write_package(tmp_path / "model")
    config = configure(copy, package, tmp_path / "out")
    before = plan_run(config).fingerprint()
    piece = max(path for path in copy.rglob("*") if path.is_file() and "scene" in path.parts and "c" in path.parts)
    os.utime(piece, (1, 1))
    assert plan_run(config).fingerprint() != before
    piece.write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"copy\.zarr could not be read"):
        read_whole(place_source(gather(copy), None))


def write_whole_numbers(path: Path, encoding: dict[str, Any]) -> Path:
    """The scene without its first corner, in numbers that the encoding stores."""
    from odc.geo.xr import xr_coords

    values = PIXELS.astype(np.float32)
    values[:, :10, :10] = np.nan
    values[0, 20, 20] = np.nan
    coords: dict[str, Any] = dict(xr_coords(GeoBox(PIXELS.shape[1:], TRANSFORM, CRS)))
    table = xr.DataArray(values, dims=("band", "y", "x"), coords=coords, name="scene").to_dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.to_zarr(path, mode="w", encoding={"scene": encoding})
    return path


@pytest.mark.parametrize("scale", [{}, {"scale_factor": 1.0, "add_offset": 0.0}])
def test_whole_numbers_that_a_scale_leaves_as_they_are_stay_whole(tmp_path: Path, scale: dict[str, float]) -> None:
    path = write_whole_numbers(tmp_path / "scene.zarr", {"dtype": "uint8", "_FillValue": 0, **scale})
    source = place_source(gather(path), None).choose((1, 2, 3))
    assert source.dtype == "uint8"
    pixels, valid = read_whole(source)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(valid[:10, :10], False)
    assert valid.sum() == valid.size - 100
    np.testing.assert_array_equal(pixels[1], np.where(valid, PIXELS[1], 0))


def test_scaled_numbers_are_decoded(tmp_path: Path) -> None:
    path = write_whole_numbers(tmp_path / "scene.zarr", {"dtype": "uint16", "_FillValue": 0, "scale_factor": 0.5})
    source = place_source(gather(path), None).choose((2,))
    pixels, valid = read_whole(source)
    assert np.issubdtype(pixels.dtype, np.floating)
    assert valid.sum() == valid.size - 100
    np.testing.assert_allclose(pixels[0][valid], PIXELS[1][valid], atol=0.25)


def test_what_does_not_fit_says_so(tmp_path: Path, scene: Path) -> None:
    with pytest.raises(MissingFileError, match=r"gone\.zarr"):
        gather(tmp_path / "gone.zarr")
    two = write_zarr(tmp_path / "two.zarr", more=True)
    with pytest.raises(RasterError, match=r"2 variables with rows and columns \(other, scene\)|2 variables .*#NAME"):
        gather(two)
    assert len(gather(f"{two}#scene").bands) == 3
    assert len(gather(f"{two}#other").bands) == 1
    with pytest.raises(RasterError, match="no georeference"):
        gather(write_zarr(tmp_path / "nowhere.zarr", crs=None))
    with pytest.raises(RasterError, match=r"is segmented alone; 2 rasters were given"):
        gather_imagery([str(scene), str(two)], RasterOptions(), Arrangement())
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(RasterError, match=r"empty\.zarr"):
        gather(tmp_path / "empty.zarr")
    with pytest.raises(MissingFileError):
        open_raster(tmp_path / "gone.tif")
    assert read_whole(place_source(gather(scene), None))[1].any()

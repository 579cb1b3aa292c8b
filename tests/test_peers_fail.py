"""What other programs get wrong on real input: small and odd rasters, masks, silent holes, shifted and torn polygons."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import ChunkError, RunFolderError
from geoseg.model.predictor import ConstantPredictor, Keep, NeighborhoodPredictor, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from tests.doubles import (
    CRS,
    NODATA,
    TRANSFORM,
    Copying,
    always,
    configure,
    draw_blobs,
    read_band,
    read_layer,
    write_package,
    write_raster,
)

SPEC = double_spec()
BUILT = ConstantPredictor(spec=SPEC, channel=1)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "package")


@dataclass(frozen=True, slots=True)
class Choking:
    """A predictor that raises on tiles that hold a certain value."""

    spec: ModelSpec
    value: int

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        if (pixels == self.value).any():
            raise RuntimeError("not this tile")
        return BUILT.predict(pixels, valid, keep)


@pytest.mark.parametrize("shape", [(40, 40), (30, 500), (500, 30), (1, 1), (1, 200), (16, 16), (63, 65), (129, 97)])
def test_rasters_of_any_shape_are_covered_to_the_last_pixel(package: Path, tmp_path: Path, shape: tuple[int, int]) -> None:
    raster = write_raster(tmp_path / "odd.tif", np.full((3, *shape), 9, np.uint8))
    run = segment_raster(configure(raster, package, tmp_path / "out", chunk_size=64), load=always(BUILT))
    np.testing.assert_array_equal(read_band(run / "classes.tif"), np.ones(shape, np.uint8))
    assert np.unique(read_band(run / "confidence.tif")).size == 1
    landcover = read_layer(run, "landcover")
    left, top = TRANSFORM.c, TRANSFORM.f
    assert list(landcover["class"]) == ["building"]
    assert landcover.geometry[0].equals(shapely.box(left, top - shape[0] / 2, left + shape[1] / 2, top))


def test_a_tile_that_fails_is_an_error_and_never_zeros(package: Path, tmp_path: Path) -> None:
    pixels = np.full((3, 100, 300), 9, np.uint8)
    pixels[:, 90, 200] = 77
    raster = write_raster(tmp_path / "one.tif", pixels)
    with pytest.raises(ChunkError, match="not this tile"):
        segment_raster(configure(raster, package, tmp_path / "out", chunk_size=32), load=always(Choking(SPEC, 77)))
    assert not (tmp_path / "out" / "classes.tif").exists()
    for path in (tmp_path / "out" / ".work" / "chunks").rglob("*.tif"):
        assert (read_band(path) == 1).all()


def declare_nodata(path: Path, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
    write_raster(path, np.where(valid, pixels, 7).astype(np.uint8), nodata=7)


def add_alpha(path: Path, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
    write_raster(path, np.concatenate([pixels, np.where(valid, 255, 0).astype(np.uint8)[None]]), photometric="RGB", alpha="unspecified")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]


def add_mask(path: Path, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
    write_raster(path, pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(valid)


def put_nan(path: Path, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
    write_raster(path, np.where(valid, pixels, np.nan).astype(np.float32))


@pytest.mark.parametrize("declare", [declare_nodata, add_alpha, add_mask, put_nan])
def test_no_class_is_written_where_there_is_no_data_however_it_is_declared(package: Path, tmp_path: Path, declare: Any) -> None:
    valid = np.random.default_rng(5).random((90, 120)) < 0.5
    valid[:40, :64] = False
    declare(tmp_path / "holed.tif", np.full((3, 90, 120), 9, np.uint8), valid)
    run = segment_raster(configure(tmp_path / "holed.tif", package, tmp_path / "out"), load=always(BUILT))
    np.testing.assert_array_equal(read_band(run / "classes.tif"), np.where(valid, 1, NODATA))


@pytest.mark.parametrize("pixel_m", [0.5, 0.3])
def test_a_drawn_rectangle_comes_back_with_its_coordinates(package: Path, tmp_path: Path, pixel_m: float) -> None:
    """It lies across tiles and chunks."""
    transform = Affine(pixel_m, 0, 337_200, 0, -pixel_m, 3_058_800)
    pixels = np.zeros((3, 150, 170), np.uint8)
    pixels[:, 20:110, 30:95] = 1
    raster = write_raster(tmp_path / "drawn.tif", pixels, transform=transform)
    run = segment_raster(configure(raster, package, tmp_path / "out", chunk_size=64), load=always(Copying(SPEC)))
    (left, top), (right, bottom) = transform @ (30, 20), transform @ (95, 110)
    expected = shapely.box(left, bottom, right, top).normalize()
    landcover, buildings = read_layer(run, "landcover"), read_layer(run, "buildings")
    assert landcover.crs == buildings.crs == CRS
    patch = landcover.geometry[landcover["class"] == "building"].item()
    assert patch.normalize().equals_exact(expected, 1e-9)
    assert buildings.geometry.item().normalize().equals_exact(expected, 1e-6)


def test_polygons_have_neither_gaps_nor_overlaps_after_simplification(package: Path, tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(200, 260))
    predictor = NeighborhoodPredictor(spec=SPEC, radius_px=2)
    run = segment_raster(configure(raster, package, tmp_path / "out", chunk_size=64), load=always(predictor))
    shapes = read_layer(run, "landcover").geometry
    assert len(shapes) > 10
    assert shapely.coverage_is_valid(shapes.to_numpy())
    assert shapely.union_all(shapes.to_numpy()).equals(shapely.box(*shapes.total_bounds))
    assert shapes.area.sum() == pytest.approx(200 * 260 / 4)
    assert shapely.get_num_coordinates(shapes.to_numpy()).sum() < np.count_nonzero(np.diff(read_band(run / "classes.tif")))


def test_a_building_on_seams_is_one_building(package: Path, tmp_path: Path) -> None:
    pixels = np.zeros((3, 260, 260), np.uint8)
    pixels[:, 10:250, 100:108] = 1
    pixels[:, 120:130, 10:250] = 1
    raster = write_raster(tmp_path / "cross.tif", pixels)
    run = segment_raster(configure(raster, package, tmp_path / "out", chunk_size=32), load=always(Copying(SPEC)))
    table = read_layer(run, "buildings")
    assert list(table["instance_id"]) == [1]
    assert table.geometry.area.item() == pytest.approx((pixels[0] == 1).sum() / 4)
    np.testing.assert_array_equal(read_band(run / "instances.tif"), pixels[0])


def test_results_of_another_raster_are_never_mixed_in(package: Path, tmp_path: Path) -> None:
    one, other = (write_raster(tmp_path / f"{seed}.tif", draw_blobs(70, 70, seed=seed)) for seed in (1, 2))
    run = segment_raster(configure(one, package, tmp_path / "out"), load=always(BUILT))
    before = {path: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RunFolderError, match=r"raster was .*1\.tif.*is now .*2\.tif"):
        segment_raster(configure(other, package, tmp_path / "out"), load=always(BUILT))
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_run_without_any_building_has_an_empty_layer(package: Path, tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "desert.tif", np.zeros((3, 80, 80), np.uint8))
    run = segment_raster(configure(raster, package, tmp_path / "out"), load=always(Copying(SPEC)))
    buildings = read_layer(run, "buildings")
    assert len(buildings) == 0
    assert set(buildings) == {
        "instance_id",
        "class",
        "score",
        "area_m2",
        "perimeter_m",
        "touches_edge",
        "touches_nodata",
        "status",
        "geometry",
    }
    assert not read_band(run / "instances.tif").any()


def test_degrees_are_measured_in_metres(package: Path, tmp_path: Path) -> None:
    """A square of 40 x 40 pixels of 0.00001 degrees at 60 degrees north is about 44.6 m x 22.3 m."""
    pixels = np.zeros((3, 100, 100), np.uint8)
    pixels[:, 30:70, 30:70] = 1
    raster = write_raster(tmp_path / "degrees.tif", pixels, transform=Affine(1e-5, 0, 25, 0, -1e-5, 60), crs="EPSG:4326")
    run = segment_raster(configure(raster, package, tmp_path / "out"), load=always(Copying(SPEC)))
    assert read_layer(run, "buildings")["area_m2"].item() == pytest.approx(44.57 * 22.32, rel=0.01)

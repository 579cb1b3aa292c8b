"""Depths and people, from values that are known beforehand."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine

from geoseg.errors import ConfigError
from geoseg.impact.depth import find_surface, measure_depths
from geoseg.impact.heights import sample_heights
from geoseg.impact.metric import find_metric_crs
from geoseg.impact.opening import open_flood
from geoseg.impact.options import FloodInput, ImpactInputs, ImpactOptions
from geoseg.impact.people import count_people, place_people
from geoseg.impact.shapeflood import make_shape_flood
from geoseg.io.raster import open_raster
from tests.doubles import CRS, write_raster

GRID = Affine(2, 0, 337_200, 0, -2, 3_058_800)


def test_heights_are_those_of_a_plane_and_unknown_near_what_has_no_data(tmp_path: Path) -> None:
    rows, cols = np.mgrid[0:30, 0:40]
    plane = (5 + 0.3 * cols - 0.2 * rows).astype(np.float32)
    plane[20, 20] = -9999
    dem = open_raster(write_raster(tmp_path / "dem.tif", plane[None], transform=GRID, crs=CRS, nodata=-9999))
    at = np.array([(3.7, 8.2), (39.5, 29.5), (0.2, 15), (20.9, 20.9), (41, 5), (19, 20.5)])
    with dem.open() as raster:
        found = sample_heights(raster, dem.geobox, np.column_stack(GRID @ tuple(at.T)), CRS)
    expected = 5 + 0.3 * (np.clip(at[:, 0], 0.5, 39.5) - 0.5) - 0.2 * (at[:, 1] - 0.5)
    known = [0, 1, 2, 5]
    assert found[known] == pytest.approx(expected[known], abs=1e-4)
    assert np.isnan(found[[3, 4]]).all()


@pytest.mark.parametrize("kind", ["pixels", "polygons"])
def test_still_water_on_a_slope_is_as_deep_as_the_slope_says(tmp_path: Path, kind: str) -> None:
    cols = np.mgrid[0:60, 0:80][1]
    dem = open_raster(write_raster(tmp_path / "dem.tif", (0.1 * (cols + 0.5)).astype(np.float32)[None], transform=GRID, crs=CRS))
    write_raster(tmp_path / "flood.tif", (cols < 40).astype(np.uint8)[None], transform=GRID, crs=CRS)
    gpd.GeoDataFrame(geometry=[shapely.box(337_190, 3_058_660, 337_280, 3_058_820)], crs=CRS).to_file(tmp_path / "flood.gpkg")
    gpd.GeoDataFrame(geometry=[shapely.box(337_200, 3_058_680, 337_360, 3_058_800)], crs=CRS).to_file(tmp_path / "area.gpkg")
    house = np.array([shapely.box(337_220, 3_058_740, 337_230, 3_058_750)], object)
    given = {"pixels": FloodInput(path=tmp_path / "flood.tif")}
    given["polygons"] = FloodInput(path=tmp_path / "flood.gpkg", area=tmp_path / "area.gpkg")
    with open_flood(given[kind]) as flood:
        surface = find_surface(flood, dem, find_metric_crs(flood.bounds, flood.crs))
        deepest, mean = measure_depths(house, CRS, surface, dem, find_metric_crs(flood.bounds, flood.crs))
    # the water ends at 4 m; the wall stands on 1 m to 1.5 m
    assert deepest[0] == pytest.approx(3.0, abs=0.02)
    assert mean[0] == pytest.approx(2.75, abs=0.02)


def test_shores_that_have_no_place_in_metres_are_left_out(tmp_path: Path) -> None:
    heights = np.arange(36 * 18, dtype=np.float32).reshape(1, 18, 36)
    dem = open_raster(write_raster(tmp_path / "dem.tif", heights, transform=Affine(10, 0, -180, 0, -10, 90), crs="EPSG:4326"))
    around_the_globe = shapely.box(-175, -5, 175, 55)
    metric = find_metric_crs((87, 0, 87, 1), "EPSG:4326")
    surface = find_surface(make_shape_flood("wide", "EPSG:4326", around_the_globe), dem, metric)
    assert len(surface.heights) > 0
    assert np.isfinite(surface.places).all()
    (height,) = surface.at(surface.places[:1])
    assert height == pytest.approx(surface.heights[0], abs=1.0)


def test_people_of_a_pixel_live_in_its_buildings_by_their_area(tmp_path: Path) -> None:
    people = np.array([[[12, 5, -99], [7, 0, 3]]], np.float32)
    grid = Affine(100, 0, 337_200, 0, -100, 3_058_800)
    source = open_raster(write_raster(tmp_path / "people.tif", people, transform=grid, crs=CRS))
    small, large = shapely.box(337_210, 3_058_710, 337_220, 3_058_720), shapely.box(337_250, 3_058_710, 337_270, 3_058_720)
    astride = shapely.box(337_290, 3_058_610, 337_310, 3_058_620)
    homes = np.array([small, large, astride], object)
    found = place_people(homes, CRS, source, "count")
    assert found.in_buildings == pytest.approx([4, 8, 7], rel=1e-6)
    assert found.without_building == pytest.approx(5)
    zone = np.array([shapely.box(337_200, 3_058_600, 337_250, 3_058_800)], object)
    assert count_people(zone, CRS, source, "count") == pytest.approx([9.5])
    # a hectare holds a hundredth of what a square kilometre does
    assert count_people(zone, CRS, source, "density") == pytest.approx([0.095], rel=2e-3)


def test_options_that_make_no_sense_are_refused_with_their_number() -> None:
    with pytest.raises(ConfigError, match=r"got 1\.5"):
        ImpactOptions(flooded_from=1.5)
    with pytest.raises(ConfigError, match="got -3"):
        ImpactOptions(min_cut_m=-3)
    with pytest.raises(ConfigError, match="--dem tells nothing without --buildings"):
        ImpactInputs(flood=FloodInput(path=Path("f.tif")), roads=Path("r.gpkg"), dem=Path("d.tif"))
    with pytest.raises(ConfigError, match="--from tells nothing without --roads"):
        ImpactInputs(flood=FloodInput(path=Path("f.tif")), buildings=Path("b.gpkg"), origins=((1.0, 2.0),))

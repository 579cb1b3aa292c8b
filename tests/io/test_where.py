"""Where a run works: boxes in degrees, areas and what is excluded, in any CRS."""

from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geoseg.cli.options import collect
from geoseg.config import make_config
from geoseg.errors import ConfigError, MissingFileError, UsageError
from geoseg.io.where import Where, check_box, find_area
from tests.doubles import CRS, TRANSFORM

GRID = GeoBox((400, 600), TRANSFORM, CRS)
"""300 m x 200 m."""
LEFT, TOP = TRANSFORM.c, TRANSFORM.f


def in_degrees(left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
    west, south, east, north = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform_bounds(left, bottom, right, top)
    return west, south, east, north


def write_box(path: Path, *bounds: float, crs: str = CRS) -> Path:
    gpd.GeoDataFrame(geometry=[shapely.box(*bounds)], crs=CRS).to_crs(crs).to_file(path)
    return path


def test_nothing_asked_wants_all() -> None:
    assert find_area(Where(), GRID, "a.tif") is None


def test_a_box_in_degrees_is_where_it_says() -> None:
    area = find_area(Where(bbox=in_degrees(LEFT + 50, TOP - 150, LEFT + 100, TOP - 50)), GRID, "a.tif")
    assert area is not None
    # a degree's box is turned a little against the grid
    assert area.area == pytest.approx(50 * 100, rel=0.05)
    assert area.contains(shapely.Point(LEFT + 75, TOP - 100))


@pytest.mark.parametrize("box", [(-180, -90, 180, 90), (-10, -80, 179, 80), (0, 0, 90, 84)])
@pytest.mark.parametrize("crs", [CRS, "EPSG:3857", "EPSG:3031"])
def test_a_box_may_reach_far_out_of_the_crs_of_a_raster(box: tuple[float, float, float, float], crs: str) -> None:
    box = (box[0], -90.0, *box[2:]) if crs == "EPSG:3031" else box
    corner = {CRS: (LEFT, TOP), "EPSG:3857": (9_500_000, 3_200_000), "EPSG:3031": (1_000_000, 1_000_000)}[crs]
    grid = GeoBox((400, 600), Affine(0.5, 0, corner[0], 0, -0.5, corner[1]), crs)
    area = find_area(Where(bbox=box), grid, "a.tif")
    assert area is not None
    assert area.area == pytest.approx(300 * 200)


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326", "EPSG:3857"])
def test_what_is_excluded_is_taken_from_what_is_wanted(tmp_path: Path, crs: str) -> None:
    aoi = write_box(tmp_path / "aoi.gpkg", LEFT, TOP - 100, LEFT + 100, TOP, crs=crs)
    hole = write_box(tmp_path / "hole.geojson", LEFT + 50, TOP - 60, LEFT + 200, TOP - 20, crs="EPSG:4326")
    area = find_area(Where(aoi=aoi, exclude=hole), GRID, "a.tif")
    assert area is not None
    assert area.area == pytest.approx(100 * 100 - 50 * 40, rel=1e-3)
    alone = find_area(Where(exclude=hole), GRID, "a.tif")
    assert alone is not None
    assert alone.area == pytest.approx(300 * 200 - 150 * 40, rel=1e-3)


def test_a_box_across_a_wide_raster_follows_the_parallels() -> None:
    wide = GeoBox((1000, 1000), Affine(3000, 0, 1_000_000, 0, -3000, 7_000_000), "EPSG:3035")
    area = find_area(Where(bbox=(0.0, 50.0, 20.0, 60.0)), wide, "europe.tif")
    assert area is not None
    to_degrees = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True)
    inside = area.buffer(-5000)
    assert all(49.9 < to_degrees.transform(*point)[1] < 60.1 for point in inside.exterior.coords)


@pytest.mark.parametrize("name", ["aoi.gpkg", "aoi.geojson"])
def test_a_spike_takes_neither_an_area_nor_what_is_excluded_away(tmp_path: Path, name: str) -> None:
    """Its repair makes a collection of a polygon and a line."""
    left, bottom, right, top = LEFT + 50, TOP - 150, LEFT + 100, TOP - 50
    spiked = shapely.Polygon([(left, bottom), (right, bottom), (right, top), (right, top + 9), (right, top), (left, top)])
    assert shapely.make_valid(spiked).geom_type == "GeometryCollection"
    path = tmp_path / name
    gpd.GeoDataFrame(geometry=[spiked, shapely.box(LEFT, TOP - 10, LEFT + 10, TOP)], crs=CRS).to_file(path)
    for where, expected in ((Where(aoi=path), 5100), (Where(exclude=path), 300 * 200 - 5100)):
        area = find_area(where, GRID, "a.tif")
        assert area is not None
        assert area.area == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_long_edges_of_an_area_stay_where_they_are_drawn(tmp_path: Path, crs: str) -> None:
    """A straight line between the corners would leave the parallel by 122 m."""
    drawn = gpd.GeoSeries([shapely.box(9, 45, 10, 46)], crs="EPSG:4326").to_crs(crs)
    drawn.to_file(tmp_path / "aoi.gpkg")
    utm = GeoBox((3000, 3000), Affine(100, 0, 400_000, 0, -100, 5_200_000), "EPSG:32632")
    area = find_area(Where(aoi=tmp_path / "aoi.gpkg"), utm, "a.tif")
    assert area is not None
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    for lon, lat in ((9.5, 45), (9.25, 46), (9, 45.3), (10, 45.5)):
        assert area.boundary.distance(shapely.Point(to_utm.transform(lon, lat))) < 0.02


def test_an_area_whose_edges_reach_where_the_crs_has_no_places_goes_by_its_corners(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.box(5, -80, 168, 80)], crs="EPSG:4326").to_file(tmp_path / "aoi.gpkg")
    area = find_area(Where(aoi=tmp_path / "aoi.gpkg"), GRID, "a.tif")
    assert area is not None
    assert area.area == pytest.approx(300 * 200)


def test_what_leaves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\(85, 27, 85\.1, 27\.1\) .* holds nothing of a\.tif, which spans \(85\.3"):
        find_area(Where(bbox=(85, 27, 85.1, 27.1)), GRID, "a.tif")
    everything = write_box(tmp_path / "all.gpkg", LEFT - 10, TOP - 300, LEFT + 400, TOP + 10)
    with pytest.raises(UsageError, match=r"all\.gpkg leaves nothing of a\.tif"):
        find_area(Where(exclude=everything), GRID, "a.tif")
    with pytest.raises(MissingFileError, match=r"gone\.gpkg"):
        find_area(Where(exclude=tmp_path / "gone.gpkg"), GRID, "a.tif")
    gpd.GeoDataFrame(geometry=[shapely.Point(LEFT, TOP)], crs=CRS).to_file(tmp_path / "points.gpkg")
    with pytest.raises(UsageError, match=r"excluded area .* holds 1 features and no polygon"):
        find_area(Where(exclude=tmp_path / "points.gpkg"), GRID, "a.tif")


@pytest.mark.parametrize("box", [(3, 2, 1, 4), (1, 4, 3, 2), (-181, 0, 1, 1), (0, 0, 1, 91), (0, 0, float("nan"), 1)])
def test_numbers_that_are_no_box_are_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(UsageError, match="WEST,SOUTH,EAST,NORTH"):
        check_box(box)


def test_the_command_line_takes_a_box_and_several_rasters(tmp_path: Path) -> None:
    given = collect(raster=["a.tif", "b.tif"], output=tmp_path, bbox="-1.5,2, 3,4", bands="red,2", mosaic="median", stack=None)
    config = make_config(given)
    assert config.rasters == ("a.tif", "b.tif")
    assert config.bbox == (-1.5, 2.0, 3.0, 4.0)
    assert config.bands == ("red", 2)
    assert make_config(collect(raster=["a.tif"], output=tmp_path)).raster == "a.tif"
    with pytest.raises(ConfigError, match="bbox"):
        make_config(collect(raster=["a.tif"], output=tmp_path, bbox="1,2,3"))

"""Pictures without georeference: placed by what a drone noted, approximately, or in coordinates of pixels; never guessed."""

import json
import math
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from pyproj import Geod, Transformer

from geoseg.errors import RasterError
from geoseg.inference.planning import plan_run
from geoseg.io.ground import pixel_size_m
from geoseg.io.raster import RasterOptions, open_raster, read_whole
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.gather import gather_imagery
from geoseg.io.sources.imagery import describe_file
from geoseg.io.sources.placement import PIXELS, place_by_camera, place_nowhere
from geoseg.model.predictor import ThresholdPredictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import always, configure, read_band, write_package, write_raster

LON, LAT = 85.5210, 27.6318
DJI = {"RelativeAltitude": "+60.00", "GimbalYawDegree": "+30.0", "GimbalPitchDegree": "-90.00"}


def take(
    path: Path,
    xmp: dict[str, str] | None = None,
    *,
    position: bool = True,
    focal_mm: int | None = 24,
    heading: float | None = None,
    gps: dict[int, Any] | None = None,
) -> Path:
    """A picture of 400 x 300 px as a drone saves it: its upper half is bright."""
    pixels = np.full((300, 400, 3), 40, np.uint8)
    pixels[:150] = 220
    exif = Image.Exif()
    if position:
        noted: dict[int, Any] = {1: "N", 2: dms(LAT), 3: "E", 4: dms(LON)}
        exif[0x8825] = noted | ({17: heading} if heading is not None else {}) | (gps or {})
    exif[0x8769] = {41989: focal_mm} if focal_mm is not None else {}
    told = " ".join(f'drone-dji:{name}="{value}"' for name, value in (xmp or {}).items())
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:drone-dji="http://www.dji.com/" {told}/></x:xmpmeta>'
    Image.fromarray(pixels).save(path, quality=95, exif=exif, xmp=packet.encode())
    return path


def dms(value: float) -> tuple[float, float, float]:
    minutes = (value - int(value)) * 60
    return float(int(value)), float(int(minutes)), (minutes - int(minutes)) * 60


def to_degrees(path: Path, col: float, row: float) -> tuple[float, float]:
    placed = place_by_camera(path)
    assert placed is not None
    x, y = placed.transform @ (col, row)
    lon, lat = Transformer.from_crs(placed.crs, "EPSG:4326", always_xy=True).transform(x, y)
    return lon, lat


@pytest.mark.parametrize("heading", [-90.0, 0.0, 30.0, 135.0])
def test_a_picture_lies_below_its_drone_with_its_upper_edge_towards_the_heading(tmp_path: Path, heading: float) -> None:
    path = take(tmp_path / "DJI_0001.JPG", DJI | {"GimbalYawDegree": f"{heading:+.1f}"})
    middle = to_degrees(path, 200, 150)
    assert middle == pytest.approx((LON, LAT), abs=1e-7)
    geod = Geod(ellps="WGS84")
    forth, _, length = geod.inv(*middle, *to_degrees(path, 200, 0))
    # grid north and true north differ by less than a degree here
    assert math.remainder(forth - heading, 360) == pytest.approx(0, abs=1)
    diagonal = 60 * math.hypot(36, 24) / 24
    assert length == pytest.approx(diagonal * 0.3, rel=2e-3)
    right, _, half = geod.inv(*middle, *to_degrees(path, 400, 150))
    assert math.remainder(right - heading - 90, 360) == pytest.approx(0, abs=1)
    assert half == pytest.approx(diagonal * 0.4, rel=2e-3)


def test_what_is_read_is_north_up_and_bright_where_the_drone_headed(tmp_path: Path) -> None:
    path = take(tmp_path / "a.jpg", DJI | {"GimbalYawDegree": "+90.0"})
    source = open_raster(path)
    assert source.geobox.crs == "EPSG:32645"
    assert source.geobox.transform.b == source.geobox.transform.d == 0
    pixels, valid = read_whole(source)
    height, width = source.shape
    assert (height, width) == (400, 300)
    assert valid[5:-5, 5:-5].all()
    assert pixels[0, 10:-10, width - 10 - 100 : -10].mean() > 210, "the east is bright"
    assert pixels[0, 10:-10, 10:100].mean() < 50
    turned = open_raster(take(tmp_path / "b.jpg", DJI | {"GimbalYawDegree": "+45.0"}))
    assert 0.3 < read_whole(turned)[1].mean() < 0.7, "the corners of a turned picture hold no data"
    assert read_whole(turned)[1].sum() == pytest.approx(
        400 * 300 * (pixel_size_m(source.geobox) / pixel_size_m(turned.geobox)) ** 2, rel=0.02
    )


def test_the_heading_of_exif_serves_where_xmp_has_none(tmp_path: Path) -> None:
    height = {"RelativeAltitude": "60.0"}
    one, other = take(tmp_path / "a.jpg", height, heading=30.0), take(tmp_path / "b.jpg", DJI)
    assert place_by_camera(one) == place_by_camera(other)


@pytest.mark.parametrize(
    ("xmp", "more", "message"),
    [
        ({"GimbalYawDegree": "1.0"}, {}, "lacks a height above ground"),
        ({"RelativeAltitude": "60.0"}, {}, "lacks a heading"),
        (DJI, {"focal_mm": None}, "lacks a focal length"),
        (DJI | {"GimbalPitchDegree": "-45.0"}, {}, "45 degrees away from straight down"),
        (DJI | {"RelativeAltitude": "-3.0"}, {}, "-3 m above ground"),
        (DJI, {"position": False}, "declares no CRS"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_what_is_missing(
    tmp_path: Path, xmp: dict[str, str], more: dict[str, Any], message: str
) -> None:
    path = take(tmp_path / "a.jpg", xmp, **more)
    with pytest.raises(RasterError, match=f"{message}.*--assume-crs"):
        open_raster(path)


UNKNOWN, NOTHING = IFDRational(0, 0), IFDRational(0, 1)


@pytest.mark.parametrize(
    "gps",
    [
        {2: (UNKNOWN,) * 3, 4: (UNKNOWN,) * 3},
        {2: (NOTHING,) * 3, 4: (NOTHING,) * 3},
        {2: (27.0, 37.9)},
        {2: 27.6},
        {4: (85.0, 31.0, UNKNOWN)},
        {4: (185.0, 31.0, 1.0)},
        {2: (27.0, 75.0, 1.0)},
    ],
    ids=["0/0", "0 N 0 E", "two numbers", "one number", "seconds unknown", "off the globe", "75 minutes"],
)
def test_a_picture_taken_without_a_position_is_refused(tmp_path: Path, gps: dict[int, Any]) -> None:
    path = take(tmp_path / "a.jpg", DJI, gps=gps)
    with pytest.raises(RasterError, match=r"a\.jpg was taken without a position: its camera noted latitude .*--assume-crs pixels"):
        open_raster(path)
    assert open_raster(path, RasterOptions(assume_crs=PIXELS)).shape == (300, 400)


def test_a_heading_that_the_camera_did_not_know_is_missing(tmp_path: Path) -> None:
    path = take(tmp_path / "a.jpg", {"RelativeAltitude": "+60.00"}, gps={17: UNKNOWN})
    with pytest.raises(RasterError, match="lacks a heading"):
        open_raster(path)


def test_a_picture_on_the_equator_has_a_position(tmp_path: Path) -> None:
    middle = to_degrees(take(tmp_path / "a.jpg", DJI, gps={2: (NOTHING,) * 3}), 200, 150)
    assert middle == pytest.approx((LON, 0), abs=1e-7)


def test_a_run_on_a_drone_picture_says_that_it_is_approximate(tmp_path: Path) -> None:
    path = take(tmp_path / "a.jpg", DJI)
    out = segment_raster(
        configure(path, write_package(tmp_path / "model"), tmp_path / "out", outputs=("classes",)),
        load=always(ThresholdPredictor(spec=double_spec())),
    )
    summary = json.loads((out / "summary.json").read_text())
    assert any("a.jpg is placed by its camera" in warning and "approximate" in warning for warning in summary["warnings"])
    assert json.loads((out / "item.json").read_text())["properties"]["geoseg:footprint"] == "approximate"
    area = {row["name"]: row["area_m2"] for row in summary["classes"]}
    whole = (60 * math.hypot(36, 24) / 24) ** 2 * 0.8 * 0.6
    assert area["ground"] + area["building"] == pytest.approx(whole, rel=0.01)
    assert area["building"] == pytest.approx(whole / 2, rel=0.02)


def test_a_plain_picture_gives_coordinates_and_areas_in_pixels(tmp_path: Path) -> None:
    pixels = np.full((90, 120, 3), 30, np.uint8)
    pixels[20:40, 30:80] = 240
    Image.fromarray(pixels).save(tmp_path / "town.png")
    package, load = write_package(tmp_path / "model"), always(ThresholdPredictor(spec=double_spec()))
    given = {"outputs": ("classes", "landcover", "buildings"), "assume_crs": "pixels"}
    out = segment_raster(configure(tmp_path / "town.png", package, tmp_path / "out", **given), load=load)
    np.testing.assert_array_equal(read_band(out / "classes.tif"), pixels[..., 0] > 128)
    summary = json.loads((out / "summary.json").read_text())
    assert {row["name"]: row["area_m2"] for row in summary["classes"]}["building"] == pytest.approx(1000, rel=1e-3)
    item = json.loads((out / "item.json").read_text())
    assert item["geometry"] is None
    assert "bbox" not in item
    assert any("has no place on the earth" in warning and "square pixels" in warning for warning in summary["warnings"])
    building = gpd.read_file(out / "features.gpkg", layer="buildings")
    assert len(building) == 1
    left, bottom, right, top = building.total_bounds
    assert (left, bottom, right, top) == pytest.approx((30, 90 - 40, 80, 90 - 20), abs=0.6)
    assert building.area_m2.iloc[0] == pytest.approx(1000, rel=0.05)


def test_the_width_of_a_pixel_may_be_told(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 60, 3), 30, np.uint8)).save(tmp_path / "town.png")
    source = open_raster(tmp_path / "town.png", RasterOptions(assume_crs="pixels:0.25"), resolution_m=0.5)
    assert source.shape == (20, 30)
    assert pixel_size_m(source.geobox) == pytest.approx(0.5, rel=1e-4)
    spec = double_spec().model_copy(update={"resolution_m": 4.0})
    package = write_package(tmp_path / "model", spec)
    for asked in (PIXELS, "Pixels", "pixels:"):
        assert plan_run(configure(tmp_path / "town.png", package, tmp_path / "out", assume_crs=asked)).source.decimation == 1
    # one that says where it lies says how wide its pixels are
    placed = write_raster(tmp_path / "placed.tif", np.full((3, 40, 60), 30, np.uint8))
    assert plan_run(configure(placed, package, tmp_path / "out", assume_crs=PIXELS)).source.decimation == 8


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_a_picture_in_coordinates_of_pixels_keeps_what_it_says_of_its_bands(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "infrared.tif", np.full((3, 20, 30), 30, np.uint8), crs=None, transform=None, compress="jpeg")
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions, dataset.scales, dataset.offsets = ("nir", "red", "green"), (0.5, 0.5, 0.5), (1.0, 2.0, 3.0)
    imagery = describe_file(str(path), RasterOptions(assume_crs=PIXELS), needs_georeference=True)
    assert imagery.bands == (("nir",), ("red",), ("green",))
    assert imagery.scales == ((0.5, 1.0), (0.5, 2.0), (0.5, 3.0))
    assert imagery.near > 0


def test_pictures_that_lie_nowhere_are_no_mosaic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(np.full((40, 60, 3), 30, np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.raises(RasterError, match=r"a\.png and 1 more have no place.*geoseg batch"):
        gather_imagery([str(tmp_path)], RasterOptions(assume_crs=PIXELS), Arrangement())
    assert len(gather_imagery([str(tmp_path)], RasterOptions(assume_crs=PIXELS), Arrangement(stack=True)).bands) == 6


@pytest.mark.parametrize("asked", ["pixels:", "pixels:0.3", "Pixels", "EPSG:32645"])
def test_the_word_for_pixels_is_no_crs(asked: str) -> None:
    assert (place_nowhere(asked, 9) is None) == asked.startswith("EPSG")


@pytest.mark.parametrize("asked", ["pixels:wide", "pixels:0", "pixels:-1", "pixels:nan"])
def test_a_width_that_is_none_is_refused(asked: str) -> None:
    with pytest.raises(RasterError, match="takes the width of a pixel"):
        place_nowhere(asked, 9)

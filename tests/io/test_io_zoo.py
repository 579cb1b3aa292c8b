"""Real rasters of every kind open and read, or say why not; nothing else happens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_gcps
from rasterio.windows import Window

from geoseg.errors import GeosegError, RunError
from geoseg.io.raster import RasterOptions, RasterSource, has_data, open_raster, read_whole

ZOO = Path(__file__).parents[3] / "shared" / "data" / "io_zoo"
NO_RASTERS = {".md", ".txt", ".json", ".msk"}
FILES = [p.relative_to(ZOO).as_posix() for p in sorted(ZOO.rglob("*")) if p.is_file() and p.suffix not in NO_RASTERS]
OPTIONS = {"as it is": RasterOptions(), "warped": RasterOptions(warp=True), "assumed": RasterOptions(assume_crs="EPSG:32645")}

pytestmark = [
    pytest.mark.skipif(not FILES, reason=f"needs the rasters of {ZOO}, which is not there"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.timeout(20),
]


def read_middle(source: RasterSource) -> tuple[NDArray[Any], NDArray[np.bool_], Window]:
    rows, cols = source.shape
    side = max(1, 128 // source.decimation)
    window = Window(cols // 2, rows // 2, min(side, cols - cols // 2), min(side, rows - rows // 2))
    return *source.read(window), window


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("resolution_m", [None, 30.0])
@pytest.mark.parametrize("name", FILES)
def test_a_real_raster_opens_and_reads_or_says_why_not(name: str, resolution_m: float | None, options: RasterOptions) -> None:
    said = ""
    try:
        source = open_raster(ZOO / name, options, resolution_m=resolution_m)
        pixels, valid, window = read_middle(source)
    except GeosegError as exc:
        said = str(exc)
    if said:
        assert name in said
        return
    assert pixels.shape == (len(source.bands), window.height, window.width)
    assert valid.shape == (window.height, window.width)
    assert np.isfinite(pixels[:, valid]).all()


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("rasterio/rotated.tif", "rotated"),
        ("odc-geo/au-3577-rotated.tif", "rotated"),
        ("odc-geo/au-gcp.tif", "ground control points"),
        ("s1_grd_gcps.tiff", "ground control points"),
        ("rioxarray/cint16.tif", "complex"),
        ("rio-tiler/no_geo.jpg", "--assume-crs"),
    ],
)
def test_a_raster_that_cannot_be_used_says_why(name: str, named: str) -> None:
    with pytest.raises(GeosegError, match=named):
        open_raster(ZOO / name)


@pytest.mark.parametrize("name", ["odc-geo/au-3577-rotated.tif", "odc-geo/au-gcp.tif"])
def test_rotated_and_control_point_rasters_can_be_warped(name: str) -> None:
    source = open_raster(ZOO / name, RasterOptions(warp=True))
    _, valid = read_whole(source)
    assert 0.1 < valid.mean() < 0.99, "a rotated raster leaves corners without data"


@pytest.mark.parametrize("name", ["rasterio/RGB.byte.gcp.vrt", "rioxarray/test_rpcs.tif", "odc-geo/au-gcp.tif", "s1_grd_gcps.tiff"])
def test_a_warped_raster_lies_where_its_control_points_or_rpcs_put_it(name: str) -> None:
    with rasterio.open(ZOO / name) as dataset:
        points, rpcs = dataset.gcps[0], dataset.rpcs
        known = from_gcps(points) @ (dataset.width / 2, dataset.height / 2) if points else (rpcs.long_off, rpcs.lat_off)
    west, south, east, north = open_raster(ZOO / name, RasterOptions(warp=True)).geobox.extent.boundingbox
    far = max(east - west, north - south) / 4 if points else 0.1
    assert ((west + east) / 2, (south + north) / 2) == pytest.approx(known, abs=far)
    assert max(abs(west), abs(east)) <= 180 or not rpcs, "RPCs give degrees"


@pytest.mark.parametrize("name", ["RGB.byte.tif", "RGB2.byte.tif", "RGBA.byte.tif"])
def test_the_same_collar_is_found_by_nodata_mask_and_alpha(name: str) -> None:
    assert read_whole(open_raster(ZOO / "rasterio" / name))[1].mean() == pytest.approx(0.63, abs=0.06)


def test_a_file_of_nodata_only_has_no_data() -> None:
    assert not has_data(open_raster(ZOO / "rasterio" / "all-nodata.tif", RasterOptions(assume_crs="EPSG:32645")))


def test_a_damaged_file_is_named_with_the_window_that_fails() -> None:
    source = open_raster(ZOO / "rasterio" / "corrupt.tif")
    with pytest.raises(RunError, match=r"corrupt\.tif could not be read at columns 0-"):
        read_whole(source)

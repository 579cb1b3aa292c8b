"""Every raster of the zoo through the command line, in a process of its own: its expected result, or its expected error."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ZOO = ROOT.parent / "shared" / "data" / "io_zoo"
FAILED, USAGE = 1, 2


@dataclass(frozen=True, slots=True)
class Mapped:
    """Segmented, with as much data as the file has."""

    width: int
    height: int
    valid: float


@dataclass(frozen=True, slots=True)
class Planned:
    """Too large for a test; planned with its size."""

    size: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Ends in an error of one line that says this."""

    said: str
    code: int = USAGE


EXPECTED: dict[str, Mapped | Planned | Refused] = {
    "ftw/s2_8band_uint16_578x379.tif": Mapped(578, 379, 1.0),
    "jp2/B02.jp2": Refused("no CRS"),
    "jp2/B03.jp2": Refused("no CRS"),
    "jp2/B04.jp2": Refused("no CRS"),
    "jp2/S2_B01_tile.jp2": Mapped(122, 122, 1.0),
    "linz/BQ25_lerc_4800x7200.tiff": Planned("4800 x 7200"),
    "odc-geo/au-3577-rotated.tif": Refused("is rotated"),
    "odc-geo/au-3577.tif": Mapped(133, 124, 0.517),
    "odc-geo/au-gcp.tif": Refused("control points or RPCs"),
    "omnicloudmask/cloud_classes_10980x10980.tif": Planned("10980 x 10980"),
    "rasterio/389225main_sw_1965_1024.jpg": Refused("no CRS"),
    "rasterio/RGB.byte.gcp.vrt": Refused("control points or RPCs"),
    "rasterio/RGB.byte.rpc.vrt": Refused("control points or RPCs"),
    "rasterio/RGB.byte.tif": Mapped(791, 718, 0.675),
    "rasterio/RGB2.byte.tif": Mapped(791, 718, 0.674),
    "rasterio/RGB2.byte.tif.msk": Refused("no CRS"),
    "rasterio/RGBA.byte.tif": Mapped(791, 718, 0.675),
    "rasterio/RGBA.uint16.tif": Mapped(634, 411, 0.489),
    "rasterio/all-nodata.tif": Refused("No pixel"),
    "rasterio/cogeo.tif": Mapped(1024, 1024, 1.0),
    "rasterio/compdcs.vrt": Refused("control points or RPCs"),
    "rasterio/corrupt.tif": Refused("could not be read at columns 0-", code=1),
    "rasterio/float_nan.tif": Refused("no CRS"),
    "rasterio/goes.tif": Mapped(542, 542, 0.783),
    "rasterio/rotated.tif": Refused("no CRS"),
    "rasterio/shade.tif": Mapped(1024, 1024, 0.119),
    "rasterio/test_esri_wkt.tif": Mapped(2, 2, 1.0),
    "rasterio/world.byte.tif": Planned("2880 x 1200"),
    "rio-cogeo/dataset_namespace_metadata.tif": Mapped(50, 50, 1.0),
    "rio-cogeo/image_colormap.tif": Mapped(1066, 706, 1.0),
    "rio-cogeo/image_missing_nodata.tif": Mapped(500, 500, 1.0),
    "rio-cogeo/image_nan.tif": Mapped(316, 341, 0.431),
    "rio-cogeo/image_rgb_mask.tif": Mapped(512, 512, 0.905),
    "rio-cogeo/image_rgba_nodata.tif": Mapped(512, 512, 1.0),
    "rio-cogeo/image_web_z5_z11.tif": Planned("8448 x 8448"),
    "rio-cogeo/image_webp.tif": Mapped(512, 512, 1.0),
    "rio-cogeo/image_with_offsets.tif": Mapped(256, 256, 1.0),
    "rio-cogeo/slc.tif": Refused("complex numbers"),
    "rio-tiler/cog_hirise_mars.tif": Refused("does not lie on the earth"),
    "rio-tiler/cog_rgb_mask.tif": Mapped(383, 232, 0.969),
    "rio-tiler/cog_world.tif": Planned("36000 x 18000"),
    "rio-tiler/colorado/201404_13SED190110_201404_0x1500m_CL_1.tif": Mapped(383, 232, 1.0),
    "rio-tiler/colorado/201404_13SED190110_201404_0x1500m_CL_1_alpha.tif": Mapped(383, 232, 0.887),
    "rio-tiler/colorado/201404_13SED190110_201404_0x1500m_CL_1_extmask.tif": Mapped(383, 232, 0.969),
    "rio-tiler/colorado/201404_13SED190110_201404_0x1500m_CL_1_extmask.tif.msk": Refused("no CRS"),
    "rio-tiler/colorado/201404_13SED190110_201404_0x1500m_CL_1_mask.tif": Mapped(383, 232, 0.969),
    "rio-tiler/colorado/201404_13SED190110_201404_0x1500m_CL_1_nodata.tif": Mapped(383, 232, 0.973),
    "rio-tiler/inverted_lat.tif": Refused("No pixel"),
    "rio-tiler/mosaic_cog1.tif": Mapped(779, 790, 0.675),
    "rio-tiler/mosaic_cog2.tif": Mapped(770, 781, 0.691),
    "rio-tiler/no_geo.jpg": Refused("--assume-crs pixels"),
    "rio-tiler/pix4d/pix4d_alpha_nodata.tif": Mapped(686, 758, 0.876),
    "rioxarray/cint16.tif": Refused("complex numbers"),
    "rioxarray/test_rpcs.tif": Refused("control points or RPCs"),
    "s1_grd_gcps.tiff": Refused("control points or RPCs"),
}

pytestmark = [pytest.mark.skipif(not ZOO.is_dir(), reason=f"needs the rasters of {ZOO}, which is not there"), pytest.mark.slow]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONWARNINGS": "ignore"}
    words = [sys.executable, "-m", "tests.hostile.zoo", str(ZOO), str(tmp_path_factory.mktemp("zoo"))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, timeout=280)
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


def test_no_file_of_the_zoo_is_left_out(found: dict[str, dict[str, Any]]) -> None:
    assert found.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_the_zoo_ends_as_expected(name: str, found: dict[str, dict[str, Any]]) -> None:
    row, expected = found[name], EXPECTED[name]
    assert "Traceback" not in row["said"]
    match expected:
        case Mapped():
            assert (row["command"], row["code"], row["said"]) == ("segment", 0, "")
            assert row["size"] == [expected.width, expected.height]
            assert row["valid"] == pytest.approx(expected.valid, abs=0.002), "no data lost, none made up"
        case Planned():
            assert (row["command"], row["code"]) == ("plan", 0)
            assert expected.size in row["said"]
        case Refused():
            assert row["code"] == expected.code
            assert row["said"].startswith("Error: ")
            assert row["said"].count("\n") == 0, "one paragraph"
            assert expected.said in row["said"]
            assert Path(name).name in row["said"]

"""A finished run in all formats."""

from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from geoseg.config import RunConfig
from geoseg.inference.planning import plan_run
from geoseg.model.predictor import NeighborhoodPredictor
from geoseg.pipeline import segment_raster
from geoseg.writers import FORMATS
from tests.doubles import always, configure, draw_blobs, write_package, write_raster

OUTPUTS = ("classes", "confidence", "evidence", "landcover", "buildings", "panoptic", "probabilities", "uncertainty")


def run_double(config: RunConfig) -> Path:
    """Segment with a double that measures what the configuration asks for."""
    return segment_raster(config, load=always(NeighborhoodPredictor(spec=plan_run(config).package.spec, radius_px=8)))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return write_raster(folder / "blobs.tif", draw_blobs(150, 200, corner=60), nodata=0), write_package(folder / "double")


@pytest.fixture(scope="session")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """West and east half of the raster, and a place far away, in degrees."""
    path = tmp_path_factory.mktemp("zones") / "districts.gpkg"
    boxes = [
        shapely.box(337_200, 3_058_725, 337_250, 3_058_800),
        shapely.box(337_250, 3_058_725, 337_300, 3_058_800),
        shapely.box(0, 0, 9, 9),
    ]
    table = gpd.GeoDataFrame({"district": ["west", "east", "away"]}, geometry=boxes, crs="EPSG:32645")
    table.to_crs("EPSG:4326").to_file(path, driver="GPKG")
    return path


@pytest.fixture(scope="session")
def finished(inputs: tuple[Path, Path], zones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    return run_double(configure(*inputs, folder / "out", outputs=OUTPUTS, formats=tuple(FORMATS), zones=zones))

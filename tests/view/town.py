"""Small runs that the tests of the map share."""

from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.config import RunConfig
from geoseg.model.predictor import NeighborhoodPredictor, ThresholdPredictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import always, configure, write_package, write_raster

NEAR = NeighborhoodPredictor(spec=double_spec(), radius_px=4)
SHARP = ThresholdPredictor(spec=double_spec())
SIZE_PX = 320
COLORS = {0: (200, 180, 140), 1: (220, 40, 40)}


def draw_town(*, shift: int = 0, corner: int = 24) -> NDArray[np.uint8]:
    """(3, 320, 320): dark ground with bright squares of 40 px every 80 px; no data in the upper left corner."""
    rows, cols = np.indices((SIZE_PX, SIZE_PX))
    is_house = ((rows % 80) >= 20) & ((rows % 80) < 60) & (((cols + shift) % 80) >= 20) & (((cols + shift) % 80) < 60)
    pixels = np.where(is_house, 220, 40).astype(np.uint8) + np.array([0, 5, 10], np.uint8)[:, None, None]
    pixels[:, rows + cols < corner] = 0
    return pixels


def configure_town(folder: Path, name: str = "town", *, shift: int = 0, transform: Affine | None = None, **options: Any) -> RunConfig:
    folder.mkdir(exist_ok=True, parents=True)
    more = {} if transform is None else {"transform": transform}
    raster = write_raster(folder / f"{name}.tif", draw_town(shift=shift), nodata=0, **more)
    model = folder / "package"
    return configure(raster, model if model.exists() else write_package(model), folder / name, **{"chunk_size": 128, **options})


def make_town(folder: Path, name: str = "town", **more: Any) -> Path:
    """A finished run."""
    return segment_raster(configure_town(folder, name, **more), load=always(SHARP))

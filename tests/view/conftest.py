"""Runs that the tests of the map look at."""

from pathlib import Path

import pytest
from affine import Affine

from geoseg.config import RunConfig
from geoseg.errors import ChunkError
from geoseg.pipeline import segment_raster
from tests.doubles import TRANSFORM, Logged, always
from tests.view.town import SHARP, configure_town, make_town


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_town(tmp_path_factory.mktemp("town"))


@pytest.fixture(scope="session")
def neighbor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the ground east of the town, with houses elsewhere."""
    east = TRANSFORM @ Affine.translation(320, 0)
    return make_town(tmp_path_factory.mktemp("neighbor"), "neighbor", shift=40, transform=east)


@pytest.fixture(scope="session")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run that was cut off when some of its chunks were done."""
    folder = tmp_path_factory.mktemp("unfinished")
    config = configure_town(folder)
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(Logged(SHARP, folder / "calls", fails_from=60)))
    return config

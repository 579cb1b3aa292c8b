"""Rasters, grids and a class scheme that many tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
from affine import Affine
from hypothesis import settings
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.pixels.classes import ClassKind, ClassScheme, LandClass
from tests.processes import Processes

# a first call compiles; how long a test takes proves nothing on shared machines
settings.register_profile("geoseg", deadline=None)
settings.load_profile("geoseg")

UTM = "EPSG:32645"
NORTH_UP = Affine(2.0, 0.0, 300000.0, 0.0, -2.0, 3000000.0)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache folder, so that no test depends on what was measured or exported on this machine before."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def no_back_off() -> Iterator[None]:
    """Chunks that failed come again at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoseg.runtime.faults._BACK_OFF_S", 0.001)
        yield


WriteTif = Callable[..., Path]
"""``write_tif(pixels, name="image.tif", **profile)`` writes (C, H, W) and returns the path."""


@pytest.fixture
def write_tif(tmp_path: Path) -> WriteTif:
    def write(pixels: NDArray[Any], name: str = "image.tif", **profile: Any) -> Path:
        count, height, width = pixels.shape
        given = {"driver": "GTiff", "dtype": pixels.dtype.name, "crs": UTM, "transform": NORTH_UP, **profile}
        with rasterio.open(tmp_path / name, "w", count=count, height=height, width=width, **given) as dataset:
            dataset.write(pixels)
        return tmp_path / name

    return write


@pytest.fixture
def make_geobox() -> Callable[[int, int], GeoBox]:
    """A north-up UTM grid of 2 m pixels, of given rows and columns."""
    return lambda height, width: GeoBox((height, width), NORTH_UP, UTM)


@pytest.fixture
def scheme() -> ClassScheme:
    return ClassScheme(
        classes=(
            LandClass(value=1, name="water & ice", color="#1e78dc"),
            LandClass(value=4, name="forest", color="#286e28"),
            LandClass(value=2, name="house <new>", color="#dc2828", kind=ClassKind.BUILDING),
        )
    )


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    folder = tmp_path / "processes"
    folder.mkdir()
    started = Processes(folder)
    yield started
    started.end()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery with labels, beside the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real imagery: {folder} is missing")
    return folder

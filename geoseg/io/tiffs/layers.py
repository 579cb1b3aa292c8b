"""Reading windows of the bands of rasters that geoseg made itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import RunError
from geoseg.io.raster import open_plain


class LayerReader:
    """Reads windows of one band of a raster that is held open.

    Args:
        dataset: An open rasterio dataset.
        band: Which one, from 1.
    """

    def __init__(self, dataset: Any, band: int = 1) -> None:
        self._dataset = dataset
        self._band = band

    @property
    def nodata(self) -> float | None:
        """Value of pixels without data, as the file declares it."""
        value: float | None = self._dataset.nodata
        return value

    def __call__(self, window: Window) -> NDArray[Any]:
        """Return the pixels (H, W) of a window inside the raster."""
        pixels: NDArray[Any] = self._dataset.read(self._band, window=window)
        return pixels

    def shrink(self, window: Window, shape: tuple[int, int]) -> NDArray[Any]:
        """Return a window with fewer rows and columns, from the raster's overviews as far as it has them."""
        pixels: NDArray[Any] = self._dataset.read(self._band, window=window, out_shape=shape)
        return pixels


@contextmanager
def open_layer(path: Path, name: str | None = None) -> Iterator[LayerReader]:
    """Hold a raster open for reading windows of one of its bands.

    Args:
        path: The raster.
        name: Description of the band; None takes the first one.

    Raises:
        RunError: If it cannot be opened, or has no such band.
    """
    with open_plain(path) as dataset:
        if name is not None and name not in dataset.descriptions:
            raise RunError(f"{path} holds no band '{name}', only {', '.join(map(str, dataset.descriptions))}.")
        yield LayerReader(dataset, 1 if name is None else dataset.descriptions.index(name) + 1)


def read_band_names(path: Path) -> tuple[str, ...]:
    """Return the descriptions of a raster's bands, in order.

    Raises:
        RunError: If it cannot be opened.
    """
    with open_plain(path) as dataset:
        return tuple(name or "" for name in dataset.descriptions)

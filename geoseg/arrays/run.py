"""A finished run as arrays and tables."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from matplotlib.axes import Axes
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.arrays.dress import dress_layer
from geoseg.errors import MissingFileError, RunFolderError
from geoseg.io.sources.dataset import open_plain
from geoseg.io.vector import list_layers, read_layer
from geoseg.picture import color_classes
from geoseg.pixels.classes import ClassScheme
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.report import read_scheme

_CHUNK_PX = 2048
_SHOWN_PX = 1600
"""Longest side of a plot."""
_LINES: dict[str, dict[str, Any]] = {
    "buildings": {"edgecolor": "#ff3030", "facecolor": "none", "linewidth": 0.8},
    "roads": {"color": "#ffd500", "linewidth": 1.4},
}


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder whose rasters are lazy arrays and whose layers are GeoDataFrames."""

    path: Path
    """The run folder."""
    summary: dict[str, Any]
    """What ``summary.json`` holds: classes with areas, counts, timing, model, source, warnings."""

    @property
    def scheme(self) -> ClassScheme:
        """The classes."""
        return read_scheme(self.summary["classes"])

    @property
    def areas(self) -> pd.DataFrame:
        """Pixels and square metres by class; ``nodata`` is the last row."""
        return pd.DataFrame(self.summary["classes"]).set_index("name")[["value", "pixels", "area_m2", "color", "kind"]]

    @property
    def classes(self) -> xr.DataArray:
        """(y, x) uint8 class values, 255 = no data; read when it is computed."""
        return self._lazy("classes.tif", 1, "classes")

    @property
    def confidence(self) -> xr.DataArray:
        """(y, x) uint8 percent, 255 = no data."""
        return self._lazy("confidence.tif", 1, "confidence")

    @property
    def instances(self) -> xr.DataArray:
        """(y, x) uint32 instance ids, 0 = background."""
        return self._lazy("instances.tif", 1, "instances")

    @property
    def evidence(self) -> xr.Dataset:
        """(y, x) uint8 probabilities in 1/255, a variable for each layer."""
        with open_plain(self._product("evidence.tif")) as dataset:
            names = tuple(dataset.descriptions)
        return xr.Dataset({name: self._lazy("evidence.tif", band, name) for band, name in enumerate(names, start=1)})

    @property
    def buildings(self) -> gpd.GeoDataFrame:
        """Outlines with ``instance_id, class, score, area_m2, perimeter_m``."""
        return self.read("buildings")

    @property
    def roads(self) -> gpd.GeoDataFrame:
        """Centrelines with ``edge_id, from_node, to_node, length_m, width_m, score``."""
        return self.read("roads")

    @property
    def landcover(self) -> gpd.GeoDataFrame:
        """Polygons with ``class_value, class, area_m2``; a coverage without gaps."""
        return self.read("landcover")

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of ``features.gpkg``."""
        features = self.path / "features.gpkg"
        return tuple(list_layers(features)) if features.exists() else ()

    def read(self, layer: str) -> gpd.GeoDataFrame:
        """Read a layer of ``features.gpkg``, all of it.

        Raises:
            MissingFileError: If the run made no such layer.
        """
        if layer not in self.layers:
            raise MissingFileError(
                f"The run in {self.path} made no layer '{layer}'; it has {', '.join(self.layers) or 'none'}. Make it with --outputs."
            )
        return read_layer(self.path / "features.gpkg", layer)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the class map with its legend, and building outlines and roads over it.

        Args:
            ax: Where; None makes a new figure with pyplot.
        """
        import matplotlib.pyplot as plt
        from matplotlib.patches import Patch

        ax = ax or plt.subplots(figsize=(9, 9), layout="constrained")[1]
        with open_plain(self._product("classes.tif")) as dataset:
            coarser = max(1.0, max(dataset.shape) / _SHOWN_PX)
            pixels = dataset.read(1, out_shape=tuple(max(1, round(n / coarser)) for n in dataset.shape))
            left, bottom, right, top = dataset.bounds
        ax.imshow(color_classes(pixels, self.scheme), extent=(left, right, bottom, top), interpolation="nearest")
        for layer, style in _LINES.items():
            if layer in self.layers and len(table := self.read(layer)):
                table.plot(ax=ax, aspect=None, **style)
        ax.set(xlim=(left, right), ylim=(bottom, top), title=self.path.name)
        ax.legend(handles=[Patch(facecolor=c.color, label=c.name) for c in self.scheme], loc="upper right", fontsize="small")
        return ax

    def explore(self, **options: Any) -> Any:
        """Show building outlines and roads on an interactive map, which folium draws (``pip install folium``).

        Args:
            **options: For ``GeoDataFrame.explore``.

        Raises:
            MissingFileError: If the run has neither.
        """
        shown = [layer for layer in ("roads", "buildings") if layer in self.layers]
        if not shown:
            raise MissingFileError(f"The run in {self.path} has neither buildings nor roads to show. Make them with --outputs.")
        view: Any = None
        for layer in shown:
            color = _LINES[layer].get("edgecolor", _LINES[layer].get("color"))
            view = self.read(layer).explore(m=view, name=layer, color=color, **options)
        return view

    def _product(self, name: str) -> Path:
        path = self.path / name
        if not path.exists():
            raise MissingFileError(f"The run in {self.path} made no {name}. Make it with --outputs {path.stem}.")
        return path

    def _lazy(self, name: str, band: int, layer: str) -> xr.DataArray:
        path = self._product(name)
        with open_plain(path) as dataset:
            geobox = GeoBox(dataset.shape, dataset.transform, dataset.crs)
            dtype = np.dtype(dataset.dtypes[band - 1])
        height, width = geobox.shape
        read = delayed(partial(_read_window, path, band), pure=True)
        blocks = [
            [
                da.from_delayed(read(top, left, *shape), shape, dtype)
                for left in range(0, width, _CHUNK_PX)
                for shape in [(min(_CHUNK_PX, height - top), min(_CHUNK_PX, width - left))]
            ]
            for top in range(0, height, _CHUNK_PX)
        ]
        return dress_layer(da.block(blocks), layer, geobox, self.scheme)


def _read_window(path: Path, band: int, top: int, left: int, height: int, width: int) -> NDArray[Any]:
    with open_plain(path) as dataset:
        pixels: NDArray[Any] = dataset.read(band, window=Window(left, top, width, height))
    return pixels


def open_run(output: str | Path) -> Run:
    """Open a finished run.

    Args:
        output: The run folder.

    Raises:
        MissingFileError: If there is no such folder.
        RunFolderError: If the run is not finished, or its summary is damaged.
    """
    path = Path(output)
    if not path.exists():
        raise MissingFileError(f"There is no run folder {path}. Check the path.")
    if not path.is_dir():
        raise RunFolderError(f"{path} is a file; a run folder was expected, as geoseg segment -o makes it.")
    return Run(path, RunFolder(path).read_summary())

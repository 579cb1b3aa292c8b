"""Pictures of imagery and classes, and the overview of a run: imagery, classes, and polygons over the imagery."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import Window

from geoseg.io.files import write_whole
from geoseg.pixels.classes import ClassScheme

if TYPE_CHECKING:
    import geopandas as gpd

_INCH_PX = 100
_PANEL_IN = 7.5
_GAP_PX = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What is shown."""

    image: NDArray[np.uint8]
    """(H, W, 3) imagery."""
    classes: NDArray[np.uint8]
    """(H, W) class values, on the same grid."""
    scheme: ClassScheme
    """Names and colors."""
    geobox: GeoBox
    """The grid."""
    buildings: "gpd.GeoDataFrame"
    """Polygons in the grid's CRS; may be empty."""
    roads: "gpd.GeoDataFrame"
    """Lines in the grid's CRS; may be empty."""


def write_overview(overview: Overview, path: Path) -> None:
    """Draw three panels side by side into a PNG.

    Raises:
        WriteError: If the disk does not take it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    box = overview.geobox.boundingbox
    extent = (box.left, box.right, box.bottom, box.top)
    figure = Figure(
        figsize=(3 * _PANEL_IN, _PANEL_IN * overview.geobox.shape[0] / overview.geobox.shape[1] + 0.9), dpi=_INCH_PX, layout="constrained"
    )
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for panel, title in zip(panels, ("Imagery", "Classes", "Buildings and roads"), strict=True):
        panel.set_title(title)
        panel.set_axis_off()
    panels[0].imshow(overview.image, extent=extent)
    panels[1].imshow(color_classes(overview.classes, overview.scheme), extent=extent, interpolation="nearest")
    panels[2].imshow(overview.image, extent=extent)
    for table, style in ((overview.buildings, {"edgecolor": "#ff3030", "facecolor": "none", "linewidth": 0.9}), (overview.roads, _ROAD)):
        if len(table):
            table.plot(ax=panels[2], **style)
    legend = [Patch(facecolor=c.color, label=c.name) for c in overview.scheme]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False)
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]  # matplotlib annotates it in part
    write_whole(path, buffer.getvalue())


_ROAD = {"color": "#ffd500", "linewidth": 1.4}


def color_classes(classes: NDArray[np.uint8], scheme: ClassScheme) -> NDArray[np.uint8]:
    """Return (H, W, 4) RGBA of a class map; pixels of no class are transparent."""
    table = np.zeros((256, 4), np.uint8)
    for row in scheme:
        table[row.value] = (*row.rgb, 255)
    return table[classes]


def paint_classes(classes: NDArray[np.uint8], scheme: ClassScheme) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB of a class map; pixels of no class are white."""
    rgba = color_classes(classes, scheme)
    return np.where(rgba[..., 3:] == 0, np.uint8(255), rgba[..., :3])


def join_panels(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return pictures (H, W, 3) of one height side by side, with white between them."""
    gap = np.full((panels[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def stretch_rgb(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return imagery as (H, W, 3) that can be looked at, white where there is no data.

    Args:
        pixels: (C, H, W); the first three bands are shown, of fewer the last one is repeated. What is not 8 bit is stretched between its
            2nd and 98th percentile.
        valid: (H, W), True = data.
    """
    bands = np.stack([pixels[min(i, len(pixels) - 1)] for i in range(3)], axis=-1)
    if bands.dtype != np.uint8:
        shown = bands[valid].astype(np.float64) if valid.any() else np.zeros((1, 3))
        low, high = np.percentile(shown, [2, 98], axis=0)
        scaled = np.nan_to_num((bands - low) / np.maximum(high - low, 1e-9))
        bands = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return np.where(valid[..., None], bands, np.uint8(255)).astype(np.uint8)


def name_place(geobox: GeoBox, window: Window) -> str:
    """Say where the middle of a window is, in latitude and longitude, and which pixel it begins with."""
    at = f"column {window.col_off}, row {window.row_off}"
    if geobox.crs is None:
        return at
    x, y = geobox.transform @ (window.col_off + window.width / 2, window.row_off + window.height / 2)
    lon, lat = Transformer.from_crs(geobox.crs, "EPSG:4326", always_xy=True).transform(x, y)
    return f"{lat:.5f}, {lon:.5f} ({at})"

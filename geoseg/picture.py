"""An overview picture of a run: imagery, classes, and polygons over the imagery."""

import io
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.io.files import write_whole
from geoseg.pixels.classes import ClassScheme

_INCH_PX = 100
_PANEL_IN = 7.5


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
    buildings: gpd.GeoDataFrame
    """Polygons in the grid's CRS; may be empty."""
    roads: gpd.GeoDataFrame
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
    # four bytes at once: ten times as fast as four numbers one by one
    colors: NDArray[np.uint8] = table.view(np.uint32).ravel()[classes].view(np.uint8).reshape(*classes.shape, 4)
    return colors

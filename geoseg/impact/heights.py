"""Heights of points, from an elevation model that is read block by block."""

from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.impact.metric import move_points
from geoseg.io.raster import OpenRaster

_BLOCK_PX = 512


def sample_heights(dem: OpenRaster, geobox: GeoBox, points: NDArray[np.float64], crs: object) -> NDArray[np.float64]:
    """Return the bilinear height at points, (n,) in the unit of the raster.

    Args:
        dem: Heights in its first band.
        geobox: Its grid.
        points: (n, 2) x and y.
        crs: CRS of the points.

    Returns:
        Heights; NaN outside, and where one of the four pixels around has no data.
    """
    assert geobox.crs is not None, "open_raster refuses rasters without a CRS"
    placed = move_points(points, crs, geobox.crs.to_wkt())
    a, b, c, d, e, f = tuple(~geobox.transform)[:6]
    # heights are those of the middles of pixels
    cols, rows = a * placed[:, 0] + b * placed[:, 1] + c - 0.5, d * placed[:, 0] + e * placed[:, 1] + f - 0.5
    height, width = int(geobox.shape[0]), int(geobox.shape[1])
    inside = np.isfinite(cols) & np.isfinite(rows) & (cols >= -0.5) & (rows >= -0.5) & (cols <= width - 0.5) & (rows <= height - 0.5)
    found = np.full(len(points), np.nan)
    chosen = np.flatnonzero(inside)
    cols, rows = np.clip(cols[chosen], 0, width - 1), np.clip(rows[chosen], 0, height - 1)
    block = (rows // _BLOCK_PX).astype(np.int64) * (width // _BLOCK_PX + 1) + (cols // _BLOCK_PX).astype(np.int64)
    order = np.argsort(block, kind="stable")
    for _, members in groupby(order.tolist(), key=lambda k: int(block[k])):
        at = np.array(list(members))
        found[chosen[at]] = _sample_block(dem, rows[at], cols[at], (height, width))
    return found


def _sample_block(dem: OpenRaster, rows: NDArray[np.float64], cols: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    top, left = int(rows.min()), int(cols.min())
    bottom, right = min(int(rows.max()) + 2, shape[0]), min(int(cols.max()) + 2, shape[1])
    pixels, valid = dem.read(Window(left, top, right - left, bottom - top))
    heights = np.where(valid, pixels[0].astype(np.float64), np.nan)
    row, col = np.floor(rows).astype(np.int64) - top, np.floor(cols).astype(np.int64) - left
    below, beside = np.minimum(row + 1, bottom - top - 1), np.minimum(col + 1, right - left - 1)
    down, over = rows - np.floor(rows), cols - np.floor(cols)
    # a weight of 0 takes no pixel without data in
    corners = (
        (row, col, (1 - down) * (1 - over)),
        (row, beside, (1 - down) * over),
        (below, col, down * (1 - over)),
        (below, beside, down * over),
    )
    total = np.zeros(len(rows))
    for i, j, weight in corners:
        total += np.where(weight > 0, heights[i, j] * weight, 0.0)
    return total

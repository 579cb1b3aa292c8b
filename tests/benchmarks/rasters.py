"""Rasters to measure on, made on the spot: the same bytes every time, no resampling."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.scene import SceneOptions, draw_scene
from geoseg.tiling import partition

ORTHOPHOTO = Path(__file__).parents[3] / "shared" / "data" / "large" / "banepa_ortho.tif"
"""Real imagery beside the repository; what needs it is skipped where it is missing."""
CUT_COL, CUT_ROW = 3000, 2000
"""Upper left corner of the cut: a dense part of the town, clear of the hole without data."""
TRANSFORM = Affine(0.5, 0, 337_200, 0, -0.5, 3_058_800)
CRS = "EPSG:32645"
_STORAGE = {"driver": "GTiff", "dtype": "uint8", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
_STRIP_PX = 2048
_SCENE_PX = 2048


def draw_town(path: Path, size: int) -> Path:
    """Write a drawn town of ``size`` x ``size`` px: one scene, mirrored side by side so that no seam shows."""
    side = min(size, _SCENE_PX)
    scene = draw_scene(SceneOptions(height_px=side, width_px=side, nodata_corner=False, seed=7))
    return repeat_block(path, scene.pixels, (size, size))


def repeat_block(path: Path, block: NDArray[np.uint8], shape: tuple[int, int]) -> Path:
    """Write a block (C, h, w) mirrored side by side until it fills a raster of a shape; holds one strip in memory."""
    mirrored = np.concatenate([block, block[:, ::-1]], axis=1)
    mirrored = np.concatenate([mirrored, mirrored[:, :, ::-1]], axis=2)
    with create(path, len(block), shape) as dataset:
        for window in partition(shape, _STRIP_PX):
            rows = np.arange(window.row_off, window.row_off + window.height) % mirrored.shape[1]
            cols = np.arange(window.col_off, window.col_off + window.width) % mirrored.shape[2]
            dataset.write(mirrored[:, rows][:, :, cols], window=window)
    return path


def posterized_block(side: int = 1024) -> NDArray[np.uint8]:
    """Return a scene (3, H, W) in eight grays per band, which packs so well that gigapixels take little disk."""
    scene = draw_scene(SceneOptions(height_px=side, width_px=side, nodata_corner=False, seed=7))
    return np.asarray(scene.pixels // 32 * 32 + 16, np.uint8)


def cut_orthophoto(path: Path, size: int, source: Path = ORTHOPHOTO) -> Path:
    """Copy a square of the real orthophoto, pixel by pixel.

    Raises:
        FileNotFoundError: If the real imagery is not there.
    """
    if not source.is_file():
        raise FileNotFoundError(f"no real imagery: {source} is missing")
    window = Window(CUT_COL, CUT_ROW, size, size)
    with rasterio.open(source) as dataset:
        pixels, transform, crs = dataset.read(window=window), dataset.window_transform(window), dataset.crs
    with create(path, len(pixels), (size, size), transform=transform, crs=crs) as cut:
        cut.write(pixels)
    return path


def create(path: Path, bands: int, shape: tuple[int, int], *, transform: Affine = TRANSFORM, crs: Any = CRS) -> Any:
    """Open a new tiled uint8 GeoTIFF for writing."""
    photometric = {"photometric": "RGB"} if bands == 3 else {}
    place = {"count": bands, "height": shape[0], "width": shape[1], "transform": transform, "crs": crs}
    return rasterio.open(path, "w", **_STORAGE, **place, **photometric, num_threads="all_cpus", zlevel=1, bigtiff="if_safer")

"""Pixels of a web tile as a picture: classes in their colors, measures on a ramp, imagery stretched."""

import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rio_tiler.colormap import cmap

from geoseg.picture import color_classes
from geoseg.pixels.classes import ClassScheme
from geoseg.view.rasters import TILE_PX, TilePixels

PictureFormat = Literal["png", "webp"]
_LOW, _HIGH = 2.0, 98.0
"""Percentiles that become black and white."""

Picture = NDArray[np.uint8]
"""(256, 256, 4) RGBA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Which values of imagery become black and white, the same in all its tiles."""

    low: tuple[float, ...]
    """Per band."""
    high: tuple[float, ...]
    """Per band."""


def find_stretch(pixels: TilePixels) -> Stretch:
    """Choose the stretch from a coarse look at all of a raster.

    Bytes are stretched alike in all bands, which keeps colors; others band by band, as their scales differ.
    """
    data, valid = pixels.data, pixels.valid
    there = data[:, valid].astype(np.float64)
    there = there[:, np.isfinite(there).all(axis=0)]
    if not there.size:
        return Stretch(low=(0.0,) * len(data), high=(1.0,) * len(data))
    ends = np.percentile(there, (_LOW, _HIGH), axis=None if data.dtype == np.uint8 else 1)
    low, high = (np.broadcast_to(end, len(data)) for end in ends)
    return Stretch(low=tuple(map(float, low)), high=tuple(float(max(h, lo + 1e-9)) for h, lo in zip(high, low, strict=True)))


def paint_imagery(pixels: TilePixels, stretch: Stretch) -> Picture:
    """Return imagery of one or three bands as a picture."""
    low, high = (np.array(end, np.float32)[:, None, None] for end in (stretch.low, stretch.high))
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.nan_to_num(np.clip((pixels.data.astype(np.float32) - low) * (255 / (high - low)), 0, 255))
    picture = np.empty((*pixels.valid.shape, 4), np.uint8)
    picture[..., :3] = np.moveaxis(scaled, 0, -1).astype(np.uint8)
    picture[..., 3] = np.where(pixels.valid, 255, 0)
    return picture


def paint_classes(pixels: TilePixels, scheme: ClassScheme, hidden: Collection[str] = ()) -> Picture:
    """Return a class map in the colors of its scheme, without the classes of some names."""
    picture = color_classes(pixels.data[0].astype(np.uint8), scheme)
    off = [row.value for row in scheme if row.name in hidden]
    picture[~pixels.valid | np.isin(pixels.data[0], off), 3] = 0
    return picture


def paint_table(pixels: TilePixels, table: dict[int, tuple[int, ...]]) -> Picture:
    """Return a raster in the colors of its own table."""
    colors = np.zeros((256, 4), np.uint8)
    for value, color in table.items():
        if 0 <= value < len(colors):
            colors[value, : len(color)] = color
    picture: Picture = colors[np.clip(pixels.data[0], 0, 255).astype(np.uint8)]
    picture[~pixels.valid, 3] = 0
    return picture


def paint_measure(pixels: TilePixels, most: float) -> Picture:
    """Return a measure from 0 to ``most`` on a ramp from dark violet to yellow."""
    share = np.clip(pixels.data[0].astype(np.float32) * (255 / most), 0, 255).astype(np.uint8)
    picture: Picture = ramp()[share]
    picture[~pixels.valid, 3] = 0
    return picture


@cache
def ramp() -> NDArray[np.uint8]:
    """Return the colors of measures, (256, 4)."""
    table: Any = cmap.get("viridis")
    return np.array([table[value] for value in range(256)], np.uint8)


def lay_over(pictures: Iterable[Picture]) -> Picture | None:
    """Return the first picture where it has pixels, the next one elsewhere, and so on; None if there is none."""
    laid: Picture | None = None
    for picture in pictures:
        if laid is None:
            laid = picture
            continue
        empty = laid[..., 3] == 0
        laid[empty] = picture[empty]
        if not empty.any():
            break
    return laid


def encode(picture: Picture, kind: PictureFormat) -> bytes:
    """Encode a picture; WebP loses details that only imagery has."""
    stream = io.BytesIO()
    image = Image.fromarray(picture)
    if kind == "webp":
        image.save(stream, "WEBP", quality=85, method=0)
    else:
        image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


@cache
def nothing() -> bytes:
    """Return the picture of a tile in which there is nothing."""
    return encode(np.zeros((TILE_PX, TILE_PX, 4), np.uint8), "png")

"""Pixels of a web tile as a picture: classes in their colors, measures on a ramp, imagery stretched."""

import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rio_tiler.colormap import cmap

from geoseg.picture import color_classes
from geoseg.pixels.classes import ClassScheme
from geoseg.view.rasters import TILE_PX, TilePixels

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
    # of large numbers the next one may be farther than any small step
    least = low + np.maximum(1e-9, 1e-6 * np.abs(low))
    return Stretch(low=tuple(map(float, low)), high=tuple(map(float, np.maximum(high, least))))


def paint_imagery(pixels: TilePixels, stretch: Stretch) -> Picture:
    """Return imagery of one or three bands as a picture."""
    picture = np.empty((*pixels.valid.shape, 4), np.uint8)
    for number in range(3):
        band = pixels.data[min(number, len(pixels.data) - 1)]
        low, high = (end[min(number, len(end) - 1)] for end in (stretch.low, stretch.high))
        if band.dtype == np.uint8:
            np.take(_scale(np.arange(256, dtype=np.float32), low, high), band, out=picture[..., number], mode="clip")
        else:
            picture[..., number] = _scale(band.astype(np.float32), low, high)
    picture[..., 3] = 255
    if not pixels.valid.all():
        # lossy pictures let what lies hidden shine through at the edge
        picture[~pixels.valid] = 0
    return picture


def _scale(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Return values between two ends as bytes."""
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.clip((values - np.float32(low)) * np.float32(255 / (high - low)), 0, 255)
    return np.asarray(np.nan_to_num(scaled), np.uint8)


def paint_classes(pixels: TilePixels, scheme: ClassScheme, hidden: Collection[str] = ()) -> Picture:
    """Return a class map in the colors of its scheme, without the classes of some names."""
    picture = color_classes(pixels.data[0].astype(np.uint8), scheme)
    off = [row.value for row in scheme if row.name in hidden]
    picture[~pixels.valid | np.isin(pixels.data[0], off) if off else ~pixels.valid, 3] = 0
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
    picture: Picture = np.take(ramp().view(np.uint32), share).view(np.uint8).reshape(*share.shape, 4)
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


def encode(picture: Picture, *, exact: bool) -> bytes:
    """Encode a picture so that it takes little time: as JPEG where details may get lost and nothing is transparent, else as WebP.

    Args:
        picture: The picture.
        exact: Keep every color as it is; imagery may lose details.
    """
    stream = io.BytesIO()
    if not exact and picture[..., 3].all():
        Image.fromarray(np.ascontiguousarray(picture[..., :3])).save(stream, "JPEG", quality=85)
    else:
        # of lossless pictures the quality is how much time is taken
        Image.fromarray(picture).save(stream, "WEBP", lossless=exact, quality=0 if exact else 85, method=0)
    return stream.getvalue()


def kind_of(content: bytes) -> str:
    """Return the media type of what :func:`encode` returns."""
    return "image/jpeg" if content.startswith(b"\xff\xd8") else "image/webp"


@cache
def nothing() -> bytes:
    """Return the picture of a tile in which there is nothing."""
    return encode(np.zeros((TILE_PX, TILE_PX, 4), np.uint8), exact=True)

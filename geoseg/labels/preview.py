"""Labels over their imagery, as a picture."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from geoseg.io.files import write_whole
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.labels.targets import LabelledRaster
from geoseg.pixels.classes import ClassScheme

_SIDE_PX = 900
_LEGEND_PX = 24
_COVER = 0.45
_GRAY = (128, 128, 128)


def draw_preview(raster: LabelledRaster, scheme: ClassScheme) -> NDArray[np.uint8]:
    """Draw imagery, and beside it the same with labels: classes in their colors, borders full, the unlabelled grayed.

    Args:
        raster: Pixels and targets.
        scheme: Colors.

    Returns:
        (h, w, 3) RGB with a legend below; sampled to at most 900 px a side.
    """
    step = max(1, -(-max(raster.pixels.shape[1:]) // _SIDE_PX))
    image = _as_rgb(raster.pixels)[::step, ::step]
    semantic = raster.targets[0, ::step, ::step]
    table = np.zeros((256, 3), np.float32)
    table[UNLABELLED] = _GRAY
    for channel, row in enumerate(scheme):
        table[channel] = row.rgb
    cover = np.full(256, _COVER, np.float32)
    cover[NOT_BUILDING], cover[UNLABELLED] = 0.0, 0.7
    weight = np.where(_borders(semantic), np.where(semantic < NOT_BUILDING, 1.0, cover[semantic]), cover[semantic])[..., None]
    over = np.rint(image * (1 - weight) + table[semantic] * weight).astype(np.uint8)
    both = np.concatenate([image, np.full((image.shape[0], 4, 3), 255, np.uint8), over], axis=1)
    return np.concatenate([both, _legend(both.shape[1], raster.name, scheme)])


def write_preview(rasters: list[NDArray[np.uint8]], path: Path) -> None:
    """Write pictures below one another into one PNG.

    Raises:
        WriteError: If the disk does not take it.
    """
    width = max(picture.shape[1] for picture in rasters)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in rasters]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(padded)).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())


def _as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    bands = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
    return np.moveaxis(bands, 0, 2)


def _borders(semantic: NDArray[np.uint8]) -> NDArray[np.bool_]:
    borders = np.zeros(semantic.shape, bool)
    borders[1:] |= semantic[1:] != semantic[:-1]
    borders[:, 1:] |= semantic[:, 1:] != semantic[:, :-1]
    return borders


def _legend(width: int, name: str, scheme: ClassScheme) -> NDArray[np.uint8]:
    strip = Image.new("RGB", (width, _LEGEND_PX), "white")
    draw = ImageDraw.Draw(strip)
    at = 6.0
    rows = [(c.name, c.rgb) for c in scheme] + [("unlabelled", _GRAY)]
    for text, color in rows:
        draw.rectangle((at, 7, at + 10, 17), fill=color)
        draw.text((at + 14, 6), text, fill="black")
        at += 26 + draw.textlength(text)
    draw.text((at + 10, 6), name, fill="gray")
    return np.asarray(strip, np.uint8)

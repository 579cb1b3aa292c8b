"""Overview maps and close-ups of a run, drawn from overviews: they take as long for a country as for a town."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.windows import Window

from geoseg.errors import GeosegError
from geoseg.io.ground import pixel_step_m
from geoseg.io.sampled import coarse_shape, read_coarse
from geoseg.io.tiffs.layers import open_layer
from geoseg.picture import name_place, paint_classes, stretch_rgb
from geoseg.products.formats.run import RunProducts
from geoseg.products.reporting.places import Place

_MAP_PX = 900
_PLACE_PX = 256
_BUILDING_RGB, _ROAD_RGB = (255, 48, 48), (0, 60, 220)
_FADE = 0.45
"""How far imagery is faded below buildings and roads."""
_RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float64)
"""From uncertain to certain: readable by all eyes and on gray prints (viridis of matplotlib)."""
_RAMP_PERCENT = np.linspace(40, 100, len(_RAMP))
_SCALE_SHARE = 0.25
"""Part of a map's width that its scale bar takes, at most."""

Picture = tuple[str, NDArray[np.uint8]]
"""Caption, and (H, W, 3) RGB."""


def draw_maps(products: RunProducts) -> list[Picture]:
    """Draw imagery, classes, buildings and roads, and confidence, as far as the run has them and its imagery is still there."""
    height, width = (int(n) for n in products.geobox.shape)
    whole = Window(0, 0, width, height)
    imagery = _see_imagery(products, whole, _MAP_PX)
    drawn: list[Picture] = [] if imagery is None else [("Imagery", imagery)]
    class_map, confidence = products.find("classes.tif"), products.find("confidence.tif")
    if class_map is not None:
        drawn.append(("Classes", paint_classes(_shrink(class_map, whole, _MAP_PX), products.scheme)))
    objects = _draw_objects(products, whole, imagery)
    if objects is not None:
        drawn.append(objects)
    if confidence is not None:
        drawn.append(("Confidence: violet is 40 % or less, yellow 100 %", _color_percent(_shrink(confidence, whole, _MAP_PX))))
    metre_px = None if products.geobox.crs is None else drawn[0][1].shape[1] / (width * pixel_step_m(products.geobox)[0]) if drawn else None
    return [(caption, picture if metre_px is None else _add_scale(picture, metre_px)) for caption, picture in drawn]


def draw_place(products: RunProducts, place: Place) -> Picture:
    """Draw a place close up: imagery, if it is still there, beside classes."""
    class_map = products.find("classes.tif")
    imagery = _see_imagery(products, place.window, _PLACE_PX)
    panels = [] if imagery is None else [imagery]
    if class_map is not None:
        panels.append(paint_classes(_shrink(class_map, place.window, _PLACE_PX), products.scheme))
    gap = np.full((panels[0].shape[0] if panels else 1, 4, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1] or [gap]
    return f"{place.confidence:.0f} % sure at {name_place(products.geobox, place.window)}", np.concatenate(row, axis=1)


def _see_imagery(products: RunProducts, window: Window, longest_px: int) -> NDArray[np.uint8] | None:
    if products.imagery is not None:
        # a report is no reason for a run to fail: imagery may be gone or out of reach by now
        with suppress(GeosegError):
            return stretch_rgb(*read_coarse(products.imagery, window, longest_px))
    return None


def _shrink(path: Path, window: Window, longest_px: int) -> NDArray[np.uint8]:
    with open_layer(path) as read:
        return np.asarray(read.shrink(window, coarse_shape((window.height, window.width), longest_px)), np.uint8)


def _color_percent(percent: NDArray[np.uint8]) -> NDArray[np.uint8]:
    table = np.full((256, 3), 255.0)
    for channel in range(3):
        table[:101, channel] = np.interp(np.arange(101), _RAMP_PERCENT, _RAMP[:, channel])
    colors: NDArray[np.uint8] = np.rint(table).astype(np.uint8)
    return np.asarray(colors[percent])


def _draw_objects(products: RunProducts, window: Window, imagery: NDArray[np.uint8] | None) -> Picture | None:
    """Draw buildings by their pixels, which overviews hold, and roads by their lines."""
    instances, layers = products.find("instances.tif"), products.layers()
    if instances is None and "roads" not in layers:
        return None
    shape = coarse_shape((window.height, window.width), _MAP_PX)
    paper = np.full((*shape, 3), 255, np.uint8) if imagery is None else imagery
    canvas = np.rint(paper * (1 - _FADE) + 255 * _FADE).astype(np.uint8)
    if instances is not None:
        with open_layer(instances) as read:
            canvas[read.shrink(window, shape) > 0] = _BUILDING_RGB
    if "roads" not in layers:
        return "Buildings", canvas
    named = "Buildings (red) and roads (blue)" if instances is not None else "Roads (blue)"
    return named, _draw_roads(canvas, products)


def _draw_roads(canvas: NDArray[np.uint8], products: RunProducts) -> NDArray[np.uint8]:
    # geopandas is loaded by now: it wrote the layer
    from geoseg.io.vector import read_layer

    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    shrunk = Affine.scale(canvas.shape[1] / products.geobox.shape[1], canvas.shape[0] / products.geobox.shape[0])
    onto = shrunk @ ~products.geobox.transform
    points, line = shapely.get_coordinates(read_layer(products.features, "roads").geometry.to_numpy(), return_index=True)
    placed = np.column_stack(onto @ (points[:, 0], points[:, 1]))
    for part in np.split(placed, np.flatnonzero(np.diff(line)) + 1) if len(placed) else ():
        draw.line([tuple(point) for point in part.tolist()], fill=_ROAD_RGB, width=3)
    return np.asarray(image)


def _add_scale(picture: NDArray[np.uint8], metre_px: float) -> NDArray[np.uint8]:
    """Draw a bar of a round length into the lower left corner."""
    most_m = _SCALE_SHARE * picture.shape[1] / metre_px
    power = 10.0 ** np.floor(np.log10(most_m))
    length_m = power * max(step for step in (1, 2, 5) if step * power <= most_m)
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    image = Image.fromarray(picture)
    draw, bottom = ImageDraw.Draw(image), picture.shape[0] - 8
    draw.rectangle((8, bottom - 6, 8 + length_m * metre_px, bottom), fill="white", outline="black")
    draw.text((8, bottom - 9), text, fill="black", anchor="ls", font=ImageFont.load_default(14), stroke_width=2, stroke_fill="white")
    return np.asarray(image)

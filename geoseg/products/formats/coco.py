"""COCO: buildings as instances in pictures of one size, for tools that train on and look at annotated images."""

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window
from scipy.ndimage import find_objects

from geoseg.errors import WriteError
from geoseg.io.raster import OpenRaster, RasterSource, open_plain
from geoseg.io.vector import read_within
from geoseg.labels.annotations import AnnotatedImage, Shape
from geoseg.labels.coco import describe_categories, describe_image, describe_mask, describe_shapes
from geoseg.products.formats.run import RunProducts
from geoseg.tiling import partition

PICTURE_PX = 1024
"""Side of a picture."""
_CATEGORY = {"building": 1}
_SAMPLES, _SAMPLE_PX = 5, 256
"""Windows along each side of the raster, from which the range of values is told that are not bytes."""


Describe = Callable[[RunProducts, int, AnnotatedImage, Window, Iterator[int]], Iterator[dict[str, Any]]]
"""Yields the rows of the buildings in a picture: given its id, its description, its window of the run, and ids for the rows."""


def write_coco_folder(products: RunProducts, target: Path) -> None:
    """Write ``coco/annotations.json`` and, if the imagery can still be read, a PNG for each picture beside it.

    Outlines are cut at the edges of pictures, polygons with courtyards through them; every picture with data is listed.

    Raises:
        WriteError: If the disk does not take it.
    """
    _write_folder(products, target / "coco", _describe_outlines)


def write_coco_masks(products: RunProducts, target: Path) -> None:
    """Write ``coco-rle``, the same folder with buildings as run lengths: the pixels of ``instances.tif``, courtyards and all.

    Raises:
        WriteError: If the disk does not take it.
    """
    _write_folder(products, target / "coco-rle", _describe_masks)


def _write_folder(products: RunProducts, folder: Path, describe: Describe) -> None:
    if "buildings" not in products.layers():
        return
    images: list[dict[str, Any]] = []
    try:
        folder.mkdir()
        with (folder / "annotations.json").open("w", encoding="utf-8") as out:
            out.write(f'{{"categories": {json.dumps(describe_categories(_CATEGORY))}, "annotations": [')
            _write_rows(out, _annotate(products, folder, describe, images))
            # pictures last: which ones there are is known when all are made
            out.write(f'], "images": {json.dumps(images)}}}\n')
    except OSError as exc:
        raise WriteError(f"{folder.name} could not be written: {exc}. Make room and run the same command again.") from exc


def _write_rows(out: IO[str], rows: Iterator[dict[str, Any]]) -> None:
    for number, row in enumerate(rows):
        out.write((",\n" if number else "\n") + json.dumps(row))


def _annotate(products: RunProducts, folder: Path, describe: Describe, images: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    numbers = count(1)
    source = products.imagery
    reader = None if source is None else source.open()
    span = None if reader is None or source is None else _find_span(reader, source)
    try:
        for window in partition((int(products.geobox.shape[0]), int(products.geobox.shape[1])), PICTURE_PX):
            name = f"{window.row_off:07d}_{window.col_off:07d}.png"
            if reader is not None and span is not None and not _draw(reader, window, span, folder / name):
                continue
            image = AnnotatedImage(name=name, width=window.width, height=window.height, shapes=())
            images.append(describe_image(len(images) + 1, image))
            yield from describe(products, len(images), image, window, numbers)
    finally:
        if reader is not None:
            reader.close()


def _describe_outlines(
    products: RunProducts, image_id: int, image: AnnotatedImage, window: Window, numbers: Iterator[int]
) -> Iterator[dict[str, Any]]:
    yield from describe_shapes(image_id, _shapes(products, window), _CATEGORY, numbers)


def _describe_masks(
    products: RunProducts, image_id: int, image: AnnotatedImage, window: Window, numbers: Iterator[int]
) -> Iterator[dict[str, Any]]:
    path = products.find("instances.tif")
    assert path is not None, "buildings without instances"
    with open_plain(path) as dataset:
        labels = dataset.read(1, window=window)
    # the same numbers, small enough for an array of places
    ids, small = np.unique(labels, return_inverse=True)
    for number, place in enumerate(find_objects(small.reshape(labels.shape) + 1), start=1):
        if place is not None and ids[number - 1]:
            corner = int(place[0].start), int(place[1].start)
            yield describe_mask(next(numbers), image_id, labels[place] == ids[number - 1], corner, labels.shape)


def _shapes(products: RunProducts, window: Window) -> tuple[Shape, ...]:
    """Return the buildings of a picture in its pixels."""
    box = products.geobox[window.toslices()].boundingbox
    found = read_within(products.features, "buildings", (box.left, box.bottom, box.right, box.top))
    a, b, c, d, e, f = tuple(~products.geobox.transform)[:6]

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T
        return np.column_stack([a * x + b * y + c - window.col_off, d * x + e * y + f - window.row_off])

    inside = shapely.intersection(shapely.transform(found.geometry.to_numpy(), place), shapely.box(0, 0, window.width, window.height))
    return tuple(Shape(label="building", geometry=shape) for shape in inside if shape.area > 0)


def _draw(reader: OpenRaster, window: Window, span: NDArray[np.float64], path: Path) -> bool:
    """Write a picture and return True, unless none of it holds data."""
    pixels, valid = reader.read(window)
    if not valid.any():
        return False
    low, high = span
    shown = pixels[: len(low)].astype(np.float64)
    bytes_ = np.where(valid, np.clip((shown - low[:, None, None]) / (high - low)[:, None, None], 0, 1) * 255, 0).round().astype(np.uint8)
    Image.fromarray(bytes_[0] if len(bytes_) == 1 else np.ascontiguousarray(bytes_.transpose(1, 2, 0))).save(path)
    return True


def _find_span(reader: OpenRaster, source: RasterSource) -> NDArray[np.float64]:
    """Return black and white of the bands that are shown, (2, 1 or 3): bytes as they are, others from their 2nd to 98th percentile."""
    shown = 3 if len(source.bands) >= 3 else 1
    if source.dtype == "uint8":
        return np.repeat([[0.0], [255.0]], shown, axis=1)
    samples = [pixels[:shown, valid] for pixels, valid in map(reader.read, _sample_windows(source.shape))]
    values = np.concatenate(samples, axis=1).astype(np.float64)
    if not values.size:
        return np.repeat([[0.0], [1.0]], shown, axis=1)
    low, high = np.percentile(values, [2, 98], axis=1)
    return np.stack([low, np.maximum(high, np.nextafter(low, np.inf))])


def _sample_windows(shape: tuple[int, int]) -> Iterator[Window]:
    height, width = (min(side, _SAMPLE_PX) for side in shape)
    for row in np.linspace(0, shape[0] - height, _SAMPLES).astype(int):
        for col in np.linspace(0, shape[1] - width, _SAMPLES).astype(int):
            yield Window(int(col), int(row), width, height)

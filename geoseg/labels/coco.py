"""COCO: one JSON file of images, categories and annotations (Lin et al. 2014, "Microsoft COCO: Common objects in context")."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from geoseg.errors import LabelError
from geoseg.labels.annotations import (
    MOST_MASK_PX,
    AnnotatedImage,
    Annotations,
    Shape,
    join_parts,
    outline_mask,
    polygons_of,
    without_holes,
)


def write_coco(annotations: Annotations) -> bytes:
    """Encode annotations; polygons with holes are cut through them, lines are left out."""
    labels = sorted({s.label for image in annotations.images for s in image.shapes})
    category = {label: i for i, label in enumerate(labels, start=1)}
    numbers = count(1)
    images = list(enumerate(annotations.images, start=1))
    content = {
        "images": [describe_image(image_id, image) for image_id, image in images],
        "categories": describe_categories(category),
        "annotations": [row for image_id, image in images for row in describe_shapes(image_id, image.shapes, category, numbers)],
    }
    return json.dumps(content).encode()


def describe_image(image_id: int, image: AnnotatedImage) -> dict[str, Any]:
    """Return the row of an image."""
    return {"id": image_id, "file_name": image.name, "width": image.width, "height": image.height}


def describe_categories(category: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the rows of categories, given their ids by label."""
    return [{"id": number, "name": label, "supercategory": ""} for label, number in category.items()]


def describe_shapes(
    image_id: int, shapes: Iterable[Shape], category: Mapping[str, int], numbers: Iterator[int]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the shapes of an image.

    Args:
        image_id: Id of the image.
        shapes: What was drawn in it; polygons with holes are cut through them, lines are left out.
        category: Ids by label.
        numbers: Gives the ids of the rows.
    """
    for shape in shapes:
        parts = [whole for polygon in polygons_of(shape.geometry) for whole in without_holes(polygon)]
        if parts:
            yield _annotation(next(numbers), image_id, category[shape.label], parts)


def describe_mask(number: int, image_id: int, mask: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Return the row of one object as run lengths, of category 1.

    Args:
        number: Id of the row.
        image_id: Id of the image.
        mask: (h, w), True on at least one pixel of the object.
        corner: Row and column of the mask in the image.
        size: Height and width of the image.
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = corner[1] + int(cols[0]), corner[0] + int(rows[0])
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "segmentation": {"size": list(size), "counts": encode_runs(mask, corner, size)},
        "bbox": [left, top, int(cols[-1] - cols[0]) + 1, int(rows[-1] - rows[0]) + 1],
        "area": int(mask.sum()),
        "iscrowd": 0,
    }


def encode_runs(mask: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, int]) -> str:
    """Encode a mask as run lengths in their text form; the inverse of :func:`decode_runs`.

    Args:
        mask: (h, w).
        corner: Row and column of the mask in the image.
        size: Height and width of the image, whose other pixels are zeros.
    """
    # whole columns of the image, from the first that the mask reaches
    columns = np.zeros((mask.shape[1], size[0]), np.bool_)
    columns[:, corner[0] : corner[0] + mask.shape[0]] = mask.T
    whole = size[0] * size[1]
    changes = np.flatnonzero(np.diff(columns.ravel(), prepend=False, append=False)) + corner[1] * size[0]
    # a run that reaches the last pixel ends with the image
    return _pack(np.diff(changes[changes < whole], prepend=0, append=whole).tolist())


def _pack(lengths: list[int]) -> str:
    letters: list[str] = []
    for place, length in enumerate(lengths):
        value = length - (lengths[place - 2] if place > 2 else 0)
        more = True
        while more:
            code = value & 0x1F
            value >>= 5
            more = value != (-1 if code & 0x10 else 0)
            letters.append(chr(48 + (code | 0x20 if more else code)))
    return "".join(letters)


def read_coco(content: bytes) -> Annotations:
    """Decode annotations: polygons, and run lengths as numbers or as text.

    Raises:
        LabelError: If it is no COCO file, or an annotation names an image or category that is not there.
    """
    try:
        data = json.loads(content)
        categories = {row["id"]: str(row["name"]) for row in data["categories"]}
        shapes: dict[Any, list[Shape]] = {row["id"]: [] for row in data["images"]}
        empty = 0
        for row in data["annotations"]:
            geometry = _geometry(row)
            if geometry is None or geometry.is_empty:
                empty += 1
            else:
                shapes[row["image_id"]].append(Shape(label=categories[row["category_id"]], geometry=geometry))
        images = tuple(
            AnnotatedImage(name=row["file_name"], width=int(row["width"]), height=int(row["height"]), shapes=tuple(shapes[row["id"]]))
            for row in data["images"]
        )
    except (AttributeError, KeyError, TypeError, IndexError, OverflowError, RecursionError, ValueError, GEOSException) as exc:
        raise LabelError(f"This is no COCO file with images, categories and annotations: {type(exc).__name__} {exc}.") from exc
    notes = (f"{empty} annotations without a shape were left out",) if empty else ()
    return Annotations(images=images, notes=notes)


def decode_runs(counts: list[int] | str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode run lengths, down the columns, beginning with zeros, into a mask.

    Args:
        counts: Lengths, or their text form of five bits a character, differences to the last but one.
        size: Height and width.

    Returns:
        (H, W).

    Raises:
        ValueError: If the lengths do not add up to the size.
    """
    lengths = _unpack(counts) if isinstance(counts, str) else list(counts)
    if size[0] * size[1] > MOST_MASK_PX:
        raise ValueError(f"a mask of {size[0]} x {size[1]} pixels; at most {MOST_MASK_PX} are taken")
    if sum(lengths) != size[0] * size[1] or min(lengths, default=0) < 0:
        raise ValueError(f"run lengths add up to {sum(lengths)}, not to {size[0]} x {size[1]} pixels")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return flat.reshape(size[1], size[0]).T


def _unpack(text: str) -> list[int]:
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value |= -1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    return lengths


def _geometry(row: dict[str, Any]) -> BaseGeometry | None:
    found = row.get("segmentation")
    if isinstance(found, dict):
        height, width = found["size"]
        return outline_mask(decode_runs(found["counts"], (int(height), int(width))))
    rings = [shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in found or [] if len(ring) >= 6]
    return join_parts(rings) if rings else None


def _annotation(number: int, image_id: int, category_id: int, parts: Iterable[shapely.Polygon]) -> dict[str, Any]:
    whole = shapely.multipolygons(list(parts))
    left, top, right, bottom = whole.bounds
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": [np.round(shapely.get_coordinates(p.exterior)[:-1].ravel(), 3).tolist() for p in whole.geoms],
        "bbox": [round(v, 3) for v in (left, top, right - left, bottom - top)],
        "area": round(float(whole.area), 3),
        "iscrowd": 0,
    }

"""CVAT: the XML form "CVAT for images 1.1"."""

from collections import Counter
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import rotate
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


def write_cvat(annotations: Annotations) -> bytes:
    """Encode annotations; the parts of an object share a group, holes are cut through."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    group = 0
    for number, image in enumerate(annotations.images):
        size = {"width": str(image.width), "height": str(image.height)}
        node = ElementTree.SubElement(root, "image", {"id": str(number), "name": image.name, **size})
        for shape in image.shapes:
            parts = _parts(shape.geometry)
            group += len(parts) > 1
            more = {"group_id": str(group)} if len(parts) > 1 else {}
            for tag, points in parts:
                text = ";".join(f"{x:.3f},{y:.3f}" for x, y in points)
                ElementTree.SubElement(
                    node, tag, {"label": shape.label, "source": "file", "occluded": "0", "points": text, "z_order": "0", **more}
                )
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def read_cvat(content: bytes) -> Annotations:
    """Decode polygons, polylines, boxes and masks; the parts of a group become one object. Other shapes are counted.

    Raises:
        LabelError: If it is no such XML, or declares a document type or entities, which could make it grow or read files.
    """
    _refuse_declarations(content)
    try:
        root = ElementTree.fromstring(content)
        left_out: Counter[str] = Counter()
        images = tuple(_read_image(node, left_out) for node in root.iter("image"))
    except (ElementTree.ParseError, KeyError, OverflowError, ValueError, TypeError, GEOSException) as exc:
        raise LabelError(f"This is no 'CVAT for images 1.1' file as expected: {type(exc).__name__} {exc}.") from exc
    if not images:
        raise LabelError("This XML holds no image; 'CVAT for images 1.1' is expected. Export the task in that form.")
    return Annotations(images=images, notes=tuple(f"{n} shapes of kind {kind} were left out" for kind, n in left_out.items()))


def _read_image(node: ElementTree.Element, left_out: Counter[str]) -> AnnotatedImage:
    groups: dict[tuple[str, str], list[BaseGeometry]] = {}
    for number, child in enumerate(node):
        geometry = _geometry(child, (int(node.attrib["height"]), int(node.attrib["width"])))
        if geometry is None:
            left_out[child.tag] += 1
            continue
        group = child.get("group_id", "0")
        key = f"group {group}" if group not in ("", "0") else f"shape {number}"
        groups.setdefault((child.attrib["label"], key), []).append(geometry)
    shapes = tuple(Shape(label=label, geometry=_joined(parts)) for (label, _), parts in groups.items())
    return AnnotatedImage(name=node.attrib["name"], width=int(node.attrib["width"]), height=int(node.attrib["height"]), shapes=shapes)


def _joined(parts: list[BaseGeometry]) -> BaseGeometry:
    return parts[0] if len(parts) == 1 and parts[0].geom_type == "LineString" else join_parts(parts)


def _geometry(node: ElementTree.Element, size: tuple[int, int]) -> BaseGeometry | None:
    if node.tag == "polygon":
        return shapely.Polygon(_points(node))
    if node.tag == "polyline":
        return shapely.LineString(_points(node))
    if node.tag == "box":
        box = shapely.box(*(float(node.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr")))
        # y points down, so that shapely's counter-clockwise is clockwise on the screen, as CVAT turns
        return rotate(box, float(node.get("rotation", "0")))
    if node.tag == "mask":
        return outline_mask(_mask(node, size))
    return None


def _mask(node: ElementTree.Element, size: tuple[int, int]) -> NDArray[np.bool_]:
    left, top, width, height = (int(float(node.attrib[key])) for key in ("left", "top", "width", "height"))
    lengths = [int(n) for n in node.attrib["rle"].split(",")]
    if not (0 <= top <= top + height <= size[0] and 0 <= left <= left + width <= size[1]):
        raise ValueError(f"a mask of {height} x {width} px at row {top}, column {left} reaches out of its image")
    if size[0] * size[1] > MOST_MASK_PX:
        raise ValueError(f"a mask in an image of {size[0]} x {size[1]} px; at most {MOST_MASK_PX} are taken")
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)
    return mask


def _points(node: ElementTree.Element) -> NDArray[np.float64]:
    return np.array([[float(v) for v in pair.split(",")] for pair in node.attrib["points"].split(";")])


def _parts(geometry: BaseGeometry) -> list[tuple[str, NDArray[np.float64]]]:
    wholes = [whole for p in polygons_of(geometry) for whole in without_holes(p)]
    lines = [line for line in shapely.get_parts(geometry) if line.geom_type == "LineString"]
    polygons = [("polygon", shapely.get_coordinates(p.exterior)[:-1]) for p in wholes]
    return polygons + [("polyline", shapely.get_coordinates(line)) for line in lines]


def _refuse_declarations(content: bytes) -> None:
    def refuse(*_: object) -> None:
        raise LabelError("This XML declares a document type or entities; annotations need none. Remove the <!DOCTYPE ...>.")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as exc:
        raise LabelError(f"This is no XML: {exc}. 'CVAT for images 1.1' is expected.") from exc

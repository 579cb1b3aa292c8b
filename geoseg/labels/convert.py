"""Labels from one file form to another: vector files, COCO and CVAT."""

import json
from pathlib import Path

from geoseg.errors import LabelError, MissingFileError
from geoseg.io.files import write_whole
from geoseg.io.vector import VECTOR_DRIVERS, write_vector
from geoseg.labels.annotations import Annotations, from_ground, to_ground
from geoseg.labels.coco import read_coco, write_coco
from geoseg.labels.cvat import read_cvat, write_cvat

_IMAGES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".vrt")


def convert(source: Path, output: Path, *, images: Path | None, column: str | None) -> tuple[str, ...]:
    """Convert labels; the ending of the output chooses COCO (.json), CVAT (.xml) or a vector file.

    Args:
        source: COCO, CVAT or any OGR file.
        output: File to write.
        images: Georeferenced image, or folder of them; needed on the way to and from the ground.
        column: Class column of a vector file.

    Returns:
        What was left out, with numbers.

    Raises:
        LabelError: If a file does not hold what its form asks for, or images are needed and missing.
    """
    ending = output.suffix.lower()
    if ending not in (".json", ".xml", *VECTOR_DRIVERS):
        raise LabelError(f"{output} ends in {ending or 'nothing'}; expected .json (COCO), .xml (CVAT), {', '.join(VECTOR_DRIVERS)}.")
    if not source.exists():
        raise MissingFileError(f"There is no file {source}. Check the path.")
    annotations = _read(source, images, column)
    if ending in VECTOR_DRIVERS:
        write_vector(to_ground(annotations, _find_images(images, source)), output)
        return annotations.notes
    write_whole(output, write_cvat(annotations) if ending == ".xml" else write_coco(annotations))
    lines = sum("Line" in shape.geometry.geom_type for image in annotations.images for shape in image.shapes)
    return (*annotations.notes, f"{lines} lines were left out: COCO has none") if ending == ".json" and lines else annotations.notes


def _read(source: Path, images: Path | None, column: str | None) -> Annotations:
    if source.suffix.lower() == ".xml":
        return read_cvat(source.read_bytes())
    if source.suffix.lower() == ".json" and _is_coco(source):
        return read_coco(source.read_bytes())
    return from_ground(source, _find_images(images, source), column)


def _is_coco(source: Path) -> bool:
    try:
        content = json.loads(source.read_bytes())
    except ValueError as exc:
        raise LabelError(f"{source} is not valid JSON: {exc}.") from exc
    return not (isinstance(content, dict) and str(content.get("type", "")).startswith(("Feature", "Geometry")))


def _find_images(images: Path | None, source: Path) -> dict[str, Path]:
    if images is None:
        raise LabelError(f"Between {source.name} and the ground, georeferenced images are needed. Give one or a folder with --images.")
    if not images.exists():
        raise MissingFileError(f"There is no image or folder {images}. Check --images.")
    if images.is_file():
        return {images.name: images}
    return {str(p.relative_to(images)): p for p in sorted(images.rglob("*")) if p.suffix.lower() in _IMAGES}

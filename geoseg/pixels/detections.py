"""What a detector finds in a tile: masks with scores and classes, as arrays, as bytes, and as the layers that a run stores."""

import io
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.pixels.decode import CONFIDENCE_SCALE, EVIDENCE_SCALE, LayerPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What a detector found in one tile of H x W pixels.

    Raises:
        ModelError: If the arrays do not fit together, masks are not bool, or a score is outside 0..1.
    """

    scores: NDArray[np.floating]
    """(n,) confidence in [0, 1]."""
    masks: NDArray[np.bool_]
    """(n, H, W), True = object."""
    classes: NDArray[np.integer]
    """(n,) class of each object."""
    boxes: NDArray[np.floating] | None = None
    """(n, 4) left, top, right, bottom in pixels of the tile; mask pixels outside do not count. None takes masks as they are."""

    def __post_init__(self) -> None:
        if self.masks.ndim != 3 or self.masks.dtype != bool:
            raise ModelError(
                f"Masks of detections are bool of shape (n, H, W); got {self.masks.dtype} of shape {self.masks.shape}. "
                "Probabilities (n, 1, H, W), as Mask R-CNN gives them, become masks by masks[:, 0] > 0.5."
            )
        count = len(self.masks)
        lengths = {"scores": self.scores.shape, "classes": self.classes.shape}
        if any(shape != (count,) for shape in lengths.values()):
            raise ModelError(f"{count} masks need as many scores and classes; got shapes {lengths}.")
        wrong = self.scores[~((self.scores >= 0) & (self.scores <= 1))]
        if len(wrong):
            raise ModelError(f"Scores of detections lie in 0..1; got {wrong[0]}. Apply the detector's sigmoid or softmax first.")
        if self.boxes is not None:
            self._check_boxes(self.boxes)

    def _check_boxes(self, boxes: NDArray[np.floating]) -> None:
        if boxes.shape != (len(self.masks), 4):
            raise ModelError(f"{len(self.masks)} masks need boxes of shape ({len(self.masks)}, 4); got {boxes.shape}.")
        wrong = boxes[~((boxes[:, 0] <= boxes[:, 2]) & (boxes[:, 1] <= boxes[:, 3]))]
        if len(wrong):
            raise ModelError(f"Boxes are left, top, right, bottom in pixels; got {wrong[0].tolist()}.")


def within_valid(found: Detections, valid: NDArray[np.bool_]) -> Detections:
    """Return what lies on data; masks of which nothing is left are dropped."""
    masks = found.masks & valid
    kept = masks.any(axis=(1, 2))
    boxes = None if found.boxes is None else found.boxes[kept]
    return replace(found, masks=masks[kept], scores=found.scores[kept], classes=found.classes[kept], boxes=boxes)


def of_classes(found: Detections, classes: tuple[int, ...]) -> Detections:
    """Return the detections of some classes."""
    kept = np.isin(found.classes, classes)
    boxes = None if found.boxes is None else found.boxes[kept]
    return replace(found, masks=found.masks[kept], scores=found.scores[kept], classes=found.classes[kept], boxes=boxes)


def pack_detections(found: Detections) -> NDArray[np.uint8]:
    """Return detections as bytes, a bit for each pixel of a mask; boxes have been applied to the masks before."""
    stream = io.BytesIO()
    bits = np.packbits(found.masks)
    np.savez_compressed(stream, bits=bits, shape=found.masks.shape, scores=found.scores, classes=found.classes)
    return np.frombuffer(stream.getvalue(), np.uint8)


def unpack_detections(packed: NDArray[np.uint8]) -> Detections:
    """Return what :func:`pack_detections` packed.

    Raises:
        ModelError: If the bits of masks are not as many as their shape says.
    """
    with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as arrays:
        shape, bits = tuple(int(size) for size in arrays["shape"]), arrays["bits"]
        # missing ones would be made up, as many as the shape says
        if bits.size != -(-math.prod(shape) // 8):
            raise ModelError(f"Masks of shape {shape} were packed into {bits.size} bytes.")
        masks = np.unpackbits(bits, count=math.prod(shape)).reshape(shape).astype(bool)
        return Detections(scores=arrays["scores"], masks=masks, classes=arrays["classes"])


def paint_layers(found: Detections, valid: NDArray[np.bool_], plan: LayerPlan) -> NDArray[np.uint8]:
    """Draw detections into the layers that a run stores.

    Args:
        found: In a tile; ``classes`` holds indices of classes, 0 the background.
        valid: (H, W), True = data.
        plan: Layers.

    Returns:
        (L, H, W): the class of the best mask of a pixel, its score as confidence, 0 % where nothing was found, as a detector does not say
        how sure it is of that; as evidence of a class its best score.
    """
    best = np.zeros((len(plan.values), *valid.shape), np.float32)
    for mask, score, index in zip(found.masks, found.scores, found.classes, strict=True):
        best[index][mask] = np.maximum(best[index][mask], score)
    winner = best.argmax(axis=0)
    layers: list[NDArray[Any]] = [np.asarray(plan.values, np.uint8)[winner], np.rint(best.max(axis=0) * CONFIDENCE_SCALE)]
    layers += [np.rint(best[evidence.channel - plan.semantic[0]] * EVIDENCE_SCALE) for evidence in plan.evidence]
    fills = np.array(list(plan.fill_values().values()), np.uint8)[:, None, None]
    return np.where(valid, np.stack(layers).astype(np.uint8), fills).astype(np.uint8)

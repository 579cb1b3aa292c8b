"""Detectors in ONNX: torchvision's Mask R-CNN, Ultralytics' YOLO for segmentation, and what plugins decode."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.model.memory import batch_memory
from geoseg.model.ported import RunGraph, run_batches
from geoseg.model.ports import Ports, pack_input, read_ports
from geoseg.model.predictor import Keep
from geoseg.model.spec import ModelSpec
from geoseg.pixels.detections import Detections, paint_layers, within_valid
from geoseg.pixels.fused import scale_batch
from geoseg.plugins import DECODERS, load_plugin

Decode = Callable[[list[NDArray[Any]], tuple[int, int], ModelSpec, Ports], Detections]
"""Takes the outputs of one tile, the rows and columns of the input, spec and ports; returns masks of that size. What a plugin of
``geoseg.decoders`` is. Classes are indices into the spec's classes, 0 the background."""
_MASK_THRESHOLD = 0.5
_MAX_IOU = 0.7
_MOST_OBJECTS = 300
_COORDINATES = 4


class DetectorPredictor:
    """A detector, behind geoseg's own protocol.

    Args:
        spec: What the model is; its classes start with the background.
        run: Runs the network.
        threads: Processor threads for scaling.

    Raises:
        ModelError: If options and spec do not fit.
        ConfigError: If its decoder is a plugin that is not installed, or is broken.
    """

    def __init__(self, spec: ModelSpec, run: RunGraph, *, threads: int = 1) -> None:
        self.spec = spec
        self._ports = read_ports(spec)
        self._run = run
        self._threads = max(1, threads)
        self._decode = find_decoder(str(self._ports.decoder))

    def detect(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> list[Detections]:
        """Find objects in a batch; see :class:`geoseg.model.predictor.Detector`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
            ModelError: If the outputs are not what the decoder expects.
        """
        with batch_memory(pixels.shape):
            scaled = scale_batch(pixels, valid, self.spec.scaling, threads=self._threads)
            packed = pack_input(scaled, self._ports)
            return [self._find(tile, there) for tile, there in zip(packed, valid, strict=True)]

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Draw what is found in a batch; see :class:`geoseg.model.predictor.Predictor`."""
        layers = [paint_layers(found, there, self.spec.layers) for found, there in zip(self.detect(pixels, valid), valid, strict=True)]
        rows, cols = keep or (slice(None), slice(None))
        return np.stack(layers)[..., rows, cols]

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Refuse: masks are matched, not blended.

        Raises:
            ModelError: Always.
        """
        raise ModelError(f"Model '{self.spec.name}' finds objects, whose masks are matched and not blended. Leave --stitch blend out.")

    def _find(self, tile: NDArray[Any], valid: NDArray[np.bool_]) -> Detections:
        outputs = run_batches(self._run, tile[None], self._ports.batch) if self._ports.batched else self._run(tile)
        size = cast(tuple[int, int], tile.shape[:2] if self._ports.channels_last else tile.shape[1:])
        found = self._decode(outputs, size, self.spec, self._ports)
        rows, cols = valid.shape
        return within_valid(_cut(found, rows, cols), valid)


def find_decoder(name: str) -> Decode:
    """Return what decodes the outputs of a detector.

    Raises:
        ConfigError: If it is neither geoseg's nor an installed plugin's, or the plugin is broken.
    """
    own: dict[str, Decode] = {"mask-rcnn": decode_mask_rcnn, "yolo-seg": decode_yolo}
    return own[name] if name in own else cast(Decode, load_plugin(DECODERS, name))


def decode_mask_rcnn(outputs: list[NDArray[Any]], size: tuple[int, int], spec: ModelSpec, ports: Ports) -> Detections:
    """Decode torchvision's Mask R-CNN: boxes (n, 4), labels (n,), scores (n,), mask probabilities (n, 1, H, W), in any order.

    Raises:
        ModelError: If the outputs are others, or a label is no class of the spec.
    """
    by_kind = {_kind(output): output for output in outputs}
    if by_kind.keys() != {"boxes", "labels", "scores", "masks"}:
        raise _unexpected(spec, outputs, "boxes (n, 4), labels (n,) of integers, scores (n,) and masks (n, 1, H, W)")
    kept = by_kind["scores"] >= ports.min_score
    masks = by_kind["masks"][kept, 0] > _MASK_THRESHOLD
    if masks.shape[1:] != size:
        raise ModelError(f"Model '{spec.name}' gives masks of {masks.shape[1:]} px for an input of {size} px; the same size was expected.")
    return _checked(spec, by_kind["scores"][kept], masks, by_kind["labels"][kept])


def decode_yolo(outputs: list[NDArray[Any]], size: tuple[int, int], spec: ModelSpec, ports: Ports) -> Detections:
    """Decode Ultralytics' YOLO (8 and 11) for segmentation: (1, 4 + classes + m, n) boxes, scores, coefficients; (1, m, h, w) prototypes.

    Boxes are suppressed by class where they overlap by an IoU of more than 0.7; a mask is what its coefficients make of the prototypes,
    inside its box.

    Raises:
        ModelError: If the outputs are others.
    """
    expected = f"(1, {_COORDINATES} + {len(spec.classes) - 1} + m, n) and prototypes (1, m, h, w)"
    table = next((output for output in outputs if output.ndim == 3), None)
    prototypes = next((output for output in outputs if output.ndim == 4), None)
    if table is None or prototypes is None:
        raise _unexpected(spec, outputs, expected)
    width = _COORDINATES + len(spec.classes) - 1 + prototypes.shape[1]
    rows = table[0].T if table.shape[1] == width else table[0]
    if rows.shape[1] != width:
        raise _unexpected(spec, outputs, expected)
    scores = rows[:, _COORDINATES : width - prototypes.shape[1]]
    best, index = scores.max(axis=1), scores.argmax(axis=1)
    order = np.argsort(-best, kind="stable")
    order = order[best[order] >= ports.min_score]
    boxes = _corners(rows[:, :_COORDINATES])
    kept = _suppress(boxes[order], index[order])
    order = order[kept][:_MOST_OBJECTS]
    logits = np.tensordot(rows[order, width - prototypes.shape[1] :], prototypes[0].astype(np.float32), axes=1)
    masks = _enlarge(logits.astype(np.float32), size) > 0
    return _checked(spec, best[order], masks & _inside(boxes[order], size), index[order] + 1)


def _kind(output: NDArray[Any]) -> str:
    if output.ndim == 1:
        return "labels" if np.issubdtype(output.dtype, np.integer) else "scores"
    return {2: "boxes", 4: "masks"}.get(output.ndim, "other")


def _checked(spec: ModelSpec, scores: NDArray[Any], masks: NDArray[np.bool_], classes: NDArray[Any]) -> Detections:
    wrong = classes[(classes < 1) | (classes >= len(spec.classes))]
    if len(wrong):
        raise ModelError(
            f"Model '{spec.name}' finds class {wrong[0]}; its classes run from 1 to {len(spec.classes) - 1}, 0 is the background."
        )
    return Detections(scores=scores.astype(np.float32), masks=masks, classes=classes.astype(np.int64))


def _unexpected(spec: ModelSpec, outputs: list[NDArray[Any]], expected: str) -> ModelError:
    found = ", ".join(f"{output.shape} {output.dtype}" for output in outputs)
    return ModelError(f"Model '{spec.name}' gives {found}; {expected} were expected. Choose another --decoder, or name its classes.")


def _corners(boxes: NDArray[Any]) -> NDArray[np.float32]:
    """Turn centers and sizes into left, top, right, bottom."""
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32)


def _suppress(boxes: NDArray[np.float32], classes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return which boxes, the best first, are not covered by a better one of their class."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    for i in range(len(boxes)):
        others = np.array([j for j in kept if classes[j] == classes[i]], np.intp)
        sides = np.minimum(boxes[i, 2:], boxes[others, 2:]) - np.maximum(boxes[i, :2], boxes[others, :2])
        shared = np.prod(np.clip(sides, 0, None), axis=1)
        if not (shared > _MAX_IOU * (area[i] + area[others] - shared)).any():
            kept.append(i)
        if len(kept) == _MOST_OBJECTS:
            break
    return np.array(kept, np.intp)


def _inside(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    rows, cols = np.arange(size[0])[None, :, None] + 0.5, np.arange(size[1])[None, None, :] + 0.5
    left, top, right, bottom = (side[:, None, None] for side in boxes.T)
    return np.asarray((cols >= left) & (cols < right) & (rows >= top) & (rows < bottom))


def _enlarge(images: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resample images (n, h, w) bilinearly, pixel edges aligned."""
    down, across = (_weights(old, new) for old, new in zip(images.shape[1:], size, strict=True))
    return np.asarray(down @ images @ across.T, np.float32)


def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Return what each of the new pixels takes of the old ones, (new, old)."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.minimum(at.astype(int), max(old - 2, 0))
    weights = np.zeros((new, old), np.float32)
    weights[np.arange(new), low] = 1 - (at - low)
    weights[np.arange(new), np.minimum(low + 1, old - 1)] += at - low
    return weights


def _cut(found: Detections, rows: int, cols: int) -> Detections:
    return Detections(scores=found.scores, masks=found.masks[:, :rows, :cols], classes=found.classes)

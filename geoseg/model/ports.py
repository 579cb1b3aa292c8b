"""What a network that came as a whole takes and gives: names, shapes and numbers of its tensors."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg.errors import ModelError
from geoseg.model.spec import ModelSpec

Gives = Literal["logits", "softmax", "sigmoid", "labels"]
"""What stands in the outputs: raw scores, probabilities that add up to 1, probabilities each for itself, or indices of classes."""
_LEAST = 1e-7
"""Smallest probability that is told from 0."""
_TOLERANCE = 1e-2
"""How far probabilities may leave 0..1, and their sum 1, through rounding (float16)."""
_SURE = 16.0
"""Logit of a class that a network names without a score."""


class Ports(BaseModel):
    """How tensors go in and out, as it stands in ``network.options`` of networks that came as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    """Name of the input."""
    outputs: tuple[str, ...] = Field(min_length=1)
    """Names of the outputs that count; their channels follow one another."""
    gives: Gives
    """What stands in the outputs."""
    size_px: tuple[int, int] | None = None
    """Rows and columns that the input must have; None takes any multiple of the stride."""
    batch: int | None = Field(default=None, gt=0)
    """Tiles that the input must have; None takes any number."""
    margin_px: int = Field(default=0, ge=0)
    """Pixels that the output lacks on each side."""
    channels_last: bool = False
    """Whether the input is (N, H, W, C)."""
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    """Numbers that the input takes."""
    background: bool = False
    """Whether the first class has no channel: it is where no other class reaches the threshold."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a class wins over the background."""
    decoder: str | None = None
    """What makes masks of objects of the outputs: ``mask-rcnn``, ``yolo-seg`` or a plugin of ``geoseg.decoders``; None for class scores."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """Score from which a detected object counts."""
    batched: bool = True
    """Whether the input has an axis for the batch; detectors of torchvision take one image (C, H, W)."""

    @property
    def tile_px(self) -> int | None:
        """Side of the largest tile; None where any goes."""
        return None if self.size_px is None else min(self.size_px) - 2 * self.margin_px


def check_ports(table: Mapping[str, Any], origin: str) -> Ports:
    """Check what is said of the tensors of a network.

    Raises:
        ModelError: If it does not fit; the message names the fields.
    """
    try:
        return Ports.model_validate(table)
    except ValidationError as exc:
        faults = "; ".join(f"ports.{'.'.join(str(p) for p in f['loc'])}: {f['msg']}" for f in exc.errors())
        raise ModelError(f"What is said of the tensors of {origin} does not fit: {faults}.") from exc


def read_ports(spec: ModelSpec) -> Ports:
    """Read how tensors go in and out of a spec's network.

    Raises:
        ModelError: If its options do not say so, or do not fit the spec.
    """
    ports = check_ports(spec.network.options, f"model '{spec.name}'")
    if ports.tile_px is not None and spec.tile_size_px > ports.tile_px:
        raise ModelError(
            f"Model '{spec.name}' says tile_size_px = {spec.tile_size_px}; its network takes tiles of {ports.tile_px} px at most."
        )
    more = [name for name in spec.heads if name != "semantic"]
    if more:
        raise ModelError(f"A network that came as a whole has the head 'semantic' alone; '{spec.name}' also has {', '.join(more)}.")
    return ports


def largest_tile_px(spec: ModelSpec) -> int | None:
    """Return the side of the only tile that a network takes whole, smaller ones being padded; None where any size goes."""
    return read_ports(spec).tile_px if spec.network.is_whole else None


def pack_input(scaled: NDArray[np.float32], ports: Ports) -> NDArray[np.generic]:
    """Bring scaled pixels (N, C, H, W) into the shape and dtype of the input; the batch stays as it is.

    Where the output is smaller than the input, the margin is filled by reflection, so that no frame of the raster is lost.

    Raises:
        ModelError: If the tile is larger than the network takes.
    """
    height, width = scaled.shape[2:]
    margin = ports.margin_px
    rows = cols = 0
    if ports.size_px is not None:
        rows, cols = ports.size_px[0] - height - 2 * margin, ports.size_px[1] - width - 2 * margin
        if min(rows, cols) < 0:
            raise ModelError(
                f"The network takes tiles of {ports.tile_px} px at most; got {height} x {width}. Choose --tile-size {ports.tile_px}."
            )
    packed = np.pad(scaled, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="reflect") if margin else scaled
    if rows or cols:
        # black beyond the raster's edge would be seen, and take the classes along the edge with it
        packed = np.pad(packed, ((0, 0), (0, 0), (0, rows), (0, cols)), mode="symmetric")
    if ports.channels_last:
        packed = np.ascontiguousarray(packed.transpose(0, 2, 3, 1))
    if ports.dtype == "uint8":
        return np.clip(np.rint(packed), 0, 255).astype(np.uint8)
    return packed.astype(ports.dtype, copy=False)


def unpack_outputs(outputs: list[NDArray[np.generic]], shape: tuple[int, int], spec: ModelSpec, ports: Ports) -> NDArray[np.float32]:
    """Turn the outputs of a batch into logits, one channel per class.

    Args:
        outputs: (N, K, H, W) or (N, H, W) each.
        shape: Rows and columns of the tile.
        spec: Its classes.
        ports: What stands in the outputs.

    Returns:
        (N, classes, H, W), whose softmax is the network's own where it gives one.

    Raises:
        ModelError: If shapes or values are not those that were said.
    """
    name, count = spec.name, len(spec.classes)
    cut = [_cut(output, shape, spec, ports) for output in outputs]
    if ports.gives == "labels":
        return _from_labels(cut[0][:, 0], count, name)
    scores = np.concatenate(cut, axis=1).astype(np.float32, copy=False)
    expected = count - ports.background
    if scores.shape[1] != expected:
        raise ModelError(f"Model '{name}' gives {scores.shape[1]} channels; {expected} were expected for its {count} classes.")
    logits = _from_scores(scores, ports, name)
    if not ports.background:
        return logits
    least = np.full_like(logits[:, :1], np.log(ports.threshold / (1 - ports.threshold)))
    return np.concatenate([least, logits], axis=1)


def _cut(output: NDArray[np.generic], shape: tuple[int, int], spec: ModelSpec, ports: Ports) -> NDArray[np.generic]:
    found = output[:, None] if output.ndim == 3 else output
    if found.ndim == 4 and ports.channels_last:
        found = found.transpose(0, 3, 1, 2)
    if found.ndim != 4 or found.shape[2] < shape[0] or found.shape[3] < shape[1]:
        raise ModelError(f"Model '{spec.name}' gives an output of shape {output.shape} for a tile of {shape[0]} x {shape[1]} px.")
    return found[:, :, : shape[0], : shape[1]]


def _from_labels(labels: NDArray[np.generic], count: int, name: str) -> NDArray[np.float32]:
    found = labels.astype(np.int64)
    if found.size and not 0 <= found.min() <= found.max() < count:
        raise ModelError(f"Model '{name}' gives classes {found.min()} to {found.max()}; 0 to {count - 1} were expected.")
    return np.asarray((found[:, None] == np.arange(count)[:, None, None]) * np.float32(_SURE), np.float32)


def _from_scores(scores: NDArray[np.float32], ports: Ports, name: str) -> NDArray[np.float32]:
    if ports.gives == "logits":
        return scores
    # a NaN among them is let pass: it ends as no confidence
    low, high = (float(extreme(scores)) if scores.size else 0.0 for extreme in (np.min, np.max))
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise ModelError(
            f"Model '{name}' is said to give {ports.gives}, but gives {low:.3g} to {high:.3g}. Import it with gives = \"logits\"."
        )
    if ports.gives == "softmax":
        off = float(np.abs(scores.sum(axis=1) - 1).max()) if scores.size else 0.0
        if off > _TOLERANCE * scores.shape[1]:
            raise ModelError(
                f"Model '{name}' is said to give softmax, but its channels miss a sum of 1 by {off:.3g}. Import it as sigmoid."
            )
        # beside a background, that no channel stands for, each probability is measured at the threshold instead
        if not ports.background:
            return np.asarray(np.log(np.maximum(scores, _LEAST)), np.float32)
    inside = np.clip(scores, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(inside / (1 - inside)), np.float32)

"""Networks that come as a whole, weights and all: tried on random pixels, compared with what is said of them, and described."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.model.detector import DetectorPredictor
from geoseg.model.ported import RunGraph, run_batches
from geoseg.model.ports import Gives, Ports, check_ports, pack_input, read_ports
from geoseg.model.sheet import NEEDED, Sheet, make_spec, merge
from geoseg.model.spec import ModelSpec

_NEAR = 1e-2
_MOST_NUMBERS = 2**28
"""Numbers in one input, at most: a gigabyte as float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A network that came as a whole, as its file says it; what that leaves open is None."""

    origin: str
    """Its file, for messages."""
    library: Literal["onnx", "torch.export"]
    """What runs it."""
    input: str
    """Name of its input."""
    outputs: tuple[str, ...]
    """Names of its outputs."""
    dtype: str
    """Numbers that the input takes."""
    batch: int | None
    """Tiles that the input must have."""
    bands: int | None
    """Channels of the input."""
    size_px: tuple[int, int] | None
    """Rows and columns that the input must have."""
    channels_last: bool
    """Whether the input is (N, H, W, C)."""
    told: Sheet
    """What it says of itself beside."""
    probabilities: bool
    """Whether whoever made it promises probabilities, not raw scores."""
    run: Callable[[tuple[str, ...]], RunGraph]
    """Returns what runs it, for the outputs that count."""
    batched: bool = True
    """Whether the input has an axis for the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    channels: int
    margin_px: int
    gives: Gives


def describe_whole(whole: Whole, sheet: Sheet) -> ModelSpec:
    """Describe a network by what its file says, what a trial run shows, and a sheet that overrules both.

    Raises:
        ModelError: If something is missing or does not fit, or the network cannot be run by geoseg; the message names key or field.
    """
    told = merge(_tell(whole), whole.told)
    said = merge(told, sheet)
    _check_bands(whole, said)
    ports = _choose_outputs(whole, said, sheet)
    if "classes" not in sheet and "choices" in ports:
        said["classes"] = ports["choices"]
    ports.pop("choices", None)
    if whole.size_px is not None:
        said.setdefault("tile_size_px", min(whole.size_px))
    if not said.keys() >= set(NEEDED):
        return make_spec(whole.origin, said, {})
    if ports.get("decoder"):
        spec = _finish(whole, said, {**ports, "gives": "labels"}, margin=0)
        _check_size(whole, spec)
        _try_detector(whole, spec)
        return spec
    # checks everything that is said, so that the trial can rely on it
    draft = make_spec(whole.origin, {**said, "ports": {"gives": "logits", **ports}}, {})
    _check_size(whole, draft)
    trial = _try_out(whole, draft, ports)
    ports |= {"gives": trial.gives, "margin_px": trial.margin_px}
    if trial.gives != "labels":
        ports["background"] = _has_background(whole, len(draft.classes), trial.channels)
    return _finish(whole, said, ports, margin=trial.margin_px)


def _tell(whole: Whole) -> Sheet:
    ports = {"input": whole.input, "dtype": whole.dtype, "channels_last": whole.channels_last, "batched": whole.batched}
    ports |= {"size_px": whole.size_px, "batch": whole.batch}
    return {"ports": ports, "network": {"library": whole.library, "architecture": "graph"}}


def _finish(whole: Whole, said: Sheet, ports: Sheet, *, margin: int) -> ModelSpec:
    """Make the spec, with the tile that a network of one size takes."""
    if whole.size_px is not None:
        side = min(whole.size_px) - 2 * margin
        wanted = said.setdefault("tile_size_px", side)
        if wanted == min(whole.size_px):
            said["tile_size_px"] = side
        elif wanted != side:
            raise ModelError(
                f"{whole.origin} is said to take tiles of {wanted} px (tile_size, tiles_size or tile_size_px); its input takes "
                f"{whole.size_px[0]} x {whole.size_px[1]} px. Set tile_size_px = {side} in a sheet."
            )
    spec = make_spec(whole.origin, {**said, "ports": ports}, {})
    if spec.halo.default_px < margin <= spec.tile_size_px // 4:
        stride = spec.network.stride_px
        halo = {"default_px": -(-margin // stride) * stride, "exact_px": -(-margin // stride) * stride}
        spec = make_spec(whole.origin, {**said, "ports": ports, "halo": halo}, {})
    # checked here, and not when it is first used
    read_ports(spec)
    return spec


def _check_bands(whole: Whole, said: Sheet) -> None:
    named = said.get("bands")
    if whole.bands is not None and named is not None and len(named) != whole.bands:
        raise ModelError(f"{whole.origin} takes {whole.bands} bands; {len(named)} are named ({', '.join(map(str, named))}). Name as many.")


def _check_size(whole: Whole, spec: ModelSpec) -> None:
    """Refuse an input that no machine has the memory for, before it is tried."""
    rows, cols = whole.size_px or (spec.tile_size_px,) * 2
    if (whole.batch or 1) * len(spec.bands) * rows * cols > _MOST_NUMBERS:
        raise ModelError(
            f"The input of {whole.origin} is {whole.batch or 1} x {len(spec.bands)} x {rows} x {cols}; it may hold "
            f"{_MOST_NUMBERS} numbers at most. Export it for smaller tiles, or set a smaller tile_size_px."
        )


def _choose_outputs(whole: Whole, said: Sheet, sheet: Sheet) -> Sheet:
    """Settle which outputs count; several class maps are not mixed."""
    ports: Sheet = dict(said["ports"])
    given = sheet.get("ports", {}).get("outputs")
    chosen = tuple(given if isinstance(given, list | tuple) else whole.outputs)
    unknown = [name for name in chosen if name not in whole.outputs]
    if unknown:
        raise ModelError(f"{whole.origin} has no output {unknown[0]!r}; it has {', '.join(whole.outputs)}.")
    choices = ports.get("choices")
    if choices is not None and len(chosen) != 1:
        tables = "; ".join(f"{name}: {', '.join(r['name'] for r in rows)}" for name, rows in zip(whole.outputs, choices, strict=True))
        raise ModelError(
            f"The key class_names of {whole.origin} describes {len(choices)} class maps ({tables}); a run makes one. "
            f'Choose with ports.outputs = ["{whole.outputs[0]}"] in a sheet, or --take {whole.outputs[0]}.'
        )
    ports["outputs"] = chosen
    if choices is not None:
        ports["choices"] = choices[whole.outputs.index(chosen[0])]
    return ports


def _try_detector(whole: Whole, spec: ModelSpec) -> None:
    """Look for objects in one random tile: what cannot be decoded is said now, not in a run."""
    side = spec.tile_size_px
    pixels = np.random.default_rng(0).integers(1, 256, (1, len(spec.bands), side, side), dtype=np.uint8)
    outputs = tuple(spec.network.options["outputs"])
    DetectorPredictor(spec, whole.run(outputs)).detect(pixels, np.ones((1, side, side), bool))


def _try_out(whole: Whole, draft: ModelSpec, said: Sheet) -> _Trial:
    """Run the network on one random tile."""
    ports = check_ports({**draft.network.options, "margin_px": 0}, whole.origin)
    rows, cols = whole.size_px or (draft.tile_size_px,) * 2
    rng = np.random.default_rng(0)
    bands = len(draft.bands)
    mean, std = (np.asarray(values, np.float32).reshape(-1, 1, 1) for values in (draft.mean, draft.std))
    scaled = ((rng.integers(1, 256, (1, bands, rows, cols), dtype=np.uint8) - mean) / std).astype(np.float32)
    outputs = run_batches(whole.run(ports.outputs), pack_input(scaled, ports), ports.batch)
    shapes = [_shape(whole, name, output, (rows, cols), ports) for name, output in zip(ports.outputs, outputs, strict=True)]
    if len({margin for _, margin in shapes}) > 1:
        raise ModelError(f"{whole.origin} has outputs of several sizes. Choose one with ports.outputs in a sheet, or --take NAME.")
    gives = cast(Gives, said.get("gives")) or _recognize(whole, outputs, ports)
    return _Trial(channels=sum(channels for channels, _ in shapes), margin_px=shapes[0][1], gives=gives)


def _shape(whole: Whole, name: str, output: NDArray[Any], size: tuple[int, int], ports: Ports) -> tuple[int, int]:
    """Return the channels of an output, and the pixels that it lacks on each side."""
    found = output[:, None] if output.ndim == 3 else output
    if found.ndim == 4 and ports.channels_last:
        found = found.transpose(0, 3, 1, 2)
    if found.ndim != 4:
        raise ModelError(
            f"The output {name!r} of {whole.origin} has shape {output.shape}; class scores per pixel (N, K, H, W) were expected."
        )
    lacks = size[0] - found.shape[2], size[1] - found.shape[3]
    if min(lacks) < 0:
        raise ModelError(
            f"The output {name!r} of {whole.origin} has {found.shape[2]} x {found.shape[3]} px for an input of {size[0]} x {size[1]}: "
            "it is larger than the image (super-resolution?); geoseg takes class scores at the image's resolution."
        )
    if lacks[0] != lacks[1] or lacks[0] % 2:
        raise ModelError(
            f"The output {name!r} of {whole.origin} lacks {lacks[0]} rows and {lacks[1]} columns; the same even number was expected."
        )
    return found.shape[1], lacks[0] // 2


def _recognize(whole: Whole, outputs: list[NDArray[Any]], ports: Ports) -> Gives:
    """Tell what outputs hold where their maker promises probabilities; otherwise it has to be said."""
    if all(np.issubdtype(output.dtype, np.integer) for output in outputs):
        return "labels"
    low, high = min(float(output.min()) for output in outputs), max(float(output.max()) for output in outputs)
    if not whole.probabilities:
        raise ModelError(
            f"{whole.origin} does not say what its outputs hold; on random pixels they hold {low:.3g} to {high:.3g}. "
            'Set ports.gives = "logits", "softmax", "sigmoid" or "labels" in a sheet, or --gives.'
        )
    if low < 0 or high > 1:
        raise ModelError(
            f'{whole.origin} gives {low:.3g} to {high:.3g}, no probabilities. If these are raw scores, set ports.gives = "logits".'
        )
    axis = -1 if ports.channels_last else 1
    alone = len(outputs) == 1 and outputs[0].ndim == 4 and outputs[0].shape[axis] > 1
    return "softmax" if alone and float(np.abs(outputs[0].sum(axis=axis) - 1).max()) < _NEAR else "sigmoid"


def _has_background(whole: Whole, classes: int, channels: int) -> bool:
    if classes not in (channels, channels + 1) or classes < 2:
        raise ModelError(
            f"{whole.origin} gives {channels} channels; {classes} classes are named. Name {max(2, channels)}, "
            f"or {channels + 1} where the first is the background that no channel stands for."
        )
    return classes == channels + 1

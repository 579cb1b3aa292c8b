"""``torch.export`` archives (.pt2), run without pickle.

``torch.export.load`` unpickles the sample inputs of an archive, and evaluates expressions and attribute names that stand in it, so that a
stranger's archive can run anything. Here the graph is read as JSON and the weights as raw numbers, and the nodes are called one by one:
operators of ``torch.ops.aten``, and arithmetic on sizes.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.errors import ModelError
from geoseg.model.execution import Execution
from geoseg.model.gpu import forbid_tf32
from geoseg.model.memory import is_memory_error
from geoseg.model.package import ModelPackage
from geoseg.model.ported import PortedPredictor, RunGraph
from geoseg.model.ports import read_ports
from geoseg.model.predictor import Predictor
from geoseg.model.programfile import Archive, RawTensor, read_archive
from geoseg.model.whole import Whole

_DTYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_STRIDED = 7
_LONGEST = 2**31
"""Elements along an axis, at most."""
_INPUT_DTYPES = {1: "uint8", 6: "float16", 7: "float32"}
_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)")
_REFUSED = frozenset({"from_file", "save"})
"""Operators that touch files."""
_ARITHMETIC = (
    "getitem",
    "add",
    "sub",
    "mul",
    "floordiv",
    "truediv",
    "mod",
    "neg",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and_",
    "or_",
    "not_",
)
_PLAIN: Mapping[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in _ARITHMETIC},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc")},
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_not": operator.not_,
}
_VALUES = ("as_int", "as_ints", "as_float", "as_floats", "as_string", "as_strings", "as_bool", "as_bools", "as_int_lists", "as_float_lists")
_SYMBOLS = ("as_sym_int", "as_sym_float", "as_sym_bool")


class Program:
    """A program that is ready to run.

    Args:
        archive: The program and its tensors.
        origin: Its file, for messages.
        device: Where it runs.

    Raises:
        ModelError: If it asks for an operator, an input or an output that is not run; the message names it.
    """

    def __init__(self, archive: Archive, origin: str, device: str = "cpu") -> None:
        self.origin = origin
        self._device = device
        self._graph = archive.graph["graph"]
        self._fixed, self.input = self._bind(archive)
        self.outputs = tuple(self._output_name(spec) for spec in archive.graph["signature"]["output_specs"])
        self._steps = [(node, _find_operator(node["target"], origin)) for node in self._graph["nodes"] if not _is_check(node)]
        self._last = self._find_last_uses()

    @property
    def input_meta(self) -> dict[str, Any]:
        """What the archive says of the input: its ``sizes`` and ``dtype``."""
        meta: dict[str, Any] = self._graph["tensor_values"][self.input]
        return meta

    def __call__(self, batch: Tensor) -> list[Tensor]:
        """Run the program on the input of a batch, and return its outputs."""
        values: dict[str, Any] = {**self._fixed, self.input: batch}
        for step, (node, call) in enumerate(self._steps):
            given = {i["name"]: self._argument(i["arg"], values) for i in node["inputs"]}
            _store(values, node["outputs"], call(*given.values()) if node["target"] in _PLAIN else call(**given))
            for name in self._last.get(step, ()):
                values.pop(name, None)
        return [values[name] for name in self.outputs]

    def _bind(self, archive: Archive) -> tuple[dict[str, Tensor], str]:
        """Return the tensors by the names that the graph knows them by, and the name of the one input."""
        fixed: dict[str, Tensor] = {}
        inputs: list[str] = []
        keys = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
        for spec in archive.graph["signature"]["input_specs"]:
            ((kind, entry),) = spec.items()
            if kind in keys:
                fixed[entry["arg"]["name"]] = _to_tensor(archive.tensors[entry[keys[kind]]], self._device, self.origin)
            elif kind == "user_input" and "as_tensor" in entry["arg"]:
                inputs.append(entry["arg"]["as_tensor"]["name"])
            else:
                raise ModelError(f"The program of {self.origin} takes a {kind}; one image was expected. Export the network without it.")
        if len(inputs) != 1:
            raise ModelError(f"The program of {self.origin} takes {len(inputs)} inputs ({', '.join(inputs)}); one image was expected.")
        return fixed, inputs[0]

    def _output_name(self, spec: dict[str, Any]) -> str:
        ((kind, entry),) = spec.items()
        if kind != "user_output" or "as_tensor" not in entry["arg"]:
            raise ModelError(
                f"The program of {self.origin} gives a {kind}; tensors of scores were expected. Export the network without it."
            )
        return str(entry["arg"]["as_tensor"]["name"])

    def _find_last_uses(self) -> dict[int, list[str]]:
        """Return which values are let go after each step; weights and outputs stay."""
        last: dict[str, int] = {}
        for step, (node, _) in enumerate(self._steps):
            for name in _names(node["inputs"]):
                last[name] = step
        kept = {*self._fixed, *self.outputs}
        found: dict[int, list[str]] = {}
        for name, step in last.items():
            if name not in kept:
                found.setdefault(step, []).append(name)
        return found

    def _argument(self, argument: dict[str, Any], values: dict[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        if kind in _VALUES:
            return value
        if kind in _SYMBOLS:
            return _symbol(value, values)
        readers: dict[str, Callable[[], Any]] = {
            "as_none": lambda: None,
            "as_tensor": lambda: values[value["name"]],
            "as_tensors": lambda: [values[each["name"]] for each in value],
            "as_sym_ints": lambda: [_symbol(each, values) for each in value],
            "as_sym_floats": lambda: [_symbol(each, values) for each in value],
            "as_optional_tensor": lambda: self._argument(value, values),
            "as_optional_tensors": lambda: [self._argument(each, values) for each in value],
            "as_scalar_type": lambda: _DTYPES[value],
            "as_memory_format": lambda: _MEMORY_FORMATS[value],
            "as_layout": lambda: torch.strided if value == _STRIDED else _fail_layout(self.origin),
            # wherever it was exported, it runs where it was asked to
            "as_device": lambda: torch.device(self._device),
        }
        if kind not in readers:
            raise ModelError(
                f"The program of {self.origin} holds an argument of the kind {kind}, which is not run. Export the network without it."
            )
        return readers[kind]()


def load_program_file(package: ModelPackage, execution: Execution) -> Predictor:
    """Load a package whose weights are a ``torch.export`` archive.

    Raises:
        ModelError: If it cannot be read or run, or does not fit the card.
    """
    name, ports = f"Model '{package.spec.name}'", read_ports(package.spec)
    if execution.threads and execution.device == "cpu":
        torch.set_num_threads(execution.threads)
    if execution.device.startswith("cuda"):
        forbid_tf32()
    program = Program(read_archive(package.weights), name, execution.device)
    return PortedPredictor(package.spec, program_runner(program, ports.outputs, execution.device), threads=execution.threads)


def open_whole(path: Path) -> Whole:
    """Read what an archive says of its program.

    Raises:
        ModelError: If it cannot be read or run.
    """
    try:
        program = Program(read_archive(path), str(path))
        meta = program.input_meta
        sizes = [size.get("as_int") for size in meta["sizes"]]
        dtype = _INPUT_DTYPES[meta["dtype"]]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as exc:
        if isinstance(exc, ModelError):
            raise
        raise ModelError(f"{path} holds no program as expected ({type(exc).__name__}: {exc}). Export it again.") from exc
    if len(sizes) != 4:
        raise ModelError(f"The input of {path} has {len(sizes)} axes; an image (N, C, H, W) was expected.")
    return Whole(
        origin=str(path),
        library="torch.export",
        input=program.input,
        outputs=program.outputs,
        dtype=dtype,
        batch=sizes[0],
        bands=sizes[1],
        size_px=(sizes[2], sizes[3]) if sizes[2] and sizes[3] else None,
        channels_last=False,
        told={},
        probabilities=False,
        run=lambda wanted: program_runner(program, wanted, "cpu"),
    )


def program_runner(program: Program, outputs: tuple[str, ...], device: str) -> RunGraph:
    """Return what runs a program on the input of a batch; its errors become :class:`geoseg.errors.ModelError`.

    Raises:
        ModelError: If the program has no such output.
    """
    missing = [name for name in outputs if name not in program.outputs]
    if missing:
        raise ModelError(f"{program.origin} has no output {missing[0]!r}; it has {', '.join(program.outputs)}. Import it again.")

    def run(batch: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            with torch.inference_mode():
                # a copy: some programs write into their input
                given = dict(zip(program.outputs, program(torch.from_numpy(batch.copy()).to(device)), strict=True))
            return [_to_numpy(given[name]) for name in outputs]
        except Exception as exc:  # operators raise anything, and so do arguments that are not theirs
            if isinstance(exc, ModelError) or is_memory_error(exc):
                raise
            raise ModelError(f"{program.origin} cannot be run on an input of {batch.shape}: {' '.join(str(exc).split())[:500]}") from exc

    return run


def _to_numpy(output: Tensor) -> NDArray[Any]:
    plain = output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
    found: NDArray[Any] = np.asarray(plain.detach().cpu().numpy())
    return found


def _to_tensor(raw: RawTensor, device: str, origin: str) -> Tensor:
    if raw.dtype not in _DTYPES:
        raise ModelError(f"{origin} holds a tensor of torch's type {raw.dtype}, which is not read. Convert it to float32.")
    dtype = _DTYPES[raw.dtype]
    if max(raw.sizes, default=0) > _LONGEST:
        raise ModelError(f"{origin} holds a tensor of the shape {raw.sizes}; {_LONGEST} elements along an axis are taken in at most.")
    if math.prod(raw.sizes) == 0:
        return torch.empty(raw.sizes, dtype=dtype, device=device)
    reach = raw.offset + sum((size - 1) * stride for size, stride in zip(raw.sizes, raw.strides, strict=True)) + 1
    if reach * dtype.itemsize > len(raw.content):
        raise ModelError(f"{origin} holds {len(raw.content)} bytes for a tensor that reaches to {reach * dtype.itemsize}. Get it again.")
    # elements over one another would make any amount of memory of a few bytes
    if math.prod(raw.sizes) * dtype.itemsize > len(raw.content):
        raise ModelError(f"{origin} holds {len(raw.content)} bytes for a tensor of the shape {raw.sizes}. Get it again.")
    flat = torch.frombuffer(bytearray(raw.content), dtype=dtype)
    return torch.as_strided(flat, raw.sizes, raw.strides, raw.offset).clone().to(device)


def _find_operator(target: str, origin: str) -> Callable[..., Any]:
    if target in _PLAIN:
        return _PLAIN[target]
    found = _ATEN.fullmatch(target)
    if found is None or found[1] in _REFUSED:
        raise ModelError(
            f"The program of {origin} calls {target!r}; only operators of torch.ops.aten are run, and arithmetic on sizes. "
            "Export the network without it (run_decompositions turns most others into these)."
        )
    call = getattr(getattr(torch.ops.aten, found[1], None), found[2], None)
    if not isinstance(call, torch._ops.OpOverload):
        raise ModelError(f"The program of {origin} calls {target!r}, which is no operator of this torch ({torch.__version__}).")
    return call


def _is_check(node: dict[str, Any]) -> bool:
    return str(node["target"]).startswith("torch.ops.aten._assert")


def _names(inputs: list[dict[str, Any]]) -> list[str]:
    """Return the names of all values that a node's arguments refer to."""
    found: list[str] = []
    waiting: list[Any] = [each["arg"] for each in inputs]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found += [value[key] for key in ("name", "as_name") if isinstance(value.get(key), str)]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def _symbol(value: dict[str, Any], values: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    return values[content] if kind == "as_name" else content


def _store(values: dict[str, Any], outputs: list[dict[str, Any]], result: Any) -> None:
    results = result if len(outputs) > 1 else (result,)
    for output, each in zip(outputs, results, strict=False):
        ((kind, value),) = output.items()
        if kind == "as_tensors":
            for entry, tensor in zip(value, each, strict=True):
                values[entry["name"]] = tensor
        elif kind == "as_tensor":
            values[value["name"]] = each
        elif kind in _SYMBOLS:
            values[value["as_name"]] = each


def _fail_layout(origin: str) -> None:
    raise ModelError(f"The program of {origin} asks for a layout that is not dense, which is not run. Export the network without it.")

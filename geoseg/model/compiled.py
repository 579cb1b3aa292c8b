"""Networks through ``torch.compile``, which writes code for one shape of batch on this machine."""

import threading
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.model.memory import is_memory_error


def compile_network(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a network that compiles itself at the first batch of each shape; that takes seconds, and a C++ compiler.

    On the processor weights are frozen into the code, so that normalization is folded into convolutions.

    Raises:
        ModelError: On the first call, if it cannot be compiled.
    """
    on_gpu = any(parameter.is_cuda for parameter in module.parameters())
    compiled = torch.compile(module, dynamic=False, options={} if on_gpu else {"freezing": True})
    return _Compiled(compiled)


class _Compiled:
    """Compiles one shape at a time, whatever threads ask for it, and runs what is compiled without waiting."""

    def __init__(self, compiled: Callable[[Tensor], Tensor]) -> None:
        self._compiled = compiled
        self._shapes: set[torch.Size] = set()
        self._lock = threading.Lock()

    def __call__(self, pixels: Tensor) -> Tensor:
        if pixels.shape in self._shapes:
            return self._compiled(pixels)
        with self._lock:
            logits = self._compile(pixels)
            self._shapes.add(pixels.shape)
        return logits

    def _compile(self, pixels: Tensor) -> Tensor:
        try:
            with warnings.catch_warnings():
                # it advises on settings that would change results
                warnings.simplefilter("ignore")
                return self._compiled(pixels)
        except Exception as exc:
            if is_memory_error(exc):
                raise
            reason = " ".join(str(exc).split())[:300]
            raise ModelError(
                f"torch.compile cannot compile the network for {tuple(pixels.shape)}: {reason} It needs a C++ compiler "
                "(apt install g++) and, on a GPU, triton (pip install triton). Install them, or choose --backend torch or onnx."
            ) from exc

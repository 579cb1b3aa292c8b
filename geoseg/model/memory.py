"""Batches that do not fit, and devices that are lost: what the libraries say of it, said once."""

from collections.abc import Iterator
from contextlib import contextmanager

from geoseg.errors import DeviceLostError, DeviceMemoryError

_SAID = ("out of memory", "allocate memory", "bad_alloc", "bad allocation", "alloc_failed", "is smaller than requested bytes")
"""In errors of torch (CUDA and its CPU allocator), cuDNN, cuBLAS and onnxruntime (with and without its arena)."""

_LOST = ("cuda error", "cuda failure", "cudnn_status_execution_failed", "cublas_status_execution_failed", "device-side assert")
"""In errors after which each call of this process fails, as the context on the device is broken."""


@contextmanager
def batch_memory(shape: tuple[int, ...]) -> Iterator[None]:
    """Say of any library's error that a batch does not fit into memory, or that a device is lost, what it is; let others pass.

    Args:
        shape: Of the batch, (N, C, H, W).

    Raises:
        DeviceMemoryError: If the device, or the machine, ran out of memory.
        DeviceLostError: If the device gives nothing but errors to this process any more.
    """
    try:
        yield
    except Exception as exc:  # the libraries' errors share no base
        if isinstance(exc, DeviceMemoryError):
            raise
        if not is_memory_error(exc):
            if any(words in str(exc).lower() for words in _LOST):
                raise DeviceLostError(f"The device gave an error that this process does not recover from: {exc}") from exc
            raise
        tiles, bands, height, width = shape
        raise DeviceMemoryError(
            f"A batch of {tiles} tiles of {height} x {width} px with {bands} bands does not fit into memory: "
            "choose a smaller --batch-size or --tile-size."
        ) from exc


def is_memory_error(exc: BaseException) -> bool:
    """Tell whether an error says that memory ran out."""
    said = str(exc).lower()
    return isinstance(exc, MemoryError) or any(words in said for words in _SAID)

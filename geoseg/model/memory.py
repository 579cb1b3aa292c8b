"""Batches that do not fit: what the libraries say of it, said once."""

from collections.abc import Iterator
from contextlib import contextmanager

from geoseg.errors import DeviceMemoryError

_SAID = ("out of memory", "allocate memory", "bad_alloc", "bad allocation", "alloc_failed", "is smaller than requested bytes")
"""In errors of torch (CUDA and its CPU allocator), cuDNN, cuBLAS and onnxruntime (with and without its arena)."""


@contextmanager
def batch_memory(shape: tuple[int, ...]) -> Iterator[None]:
    """Say of any library's error that a batch does not fit into memory what it is; let other errors pass.

    Args:
        shape: Of the batch, (N, C, H, W).

    Raises:
        DeviceMemoryError: If the device, or the machine, ran out of memory.
    """
    try:
        yield
    except Exception as exc:  # the libraries' errors share no base
        if isinstance(exc, DeviceMemoryError) or not is_memory_error(exc):
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

"""Where a network can run on this machine."""

import ctypes
import sys

from geoseg.errors import ModelError


def pick_device(wanted: str) -> str:
    """Resolve ``auto`` to ``cuda`` where there is one, else ``cpu``; torch is only loaded where a GPU's driver answers.

    Raises:
        ModelError: If CUDA is asked for and not there.
    """
    if not wanted.startswith(("auto", "cuda")):
        return wanted
    found = count_gpus() > 0 and _torch_sees_cuda()
    if wanted == "auto":
        return "cuda" if found else "cpu"
    if not found:
        raise ModelError(f"--device {wanted} was asked for, but torch finds no CUDA device. Use --device cpu.")
    return wanted


def count_gpus() -> int:
    """Ask the driver for the number of CUDA devices; 0 where there is no driver."""
    try:
        # by the name that the driver has: looking for it would start a compiler
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        ready = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    except (OSError, AttributeError):
        return 0
    return count.value if ready else 0


def name_gpu(device: str) -> str:
    """Return the name of a CUDA device as torch gives it."""
    import torch

    return torch.cuda.get_device_name(device)


def _torch_sees_cuda() -> bool:
    # half a gigabyte that a run without GPU does not need
    import torch

    return torch.cuda.is_available()

"""What libraries say when memory ran out or a device is lost, said once."""

import pytest

from geoseg.errors import DeviceLostError, DeviceMemoryError
from geoseg.model.memory import batch_memory

SHAPE = (2, 3, 64, 64)


def fail(error: Exception) -> None:
    with batch_memory(SHAPE):
        raise error


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    ],
)
def test_an_error_that_leaves_a_broken_context_is_a_lost_device(said: str) -> None:
    with pytest.raises(DeviceLostError, match="this process does not recover from"):
        fail(RuntimeError(said))


def test_a_device_without_memory_is_not_lost() -> None:
    with pytest.raises(DeviceMemoryError, match="2 tiles of 64 x 64 px"):
        fail(RuntimeError("CUDA error: out of memory"))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(KeyError):
        fail(KeyError("band"))

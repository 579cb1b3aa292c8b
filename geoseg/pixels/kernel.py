"""Compiling with numba: kernels that call one another, and those that Python calls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import current_thread, main_thread
from typing import Any, TypeVar, cast

from numba import njit

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile a function; the machine code is cached beside the file.

    What returns a tuple and is called by Python is an :func:`entry` instead.
    """
    return cast(_F, njit(cache=True, nogil=True, error_model="numpy")(function))


def entry(function: _F) -> _F:
    """Compile a function that returns a tuple to Python; a signal that comes while it runs is handled when it is done.

    numba (0.68) makes tuples by way of Python code, where a signal's handler may raise, and does not look whether it did: Ctrl-C then
    ends the interpreter by a segmentation fault (NamedTuple) or as a SystemError (tuple). Handlers run in the main thread only, so
    that calls from there are made in another one, for some 0.1 ms.
    """
    compiled = kernel(function)

    @wraps(function)
    def call(*args: Any) -> Any:
        if current_thread() is not main_thread():
            return compiled(*args)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel") as aside:
            return aside.submit(compiled, *args).result()

    return cast(_F, call)

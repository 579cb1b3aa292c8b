"""Compiled code, made ready in a thread of its own while the network computes its first tile."""

from concurrent.futures import Future
from functools import cache
from threading import Thread


@cache
def load_compiled() -> Future[None]:
    """Begin to load compiled code, once in a process: numba takes half a second of one core for that.

    Returns:
        What is done when nothing has to be loaded any more.
    """
    loaded: Future[None] = Future()
    # no daemon: a process that ends in the middle of LLVM's code may crash
    Thread(target=_load, args=(loaded,), name="compiled code", daemon=False).start()
    return loaded


def _load(loaded: Future[None]) -> None:
    try:
        from geoseg.pixels.fused import warm_up

        warm_up()
    except Exception as exc:  # whoever needs it meets the same error
        loaded.set_exception(exc)
    else:
        loaded.set_result(None)

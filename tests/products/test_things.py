"""Things are made at the same time, in a fixed order for those who look; one failure stops the others."""

import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from geoseg.errors import RunError
from geoseg.products.things import ThingMaker, make_together


class Maker:
    """Stands in for what makes one kind of thing."""

    def __init__(self, stopped: threading.Event, log: list[str], fails: BaseException | None = None) -> None:
        self.stopped = stopped
        self.log = log
        self.fails = fails

    def make(self, name: str) -> None:
        if self.fails is not None:
            raise self.fails
        for _ in range(100):
            if self.stopped.is_set():
                self.log.append(f"{name} stopped")
                raise RunError(f"{name} was stopped")
            time.sleep(0.002)
        self.log.append(name)


def make_all(fails: str | None = None, cause: BaseException | None = None, *names: str) -> tuple[list[str], Any]:
    stopped, log = threading.Event(), list[str]()
    makers = {name: Maker(stopped, log, cause if name == fails else None) for name in names or ("landcover", "buildings", "roads")}
    return log, lambda: make_together(cast("dict[str, ThingMaker]", makers))


def test_every_kind_is_made_and_timed() -> None:
    log, make = make_all()
    elapsed_s = make()
    assert sorted(log) == sorted(elapsed_s) == ["buildings", "landcover", "roads"]
    assert log.index("landcover") < log.index("roads")
    assert all(seconds >= 0.2 for seconds in elapsed_s.values())


@pytest.mark.parametrize("name", ["landcover", "buildings", "roads"])
def test_one_kind_alone_is_made(name: str) -> None:
    log, make = make_all(None, None, name)
    assert list(make()) == log == [name]


@pytest.mark.parametrize("cause", [RunError("the disk is gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("fails", ["landcover", "buildings"])
def test_a_failure_stops_the_others_and_is_the_one_that_is_told(fails: str, cause: BaseException) -> None:
    log, make = make_all(fails, cause)
    with pytest.raises(type(cause)) as caught:
        make()
    assert caught.value is cause
    assert "buildings" not in log
    assert "landcover" not in log


def test_layers_cannot_be_read_any_more_once_all_is_stopped() -> None:
    stopped = threading.Event()
    reads = SimpleNamespace(open=lambda layer: _Open())
    unused = cast(Any, None)
    maker = ThingMaker(stitched=cast(Any, reads), settings=unused, outputs=(), target=unused, add=unused, stopped=stopped)
    with maker.open("class") as read:
        assert read(unused) == "pixels"
        stopped.set()
        with pytest.raises(RunError, match="Reading class was stopped"):
            read(unused)


class _Open:
    def __enter__(self) -> Any:
        return lambda window: "pixels"

    def __exit__(self, *_: object) -> None:
        pass

"""Things are made at the same time, in a fixed order for those who look; one failure stops the others."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from scipy import ndimage

from geoseg.errors import RunError
from geoseg.io.raster import open_raster
from geoseg.model.predictor import double_spec
from geoseg.products.stitched import Stitched
from geoseg.products.things import ThingMaker, make_together
from geoseg.settings import ObjectSettings
from tests.doubles import write_raster


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


@pytest.mark.parametrize("known", ["building_distance", "building_boundary", None])
def test_touching_houses_come_apart_by_what_the_model_knows_of_their_edges(tmp_path: Path, known: str | None) -> None:
    """A row of three houses of 12 m by 9 m, and a hut of 3 m by 3 m that is nowhere far from its edge."""
    houses = np.zeros((80, 120), np.uint8)
    for number in range(3):
        houses[20:38, 10 + 24 * number : 34 + 24 * number] = number + 1
    houses[60:66, 60:66] = 4
    interior = np.any([ndimage.binary_erosion(houses == number) for number in range(1, 5)], axis=0)
    # as it is learned: the distance within the interior, eight pixels at most
    edge_px = ndimage.distance_transform_edt(interior)
    evidence = {
        "building": np.where(houses, 250, 3),
        "building_distance": np.minimum(edge_px / 8, 1) * 255,
        "building_boundary": np.where((houses > 0) & ~interior, 255, 0),
    }
    layers = ("building", *([known] if known else []))
    bands = write_raster(tmp_path / "evidence.tif", np.stack([evidence[name] for name in layers]).astype(np.uint8))
    with rasterio.open(bands, "r+") as dataset:
        dataset.descriptions = layers
    stitched = Stitched(
        geobox=open_raster(write_raster(tmp_path / "classes.tif", (houses > 0)[None].astype(np.uint8), nodata=255)).geobox,
        scheme=double_spec().scheme,
        classes=tmp_path / "classes.tif",
        confidence=None,
        evidence=bands,
        layers=layers,
    )
    made: dict[str, gpd.GeoDataFrame] = {}
    maker = ThingMaker(
        stitched=stitched,
        settings=ObjectSettings(),
        outputs=("buildings",),
        target=tmp_path,
        add=made.__setitem__,
        stopped=threading.Event(),
    )
    maker.make("buildings")
    areas = sorted(made["buildings"]["area_m2"].round().tolist())
    assert areas == (pytest.approx([9, 108, 108, 108], abs=3) if known else pytest.approx([9, 324], abs=3))

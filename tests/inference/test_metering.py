"""Meters: each raster's own share of a network that others use too."""

import time

import pytest

from geoseg.inference.batching import Batcher
from geoseg.inference.metering import Meter
from tests.inference.test_batching import Watched, draw_tile


def test_two_rasters_that_share_a_network_are_counted_apart() -> None:
    began = time.time()
    batcher = Batcher(lambda: Watched(wait=lambda: time.sleep(0.02)), 4)
    one, other = Meter(batcher), Meter(batcher)
    with one.feed(), other.feed():
        results = [one.submit(draw_tile(seed)) for seed in range(3)] + [other.submit(draw_tile(9))]
    for result in results:
        result.result(timeout=20)
    batcher.close()
    first, second = one.take_effort(), other.take_effort()
    assert (first.tiles, second.tiles) == (3, 1)
    assert first.network_s == pytest.approx(3 * second.network_s)
    assert first.network_s + second.network_s >= 0.02
    assert first.first_tile is not None
    assert first.first_began is not None
    assert began <= first.ready == batcher.ready <= first.first_began <= first.first_tile - 0.02
    assert (one.take_effort().tiles, one.take_effort().network_s) == (0, 0.0)


def test_a_meter_says_what_its_network_does() -> None:
    batcher = Batcher(Watched, 3)
    meter = Meter(batcher)
    assert (meter.spec, meter.ahead) == (batcher.spec, batcher.ahead)
    assert (meter.take_effort().first_began, meter.take_effort().first_tile) == (None, None)

"""Probing: what was measured is what is kept."""

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg import probe
from geoseg.errors import DeviceMemoryError
from geoseg.io.raster import open_raster
from geoseg.model.package import find_package
from geoseg.model.predictor import Keep, NeighborhoodPredictor, double_spec
from geoseg.model.spec import Halo, ModelSpec, Throughput
from geoseg.probe import (
    Machine,
    describe_machine,
    find_piece,
    keep_measurements,
    measure_field,
    measure_halo,
    measure_memory,
    measure_throughput,
    tile_sizes_of,
)
from tests.doubles import draw_blobs, write_network, write_raster

MACHINE = Machine(name="a machine, 2 cores", threads=2)


@dataclass(frozen=True, slots=True)
class Slow:
    """A predictor that takes as long as it is told, but longer the first time."""

    spec: ModelSpec
    tile_s: float
    batches: list[int]

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        time.sleep(self.tile_s * (len(pixels) if self.batches else 10))
        self.batches.append(len(pixels))
        return np.zeros((len(pixels), 1, *valid.shape[1:]), np.uint8)


def test_throughput_is_pixels_by_the_median_time_without_the_first_pass() -> None:
    slow = Slow(double_spec(), 0.02, [])
    one, two = measure_throughput(slow, MACHINE, [64], [1, 2])
    assert slow.batches == [1] * 4 + [2] * 4
    for found, count in ((one, 1), (two, 2)):
        assert (found.machine, found.threads, found.tile_size_px, found.batch_size) == ("a machine, 2 cores", 2, 64, count)
        # sleeping takes at least as long as told; a busy machine makes it longer
        assert 0.2 * 64**2 / 0.02 / 1e6 < found.mpx_per_s <= 64**2 / 0.02 / 1e6


def test_a_new_measurement_replaces_that_of_the_same_machine_tile_and_batch() -> None:
    def entry(speed: float, **changes: Any) -> Throughput:
        given = {"machine": "m", "threads": 2, "date": "2026-01-01", "tile_size_px": 64, "batch_size": 1, "mpx_per_s": speed}
        return Throughput.model_validate({**given, **changes})

    spec = keep_measurements(double_spec(), [entry(1), entry(2, machine="n")])
    spec = keep_measurements(spec, [entry(3, date="2026-02-02"), entry(4, batch_size=2)])
    assert [m.mpx_per_s for m in spec.measured] == [3, 4, 2]


def test_the_machine_is_named_with_its_cores_and_threads() -> None:
    machine = describe_machine("cpu")
    assert machine.name.endswith("cores")
    assert machine.threads >= 1


def test_tiles_are_timed_at_the_models_size_and_half_of_it() -> None:
    assert tile_sizes_of(double_spec()) == (32, 64)
    assert tile_sizes_of(double_spec(tile_size_px=16)) == (16,)


def test_the_receptive_field_is_asked_of_the_packages_own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, asked = find_package(write_network(tmp_path / "network")), []

    def measure(spec: ModelSpec, module: Any) -> SimpleNamespace:
        asked.append((spec, sum(p.numel() for p in module.parameters())))
        return SimpleNamespace(radius_px=77, global_context=False)

    monkeypatch.setitem(__import__("sys").modules, "geoseg.model.receptive", SimpleNamespace(measure_receptive_field=measure))
    assert measure_field(package.spec) == (77, False)
    assert asked[0][0] == package.spec
    assert asked[0][1] > 10_000


@pytest.mark.parametrize("radius", [0, 8])
def test_the_halo_is_the_smallest_that_covers_what_the_model_sees(tmp_path: Path, radius: int) -> None:
    source = open_raster(write_raster(tmp_path / "image.tif", draw_blobs(150, 150)))
    predictor = NeighborhoodPredictor(spec=double_spec(stride_px=8), radius_px=radius)
    said: list[str] = []
    halo = measure_halo(predictor, [replace(source)], said.append)
    assert (halo.default_px, halo.exact_px) == (radius, radius)
    assert said[0].startswith("halo 0 px")


def test_networks_that_see_the_whole_tile_keep_a_quarter_of_it_as_halo() -> None:
    spec = double_spec(stride_px=8)
    seeing = spec.model_copy(update={"network": spec.network.model_copy(update={"global_context": True})})
    halo = measure_halo(NeighborhoodPredictor(spec=seeing), [], lambda line: None)
    assert halo.default_px == halo.exact_px == seeing.tile_size_px // 4
    assert "not measured" in halo.measured_on


def test_pixels_without_data_are_no_agreement(tmp_path: Path) -> None:
    pixels = draw_blobs(150, 150)
    pixels[:, 40:] = 0
    predictor = NeighborhoodPredictor(spec=double_spec(stride_px=8), radius_px=8)

    def first_share(raster: NDArray[np.uint8], **more: Any) -> float:
        said: list[str] = []
        measure_halo(predictor, [open_raster(write_raster(tmp_path / "image.tif", raster, **more))], said.append)
        return float(said[0].split("at most ")[1].split("%")[0])

    assert first_share(pixels, nodata=0) > 2 * first_share(pixels)


def test_a_pass_that_fails_is_told_and_leaves_no_thread() -> None:
    class Failing(Slow):
        def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
            raise DeviceMemoryError("no memory")

    before = threading.active_count()
    with pytest.raises(DeviceMemoryError):
        measure_memory(Failing(double_spec(), 0.0, []))
    assert threading.active_count() == before


def test_a_halo_that_was_not_reached_is_not_claimed(tmp_path: Path) -> None:
    source = open_raster(write_raster(tmp_path / "image.tif", draw_blobs(150, 150)))
    halo = measure_halo(NeighborhoodPredictor(spec=double_spec(stride_px=8), radius_px=40), [source], lambda line: None)
    assert "of the labels differ" in halo.measured_on


def test_without_data_to_compare_nothing_is_claimed(tmp_path: Path) -> None:
    """A share of no pixels is no agreement."""
    pixels = np.zeros((3, 150, 150), np.uint8)
    source = open_raster(write_raster(tmp_path / "image.tif", pixels, nodata=0))
    spec = double_spec(stride_px=8).model_copy(update={"halo": Halo(default_px=16, exact_px=24)})
    said: list[str] = []
    halo = measure_halo(NeighborhoodPredictor(spec=spec, radius_px=8), [source], said.append)
    assert halo == spec.halo
    assert "holds data" in said[0]


def test_a_raster_that_fits_is_taken_whole_and_of_a_larger_one_the_part_that_holds_data(tmp_path: Path, monkeypatch: Any) -> None:
    pixels = draw_blobs(150, 200)
    pixels[:, 40:, :120] = 0
    source = open_raster(write_raster(tmp_path / "image.tif", pixels, nodata=0))
    spec = double_spec().model_copy(update={"memory_bytes_per_px": 100})
    monkeypatch.setattr(probe, "free_memory_bytes", lambda: 2 * 100 * 150 * 200)
    piece = find_piece(source, spec)
    assert piece is not None
    assert (piece.shape, piece.origin) == (source.shape, (0, 0))
    monkeypatch.setattr(probe, "free_memory_bytes", lambda: 2 * 100 * 75 * 75)
    piece = find_piece(source, spec)
    assert piece is not None
    assert (piece.shape, piece.origin) == ((75, 75), (0, 125))
    np.testing.assert_array_equal(piece.read(Window(1, 2, 30, 20))[0], pixels[:, 2:22, 126:156])
    halo = measure_halo(NeighborhoodPredictor(spec=double_spec(stride_px=8), radius_px=8), [piece], lambda line: None)
    assert halo.measured_on.endswith("image.tif (75 x 75 px of it)")
    monkeypatch.setattr(probe, "free_memory_bytes", lambda: 2 * 100 * 32 * 32)
    assert find_piece(source, spec) is None


def test_of_a_raster_only_what_is_wanted_is_looked_at(tmp_path: Path) -> None:
    source = open_raster(write_raster(tmp_path / "image.tif", draw_blobs(150, 200)))
    corners = [source.geobox.transform * corner for corner in ((20, 30), (110, 90))]
    piece = find_piece(replace(source, aoi=shapely.box(*np.sort(np.array(corners), axis=0).ravel())), double_spec())
    assert piece is not None
    assert (piece.shape, piece.origin) == ((60, 90), (30, 20))

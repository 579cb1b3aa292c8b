"""An array in, an array out: the pixels of a run, and nothing read before they are wanted."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401
import pytest
import xarray as xr
from affine import Affine
from distributed import Client, LocalCluster
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

import geoseg
from geoseg.arrays import segment as module
from geoseg.arrays.grid import see_imagery
from geoseg.arrays.segment import lay_out, plan_array
from geoseg.config import make_config
from geoseg.errors import ConfigError, ModelError, RasterError, UsageError
from geoseg.inference.planning import replan
from geoseg.inference.whole import LoadPredictor
from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import NeighborhoodPredictor, Predictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import CRS, NODATA, TRANSFORM, always, configure, draw_blobs, read_band, write_package, write_raster

SPEC = double_spec()
SMOOTH = NeighborhoodPredictor(spec=SPEC)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "package")


def label(pixels: NDArray[Any] | da.Array, transform: Affine = TRANSFORM, crs: str = CRS, **attrs: Any) -> xr.DataArray:
    return wrap_xr(
        pixels, GeoBox(pixels.shape[-2:], transform, crs), axis=pixels.ndim - 2, dims=("band", "y", "x")[-pixels.ndim :], **attrs
    )


def infer(array: xr.DataArray | xr.Dataset, package: Path, load: LoadPredictor | None = None, **options: Any) -> xr.Dataset:
    valid = options.pop("valid", None)
    seen = see_imagery(array, valid)
    return lay_out(plan_array(seen.imagery, str(package), options), seen, load or always(SMOOTH))


@pytest.mark.parametrize(("shape", "pieces"), [((150, 233), 64), ((64, 64), 1000), ((40, 300), 37), ((129, 97), 50)])
@pytest.mark.parametrize("stitch", ["crop", "blend"])
def test_an_array_gives_the_pixels_of_a_run_however_it_is_chunked(
    package: Path, tmp_path: Path, shape: tuple[int, int], pieces: int, stitch: str
) -> None:
    pixels = draw_blobs(*shape, corner=40)
    raster = write_raster(tmp_path / "city.tif", pixels, nodata=0)
    run = segment_raster(configure(raster, package, tmp_path / "out", chunk_size=96, stitch=stitch), load=always(SMOOTH))
    lazy = infer(label(da.from_array(pixels, (1, pieces, pieces)), nodata=0), package, chunk_size=64, stitch=stitch)
    for name in ("classes", "confidence"):
        np.testing.assert_array_equal(lazy[name].to_numpy(), read_band(run / f"{name}.tif"))


def test_finer_imagery_is_averaged_as_for_a_run_and_lies_on_the_same_grid(tmp_path: Path) -> None:
    package = write_package(tmp_path / "coarse", SPEC.model_copy(update={"resolution_m": 1.5}))
    pixels = draw_blobs(151, 200, corner=40)
    raster = write_raster(tmp_path / "city.tif", pixels, nodata=0)
    run = segment_raster(configure(raster, package, tmp_path / "out"), load=always(SMOOTH))
    classes = infer(label(pixels, nodata=0), package).classes
    np.testing.assert_array_equal(classes.to_numpy(), read_band(run / "classes.tif"))
    assert classes.odc.geobox == geoseg.open_run(run).classes.odc.geobox
    assert classes.shape == (51, 67)


@dataclass(frozen=True, slots=True)
class Asked:
    """Pixels that note which windows are read of them."""

    pixels: NDArray[np.uint8]
    windows: list[tuple[slice, ...]]

    def __call__(self, block_info: Any = None) -> NDArray[np.uint8]:
        window = tuple(slice(*span) for span in block_info[None]["array-location"])
        self.windows.append(window)
        return self.pixels[window]


def test_nothing_is_read_before_it_is_computed_and_then_only_what_is_needed(package: Path) -> None:
    asked = Asked(draw_blobs(512, 512), [])
    array = label(da.map_blocks(asked, chunks=((3,), (64,) * 8, (64,) * 8), dtype="uint8"))
    lazy = infer(array, package, chunk_size=64)
    assert asked.windows == []
    lazy.classes[:40, :40].compute()
    assert 0 < len(asked.windows) < 10
    asked.windows.clear()
    lazy.compute()
    assert len({str(window) for window in asked.windows}) == 64


def test_layers_that_are_computed_together_are_inferred_once(package: Path) -> None:
    loads: list[int] = []
    tiles: list[int] = []

    @dataclass(frozen=True, slots=True)
    class Counting:
        spec = SPEC

        def predict(self, pixels: NDArray[Any], *rest: Any) -> NDArray[np.uint8]:
            tiles.append(len(pixels))
            return SMOOTH.predict(pixels, *rest)

    def load() -> Predictor:
        loads.append(1)
        return Counting()  # type: ignore[return-value]

    lazy = infer(label(draw_blobs(128, 128)), package, load, chunk_size=64)
    count = plan_array(see_imagery(label(draw_blobs(128, 128))).imagery, str(package), {"chunk_size": 64}).tiles.tile_count
    assert loads == []
    lazy.compute()
    assert (len(loads), sum(tiles)) == (1, count)


def test_a_dataset_with_a_variable_for_each_band_is_imagery_too(package: Path) -> None:
    array = label(draw_blobs(70, 90))
    bands = xr.Dataset({name: array[i] for i, name in enumerate(("red", "green", "blue"))})
    np.testing.assert_array_equal(infer(bands, package).classes.to_numpy(), infer(array, package).classes.to_numpy())


def test_the_nodata_value_of_a_datasets_bands_counts(package: Path) -> None:
    pixels = draw_blobs(70, 90)
    pixels[:, :30] = 0
    names = ("red", "green", "blue")
    bands = xr.Dataset({name: label(pixels)[i].assign_attrs(nodata=0) for i, name in enumerate(names)})
    np.testing.assert_array_equal(infer(bands, package).classes, infer(label(pixels).assign_attrs(nodata=0), package).classes)
    assert (infer(bands, package).classes[:30] == 255).all()
    bands["blue"].attrs["nodata"] = 7
    with pytest.raises(RasterError, match=r"blue: 7.*Say with valid"):
        infer(bands, package)


def test_bands_are_chosen_by_number(package: Path) -> None:
    pixels = draw_blobs(70, 90)
    four = np.concatenate([np.zeros((1, 70, 90), np.uint8), pixels])
    np.testing.assert_array_equal(
        infer(label(four), package, bands=(2, 3, 4)).classes.to_numpy(), infer(label(pixels), package).classes.to_numpy()
    )


def test_bands_are_chosen_by_name(package: Path) -> None:
    pixels = draw_blobs(70, 90)
    turned = label(pixels[::-1]).assign_coords(band=["blue", "green", "red"])
    np.testing.assert_array_equal(infer(turned, package, bands=("red", "green", "blue")).classes, infer(label(pixels), package).classes)


def test_axes_may_come_in_any_order_and_axes_of_one_are_dropped(package: Path) -> None:
    array = label(draw_blobs(70, 90))
    turned = array.expand_dims("time").transpose("y", "time", "x", "band")
    np.testing.assert_array_equal(infer(turned, package).classes.to_numpy(), infer(array, package).classes.to_numpy())


@pytest.mark.parametrize("way", ["nan", "nodata", "valid"])
def test_pixels_without_data_have_no_class(package: Path, way: str) -> None:
    pixels = draw_blobs(80, 80).astype("float32")
    hole = np.zeros((80, 80), bool)
    hole[10:20, 30:50] = True
    attrs, valid = {}, None
    if way == "nan":
        pixels[1, hole] = np.nan
    elif way == "nodata":
        pixels[:, hole] = -9999
        attrs = {"_FillValue": -9999}
    else:
        valid = label(~hole)
    lazy = infer(label(pixels, **attrs), package, valid=valid)
    np.testing.assert_array_equal(lazy.classes.to_numpy() == NODATA, hole)
    np.testing.assert_array_equal(lazy.confidence.to_numpy() == NODATA, hole)


def test_values_say_what_they_mean(package: Path) -> None:
    classes = infer(label(draw_blobs(70, 90)), package).classes
    assert classes.attrs["flag_values"] == [c.value for c in SPEC.scheme]
    assert len(classes.attrs["flag_meanings"].split()) == len(classes.attrs["flag_colors"].split()) == len(classes.attrs["flag_values"])
    assert classes.odc.geobox == GeoBox((70, 90), TRANSFORM, CRS)


@dataclass(frozen=True, slots=True)
class NotingLoad:
    """Loads a double and leaves a file behind."""

    folder: Path

    def __call__(self) -> Predictor:
        from uuid import uuid4

        (self.folder / uuid4().hex).touch()
        return SMOOTH


def test_each_worker_process_loads_the_network_once(package: Path, tmp_path: Path) -> None:
    noted = tmp_path / "loads"
    noted.mkdir()
    pixels = draw_blobs(256, 256)
    lazy = infer(label(da.from_array(pixels, (3, 64, 64))), package, NotingLoad(noted), chunk_size=32)
    nowhere = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, **nowhere) as cluster, Client(cluster):
        classes = lazy.classes.compute().to_numpy()
    assert 1 <= len(list(noted.iterdir())) <= 2
    np.testing.assert_array_equal(classes, infer(label(pixels), package).classes.to_numpy())


def test_an_array_far_larger_than_memory_is_described_at_once(package: Path) -> None:
    huge = label(da.zeros((3, 200_000, 300_000), dtype="uint8", chunks=(3, 20_000, 20_000)))
    lazy = infer(huge, package, chunk_size=10_000, tile_size=1_000, memory="64GB")
    assert lazy.classes.shape == (200_000, 300_000)


def test_imagery_that_does_not_fit_is_refused_with_what_was_expected(package: Path) -> None:
    pixels = draw_blobs(40, 50)
    with pytest.raises(RasterError, match=r"band \(3\), y \(40\), x \(50\) has no georeference"):
        infer(xr.DataArray(pixels, dims=("band", "y", "x")), package)
    with pytest.raises(RasterError, match=r"time \(2\)"):
        infer(xr.concat([label(pixels), label(pixels)], "time"), package)
    with pytest.raises(ModelError, match="needs 3 bands"):
        infer(label(pixels[:2]), package)
    with pytest.raises(RasterError, match="40 rows and 50 columns"):
        infer(label(pixels), package, valid=label(np.ones((40, 40), bool)))
    with pytest.raises(RasterError, match="rotated"):
        infer(label(pixels, TRANSFORM @ Affine.rotation(10)), package)


def test_options_that_an_array_cannot_take_are_refused(package: Path) -> None:
    array = label(draw_blobs(40, 50))
    with pytest.raises(UsageError, match="takes no scheduler"):
        geoseg.segment(array, str(package), scheduler="tcp://127.0.0.1:1")
    for name, value in {"aoi": "city.gpkg", "bbox": (85, 27, 86, 28), "collar": "auto", "outputs": ("probabilities",)}.items():
        with pytest.raises(UsageError, match=f"takes no {name}: .* and valid"):
            geoseg.segment(array, str(package), **{name: value})
    with pytest.raises(ConfigError, match="did you mean 'tile_size'"):
        geoseg.segment(array, str(package), tile_sizes=64)


def test_lanes_share_the_cores_as_in_a_run(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Execution] = []

    def loader(package: ModelPackage, execution: Execution) -> LoadPredictor:
        loaded.append(execution)
        return always(SMOOTH)

    monkeypatch.setattr(module, "network_loader", loader)
    monkeypatch.setattr(module, "replan", lambda *given: replace(replan(*given), lanes=2))
    module.segment(label(draw_blobs(40, 50)), str(package), threads=4)
    assert [execution.threads for execution in loaded] == [2]


def test_an_array_of_numbers_that_a_model_does_not_scale_is_refused(tmp_path: Path) -> None:
    package = write_package(tmp_path / "bytes", SPEC.model_copy(update={"dtype": "uint8"}))
    with pytest.raises(ModelError, match="scales uint8 values"):
        geoseg.segment(label(draw_blobs(40, 50).astype(np.uint16)), str(package))


def test_an_array_has_an_accessor(package: Path) -> None:
    import geoseg.arrays.accessor  # noqa: F401

    lazy = label(draw_blobs(40, 50)).geoseg.segment(str(package))
    assert lazy.classes.shape == (40, 50)
    assert lazy.attrs["model"].startswith(SPEC.name)


def test_the_shipped_model_gives_an_array_the_classes_that_it_gives_a_file(tmp_path: Path) -> None:
    pixels = draw_blobs(300, 420)
    raster = write_raster(tmp_path / "city.tif", pixels)
    run = segment_raster(make_config({"raster": str(raster), "output": tmp_path / "out", "outputs": ("classes",)}))
    np.testing.assert_array_equal(geoseg.segment(label(pixels)).classes.to_numpy(), read_band(run / "classes.tif"))

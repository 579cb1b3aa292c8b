"""The straight line: the same map whatever the chunks and workers (laws 2 to 5), in bounded memory (law 8)."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from geoseg.errors import MemoryLimitError, ModelError
from geoseg.events import ChunkDone, Finished, RunPlanned, Warned
from geoseg.inference.planning import plan_run
from geoseg.inference.whole import infer_raster
from geoseg.io.raster import open_raster
from geoseg.model.predictor import ConstantPredictor, NeighborhoodPredictor, ThresholdPredictor, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from geoseg.tiling import TilingOptions, plan_tiles
from tests.doubles import (
    CRS,
    NODATA,
    TRANSFORM,
    ArraySource,
    Listening,
    Tight,
    always,
    bytes_of,
    configure,
    contents,
    draw_blobs,
    read_band,
    read_layer,
    write_package,
    write_raster,
)

NEAR = NeighborhoodPredictor(spec=double_spec(), radius_px=8)
SHAPE = 300, 420


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("package") / "double")


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raster(tmp_path_factory.mktemp("raster") / "blobs.tif", draw_blobs(*SHAPE, corner=150), nodata=0)


@pytest.fixture(scope="module")
def reference(raster: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return segment_raster(configure(raster, package, tmp_path_factory.mktemp("reference") / "out"), load=always(NEAR))


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[str]:
    """A Dask scheduler and workers as processes of their own, on loopback."""
    address = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    here = ["--host", "127.0.0.1", "--no-dashboard"]
    with ExitStack() as stack:

        def start(module: str, *arguments: str) -> None:
            process = subprocess.Popen([sys.executable, "-m", f"distributed.cli.{module}", *arguments], **quiet)
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start("dask_scheduler", *here, "--port", "0", "--scheduler-file", str(address))
        for _ in range(workers):
            start("dask_worker", *here, "--no-nanny", "--nthreads", "1", "--scheduler-file", str(address))
        deadline = time.monotonic() + 60
        while not address.exists() or '"address"' not in address.read_text():
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.1)
        yield address.read_text().split('"address": "')[1].split('"')[0]


# Law 2


@pytest.mark.parametrize(
    "options",
    [{"chunk_size": 32}, {"chunk_size": 96}, {"chunk_size": 200}, {"batch_size": 4, "chunk_size": 96}],
    ids=lambda options: ",".join(f"{k}={v}" for k, v in options.items()),
)
def test_chunks_and_batches_leave_no_trace_in_any_product(
    raster: Path, package: Path, reference: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    run = segment_raster(configure(raster, package, tmp_path / "out", **options), load=always(NEAR))
    assert bytes_of(run) == bytes_of(reference)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_leave_no_trace(raster: Path, package: Path, reference: Path, tmp_path: Path, workers: int) -> None:
    run = segment_raster(configure(raster, package, tmp_path / "out", chunk_size=96, workers=workers), load=always(NEAR))
    assert bytes_of(run) == bytes_of(reference)


@pytest.mark.slow
def test_a_cluster_elsewhere_leaves_no_trace(raster: Path, package: Path, reference: Path, tmp_path: Path) -> None:
    with cluster(2, tmp_path) as address:
        config = configure(raster, package, tmp_path / "out", chunk_size=96, scheduler=address)
        run = segment_raster(config, load=always(NEAR))
    assert bytes_of(run) == bytes_of(reference)


def test_the_reference_is_worth_comparing(reference: Path) -> None:
    assert set(np.unique(read_band(reference / "classes.tif"))) == {0, 1, NODATA}
    assert len(read_layer(reference, "buildings")) > 10
    assert len(np.unique(read_band(reference / "confidence.tif"))) > 10


# Law 3


@given(
    shape=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    radius=st.sampled_from([1, 8, 16]),
    halo=st.sampled_from([16, 24]),
    tile=st.sampled_from([64, 80, 112]),
    chunk=st.integers(1, 200),
    seed=st.integers(0, 9),
)
@settings(max_examples=30, deadline=None)
def test_tiles_equal_the_whole_image_where_the_halo_covers_the_receptive_field(
    shape: tuple[int, int], radius: int, halo: int, tile: int, chunk: int, seed: int
) -> None:
    pixels = draw_blobs(*shape, seed=seed, corner=10)
    source = ArraySource(pixels, pixels.any(axis=0))
    predictor = NeighborhoodPredictor(spec=double_spec(), radius_px=radius)
    tiled = plan_tiles(shape, TilingOptions(tile_size_px=tile, halo_px=halo, stride_px=16, chunk_size_px=chunk))
    whole = plan_tiles(shape, TilingOptions(tile_size_px=160, halo_px=0, stride_px=16))
    assert whole.tile_count == 1
    np.testing.assert_array_equal(infer_raster(predictor, source, tiled), infer_raster(predictor, source, whole))


@pytest.mark.parametrize(("radius", "halo"), [(8, 0), (24, 16)])
def test_tiles_differ_from_the_whole_image_where_the_halo_is_too_small(raster: Path, radius: int, halo: int) -> None:
    source, predictor = open_raster(raster), NeighborhoodPredictor(spec=double_spec(), radius_px=radius)
    tiled = plan_tiles(SHAPE, TilingOptions(tile_size_px=64, halo_px=halo, stride_px=16))
    whole = plan_tiles(SHAPE, TilingOptions(tile_size_px=432, halo_px=0, stride_px=16))
    assert (infer_raster(predictor, source, tiled)[0] != infer_raster(predictor, source, whole)[0]).any()


def test_the_class_map_is_the_one_of_the_whole_image(raster: Path, reference: Path) -> None:
    whole = infer_raster(NEAR, open_raster(raster), plan_tiles(SHAPE, TilingOptions(tile_size_px=432, halo_px=0, stride_px=16)))
    np.testing.assert_array_equal(read_band(reference / "classes.tif"), whole[0])
    np.testing.assert_array_equal(read_band(reference / "confidence.tif"), whole[1])


# Law 4


@pytest.mark.parametrize("product", ["classes", "confidence", "instances"])
def test_products_lie_on_the_grid_of_the_raster(raster: Path, reference: Path, product: str) -> None:
    with rasterio.open(raster) as given_, rasterio.open(reference / f"{product}.tif") as made:
        assert (made.shape, made.transform, made.crs) == (given_.shape, given_.transform, given_.crs)


def test_nodata_in_is_nodata_out(raster: Path, reference: Path) -> None:
    missing = ~read_band(raster).astype(bool)
    assert 0 < missing.sum() < missing.size / 2
    for product in ("classes", "confidence"):
        np.testing.assert_array_equal(read_band(reference / f"{product}.tif") == NODATA, missing)
        with rasterio.open(reference / f"{product}.tif") as made:
            assert made.nodata == NODATA
    assert not read_band(reference / "instances.tif")[missing].any()


@pytest.mark.parametrize("layer", ["landcover", "buildings"])
def test_polygons_never_cover_nodata(raster: Path, package: Path, tmp_path: Path, layer: str) -> None:
    """The border of the data is ragged and runs through buildings, so that simplifying it outwards would show."""
    rng = np.random.default_rng(3)
    pixels = np.full((3, 160, 160), 200, np.uint8)
    pixels[:, rng.random((160, 160)) < 0.02] = 0
    pixels[:, np.add.outer(np.arange(160), np.arange(160)) < 130 + rng.integers(0, 3, (160, 160))] = 0
    holed = write_raster(tmp_path / "holed.tif", pixels, nodata=0)
    threshold = ThresholdPredictor(spec=double_spec())
    run = segment_raster(configure(holed, package, tmp_path / "out"), load=always(threshold))
    covered = rasterize(read_layer(run, layer).geometry, out_shape=(160, 160), transform=TRANSFORM, fill=0, default_value=1)
    assert covered.sum() > 5000
    assert not covered[~pixels.any(axis=0)].any()


# Laws 5 and 8


def test_instances_and_buildings_tell_of_the_same_things(reference: Path) -> None:
    table, labels = read_layer(reference, "buildings"), read_band(reference / "instances.tif")
    assert list(table["instance_id"]) == list(range(1, len(table) + 1)) == list(np.unique(labels)[1:])
    first_pixels = [np.flatnonzero(labels.ravel() == i)[0] for i in table["instance_id"]]
    assert first_pixels == sorted(first_pixels)


PEAK_MEMORY = """
import resource, sys
from pathlib import Path
from geoseg.model.predictor import ConstantPredictor
from geoseg.pipeline import segment_raster
from geoseg.inference.planning import plan_run
from geoseg.config import make_config
from geoseg.model.package import find_package
raster, model, output = sys.argv[1:]
spec = find_package(model).spec
config = make_config({"raster": raster, "model": model, "output": Path(output), "chunk_size": 1024})
segment_raster(config, load=lambda: ConstantPredictor(spec=spec))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_raster(tmp_path: Path) -> None:
    """Both are larger than a block of any stage (2048 px), and one is four times the other."""
    spec = double_spec(tile_size_px=512, halo_px=0)
    package = write_package(tmp_path / "package", spec)
    peaks = {}
    for side in (4096, 8192):
        path, size = tmp_path / f"{side}.tif", {"height": side, "width": side}
        storage = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True}
        with rasterio.open(path, "w", driver="GTiff", count=3, dtype="uint8", transform=TRANSFORM, crs=CRS, **size, **storage):
            pass
        command = [sys.executable, "-c", PEAK_MEMORY, str(path), str(package), str(tmp_path / f"out{side}")]
        peaks[side] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peaks[8192] < 1.25 * peaks[4096]


def test_a_plan_that_does_not_fit_is_refused_with_numbers(raster: Path, package: Path, tmp_path: Path) -> None:
    with pytest.raises(MemoryLimitError, match=r"about \d\.\d GB of memory; 0\.1 GB may be used.*--chunk-size"):
        segment_raster(configure(raster, package, tmp_path / "out", memory="100MB"), load=always(NEAR))
    assert contents(tmp_path) == set()


# What is heard of a run


def test_a_run_reports_its_plan_every_chunk_and_its_end(raster: Path, package: Path, tmp_path: Path) -> None:
    heard = Listening()
    segment_raster(configure(raster, package, tmp_path / "out", chunk_size=96), heard, always(NEAR))
    planned, chunks = heard.of(RunPlanned), heard.of(ChunkDone)
    assert [type(heard[0]), type(heard[-1])] == [RunPlanned, Finished]
    assert (planned[0].height_px, planned[0].width_px, planned[0].chunks_done) == (*SHAPE, 0)
    assert [event.done for event in chunks] == list(range(1, planned[0].chunks + 1))
    assert len({event.chunk for event in chunks}) == planned[0].chunks > 10


def test_work_in_progress_is_gone_when_the_run_is_finished(reference: Path) -> None:
    assert contents(reference) >= {
        "classes.tif",
        "confidence.tif",
        "evidence.tif",
        "instances.tif",
        "panoptic.tif",
        "features.gpkg",
        "run.toml",
        "summary.json",
        "item.json",
    }
    assert not [name for name in contents(reference) if name.startswith(".work") or name.endswith(".part")]


def test_only_what_was_asked_for_is_made(raster: Path, package: Path, tmp_path: Path) -> None:
    config = configure(raster, package, tmp_path / "out", outputs=("classes",))
    run = segment_raster(config, load=always(ConstantPredictor(spec=double_spec())))
    assert contents(run) == {"classes.tif", "classes.tif.aux.xml", "run.toml", "summary.json", "item.json"}


def test_a_run_says_how_its_network_ran_and_goes_on_with_less_where_memory_is_short(raster: Path, package: Path, tmp_path: Path) -> None:
    heard = Listening()
    run = segment_raster(configure(raster, package, tmp_path / "out", batch_size=4), heard, always(Tight(NEAR, 3 * 64 * 64)))
    summary = json.loads((run / "summary.json").read_text())
    performance = summary["performance"]
    assert (performance["backend"], performance["device"], performance["batch_size"]) == ("torch", "cpu", 4)
    # some tiles hold no data
    assert 0 < performance["tiles_inferred"] < summary["counts"]["tiles"]
    assert performance["network_s"] > 0
    assert 0 < performance["network_share"] <= 1.01
    assert 0 < performance["first_tile_began_s"] < performance["first_tile_s"]
    (note,) = [event.message for event in heard.of(Warned)]
    assert note == "The memory of the device holds no batch of 4 tiles; going on with 2."
    assert note in summary["warnings"]
    roomy = segment_raster(configure(raster, package, tmp_path / "roomy", batch_size=4), load=always(NEAR))
    assert read_band(run / "classes.tif").tobytes() == read_band(roomy / "classes.tif").tobytes()


def test_objects_of_a_model_of_classes_with_two_kinds_of_buildings_are_refused_before_any_work(raster: Path, tmp_path: Path) -> None:
    """Their evidence is that of one class: the sheds would be missing."""
    described = double_spec().model_dump()
    described["classes"] = [*described["classes"], {"value": 7, "name": "shed", "color": "#282828", "kind": "building"}]
    described["heads"] = {"semantic": {"start": 0, "stop": 3, "activation": "softmax"}}
    package = write_package(tmp_path / "sheds", ModelSpec.model_validate(described))
    with pytest.raises(ModelError, match=r"2 classes of buildings \(building, shed\).*Leave buildings and panoptic out"):
        plan_run(configure(raster, package, tmp_path / "out", outputs=("classes", "buildings", "panoptic")))
    assert plan_run(configure(raster, package, tmp_path / "out", outputs=("classes", "landcover"))).layers == ("class",)


@pytest.mark.parametrize(
    ("outputs", "layers"),
    [
        (("classes",), ("class",)),
        (("landcover",), ("class",)),
        (("classes", "confidence"), ("class", "confidence")),
        (("roads",), ("class", "building_interior", "building_boundary", "building")),
        (("panoptic",), ("class", "confidence", "building_interior", "building_boundary", "building")),
    ],
)
def test_only_layers_that_outputs_are_made_from_are_stored(
    raster: Path, package: Path, reference: Path, tmp_path: Path, outputs: tuple[str, ...], layers: tuple[str, ...]
) -> None:
    config = configure(raster, package, tmp_path / "out", outputs=outputs)
    assert plan_run(config).layers == layers
    run = segment_raster(config, load=always(NEAR))
    for name in ("classes.tif", "confidence.tif", "panoptic.tif"):
        if (run / name).exists():
            assert (run / name).read_bytes() == (reference / name).read_bytes()
    assert json.loads((run / "summary.json").read_text())["classes"] == json.loads((reference / "summary.json").read_text())["classes"]

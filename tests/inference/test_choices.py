"""What is chosen without measuring: the backend that is there, sizes that fit, and nothing that was given is changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geoseg.config import RunConfig
from geoseg.errors import ConfigError, MemoryLimitError, ModelError
from geoseg.inference import choices
from geoseg.inference.choices import choose_execution, choose_lanes, choose_tile, ever_smaller
from geoseg.inference.planning import plan_run
from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage, find_package
from geoseg.model.predictor import double_spec
from geoseg.model.spec import Halo, NetworkSpec
from tests.doubles import configure, draw_blobs, write_network, write_package, write_raster


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(700, 900))
    return configure(raster, write_package(tmp_path / "package"), tmp_path / "out", cache=tmp_path / "cache")


def package_of(config: RunConfig) -> ModelPackage:
    return find_package(config.model)


def pretend(monkeypatch: pytest.MonkeyPatch, *, cores: int = 4, graph: bool = False, device: str = "cpu") -> None:
    monkeypatch.setattr(choices, "count_cores", lambda: cores)
    monkeypatch.setattr(choices, "has_graph", lambda _package, _cache: graph)
    monkeypatch.setattr(choices, "pick_device", lambda wanted: device if wanted == "auto" else wanted)


@pytest.mark.parametrize(
    ("there", "given", "expected"),
    [
        ({}, {}, ("torch", "cpu", "float32", 4)),
        ({"graph": True}, {}, ("onnx", "cpu", "float32", 4)),
        ({"graph": True}, {"backend": "torch"}, ("torch", "cpu", "float32", 4)),
        ({"graph": True, "device": "cuda"}, {}, ("torch", "cuda", "float32", 4)),
        ({"device": "cuda"}, {"precision": "float16", "backend": "compile"}, ("compile", "cuda", "float16", 4)),
        ({"cores": 8}, {"workers": 3}, ("torch", "cpu", "float32", 2)),
        ({"cores": 2}, {"workers": 3}, ("torch", "cpu", "float32", 1)),
        ({"cores": 8}, {"threads": 3, "workers": 2}, ("torch", "cpu", "float32", 3)),
        ({}, {"scheduler": "tcp://there:1", "device": "cuda:1"}, ("torch", "cuda:1", "float32", 0)),
    ],
)
def test_the_network_runs_by_what_is_there_and_what_was_given(
    monkeypatch: pytest.MonkeyPatch, config: RunConfig, there: dict[str, Any], given: dict[str, Any], expected: tuple[str, str, str, int]
) -> None:
    pretend(monkeypatch, **there)
    chosen = choose_execution(config.model_copy(update=given), package_of(config))
    assert (chosen.backend, chosen.device, chosen.precision, chosen.threads) == expected
    assert chosen.cache is None or chosen.cache == config.cache_folder / "graphs"


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_short_floats_are_refused_where_they_do_not_run(monkeypatch: pytest.MonkeyPatch, config: RunConfig, precision: str) -> None:
    pretend(monkeypatch, graph=True)
    with pytest.raises(ConfigError, match=rf"--precision {precision} needs --backend torch or compile; onnx takes float32"):
        choose_execution(config.model_copy(update={"precision": precision, "backend": "onnx"}), package_of(config))
    assert choose_execution(config.model_copy(update={"precision": precision}), package_of(config)).backend == "torch"


def test_a_per_pixel_model_only_runs_in_onnxruntime(config: RunConfig) -> None:
    baseline = double_spec().model_copy(update={"network": NetworkSpec(library="sklearn", architecture="random_forest", stride_px=1)})
    package = replace(package_of(config), spec=baseline)
    assert choose_execution(config, package) == Execution(backend="onnx", threads=choices.count_cores())
    with pytest.raises(ConfigError, match="it runs with --backend onnx only, not with torch"):
        choose_execution(config.model_copy(update={"backend": "torch"}), package)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, config: RunConfig) -> None:
    monkeypatch.setattr("geoseg.model.device.count_gpus", lambda: 0)
    with pytest.raises(ModelError, match="--device cuda was asked for"):
        choose_execution(config.model_copy(update={"device": "cuda"}), package_of(config))


@pytest.mark.parametrize(
    ("execution", "tiles", "lanes"),
    [
        (Execution(device="cuda"), 1, (2,)),
        (Execution(backend="onnx", threads=2), 4, (2, 1)),
        (Execution(backend="onnx", threads=2), 3, (1,)),
        (Execution(backend="onnx", threads=1), 99, (1,)),
        (Execution(backend="torch", threads=8), 99, (1,)),
    ],
)
def test_lanes_share_the_tiles_where_that_is_faster(execution: Execution, tiles: int, lanes: tuple[int, ...]) -> None:
    assert choose_lanes(execution, tiles) == lanes


@pytest.mark.parametrize("cores", [2, 3, 4, 8, 17])
def test_the_session_of_two_lanes_and_they_have_as_many_threads_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, config: RunConfig, cores: int
) -> None:
    pretend(monkeypatch, graph=True, cores=cores)
    plan = plan_run(config)
    # a session of k threads has k - 1 of its own
    own = plan.lane_execution.pool_threads - 1
    assert (plan.lanes, own + plan.lanes) == (2, cores)


def test_onnx_runs_on_the_processor_unless_the_gpu_is_asked_for_too(monkeypatch: pytest.MonkeyPatch, config: RunConfig) -> None:
    pretend(monkeypatch, graph=True, device="cuda")
    assert plan_run(config.model_copy(update={"backend": "onnx"})).execution.device == "cpu"


def test_lanes_share_the_cores_and_give_way_to_the_limit_of_memory(monkeypatch: pytest.MonkeyPatch, config: RunConfig) -> None:
    pretend(monkeypatch, graph=True, cores=3)
    shared = plan_run(config)
    assert (shared.lanes, shared.lane_execution.threads, shared.execution.threads) == (2, 2, 3)
    alone = plan_run(config.model_copy(update={"memory": str(shared.memory_bytes - 1)}))
    assert (alone.lanes, alone.lane_execution.threads) == (1, 3)
    assert alone.tiles == shared.tiles


def test_sizes_shrink_in_turn_and_only_those_that_were_left_open(config: RunConfig) -> None:
    spec = double_spec(tile_size_px=1024, halo_px=32)
    gpu = Execution(device="cuda")
    sizes = [(c.chunk_size, c.batch_size, c.tile_size) for c in ever_smaller(config, spec, gpu)]
    assert sizes[:3] == [(4096, 8, 1024), (2048, 8, 1024), (1024, 8, 1024)]
    assert sizes[3:6] == [(1024, 4, 1024), (1024, 2, 1024), (1024, 1, 1024)]
    assert [tile for _, batch, tile in sizes if batch == 1][:4] == [1024, 682, 682, 454]
    assert min(tile for *_, tile in sizes if tile) >= 256
    fixed = config.model_copy(update={"chunk_size": 3000, "tile_size": 512})
    assert [(c.chunk_size, c.batch_size, c.tile_size) for c in ever_smaller(fixed, spec, gpu)] == [
        (3000, batch, 512) for batch in (8, 4, 2, 1)
    ]


@pytest.mark.parametrize(
    ("changed", "given", "execution", "tile_px"),
    [
        ({}, {}, Execution(), 1152),
        ({}, {}, Execution(backend="onnx", threads=7), 1152),
        ({}, {"memory": "5GB"}, Execution(), 768),
        ({"tile_size_px": 240}, {}, Execution(), 240),
        ({"halo": Halo(default_px=8, exact_px=48)}, {}, Execution(), 768),
        ({"halo": Halo(default_px=8, exact_px=48)}, {"halo": "exact"}, Execution(), 1152),
        ({"network": NetworkSpec(architecture="a", encoder="b", stride_px=16, global_context=True)}, {"stitch": "crop"}, Execution(), 768),
        ({}, {"stitch": "blend"}, Execution(), 768),
        ({}, {}, Execution(backend="compile"), 768),
        ({}, {}, Execution(device="cuda"), 768),
        ({"network": NetworkSpec(library="onnx", architecture="a", encoder="b", stride_px=16)}, {}, Execution(), 768),
    ],
)
def test_tiles_have_more_room_on_a_processor_where_that_saves_halo_work(
    config: RunConfig, changed: dict[str, Any], given: dict[str, Any], execution: Execution, tile_px: int
) -> None:
    spec = double_spec(tile_size_px=768, halo_px=48).model_copy(update={"memory_bytes_per_px": 490, **changed})
    assert choose_tile(config.model_copy(update=given), spec, execution) == tile_px


@pytest.mark.parametrize("given", [{"threads": 1}, {"threads": 8}, {"workers": 2}, {"chunk_size": 2500}, {"outputs": ["classes"]}])
def test_the_room_of_a_tile_does_not_depend_on_how_a_run_is_shared_out(config: RunConfig, given: dict[str, Any]) -> None:
    spec = double_spec(tile_size_px=768, halo_px=48).model_copy(update={"memory_bytes_per_px": 490})
    package = write_package(config.output.parent / "roomy", spec)
    raster = write_raster(config.output.parent / "large.tif", draw_blobs(2200, 2300))
    plans = [plan_run(configure(raster, package, config.output, cache=config.output / "cache", **options)) for options in ({}, given)]
    assert plans[0].config.tile_size == plans[1].config.tile_size == 1152
    assert plans[0].tiles.tile(1, 1).core == plans[1].tiles.tile(1, 1).core


@pytest.mark.parametrize(("total", "tile_px"), [(16 * 10**9, 1152), (4 * 10**9, 768)])
def test_the_room_of_a_tile_is_a_matter_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, config: RunConfig, total: int, tile_px: int
) -> None:
    monkeypatch.setattr(choices, "memory_bytes", lambda: total)
    spec = double_spec(tile_size_px=768, halo_px=48).model_copy(update={"memory_bytes_per_px": 490})
    assert choose_tile(config.model_copy(update={"memory": None}), spec, Execution()) == tile_px


def test_a_tile_gives_its_room_back_before_it_is_less_than_the_model_was_made_for(config: RunConfig) -> None:
    spec = double_spec(tile_size_px=768, halo_px=48).model_copy(update={"memory_bytes_per_px": 490})
    sizes = [(c.tile_size, c.chunk_size) for c in ever_smaller(config, spec, Execution())]
    assert sizes == [(1152, 1536), (1152, 768), (768, 1536), (768, 768), (512, 768), (512, 384), (341, 384), (341, 192)]


def test_the_room_of_a_tile_costs_no_pixel_twice(config: RunConfig) -> None:
    network = write_network(config.output.parent / "network")
    roomy = plan_run(config.model_copy(update={"model": str(network)}))
    own = plan_run(config.model_copy(update={"model": str(network), "tile_size": find_package(network).spec.tile_size_px}))
    assert roomy.tiles.tile_count < own.tiles.tile_count
    assert roomy.tiles.halo_work < own.tiles.halo_work


@pytest.mark.parametrize(("raster_px", "chunk_px"), [(1, 1536), (5 * 10**11, 1536), (10**12, 2016), (10**14, 20_000)])
def test_chunks_grow_with_rasters_of_which_there_would_be_too_many(config: RunConfig, raster_px: int, chunk_px: int) -> None:
    first = next(ever_smaller(config, double_spec(), Execution(), raster_px))
    assert first.chunk_size == chunk_px
    assert next(ever_smaller(config.model_copy(update={"chunk_size": 700}), double_spec(), Execution(), raster_px)).chunk_size == 700
    spec = double_spec(tile_size_px=768, halo_px=48).model_copy(update={"memory_bytes_per_px": 490})
    roomy = next(ever_smaller(config, spec, Execution(), raster_px))
    assert roomy.tile_size == 1152
    assert raster_px / (roomy.chunk_size // (1152 - 96) * (1152 - 96)) ** 2 <= 250_000


def test_a_run_is_made_to_fit_its_memory_or_refused_with_numbers(config: RunConfig) -> None:
    spec = double_spec(tile_size_px=768, halo_px=16)
    large = config.model_copy(update={"model": str(write_package(config.output.parent / "large", spec)), "memory": "100GB"})
    wanted = plan_run(large)
    assert (wanted.tiles.tile_size_px, wanted.config.chunk_size) == (768, 1536)
    tight = plan_run(large.model_copy(update={"memory": str(wanted.memory_bytes - 1)}))
    assert tight.memory_bytes < wanted.memory_bytes
    assert tight.tiles.tile_size_px < 768 or tight.tiles.tiles_per_chunk < wanted.tiles.tiles_per_chunk
    with pytest.raises(MemoryLimitError, match=r"about 1\.\d GB of memory; 1\.0 GB may be used"):
        plan_run(large.model_copy(update={"memory": "1GB"}))
    with pytest.raises(MemoryLimitError):
        plan_run(large.model_copy(update={"memory": str(wanted.memory_bytes - 1), "tile_size": 768, "chunk_size": 1536}))

"""Graphs of packages: beside the weights or exported once, verified, and pointing nowhere but into the weights."""

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open
from safetensors.numpy import save_file

from geoseg.errors import MissingFileError, ModelError, WriteError
from geoseg.model import graph as graphs
from geoseg.model.execution import Execution
from geoseg.model.export import add_graph, trace_onnx
from geoseg.model.external import external_files
from geoseg.model.graph import find_graph, graph_cache, has_graph, read_graph
from geoseg.model.layout import find_tensors
from geoseg.model.load import load_predictor
from geoseg.model.network import build_network, load_weights, save_weights
from geoseg.model.package import GRAPH_NAME, WEIGHTS_NAME, ModelPackage, find_package, shipped_models, write_card
from geoseg.model.session import open_session
from geoseg.model.slim import slim_graph
from tests.doubles import contents
from tests.model.networks import drawn, write_small


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A package without a graph."""
    return write_small(tmp_path_factory.mktemp("bare") / "package")


@pytest.fixture(scope="module")
def cache(bare: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds its graph."""
    folder = tmp_path_factory.mktemp("cache") / "below"
    assert not has_graph(bare, folder)
    find_graph(bare, folder)
    return folder


@pytest.fixture
def whole(bare: ModelPackage, cache: Path, tmp_path: Path) -> ModelPackage:
    """A copy of the package, with its graph."""
    shutil.copytree(bare.folder, tmp_path / "whole")
    shutil.copyfile(find_graph(bare, cache), tmp_path / "whole" / GRAPH_NAME)
    return write_card(tmp_path / "whole", bare.spec)


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_models_have_a_small_graph_that_holds_no_weights(name: str) -> None:
    package = find_package(name)
    assert has_graph(package)
    assert package.graph is not None
    assert find_graph(package) == package.graph
    assert package.graph.stat().st_size < 80_000
    assert external_files(read_graph(package.graph)) == {WEIGHTS_NAME}
    places = {(p.offset_bytes, p.length_bytes) for p in find_tensors(package.weights).values()}
    for tensor in onnx.load(package.graph, load_external_data=False).graph.initializer:
        where = {entry.key: entry.value for entry in tensor.external_data}
        assert not where or (int(where["offset"]), int(where["length"])) in places


def test_a_graph_is_exported_once_and_then_found_without_another_process(
    bare: ModelPackage, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_graph(bare, cache)
    assert len(contents(cache)) == 1
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a second export"))
    assert find_graph(bare, cache).parent == cache


def test_other_weights_and_other_networks_have_graphs_of_their_own(bare: ModelPackage, cache: Path) -> None:
    from dataclasses import replace

    other = bare.spec.model_copy(update={"network": bare.spec.network.model_copy(update={"options": {"width": 8}})})
    assert not has_graph(replace(bare, sha256="0" * 64), cache)
    assert not has_graph(replace(bare, spec=other), cache)


def test_a_graph_in_the_package_comes_before_one_in_the_cache(whole: ModelPackage, cache: Path, tmp_path: Path) -> None:
    assert find_graph(whole, tmp_path / "empty") == whole.folder / GRAPH_NAME
    assert find_package(whole.folder).graph_sha256 == whole.graph_sha256
    pixels, valid = drawn(64, 96)
    kept = load_predictor(find_package(whole.folder), Execution(backend="onnx", threads=1, cache=tmp_path / "empty"))
    assert kept.predict(pixels, valid).shape == (1, 5, 64, 96)
    assert not (tmp_path / "empty").exists()


def test_a_package_gets_its_graph_and_a_newer_one_in_place_of_it(bare: ModelPackage, tmp_path: Path) -> None:
    shutil.copytree(bare.folder, tmp_path / "package")
    (tmp_path / "package" / GRAPH_NAME).write_bytes(b"an older one")
    package, difference = add_graph(find_package(tmp_path / "package"))
    assert difference < 1e-3
    assert contents(package.folder) == {GRAPH_NAME, WEIGHTS_NAME, "model.json"}
    assert find_package(package.folder) == package


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_all_files_of_a_package_may_be_read_by_whom_the_user_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        package, _ = add_graph(write_small(tmp_path / "package"))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in package.folder.iterdir()} == {0o644}


def test_weights_too_large_for_float16_are_kept_exactly(tmp_path: Path) -> None:
    package = write_small(tmp_path / "package")
    module = build_network(package.spec)
    name, first = next((name, child) for name, child in module.named_modules() if isinstance(child, torch.nn.Conv2d))
    above, _, last = name.rpartition(".")
    norm = torch.nn.BatchNorm2d(first.out_channels)
    with torch.no_grad():
        norm.running_var.fill_(3e6)
        norm.weight.fill_(2e3)
    setattr(module.get_submodule(above), last, torch.nn.Sequential(first, norm))
    save_weights(module, package.weights)
    with safe_open(package.weights, "pt") as stored:
        kinds = {key: stored.get_slice(key).get_dtype() for key in stored.keys()}  # noqa: SIM118
    assert {key for key, kind in kinds.items() if kind == "F32"} == {f"{name}.1.running_var"}
    tile = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = module.eval()(tile)
        load_weights(module, package.weights)
        expected = module(tile)
    torch.testing.assert_close(expected, before, rtol=0.02, atol=0.02)
    graph = slim_graph(trace_onnx(module, tile, {0: "batch", 2: "height", 3: "width"}, folded=False), package.weights, (64, 96))
    kept = [t for t in graph.graph.initializer if t.name == f"{name}.1.running_var"]
    assert [(t.data_type, t.data_location) for t in kept] == [(TensorProto.FLOAT, TensorProto.EXTERNAL)]
    session = open_session(graph.SerializeToString(), "mixed", Execution(), weights_folder=package.folder)
    whole = {"image": tile.numpy(), "keep": np.array([0, 0, 64, 96])}
    (found,) = session.run(None, {port.name: whole[port.name] for port in session.get_inputs()})
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


def test_a_package_is_whole_whenever_its_graph_is_replaced(whole: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, seen = Path.replace, []

    def looking(self: Path, target: Path) -> Path:
        seen.append(find_package(whole.folder).graph_sha256)
        moved = replace(self, target)
        seen.append(find_package(whole.folder).graph_sha256)
        return moved

    monkeypatch.setattr(Path, "replace", looking)
    (whole.folder / GRAPH_NAME).write_bytes((whole.folder / GRAPH_NAME).read_bytes())
    package, _ = add_graph(whole)
    assert seen == [whole.graph_sha256, None, None, None, None, package.graph_sha256]


def test_a_folder_that_takes_no_graph_is_a_failed_write(whole: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    card = (whole.folder / "model.json").read_bytes()
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **more: refuse() if "w" in mode else opened(self, mode, **more))
    with pytest.raises(WriteError, match=r"model\.json could not be written"):
        write_card(whole.folder, whole.spec)
    monkeypatch.undo()
    assert (whole.folder / "model.json").read_bytes() == card
    assert find_package(whole.folder) == whole
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(WriteError, match="graph could not be written"):
        add_graph(whole)


def test_a_changed_graph_is_refused_with_both_checksums(whole: ModelPackage) -> None:
    with (whole.folder / GRAPH_NAME).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ModelError, match=r"The graph of .* have SHA-256 .* says .* damaged"):
        find_package(whole.folder)
    (whole.folder / GRAPH_NAME).unlink()
    with pytest.raises(MissingFileError, match=f"holds no {GRAPH_NAME}"):
        find_package(whole.folder)


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights.safetensors", "other.bin", "*/_ORT_MEM_ADDR_/*", ""])
def test_a_graph_that_would_read_another_file_is_refused(location: str, whole: ModelPackage) -> None:
    assert whole.graph is not None
    model = onnx.load(whole.graph, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.external_data)
    next(entry for entry in tensor.external_data if entry.key == "location").value = location
    onnx.save(model, whole.graph)
    package = write_card(whole.folder, whole.spec)
    with pytest.raises(ModelError, match=rf"would read '{location.replace('*', '[*]')}'; only {WEIGHTS_NAME}"):
        load_predictor(package, Execution(backend="onnx"))


def test_a_graph_for_weights_that_lie_otherwise_is_refused(whole: ModelPackage) -> None:
    from safetensors.numpy import load_file

    # the same tensors with a note in the header: everything lies a little farther on
    save_file(load_file(whole.weights), whole.weights, metadata={"note": "moved"})
    package = write_card(whole.folder, whole.spec)
    with pytest.raises(ModelError, match="made for weights that lie otherwise"):
        load_predictor(package, Execution(backend="onnx"))


def test_a_graph_of_another_network_is_refused_with_what_it_takes(whole: ModelPackage) -> None:
    from dataclasses import replace

    more = whole.spec.model_copy(update={"bands": ("a", "b", "c", "d"), "mean": (0.0,) * 4, "std": (1.0,) * 4})
    with pytest.raises(ModelError, match=r"'image', 'tensor\(float\)', 4.*was expected"):
        load_predictor(replace(whole, spec=more), Execution(backend="onnx"))


def test_a_tile_that_the_network_cannot_take_is_named(whole: ModelPackage) -> None:
    predictor = load_predictor(whole, Execution(backend="onnx", threads=1))
    with pytest.raises(ModelError, match=r"'small' .* \(1, 3, 40, 40\)"):
        predictor.predict(np.zeros((1, 3, 40, 40), np.uint8), np.ones((1, 40, 40), bool))


def test_an_export_that_fails_says_why_and_leaves_nothing(bare: ModelPackage, tmp_path: Path) -> None:
    shutil.copytree(bare.folder, tmp_path / "package")
    network = bare.spec.network.model_copy(update={"architecture": "unheard"})
    package = write_card(tmp_path / "package", bare.spec.model_copy(update={"network": network}))
    with pytest.raises(ModelError, match=r"cannot be run by onnxruntime: .*'unheard' is none of .* Choose --backend torch"):
        find_graph(package, tmp_path / "cache")
    assert not contents(tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(bare: ModelPackage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match=f"could not be kept in {tmp_path / 'file'}"):
        find_graph(bare, tmp_path / "file")


def test_graphs_are_kept_in_the_users_cache_unless_a_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert graph_cache() == tmp_path / "geoseg" / "graphs"
    with pytest.raises(MissingFileError, match="is gone"):
        read_graph(graph_cache() / "none.onnx")
    assert graphs.has_graph(find_package("korea"))


def outside(location: str) -> Any:
    tensor = TensorProto(name=location, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="location")
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_external_data_is_found_wherever_it_stands_in_a_model() -> None:
    inner = helper.make_graph([], "inner", [], [], initializer=[outside("in a branch")])
    nodes = [
        helper.make_node("If", ["x"], ["y"], then_branch=inner),
        helper.make_node("Constant", [], ["c"], value=outside("in a constant")),
        helper.make_node("Many", [], ["m"], tensors=[outside("in a list")], graphs=[inner]),
    ]
    function = helper.make_function(
        "own", "f", [], [], [helper.make_node("Constant", [], ["c"], value=outside("in a function"))], [helper.make_opsetid("", 17)]
    )
    kept = numpy_helper.from_array(np.zeros(3, np.float32), "kept")
    model = helper.make_model(helper.make_graph(nodes, "outer", [], [], initializer=[outside("on top"), kept]), functions=[function])
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(outside("in sparse values"))
    model.training_info.add().algorithm.initializer.append(outside("in training"))
    found = external_files(model.SerializeToString())
    assert found == {
        "on top", "in a branch", "in a constant", "in a list", "in a function", "in sparse values", "in training",
    }  # fmt: skip


@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_model_are_refused_or_name_no_file(content: bytes) -> None:
    with suppress(ModelError):
        assert isinstance(external_files(content), set)


@given(cut=st.integers(0, 400))
def test_a_model_that_was_cut_off_is_refused_or_names_the_files_that_are_left(cut: int) -> None:
    model = helper.make_model(helper.make_graph([], "g", [], [], initializer=[outside("a"), outside("b")])).SerializeToString()
    with suppress(ModelError):
        assert external_files(model[:cut]) <= {"a", "b"}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\x3a\x7f", "127 bytes .* past the end"), (b"\x3b", "unknown kind 3"), (b"\xff" * 12, "does not end"), (b"\x80", "index out")],
)
def test_what_is_wrong_with_the_bytes_of_a_model_is_said(content: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=rf"no ONNX model: .*{said}"):
        external_files(content)


def test_a_model_nested_without_end_is_refused() -> None:
    graph = onnx.GraphProto()
    for _ in range(20):
        outer = onnx.GraphProto()
        outer.node.add().attribute.add().g.CopyFrom(graph)
        graph = outer
    with pytest.raises(ModelError, match="nested deeper than 32 messages"):
        external_files(onnx.ModelProto(graph=graph).SerializeToString())


def test_a_tag_with_bits_that_protocol_buffers_drop_hides_nothing() -> None:
    def write(number: int) -> bytes:
        return bytes([number & 0x7F | 0x80]) + write(number >> 7) if number > 0x7F else bytes([number])

    tensor = outside("hidden").SerializeToString()
    graph = write(5 << 3 | 2 | 1 << 32) + write(len(tensor)) + tensor
    content = b"\x3a" + write(len(graph)) + graph
    assert external_files(content) == {"hidden"}

"""Archives of torch.export give what torch gives, without a byte of pickle being read."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geoseg.errors import MissingFileError, ModelError
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.program import Program, _to_tensor
from geoseg.model.programfile import RawTensor, read_archive
from geoseg.model.source import import_model
from tests.doubles import draw_blobs
from tests.model.test_onnxfile import named, said


class Small(nn.Module):
    """Down, up, a branch, sizes that are computed, a split and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        skip = torch.relu(self.norm(self.first(image)))
        down = nn.functional.interpolate(self.second(skip), size=skip.shape[2:], mode="bilinear")
        left, right = torch.split(torch.cat([skip, down], dim=1), 8, dim=1)
        return self.last(left * torch.tensor([0.5, 2.0]).repeat(4).reshape(1, 8, 1, 1) + right)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.set_num_threads(1)
    torch.manual_seed(2)
    return Small().eval()


@pytest.fixture(scope="module")
def archive(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "free.pt2"
    rows, cols = torch.export.Dim("rows", min=2, max=64), torch.export.Dim("cols", min=2, max=64)
    free = ({0: torch.export.Dim("batch"), 2: 8 * rows, 3: 8 * cols},)
    torch.export.save(torch.export.export(network, (torch.randn(2, 3, 32, 40),), dynamic_shapes=free), path)
    return path


@torch.inference_mode()
def test_a_program_gives_what_the_network_gives_for_any_batch_and_size(network: nn.Module, archive: Path) -> None:
    program = Program(read_archive(archive), "free.pt2")
    for shape in ((1, 3, 64, 64), (3, 3, 32, 48)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        (found,) = program(image)
        torch.testing.assert_close(found, network(image))


@torch.inference_mode()
def test_a_program_as_a_package_gives_the_networks_classes(network: nn.Module, archive: Path, tmp_path: Path) -> None:
    sheet = {**said("logits", "a", "b"), "tile_size_px": 64}
    package = import_model(str(archive), tmp_path / "package", sheet)
    pixels = draw_blobs(64, 64)
    layers = load_predictor(package, Execution(threads=1)).predict(pixels[None], np.ones((1, 64, 64), bool))
    expected = network(torch.from_numpy(pixels[None] / np.float32(255)).float()).argmax(dim=1)
    assert (layers[:, 0] == expected.numpy()).mean() > 0.9999
    assert 0 < expected.float().mean() < 1
    assert (package.spec.network.backend, package.weights.name) == ("torch", "weights.pt2")


@torch.inference_mode()
def test_a_program_of_one_size_and_batch_is_padded_to_it(network: nn.Module, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(network, (torch.randn(2, 3, 64, 64),)), tmp_path / "fixed.pt2")
    spec = import_model(str(tmp_path / "fixed.pt2"), tmp_path / "package", said("logits", "a", "b")).spec
    assert (spec.tile_size_px, spec.network.options["batch"]) == (64, 2)


class Exploit:
    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was read",)


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy an archive, its members changed on the way; None leaves one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def change_json(part: str, change: Callable[[Any], Any]) -> Callable[[str, bytes], bytes | None]:
    def apply(name: str, content: bytes) -> bytes:
        if not name.endswith(part):
            return content
        table = json.loads(content)
        change(table)
        return json.dumps(table).encode()

    return apply


@torch.inference_mode()
def test_sample_inputs_are_pickles_and_left_unread(network: nn.Module, archive: Path, tmp_path: Path) -> None:
    path = rewrite(archive, tmp_path / "m.pt2", lambda name, content: pickle.dumps(Exploit()) if "sample_inputs" in name else content)
    (found,) = Program(read_archive(path), "m.pt2")(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(found, network(torch.zeros(1, 3, 32, 32)))


def use_pickle(table: Any) -> None:
    next(iter(table["config"].values()))["use_pickle"] = True


def call(target: str) -> Callable[[Any], None]:
    def change(table: Any) -> None:
        table["graph_module"]["graph"]["nodes"][0]["target"] = target

    return change


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("weights_config.json", use_pickle, "kept as a pickle, which is never read"),
        *(("model.json", call(target), "only operators of torch.ops.aten are run") for target in (
            "torch.hub.load", "torch.load", "torch.ops.aten.from_file.default", "_operator.attrgetter", "os.system",
        )),
        ("model.json", call("torch.ops.aten.__class__.mro"), "is no operator of this torch"),
        ("model.json", lambda table: table["graph_module"]["signature"]["input_specs"].append({"custom_obj": {}}), "takes a custom_obj"),
        ("model.json", lambda table: table.pop("graph_module"), "no archive of torch.export as expected"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_would_run_code_is_refused_by_name(archive: Path, tmp_path: Path, part: str, change: Any, reason: str) -> None:
    path = rewrite(archive, tmp_path / "m.pt2", change_json(part, change))
    with pytest.raises(ModelError, match=reason):
        import_model(str(path), tmp_path / "package", said("logits", "a", "b"))


def test_weights_that_reach_past_their_file_are_refused(archive: Path, tmp_path: Path) -> None:
    path = rewrite(archive, tmp_path / "m.pt2", lambda name, content: content[:4] if name.endswith("weight_0") else content)
    with pytest.raises(ModelError, match=r"holds 4 bytes for a tensor that reaches to \d+"):
        import_model(str(path), tmp_path / "package", said("logits", "a", "b"))


def test_archives_of_old_torch_and_plain_pickles_are_refused_unread(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as old:
        old.writestr("serialized_exported_program.json", "{}")
        old.writestr("serialized_state_dict.pt", pickle.dumps(Exploit()))
    with pytest.raises(ModelError, match=r"up to 2\.7, whose weights are pickles"):
        import_model(str(tmp_path / "old.pt2"), tmp_path / "package", {})
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, stream)
    for name in ("weights.pt", "weights.pth", "weights.ckpt"):
        (tmp_path / name).write_bytes(stream.getvalue())
        with pytest.raises(ModelError, match="is a pickle or a checkpoint, which can run any code and is never read"):
            import_model(str(tmp_path / name), tmp_path / "package", {})


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"no zip"])
def test_what_is_no_archive_is_said_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.pt2"):
        import_model(str(tmp_path / "m.pt2"), tmp_path / "package", {})
    with pytest.raises(MissingFileError):
        import_model(str(tmp_path / "gone.pt2"), tmp_path / "package", {"classes": named("a")})


@pytest.mark.parametrize("sizes", [(20_000, 20_000), (10**15, 10**15), (0, 10**30)])
def test_a_tensor_larger_than_its_bytes_is_refused(sizes: tuple[int, ...]) -> None:
    raw = RawTensor(content=bytes(16), dtype=7, sizes=sizes, strides=(0, 0), offset=0)
    with pytest.raises(ModelError, match=r"holds (16 bytes for )?a tensor of the shape"):
        _to_tensor(raw, "cpu", "m.pt2")

"""Models from elsewhere by their items, the hub, sheets and questions."""

import functools
import hashlib
import http.server
import io
import json
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import URLError

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from geoseg.errors import MissingFileError, ModelError, UsageError, WriteError
from geoseg.model import fetch, source
from geoseg.model.exchange import export_package
from geoseg.model.hub import fetch_hub
from geoseg.model.package import ModelPackage
from geoseg.model.sheet import ask_sheet, read_sheet, sheet_of_words
from geoseg.model.source import find_model, import_model
from tests.model.test_onnxfile import BYTES, named, said, write_onnx


def item_of(model: Path, **changes: Any) -> dict[str, Any]:
    checksum = hashlib.sha256(model.read_bytes()).hexdigest()
    given = {
        "name": "image",
        "bands": ["red", "green", "blue"],
        "input": {"shape": [-1, 3, 64, 64], "dim_order": ["batch", "bands", "height", "width"], "data_type": "float32"},
        "value_scaling": [{"type": "min-max", "minimum": 0, "maximum": 255}],
        "pre_processing_function": changes.pop("pre_processing_function", None),
    }
    given |= changes.pop("input", {})
    rows = [{"value": 0, "name": "land", "color_hint": "C8B48C"}, {"value": 7, "name": "house"}]
    output = {"tasks": ["semantic-segmentation"], "result": {"shape": [-1, 2, 64, 64]}, "classification:classes": rows}
    asset = {"href": f"./{model.name}", "roles": ["mlm:model"], "mlm:artifact_type": "onnx", "file:checksum": f"1220{checksum}"}
    asset |= changes.pop("asset", {})
    properties = {"mlm:name": "theirs", "mlm:tasks": ["semantic-segmentation"], "mlm:input": [given], "mlm:output": [output], **changes}
    return {"type": "Feature", "stac_version": "1.0.0", "properties": properties, "assets": {"model": asset}}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "net.onnx", ["n", 3, "h", "w"])


def write_item(model: Path, **changes: Any) -> Path:
    path = model.parent / "item.json"
    path.write_text(json.dumps(item_of(model, **changes)))
    return path


def test_an_item_from_elsewhere_says_bands_scaling_tile_and_classes(model: Path, tmp_path: Path) -> None:
    spec = import_model(str(write_item(model, gsd=0.6)), tmp_path / "package", {"ports": {"gives": "sigmoid"}}).spec
    assert (spec.name, spec.bands, spec.tile_size_px, spec.resolution_m) == ("theirs", ("red", "green", "blue"), 64, 0.6)
    assert (spec.mean, spec.std) == ((0, 0, 0), (255, 255, 255))
    assert [(row.value, row.name) for row in spec.classes] == [(0, "land"), (7, "house")]
    assert spec.classes[0].color == "#c8b48c"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"asset": {"file:checksum": "1220" + "0" * 64}}, "file:checksum says 000000"),
        ({"asset": {"file:checksum": "d50110" + "0" * 32}}, "SHA-256 .* was expected"),
        ({"asset": {"mlm:artifact_type": "torch.save"}}, "Pickles .* are never read"),
        ({"asset": {"href": "../../etc/passwd"}}, "lies outside its folder"),
        ({"pre_processing_function": {"format": "python", "expression": "x.y:z"}}, "pre_processing_function is code"),
        ({"input": {"value_scaling": [{"type": "processing", "expression": "A/B"}]}}, "value_scaling of the type 'processing'"),
        ({"input": {"input": {"shape": [-1, 3, 64], "dim_order": ["batch", "time", "bands"]}}}, "dim_order is batch, time, bands"),
        ({"mlm:tasks": ["classification"], "mlm:output": [{"tasks": ["classification"]}]}, "mlm:tasks says classification"),
        ({"mlm:input": []}, "describes 0 inputs"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_an_item_asks_for_that_is_not_done_is_named(model: Path, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        import_model(str(write_item(model, **change)), tmp_path / "package", {"ports": {"gives": "sigmoid"}})
    assert not (tmp_path / "package").exists()


def test_older_items_say_scaling_as_statistics(model: Path, tmp_path: Path) -> None:
    statistics = [{"mean": m, "stddev": 50.0} for m in (1.0, 2.0, 3.0)]
    path = write_item(model, input={"value_scaling": None, "norm_type": "z-score", "statistics": statistics})
    spec = import_model(str(path), tmp_path / "package", {"ports": {"gives": "sigmoid"}}).spec
    assert (spec.mean, spec.std) == ((1, 2, 3), (50, 50, 50))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    answers: ClassVar[list[int]] = []
    tag: ClassVar[str | None] = None

    def do_GET(self) -> None:
        if self.tag and self.headers.get("If-None-Match") == self.tag:
            self.send_response(304)
            self.end_headers()
        else:
            super().do_GET()

    def end_headers(self) -> None:
        if self.tag:
            self.send_header("ETag", self.tag)
        super().end_headers()

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        self.answers.append(int(code))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site(model: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(model.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_item_on_the_web_brings_its_model_along(model: Path, site: str, tmp_path: Path) -> None:
    write_item(model)
    spec = import_model(f"{site}/item.json", tmp_path / "package", {"ports": {"gives": "sigmoid"}}).spec
    assert spec.name == "theirs"
    write_item(model, asset={"file:checksum": "1220" + "0" * 64})
    with pytest.raises(ModelError, match="damaged or were changed"):
        import_model(f"{site}/item.json", tmp_path / "other", {"ports": {"gives": "sigmoid"}})
    with pytest.raises(MissingFileError, match=r"cannot be fetched: HTTP Error 404"):
        find_model(f"{site}/none.onnx", tmp_path / "cache")


def ask_anew() -> None:
    """Forget what this process knows of addresses, as another one does."""
    source._ask_once.cache_clear()


@pytest.fixture
def answers(site: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the server has answered."""
    answers: list[int] = []
    monkeypatch.setattr(_Quiet, "answers", answers)
    return answers


@pytest.mark.parametrize("tag", ['"first"', None], ids=["etag", "last modified"])
def test_a_model_at_an_address_is_fetched_once_for_all_rasters_and_commands(
    model: Path, site: str, answers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str | None
) -> None:
    zip_package(model, tmp_path, "theirs")
    monkeypatch.setattr(_Quiet, "tag", tag)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: find_model(f"{site}/package.zip", tmp_path / "cache"), range(4)))
    assert [package.spec.name for package in found] == ["theirs"] * 4
    assert answers == [200]
    ask_anew()
    assert find_model(f"{site}/package.zip", tmp_path / "cache") == found[0]
    assert answers == [200, 304]
    shutil.rmtree(tmp_path / "cache")
    assert find_model(f"{site}/package.zip", tmp_path / "cache") == found[0]
    assert answers == [200, 304, 200]


def test_a_model_at_an_address_that_has_changed_is_fetched_anew(
    model: Path, site: str, answers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tag in ("first", "second"):
        zip_package(model, tmp_path, tag)
        monkeypatch.setattr(_Quiet, "tag", f'"{tag}"')
        ask_anew()
        assert find_model(f"{site}/package.zip", tmp_path / "cache").spec.name == tag
    assert answers == [200, 200]


def test_without_a_connection_the_model_that_was_fetched_last_is_taken(
    model: Path, site: str, answers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_package(model, tmp_path, "theirs")
    found = find_model(f"{site}/package.zip?signature=secret", tmp_path / "cache")
    for note in (tmp_path / "cache").rglob("addresses/*"):
        assert "secret" not in note.name + note.read_text()

    def be_offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    ask_anew()
    with monkeypatch.context() as patched:
        patched.setattr(urllib.request, "urlopen", be_offline)
        assert find_model(f"{site}/package.zip?signature=secret", tmp_path / "cache") == found
        with pytest.raises(MissingFileError, match="no route to host"):
            find_model(f"{site}/other.zip", tmp_path / "cache")
    # that it is gone is an answer
    (tmp_path / "package.zip").unlink()
    ask_anew()
    with pytest.raises(MissingFileError, match="404"):
        find_model(f"{site}/package.zip?signature=secret", tmp_path / "cache")


def test_a_damaged_note_of_an_address_is_as_good_as_none(model: Path, site: str, answers: list[int], tmp_path: Path) -> None:
    zip_package(model, tmp_path, "theirs")
    for content in ("", "[]", "{", '{"package": "x"}'):
        for note in (tmp_path / "cache").rglob("addresses/*"):
            note.write_text(content)
        ask_anew()
        assert find_model(f"{site}/package.zip", tmp_path / "cache").spec.name == "theirs"
    assert answers == [200] * 4


def zip_package(model: Path, folder: Path, name: str) -> None:
    package = import_model(str(model), folder / name, {**said("sigmoid", "a", "b"), "tile_size_px": 64}, name=name)
    (folder / "package.zip").unlink(missing_ok=True)
    export_package(package, folder / "package.zip")


def test_an_object_store_is_asked_by_what_it_says_of_a_file(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/net.onnx", b"first")
    fetched = fetch.fetch_changed("memory://bucket/net.onnx", tmp_path, None)
    assert fetched is not None
    assert fetched.path.read_bytes() == b"first"
    assert fetch.fetch_changed("memory://bucket/net.onnx", tmp_path, fetched.version) is None
    store.pipe("/bucket/net.onnx", b"the second")
    again = fetch.fetch_changed("memory://bucket/net.onnx", tmp_path, fetched.version)
    assert again is not None
    assert again.path.read_bytes() == b"the second"
    store.rm("/bucket/net.onnx")
    with pytest.raises(MissingFileError, match="cannot be fetched"):
        fetch.fetch_changed("memory://bucket/net.onnx", tmp_path, again.version)


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("net.onnx", "fetched.onnx"),
        ("NET.PT2", "fetched.pt2"),
        ("..\\..\\x.zip", "fetched.zip"),
        ("..\\..\\x.bat", "fetched"),
        ("x.on\\..\\y", "fetched"),
        ("C:x.json:stream", "fetched"),
        ("aux", "fetched"),
        ("..", "fetched"),
        ("", "fetched"),
    ],
)
def test_of_a_remote_name_only_the_ending_of_a_model_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: str, name: str
) -> None:
    monkeypatch.setattr(fetch, "_open", lambda *_: (io.BytesIO(b"content"), fetch.Version()))
    path = fetch.fetch_file(f"https://there/models/{remote}", tmp_path)
    assert path == tmp_path / name
    assert path.read_bytes() == b"content"


class _Broken(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: ClassVar = {
        "/short.onnx": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc",
        "/chunk.onnx": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc",
        "/no.onnx": b"what?\r\n\r\n",
    }

    def do_GET(self) -> None:
        self.wfile.write(self.answers[self.path])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("path", ["/short.onnx", "/chunk.onnx", "/no.onnx"])
def test_a_file_that_breaks_off_is_no_model(path: str, tmp_path: Path) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Broken)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    with pytest.raises(MissingFileError, match=r"broke off after 3 of 1000 bytes|cannot be fetched"):
        fetch.fetch_file(f"http://127.0.0.1:{server.server_address[1]}{path}", tmp_path)
    thread.join()
    server.server_close()


@pytest.mark.parametrize("address", ["http://[x/net.onnx", "http://localhost:1/a\nb.onnx"])
def test_an_address_that_is_none_is_said(address: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot be fetched"):
        fetch.fetch_file(address, tmp_path)


def test_a_zipped_package_and_its_card_are_models_too(model: Path, tmp_path: Path) -> None:
    package = import_model(str(model), tmp_path / "package", {**said("sigmoid", "a", "b"), "tile_size_px": 64})
    export_package(package, tmp_path / "package.zip")
    assert find_model(tmp_path / "package.zip", tmp_path / "cache").spec == package.spec
    assert find_model(tmp_path / "package/model.json", tmp_path / "cache") == package


def test_a_model_whose_weights_beside_it_have_changed_is_taken_in_anew(model: Path, tmp_path: Path) -> None:
    def find(path: Path) -> ModelPackage:
        return find_model(path, tmp_path / "cache")

    (tmp_path / "net.geoseg.json").write_text(json.dumps({**said("sigmoid", "a", "b"), "tile_size_px": 64}))
    (tmp_path / "item.geoseg.json").write_text(json.dumps({"ports": {"gives": "sigmoid"}}))
    item = write_item(model, asset={"file:checksum": None})
    whole = onnx.load(model)
    found = []
    for bias in (0.0, 1.0):
        for tensor in whole.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(bias), tensor.name))
        (tmp_path / "net.data").unlink(missing_ok=True)
        copied = onnx.ModelProto.FromString(whole.SerializeToString())
        onnx.save(copied, model, save_as_external_data=True, location="net.data", size_threshold=0)
        found += [(find(model).sha256, find(item).sha256)]
    assert found[0][0] == found[0][1]
    assert found[0] != found[1]
    assert found[1][0] == found[1][1]


def test_files_beyond_the_limit_are_cut_off(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "LARGEST_BYTES", 10)
    with pytest.raises(ModelError, match="has more than"):
        fetch.fetch_file(f"{site}/net.onnx", tmp_path / "to")


def test_a_hub_name_is_found_in_the_hubs_cache_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--org--net"
    snapshot = folder / "snapshots/0123456789012345678901234567890123456789"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(snapshot.name)
    (snapshot / "config.json").write_text("{}")
    assert fetch_hub("hf:org/net", tmp_path) == snapshot
    with pytest.raises(MissingFileError, match="hf:org/other cannot be had"):
        fetch_hub("hf:org/other", tmp_path)
    with pytest.raises(UsageError, match="hf:ORG/NAME"):
        fetch_hub("hf:net", tmp_path)


def test_a_sheet_may_be_json_and_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "sheet.json"
    path.write_text('{"tile_size_px": 64}')
    assert read_sheet(path) == {"tile_size_px": 64}
    path.write_text("[]")
    with pytest.raises(ModelError, match="a table of fields was expected"):
        read_sheet(path)
    path.write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        read_sheet(path)


def test_a_sheet_is_made_by_asking_and_by_words() -> None:
    answers = iter(["red, green, blue", "0", "255", "64", "0.5", "land, house", "house", ""])
    asked: list[str] = []

    def ask(question: str, default: str) -> str:
        asked.append(default)
        return next(answers)

    sheet = ask_sheet({"bands": ["b1", "b2", "b3"], "tile_size_px": 256, "classes": named("a", "b")}, ask)
    assert (asked[0], asked[3], asked[5]) == ("b1, b2, b3", "256", "a, b"), "what the model says is the answer of an empty line"
    words = {
        "bands": "red,green,blue",
        "mean": "0,0,0",
        "std": "255,255,255",
        "classes": "land,house",
        "tile_size_px": 64,
        "resolution_m": 0.5,
    }
    assert sheet == sheet_of_words(words, {}, ["house=building"])
    with pytest.raises(ModelError, match=r"mean, for example .* got 'much'"):
        sheet_of_words({"mean": "much"}, {}, [])


@pytest.mark.parametrize(
    ("sheet", "reason"),
    [
        ({"kinds": {"hut": "building"}}, "has no class 'hut' that could be a building; it has a, b"),
        ({"classes": "a, b"}, "'classes' as a list of tables"),
        ({"tile_size_px": 100, "network": {"stride_px": 32}}, "must be a multiple of the stride 32"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_sheet_that_does_not_fit_is_refused(model: Path, tmp_path: Path, sheet: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        import_model(str(model), tmp_path / "package", {**said("sigmoid", "a", "b"), "tile_size_px": 64, **sheet})


def test_an_import_overwrites_nothing_and_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(WriteError, match="is there already"):
        import_model(str(model), tmp_path / "there", {})
    with pytest.raises(ModelError):
        import_model(str(model), tmp_path / "package", BYTES)
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx", "there"}


def test_a_name_that_is_nothing_is_said_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="hf:ORG/NAME"):
        import_model(str(tmp_path / "org/net"), tmp_path / "package", {})
    with pytest.raises(MissingFileError, match="neither a shipped model"):
        find_model("no-such-model")

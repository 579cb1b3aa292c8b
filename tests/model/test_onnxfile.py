"""ONNX models from elsewhere give in a run what onnxruntime gives alone, or are refused with the key that is to blame."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from geoseg.errors import MissingFileError, ModelError
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.package import find_package
from geoseg.model.ports import Ports, pack_input, unpack_outputs
from geoseg.model.source import find_model, import_model
from geoseg.pipeline import segment_raster
from tests.doubles import configure, draw_blobs, read_band, write_raster

ZOO = Path(__file__).parents[2] / "../shared/data/onnx"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="needs ../shared/data/onnx")
BYTES = {"bands": ["red", "green", "blue"], "mean": [0, 0, 0], "std": [255, 255, 255]}
REGRESSION, SEGMENTATION = "dummy_regression_models", "dummy_segmentation_models"


def named(*names: str) -> list[dict[str, Any]]:
    return [{"value": i, "name": name, "color": f"#0000{i + 16:02x}"} for i, name in enumerate(names)]


def said(gives: str, *classes: str, **ports: Any) -> dict[str, Any]:
    return {**BYTES, "classes": named(*classes), "ports": {"gives": gives, **ports}}


SEGMENT: dict[str, dict[str, Any]] = {
    f"{REGRESSION}/one_output_sigmoid_bsx1x512x512": {},
    f"{REGRESSION}/one_output_sigmoid_bsx512x512": said("sigmoid", "none", "joy"),
    f"{REGRESSION}/two_outputs_sigmoid_bsx1x512x512": {},
    f"{REGRESSION}/two_outputs_sigmoid_bsx512x512": said("sigmoid", "none", "luck", "failure"),
    f"{SEGMENTATION}/different_output_size_512_to_484": said("sigmoid", "coffee", "tea"),
    f"{SEGMENTATION}/dummy_model": said("logits", "a", "b", "c"),
    f"{SEGMENTATION}/one_output_sigmoid_bsx1x512x512": {},
    f"{SEGMENTATION}/one_output_sigmoid_bsx512x512": {},
    f"{SEGMENTATION}/one_output_softmax_bsx2x512x512": said("softmax", "coffee", "tea"),
    f"{SEGMENTATION}/two_outputs_sigmoid_bsx1x512x512": {},
    f"{SEGMENTATION}/two_outputs_sigmoid_bsx512x512": said("sigmoid", "none", "coffee", "juice"),
    f"{SEGMENTATION}/two_outputs_softmax_bsx2x512x512": {"ports": {"outputs": ["output2"]}},
    "one_output_sigmoid_red_detector": said("sigmoid", "other", "red"),
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "dummy_recognition_model": ({}, "key model_type says 'Regression'"),
    "dummy_superresolution_model": (said("logits", "a", "b", "c"), "'12' .* has 128 x 128 px for an input of 64 x 64"),
    f"{REGRESSION}/dummy_regression_model": ({}, "key model_type says 'Regressor'"),
    f"{REGRESSION}/dummy_regression_model_batched": ({}, "key model_type says 'Regressor'"),
}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raster(tmp_path_factory.mktemp("picture") / "image.tif", draw_blobs(512, 512))


def classes_of(path: Path, pixels: NDArray[np.uint8], outputs: list[str] | None, *, half: bool) -> NDArray[np.intp]:
    """What the model says of a tile, by onnxruntime and numpy alone; -1 where it says nothing."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(outputs, {session.get_inputs()[0].name: (pixels[None] / 255).astype(np.float32)})
    scores = np.concatenate([each.reshape(-1, *each.shape[-2:]) for each in found])
    if half:
        scores = np.concatenate([np.full_like(scores[:1], 0.5), scores])
    margin = (pixels.shape[1] - scores.shape[1]) // 2
    return np.pad(scores.argmax(axis=0), margin, constant_values=-1)


@needs_zoo
def test_every_model_of_the_zoo_is_spoken_of() -> None:
    there = {str(path.relative_to(ZOO).with_suffix("")) for path in ZOO.rglob("*.onnx")}
    assert there == SEGMENT.keys() | REFUSED.keys()
    assert len(there) == 17


@needs_zoo
@pytest.mark.parametrize("name", SEGMENT, ids=lambda name: name.replace("/", " "))
def test_a_model_of_the_zoo_gives_in_a_run_what_it_gives_alone(name: str, picture: Path, tmp_path: Path) -> None:
    sheet = SEGMENT[name]
    package = import_model(str(ZOO / f"{name}.onnx"), tmp_path / "package", sheet)
    segment_raster(configure(picture, package.folder, tmp_path / "run", outputs=("classes",)))
    ports = package.spec.network.options
    expected = classes_of(ZOO / f"{name}.onnx", draw_blobs(512, 512), sheet.get("ports", {}).get("outputs"), half=ports["background"])
    found = read_band(tmp_path / "run/classes.tif")
    assert not (found == 255).any(), "the frame that the output lacks is filled too"
    there = expected >= 0
    assert (found[there] == expected[there]).mean() > 0.9999
    assert ports["gives"] == sheet.get("ports", {}).get("gives", "softmax" if "softmax" in name else "sigmoid")


@needs_zoo
@pytest.mark.parametrize("name", REFUSED, ids=lambda name: name.replace("/", " "))
def test_a_model_of_the_zoo_that_makes_no_classes_is_refused_by_name(name: str, tmp_path: Path) -> None:
    sheet, reason = REFUSED[name]
    with pytest.raises(ModelError, match=reason):
        import_model(str(ZOO / f"{name}.onnx"), tmp_path / "package", sheet)
    assert not (tmp_path / "package").exists()


@needs_zoo
def test_two_class_maps_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"key class_names .* 2 class maps .*Coffee, Tea.*Juice, Beer.*--take output"):
        import_model(str(ZOO / SEGMENTATION / "two_outputs_softmax_bsx2x512x512.onnx"), tmp_path / "package", {})


def write_onnx(path: Path, shape: list[Any], *, after: str = "Sigmoid", meta: dict[str, Any] | None = None, channels: int = 1) -> Path:
    """A 3 x 3 convolution of three bands, whose weights are drawn, with something after it."""
    weights = np.random.default_rng(3).normal(0, 1, (channels, 3, 3, 3)).astype(np.float32)
    pads = [0] * 4 if after == "Valid" else [1] * 4
    nodes = [helper.make_node("Conv", ["image", "w"], ["raw"], pads=pads)]
    nodes.append(helper.make_node("Identity" if after in ("Valid", "Identity") else after, ["raw"], ["scores"]))
    side = shape[2] - 2 if after == "Valid" and isinstance(shape[2], int) else shape[2]
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape[0], channels, side, side if side != "h" else "w"])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {key: json.dumps(value) for key, value in (meta or {}).items()})
    onnx.save(model, path)
    return path


DEEPNESS = {"model_type": "Segmentor", "class_names": {"0": "house"}, "resolution": 50, "tiles_overlap": 12.5}


@pytest.mark.parametrize("key", ["tile_size", "tiles_size"])
def test_both_spellings_of_the_tile_are_read_and_lengths_become_metres(tmp_path: Path, key: str) -> None:
    path = write_onnx(
        tmp_path / "m.onnx",
        ["n", 3, "h", "w"],
        meta={**DEEPNESS, key: 64, "standardization_mean": [0.5] * 3, "standardization_std": [0.2] * 3},
    )
    spec = import_model(str(path), tmp_path / "package", {"kinds": {"house": "building"}}).spec
    assert (spec.tile_size_px, spec.resolution_m, spec.halo.default_px, spec.dtype) == (64, 0.5, 16, "uint8")
    assert spec.mean == pytest.approx([127.5] * 3)
    assert spec.std == pytest.approx([51.0] * 3)
    assert [(row.name, row.kind) for row in spec.classes] == [("background", "surface"), ("house", "building")]
    assert "building" in spec.layers.names


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"tile_size": 64, "tiles_size": 96}, "keys tile_size and tiles_size say 64 and 96"),
        ({"tiles_size": "wide"}, "key tiles_size holds 'wide'"),
        ({"tiles_size": 64, "resolution": -1}, "key resolution holds -1"),
        ({"tiles_size": 64, "class_names": ["house"]}, "key class_names holds 'house'"),
        ({"tiles_size": 64, "class_names": [{"0": "a"}, {"0": "b"}]}, "describes 2 outputs; the model has 1"),
        ({"tiles_size": 64, "standardization_mean": [0.5]}, "key standardization_mean holds .* a list of 3 numbers"),
        ({"tiles_size": 64, "class_names": {"0": "a", "1": "b", "2": "c"}}, "gives 1 channels; 3 classes are named"),
    ],
)
def test_a_key_that_does_not_fit_is_named(tmp_path: Path, meta: dict[str, Any], said: str) -> None:
    path = write_onnx(tmp_path / "m.onnx", ["n", 3, "h", "w"], meta={**DEEPNESS, **meta})
    with pytest.raises(ModelError, match=said):
        import_model(str(path), tmp_path / "package", {})


@pytest.mark.parametrize(
    ("sheet", "reason"),
    [
        ({"classes": named("a", "b"), **BYTES}, r"does not say tile_size_px"),
        (
            {"classes": named("a", "b"), **BYTES, "tile_size_px": 64},
            r"does not say what its outputs hold; on random pixels they hold -?\d.*--gives",
        ),
        ({**said("softmax", "a", "b"), "tile_size_px": 64, "bands": ["pan"]}, "takes 3 bands; 1 are named"),
        ({**said("sigmoid", "a", "b", take="x"), "tile_size_px": 64}, r"ports\.take: Extra inputs"),
    ],
)
def test_what_is_not_said_is_asked_for_and_not_guessed(tmp_path: Path, sheet: dict[str, Any], reason: str) -> None:
    path = write_onnx(tmp_path / "m.onnx", ["n", 3, "h", "w"], after="Identity")
    with pytest.raises(ModelError, match=reason):
        import_model(str(path), tmp_path / "package", sheet)


def predict(path: Path, tmp_path: Path, sheet: dict[str, Any], pixels: NDArray[np.uint8], batch: int = 1) -> NDArray[np.uint8]:
    package = import_model(str(path), tmp_path / "package", sheet)
    stacked = np.stack([np.roll(pixels, i, axis=1) for i in range(batch)])
    return load_predictor(package, Execution(backend="onnx", threads=1)).predict(stacked, np.ones((batch, *pixels.shape[1:]), bool))


@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], [1, 3, 64, 64], [4, 3, 64, 64]], ids=["free", "one", "four"])
def test_free_and_fixed_batches_and_sizes_give_the_same_classes(tmp_path: Path, shape: list[Any]) -> None:
    pixels, sheet = draw_blobs(64, 64), {**said("logits", "a", "b"), "tile_size_px": 64}
    layers = predict(write_onnx(tmp_path / "m.onnx", shape, after="Identity"), tmp_path, sheet, pixels, batch=3)
    free = predict(write_onnx(tmp_path / "f.onnx", ["n", 3, "h", "w"], after="Identity"), tmp_path / "f", sheet, pixels, batch=3)
    np.testing.assert_array_equal(layers, free)
    assert 0.05 < (layers[:, 0] == 1).mean() < 0.95


def test_an_output_smaller_than_the_input_is_that_of_the_inner_pixels(tmp_path: Path) -> None:
    pixels = draw_blobs(62, 62)
    sheet = said("logits", "a", "b")
    small = predict(write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64], after="Valid"), tmp_path, sheet, pixels)
    whole = predict(
        write_onnx(tmp_path / "f.onnx", ["n", 3, "h", "w"], after="Identity"), tmp_path / "f", {**sheet, "tile_size_px": 62}, pixels
    )
    np.testing.assert_array_equal(small[..., 1:-1, 1:-1], whole[..., 1:-1, 1:-1])


def test_a_raster_of_many_tiles_has_no_seams(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64], after="Identity")
    (tmp_path / "m.geoseg.json").write_text(json.dumps(said("logits", "a", "b")))
    raster = write_raster(tmp_path / "image.tif", draw_blobs(150, 133))
    segment_raster(configure(raster, path, tmp_path / "run", outputs=("classes",), cache=tmp_path / "cache", chunk_size=96))
    free = {**said("logits", "a", "b"), "tile_size_px": 64}
    whole = predict(write_onnx(tmp_path / "f.onnx", ["n", 3, "h", "w"], after="Identity"), tmp_path, free, draw_blobs(150, 133))
    np.testing.assert_array_equal(read_band(tmp_path / "run/classes.tif"), whole[0, 0])


def test_a_model_named_straight_is_imported_once_and_follows_its_sheet(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64], meta={**DEEPNESS, "tiles_size": 64})
    first = find_model(path, tmp_path / "cache")
    assert find_model(str(path), tmp_path / "cache") == first
    assert find_package(first.folder) == first
    (tmp_path / "m.toml").write_text('name = "other"\n')
    second = find_model(path, tmp_path / "cache")
    assert (second.spec.name, len(list((tmp_path / "cache/models").iterdir()))) == ("other", 2)


@pytest.mark.parametrize(
    ("option", "reason"), [({"tile_size": 128}, "takes tiles of 64 px; --tile-size 128"), ({"backend": "torch"}, "onnx only")]
)
def test_options_that_it_cannot_follow_are_refused_before_work(tmp_path: Path, option: dict[str, Any], reason: str) -> None:
    path = write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64], meta={**DEEPNESS, "tiles_size": 64})
    raster = write_raster(tmp_path / "image.tif", draw_blobs(64, 64))
    with pytest.raises(Exception, match=reason):
        segment_raster(configure(raster, path, tmp_path / "run", cache=tmp_path / "cache", **option))
    assert not (tmp_path / "run").exists()


def test_other_pixel_values_than_it_scales_are_refused(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64], meta={**DEEPNESS, "tiles_size": 64})
    raster = write_raster(tmp_path / "image.tif", draw_blobs(64, 64).astype(np.uint16) * 200)
    with pytest.raises(ModelError, match=r"scales uint8 values; .* holds uint16"):
        segment_raster(configure(raster, path, tmp_path / "run", cache=tmp_path / "cache"))


def test_values_that_are_no_probabilities_stop_the_run(tmp_path: Path) -> None:
    sheet = {**said("sigmoid", "a", "b"), "tile_size_px": 64}
    with pytest.raises(ModelError, match=r'said to give sigmoid, but gives .* gives = "logits"'):
        predict(write_onnx(tmp_path / "m.onnx", ["n", 3, "h", "w"], after="Identity"), tmp_path, sheet, draw_blobs(64, 64))


@pytest.mark.parametrize("place", ["../weights.bin", "/etc/passwd", "sub/weights.bin"])
def test_weights_outside_the_folder_are_refused_unread(tmp_path: Path, place: str) -> None:
    path = write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64])
    model = onnx.load(path)
    move_weights(model, place)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="only files beside it may be read"):
        import_model(str(path), tmp_path / "package", said("sigmoid", "a", "b"))


def move_weights(model: onnx.ModelProto, place: str) -> bytes:
    (tensor,) = model.graph.initializer
    raw = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", str(len(raw)))):
        tensor.external_data.add(key=key, value=value)
    return raw


def test_weights_beside_the_model_are_taken_into_the_package(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64])
    plain = predict(path, tmp_path / "plain", said("sigmoid", "a", "b"), draw_blobs(64, 64))
    model = onnx.load(path)
    raw = move_weights(model, "weights.bin")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(MissingFileError, match=r"weights\.bin"):
        import_model(str(path), tmp_path / "package", said("sigmoid", "a", "b"))
    (tmp_path / "weights.bin").write_bytes(raw)
    np.testing.assert_array_equal(predict(path, tmp_path, said("sigmoid", "a", "b"), draw_blobs(64, 64)), plain)


def test_a_package_whose_weights_would_read_another_file_is_refused(tmp_path: Path) -> None:
    package = import_model(str(write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64])), tmp_path / "package", said("sigmoid", "a", "b"))
    model = onnx.load(package.weights)
    move_weights(model, "elsewhere.bin")
    package.weights.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"would read 'elsewhere\.bin' beside itself"):
        load_predictor(package, Execution(backend="onnx"))


@pytest.mark.parametrize("gives", ["softmax", "sigmoid"])
def test_a_class_wins_over_the_background_from_the_threshold_on(gives: Any, tmp_path: Path) -> None:
    sheet = {**said("sigmoid", "none", "a", "b"), "tile_size_px": 64}
    spec = import_model(str(write_onnx(tmp_path / "m.onnx", [1, 3, 64, 64], channels=2)), tmp_path / "package", sheet).spec
    ports = Ports(input="image", outputs=("scores",), gives=gives, background=True, threshold=0.6)
    scores = np.array([[0.9, 0.1], [0.3, 0.7], [0.55, 0.45]], np.float32).T[None, :, None]
    assert unpack_outputs([scores], (1, 3), spec, ports).argmax(axis=1).tolist() == [[[1, 2, 0]]]


@pytest.mark.parametrize(("shape", "side"), [([1, 3, 60000, 60000], 60000), ([10**6, 3, 64, 64], 64), (["n", 3, "h", "w"], 65536)])
def test_an_input_that_no_memory_holds_is_refused_before_it_is_tried(shape: list[Any], side: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="numbers at most"):
        import_model(str(write_onnx(tmp_path / "m.onnx", shape)), tmp_path / "p", {**said("sigmoid", "a", "b"), "tile_size_px": side})


def test_beyond_the_edge_of_the_raster_a_network_of_one_size_sees_a_mirror_and_no_black() -> None:
    ports = Ports(input="image", outputs=("scores",), gives="sigmoid", size_px=(8, 8))
    assert (pack_input(np.ones((1, 3, 5, 2), np.float32), ports) == np.ones((1, 3, 8, 8))).all()

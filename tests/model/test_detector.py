"""Detectors: what they find in overlapping tiles becomes instances of the whole raster, in a normal run."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import label

from geoseg.errors import ConfigError, ModelError, RunFolderError
from geoseg.model.detector import _enlarge, decode_yolo
from geoseg.model.source import import_model
from geoseg.pipeline import segment_raster
from geoseg.pixels.detections import Detections, pack_detections, paint_layers, unpack_detections
from geoseg.redo import redo_objects
from geoseg.runfolder.verify import verify_run
from tests.doubles import configure, read_band, read_layer, write_raster

SIDE = 64
SHEET: dict[str, Any] = {
    "bands": ["red", "green", "blue"],
    "mean": [0, 0, 0],
    "std": [255, 255, 255],
    "classes": [{"value": 0, "name": "ground", "color": "#000000"}, {"value": 1, "name": "roof", "color": "#ff0000", "kind": "building"}],
}


def constant(name: str, value: Any, dtype: Any = np.float32) -> Any:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def save(path: Path, nodes: list[Any], given: list[int], gives: dict[str, list[int]], constants: list[Any], types: dict[str, int]) -> Path:
    outputs = [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape) for name, shape in gives.items()]
    graph = helper.make_graph(nodes, "drawn", [helper.make_tensor_value_info("image", TensorProto.FLOAT, given)], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_yolo(path: Path, *, kinds: int = 1) -> Path:
    """Finds red and green things: one object each, whose mask is where the tile is red, or green; of two kinds, or of one."""
    box = [SIDE / 2, SIDE / 2, SIDE, SIDE]
    red, green, doubtful = ([0.9], [0.8], [0.1]) if kinds == 1 else ([0.9, 0], [0, 0.8], [0.1, 0])
    table = np.array([[*box, *red, 1, 0], [*box, *green, 0, 1], [*box, *doubtful, 1, 1]], np.float32).T[None]
    # the two boxes are the same, so that only their classes' scores tell them apart: shift one, or it would be suppressed
    table[0, :4, 1] = [SIDE / 2, SIDE / 2, SIDE * 1.5, SIDE * 1.5]
    weights = np.array([[[[20]], [[-20]], [[0]]], [[[-20]], [[20]], [[0]]]], np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["prototypes"]),
        helper.make_node("Identity", ["table"], ["found"]),
    ]
    gives = {"found": [1, 6 + kinds, 3], "prototypes": [1, 2, SIDE, SIDE]}
    return save(path, nodes, [1, 3, SIDE, SIDE], gives, [constant("w", weights), constant("b", [-6, -6]), constant("table", table)], {})


def write_mask_rcnn(path: Path) -> Path:
    """Finds one object per tile: where it is red. One image goes in, without an axis for the batch."""
    nodes = [
        helper.make_node("Slice", ["image", "zero", "one", "axis"], ["red"]),
        helper.make_node("Unsqueeze", ["red", "axis"], ["masks"]),
        *(helper.make_node("Identity", [f"{name}_"], [name]) for name in ("boxes", "labels", "scores")),
    ]
    constants = [constant("boxes_", [[0, 0, SIDE, SIDE]]), constant("labels_", [1], np.int64), constant("scores_", [0.9])]
    constants += [constant("zero", [0], np.int64), constant("one", [1], np.int64), constant("axis", [0], np.int64)]
    gives = {"boxes": [1, 4], "labels": [1], "scores": [1], "masks": [1, 1, SIDE, SIDE]}
    return save(path, nodes, [3, SIDE, SIDE], gives, constants, {"labels": TensorProto.INT64})


def draw_town() -> NDArray[np.uint8]:
    """Long roofs over many tiles; a red and a green one share a wall. No tile sees two of one color: the doubles find one of each."""
    pixels = np.full((3, 190, 140), 20, np.uint8)
    pixels[:2] = 1
    pixels[0, 20:40, 10:130] = 250
    pixels[1, 40:60, 10:130] = 250
    pixels[0, 125:180, 100:112] = 250
    return pixels


def expected_labels(pixels: NDArray[np.uint8], bands: tuple[int, ...]) -> NDArray[np.int64]:
    labels = np.zeros(pixels.shape[1:], np.int64)
    for band in bands:
        found, _ = label(pixels[band] > 100)
        labels[found > 0] = found[found > 0] + labels.max()
    first = {int(value): int(np.flatnonzero(labels == value)[0]) for value in np.unique(labels[labels > 0])}
    rank = {value: i + 1 for i, value in enumerate(sorted(first, key=first.__getitem__))}
    return np.vectorize(lambda value: rank.get(int(value), 0))(labels)


@pytest.mark.parametrize(("write", "decoder", "bands"), [(write_yolo, "yolo-seg", (0, 1)), (write_mask_rcnn, "mask-rcnn", (0,))])
def test_a_detector_makes_instances_and_buildings_through_a_normal_run(
    tmp_path: Path, write: Any, decoder: str, bands: tuple[int, ...]
) -> None:
    pixels = draw_town()
    package = import_model(str(write(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": {"decoder": decoder}})
    raster = write_raster(tmp_path / "town.tif", pixels)
    run = tmp_path / "run"
    segment_raster(configure(raster, package.folder, run, chunk_size=96, outputs=("classes", "evidence", "buildings")))
    expected = expected_labels(pixels, bands)
    np.testing.assert_array_equal(read_band(run / "instances.tif"), expected)
    np.testing.assert_array_equal(read_band(run / "classes.tif"), expected > 0)
    buildings = read_layer(run, "buildings")
    assert len(buildings) == expected.max()
    assert set(buildings["class"]) == {"roof"}
    sizes = np.bincount(expected.ravel())[1:] * 0.25
    np.testing.assert_allclose(buildings["area_m2"], sizes, rtol=0.02)
    assert json.loads((run / "summary.json").read_text())["counts"]["buildings"] == expected.max()
    assert not (run / ".work").exists()


def test_a_building_has_its_class_and_one_row_however_many_parts_its_mask_has(tmp_path: Path) -> None:
    pixels = draw_town()
    expected = expected_labels(pixels, (0, 1))
    pixels[0, 14:16, 60:62] = 250
    kinds = [{"value": value, "name": name, "color": "#ff0000", "kind": "building"} for value, name in ((3, "house"), (7, "shed"))]
    sheet = {**SHEET, "classes": [SHEET["classes"][0], *kinds], "ports": {"decoder": "yolo-seg"}}
    package = import_model(str(write_yolo(tmp_path / "m.onnx", kinds=2)), tmp_path / "package", sheet)
    raster = write_raster(tmp_path / "town.tif", pixels)
    outputs = ("classes", "confidence", "evidence", "buildings", "panoptic")
    run = segment_raster(configure(raster, package.folder, tmp_path / "run", chunk_size=96, outputs=outputs))
    np.testing.assert_array_equal(read_band(run / "instances.tif"), expected)
    buildings = read_layer(run, "buildings").sort_values("instance_id")
    assert buildings["instance_id"].tolist() == [1, 2, 3]
    assert buildings["class"].tolist() == ["house", "shed", "house"]
    assert json.loads((run / "summary.json").read_text())["counts"]["buildings"] == 3
    values = np.where(expected == 2, 7, 3)
    np.testing.assert_array_equal(read_band(run / "panoptic.tif")[expected > 0], values[expected > 0])
    things = read_layer(run, "panoptic").query("is_thing")
    assert things["class"].tolist() == ["house", "shed", "house"]
    assert verify_run(run).failed == ()


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_objects_of_a_detector_are_made_anew_from_what_it_found(tmp_path: Path) -> None:
    pixels = draw_town()
    package = import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": {"decoder": "yolo-seg"}})
    raster = write_raster(tmp_path / "town.tif", pixels)
    given = {"chunk_size": 96, "outputs": ("classes", "confidence", "evidence", "buildings", "panoptic")}
    run = segment_raster(configure(raster, package.folder, tmp_path / "run", **given))
    names = ("instances.tif", "panoptic.tif")
    before = {name: (run / name).read_bytes() for name in names}
    kept = read_files(run / "detections")
    redo_objects(run, {})
    assert {name: (run / name).read_bytes() for name in names} == before
    redo_objects(run, {"buildings": {"min_score": 0.85}})
    np.testing.assert_array_equal(read_band(run / "instances.tif"), expected_labels(pixels, (0,)))
    assert len(read_layer(run, "buildings")) == 2
    assert verify_run(run).failed == ()
    again = segment_raster(configure(raster, package.folder, tmp_path / "again", **given))
    assert read_files(again / "detections") == kept == read_files(run / "detections")
    redo_objects(run, {"buildings": {"min_score": 0.0}})
    assert {name: (run / name).read_bytes() for name in names} == before


def test_detections_are_kept_where_objects_can_be_made_anew_and_refused_where_they_cannot_be_read(tmp_path: Path) -> None:
    package = import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": {"decoder": "yolo-seg"}})
    raster = write_raster(tmp_path / "town.tif", draw_town())
    without = segment_raster(configure(raster, package.folder, tmp_path / "without", outputs=("classes", "buildings")))
    assert not (without / "detections").exists()
    run = segment_raster(configure(raster, package.folder, tmp_path / "run", outputs=("classes", "evidence", "buildings")))
    assert not (run / ".work").exists()
    about = run / "detections" / "detections.json"
    about.write_text(about.read_text().replace('"version": 1', '"version": 9'))
    assert [check.name for check in verify_run(run).failed] == ["checksums"]
    with pytest.raises(RunFolderError, match=r"of version 9; this geoseg reads 1"):
        redo_objects(run, {})
    about.write_text("[]")
    with pytest.raises(RunFolderError, match=r"detections\.json cannot be read"):
        redo_objects(run, {})
    shutil.rmtree(run / "detections")
    with pytest.raises(RunFolderError, match="were found by a detector, whose masks an earlier geoseg did not keep"):
        redo_objects(run, {})


def test_a_killed_run_of_a_detector_goes_on_with_what_it_had_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": {"decoder": "yolo-seg"}})
    raster = write_raster(tmp_path / "town.tif", draw_town())
    config = configure(raster, package.folder, tmp_path / "run", chunk_size=96, outputs=("classes", "buildings"))

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("geoseg.pipeline.stitch_run", stop)
        with pytest.raises(KeyboardInterrupt):
            segment_raster(config)
    assert list((tmp_path / "run/.work/found").glob("*.npz"))
    segment_raster(config)
    np.testing.assert_array_equal(read_band(tmp_path / "run/instances.tif"), expected_labels(draw_town(), (0, 1)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"decoder": "mask-rcnn"}, r"boxes \(n, 4\), labels .* were expected"),
        ({"decoder": "no-such"}, "No installed package adds 'no-such' to geoseg.decoders"),
    ],
)
def test_outputs_that_no_decoder_fits_are_said_at_import(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError if "rcnn" in str(change) else ValueError, match=reason):
        import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": change})


def test_classes_that_do_not_fit_the_table_are_said_at_import(tmp_path: Path) -> None:
    classes = [*SHEET["classes"], {"value": 2, "name": "car", "color": "#00ff00"}]
    with pytest.raises(ModelError, match=r"\(1, 4 \+ 2 \+ m, n\)"):
        import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "p", {**SHEET, "classes": classes, "ports": {"decoder": "yolo-seg"}})


def test_masks_cannot_be_blended(tmp_path: Path) -> None:
    package = import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": {"decoder": "yolo-seg"}})
    raster = write_raster(tmp_path / "town.tif", draw_town())
    with pytest.raises(ModelError, match="masks are matched and not blended"):
        segment_raster(configure(raster, package.folder, tmp_path / "run", stitch="blend"))


def test_a_detector_gives_no_probabilities(tmp_path: Path) -> None:
    package = import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": {"decoder": "yolo-seg"}})
    raster = write_raster(tmp_path / "town.tif", draw_town())
    with pytest.raises(ConfigError, match=r"no probabilities of classes\. Leave probabilities out"):
        segment_raster(configure(raster, package.folder, tmp_path / "run", outputs=("classes", "probabilities")))
    with pytest.raises(ConfigError, match=r"averaged over views\. Leave --tta and --tta-scales out"):
        segment_raster(configure(raster, package.folder, tmp_path / "run", tta="flips"))


def test_boxes_of_one_class_that_overlap_are_suppressed_and_masks_end_at_their_box(tmp_path: Path) -> None:
    package = import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": {"decoder": "yolo-seg"}})
    from geoseg.model.ports import read_ports

    rows = np.array([[10, 10, 8, 8, 0.9, 1], [10.5, 10, 8, 8, 0.8, 1], [40, 40, 8, 8, 0.7, 1], [50, 10, 8, 8, 0.2, 1]], np.float32)
    found = decode_yolo([rows.T[None], np.ones((1, 1, 16, 16), np.float32)], (64, 64), package.spec, read_ports(package.spec))
    np.testing.assert_allclose(found.scores, [0.9, 0.7])
    assert found.masks.sum(axis=(1, 2)).tolist() == [64, 64]
    assert found.masks[0, 6:14, 6:14].all()


def test_prototypes_are_enlarged_with_edges_aligned() -> None:
    import torch

    small = np.random.default_rng(0).normal(size=(2, 16, 12)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(small)[None], size=(64, 60), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(_enlarge(small, (64, 60)), expected.numpy(), atol=1e-5)


def test_detections_come_back_from_bytes_and_the_best_is_drawn_on_top(tmp_path: Path) -> None:
    spec = import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", {**SHEET, "ports": {"decoder": "yolo-seg"}}).spec
    masks = np.zeros((2, 5, 7), bool)
    masks[0, 1:3, 1:4], masks[1, 2:4, 2:6] = True, True
    found = Detections(scores=np.array([0.6, 0.9]), masks=masks, classes=np.array([1, 1]))
    back = unpack_detections(pack_detections(found))
    np.testing.assert_array_equal(back.masks, masks)
    valid = np.ones((5, 7), bool)
    valid[3] = False
    layers = paint_layers(back, valid, spec.layers)
    assert layers[:, 2, 2].tolist() == [1, 90, 230]
    assert layers[:, 1, 1].tolist() == [1, 60, 153]
    assert layers[:, 0, 0].tolist() == [0, 0, 0]
    assert layers[:, 3, 3].tolist() == [255, 255, 0]

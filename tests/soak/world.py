"""A drawn raster and a model that costs nothing, for commands in processes of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import rasterio
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save_file
from scipy.ndimage import gaussian_filter

from geoseg.model.graph import IMAGE, LAYOUT_KEY, LOGITS
from geoseg.model.layout import layout_of
from geoseg.model.package import GRAPH_NAME, WEIGHTS_NAME, ModelPackage, write_card
from geoseg.model.spec import ClassRow, Halo, Head, ModelSpec, NetworkSpec
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.scene import SceneOptions, draw_scene
from tests.benchmarks.rasters import repeat_block

VEGETATION, ROAD, BUILDING = 2, 3, 4
"""Values in the truth of drawn scenes; one band of the raster tells each."""
_CLASSES = (("land", "surface"), ("vegetation", "surface"), ("road", "road"), ("building", "building"))
_COLORS = ("#c8b48c", "#28a03c", "#fadc3c", "#dc2828")
_WEIGHTS = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0]], np.float32)
"""From bands to channels: four classes, and the inside of buildings."""


def threshold_spec(tile_size_px: int = 512, halo_px: int = 16) -> ModelSpec:
    """Return a model that takes each band for the probability of a class."""
    rows = [ClassRow(value=v, name=n, color=c, kind=k) for v, ((n, k), c) in enumerate(zip(_CLASSES, _COLORS, strict=True))]
    return ModelSpec(
        name="threshold",
        version="1",
        description="Each band is a class: for tests only.",
        license="Apache-2.0",
        bands=("buildings", "roads", "vegetation"),
        mean=(127.5,) * 3,
        std=(32.0,) * 3,
        classes=tuple(rows),
        heads={
            "semantic": Head(start=0, stop=4, activation="softmax"),
            "building_interior": Head(start=4, stop=5, activation="sigmoid"),
        },
        network=NetworkSpec(library="geoseg", architecture="pixel", stride_px=16),
        tile_size_px=tile_size_px,
        memory_bytes_per_px=100,
        halo=Halo(default_px=halo_px, exact_px=halo_px),
    )


def write_threshold_model(folder: Path, spec: ModelSpec | None = None) -> ModelPackage:
    """Write a package whose graph is one convolution of 1 x 1 px; loading it needs no torch."""
    folder.mkdir(parents=True)
    kernel, bias = _WEIGHTS[:, :, None, None], np.zeros(len(_WEIGHTS), np.float32)
    save_file({"score.weight": kernel.astype(np.float16), "score.bias": bias.astype(np.float16)}, folder / WEIGHTS_NAME)
    graph = helper.make_graph(
        [helper.make_node("Conv", [IMAGE, "kernel", "bias"], [LOGITS])],
        "threshold",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["n", len(_WEIGHTS), "h", "w"])],
        [onnx.numpy_helper.from_array(kernel, "kernel"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {LAYOUT_KEY: layout_of(folder / WEIGHTS_NAME)})
    onnx.save(model, folder / GRAPH_NAME)
    return write_card(folder, spec or threshold_spec())


def draw_truth(side: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return a drawn town (3, H, W) whose bands are 1..255 for how surely a pixel is building, road and vegetation; 0 without data."""
    classes = draw_scene(SceneOptions(height_px=side, width_px=side, seed=seed)).classes
    bands = [gaussian_filter((classes == value).astype(np.float32), 1.0) for value in (BUILDING, ROAD, VEGETATION)]
    pixels = (1 + 254 * np.stack(bands)).astype(np.uint8)
    pixels[:, classes == NODATA_CLASS] = 0
    return pixels


def write_world(path: Path, side: int, scene_px: int = 2048) -> Path:
    """Write a raster of ``side`` x ``side`` px: a drawn town, mirrored side by side."""
    repeat_block(path, draw_truth(min(side, scene_px)), (side, side))
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 0
    return path


def write_small(path: Path, pixels: NDArray[np.uint8], **more: Any) -> Path:
    """Write (C, H, W) as a GeoTIFF on a grid of its own."""
    repeat_block(path, pixels, pixels.shape[1:])
    with rasterio.open(path, "r+", **more) as dataset:
        dataset.nodata = 0
    return path

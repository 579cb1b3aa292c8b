"""Small rasters, model packages and predictors that several tests share."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

from geoseg.cli import main as command_line
from geoseg.config import RunConfig, make_config
from geoseg.errors import DeviceMemoryError
from geoseg.events import Event
from geoseg.model.package import WEIGHTS_NAME, write_card
from geoseg.model.predictor import Keep, Predictor, activate, double_spec
from geoseg.model.spec import Halo, ModelSpec, NetworkSpec
from geoseg.pixels.decode import LayerPlan, decode

TRANSFORM = Affine(0.5, 0, 337_200, 0, -0.5, 3_058_800)
CRS = "EPSG:32645"
NODATA = 255


def draw_blobs(height: int, width: int, *, seed: int = 1, corner: int = 0) -> NDArray[np.uint8]:
    """(3, H, W) bright blobs on dark ground, 1..255, with noise at their borders; 0 in the upper left corner."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.standard_normal((height, width)), 5)
    base = 128 + 60 * smooth / (smooth.std() or 1)
    pixels = np.clip(base + rng.normal(0, 6, (3, height, width)), 1, 255).astype(np.uint8)
    pixels[:, np.add.outer(np.arange(height), np.arange(width)) < corner] = 0
    return pixels


def write_raster(path: Path, pixels: NDArray[Any], *, transform: Affine | None = TRANSFORM, crs: str | None = CRS, **more: Any) -> Path:
    """Write (C, H, W) with rasterio itself, so that nothing of geoseg is trusted."""
    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
    with rasterio.open(path, "w", **profile, transform=transform, crs=crs, **more) as dataset:
        dataset.write(pixels)
    return path


def write_package(folder: Path, spec: ModelSpec | None = None) -> Path:
    """A package that is whole but for a network: its weights are ten bytes."""
    folder.mkdir(parents=True)
    (folder / WEIGHTS_NAME).write_bytes(b"no network")
    write_card(folder, spec or double_spec())
    return folder


def network_spec() -> ModelSpec:
    """A small U-Net of 8 px stride whose pixels depend on less than 96 px around them."""
    return double_spec(stride_px=8).model_copy(
        update={
            "name": "small",
            "network": NetworkSpec(
                architecture="unet", encoder="resnet18", options={"encoder_depth": 3, "decoder_channels": [16, 16, 8]}, stride_px=8
            ),
            "tile_size_px": 256,
            "halo": Halo(default_px=96, exact_px=96),
        }
    )


def write_network(folder: Path) -> Path:
    """A package with a real, untrained network."""
    import torch

    from geoseg.model.network import build_network, save_weights

    folder.mkdir(parents=True)
    torch.manual_seed(1)
    save_weights(build_network(network_spec()), folder / WEIGHTS_NAME)
    write_card(folder, network_spec())
    return folder


def configure(raster: Path, model: Path, output: Path, **options: Any) -> RunConfig:
    return make_config({"raster": str(raster), "model": str(model), "output": output, "memory": "8GB", **options})


def always(predictor: Predictor) -> Callable[[], Predictor]:
    """A loader; a lambda travels by value, so that worker processes need not import the tests."""
    return lambda: predictor


@dataclass(frozen=True, slots=True)
class Logged:
    """A predictor that leaves a byte in a file for each call, and raises from one call on."""

    inner: Predictor
    log: Path
    fails_from: int | None = None

    @property
    def spec(self) -> ModelSpec:
        return self.inner.spec

    @property
    def calls(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        self._count()
        return self.inner.predict(pixels, valid, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        self._count()
        return self.inner.predict_probabilities(pixels, valid)

    def _count(self) -> None:
        if self.fails_from is not None and self.calls >= self.fails_from:
            raise RuntimeError("the power is out")
        with self.log.open("ab") as stream:
            stream.write(b".")


@dataclass(frozen=True, slots=True)
class Tight:
    """A predictor with memory for so many pixels of a batch."""

    inner: Predictor
    most_px: int

    @property
    def spec(self) -> ModelSpec:
        return self.inner.spec

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        if valid.size > self.most_px:
            raise DeviceMemoryError(f"no memory for {valid.size} px")
        return self.inner.predict(pixels, valid, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        if valid.size > self.most_px:
            raise DeviceMemoryError(f"no memory for {valid.size} px")
        return self.inner.predict_probabilities(pixels, valid)


@dataclass(frozen=True, slots=True)
class Relative:
    """A predictor with global context: class 1 where a pixel is brighter than the mean of its tile."""

    spec: ModelSpec

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        return decode(self._score(pixels, valid), valid, self.spec.layers, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        return activate(self._score(pixels, valid), self.spec)

    def _score(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        there = np.where(valid[:, None], pixels, 0).astype(np.float32).mean(axis=1)
        mean = there.sum(axis=(1, 2)) / np.maximum(valid.sum(axis=(1, 2)), 1)
        logits = np.zeros((len(pixels), self.spec.channels, *there.shape[1:]), np.float32)
        logits[:, 1:] = (there - mean[:, None, None])[:, None] / 32
        return logits


@dataclass(frozen=True, slots=True)
class Copying:
    """A predictor for rasters whose first band holds class values: classes and building evidence are the band itself, no boundaries."""

    spec: ModelSpec

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        plan: LayerPlan = self.spec.layers
        evidence = np.where(valid & (pixels[:, 0] == 1), 255, 0).astype(np.uint8)
        none = np.zeros_like(evidence)
        layers = {"class": np.where(valid, pixels[:, 0], NODATA), "confidence": np.where(valid, 100, NODATA), "building_boundary": none}
        rows, cols = keep or (slice(None), slice(None))
        return np.stack([layers.get(name, evidence) for name in plan.names], axis=1).astype(np.uint8)[..., rows, cols]


@dataclass(frozen=True, slots=True)
class ArraySource:
    """A raster in memory, as far as inference looks at one."""

    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    aoi: None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid.shape

    def touches_aoi(self, window: Window) -> bool:
        return True

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        rows, cols = window.toslices()
        return self.pixels[:, rows, cols], self.valid[rows, cols]


class Listening(list[Event]):
    """A listener that keeps what it hears."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def call_geoseg(patch: pytest.MonkeyPatch, *words: object) -> int:
    """Run the command line in this process and return its exit code; what would be a traceback is raised."""

    def leave(code: int, said: str) -> None:
        sys.stderr.write(f"{said}\n")
        raise SystemExit(code)

    patch.setattr(sys, "argv", ["geoseg", *map(str, words)])
    patch.setattr(command_line, "leave", leave)
    patch.setattr(command_line, "end_on_signals", lambda: None)
    with pytest.raises(SystemExit) as left:
        command_line.main()
    return int(left.value.code or 0)


def read_band(path: Path, band: int = 1) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        return dataset.read(band)


def read_all(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        return dataset.read()


def read_layer(run: Path, layer: str) -> gpd.GeoDataFrame:
    return gpd.read_file(run / "features.gpkg", layer=layer)


def bytes_of(run: Path) -> dict[str, Any]:
    """Everything a run found, without clocks and names of folders."""
    rasters = {name: read_all(run / f"{name}.tif").tobytes() for name in ("classes", "confidence", "evidence", "instances", "panoptic")}
    tables = {name: read_layer(run, name) for name in ("landcover", "buildings")}
    columns = {name: table.drop(columns="geometry").to_csv() for name, table in tables.items()}
    columns["panoptic"] = read_layer(run, "panoptic").to_csv()
    shapes = {f"{name} geometry": tuple(table.geometry.to_wkb()) for name, table in tables.items()}
    summary = json.loads((run / "summary.json").read_text())
    return {**rasters, **columns, **shapes, "classes in summary": summary["classes"]}


def contents(folder: Path) -> set[str]:
    """Names of all files below a folder, for 'nothing was left behind'."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}

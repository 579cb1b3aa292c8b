"""Rasters of all kinds, segmented with a small model trained on them here: their classes, and areas in m2 that another count confirms."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.features import geometry_mask

from geoseg.pipeline import segment_raster
from geoseg.training.baseline import fit_baseline
from geoseg.training.recipe import Recipe
from tests.doubles import configure, draw_blobs, read_band, write_raster

pytest.importorskip("sklearn", reason="scikit-learn trains the model")
pytest.importorskip("skl2onnx", reason="skl2onnx writes it")

Bands = NDArray[np.floating[Any]]
STRIPS = 16
EXACT: dict[str, Any] = {"outputs": ("classes", "landcover"), "objects": {"landcover": {"simplify_m": 0}}}
"""Polygons along the edges of pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Rasters of one kind and what is to be found in them."""

    rasters: tuple[Path, ...]
    bands: tuple[str, ...]
    classes: tuple[str, ...]
    rule: Callable[[Bands], NDArray[np.integer[Any]]]
    """Class values of bands (C, H, W): what a person would label."""
    has_data: Callable[[Bands], NDArray[np.bool_]] = lambda pixels: np.ones(pixels.shape[1:], bool)
    options: dict[str, Any] = field(default_factory=dict)
    """Of the run."""


def by_infrared(pixels: Bands) -> NDArray[np.integer[Any]]:
    """Water where infrared is dark, plants where it is far brighter than red, ground elsewhere."""
    red, infrared = pixels[0], pixels[3]
    return np.where(infrared < 70, 2, np.where(infrared - red > 40, 1, 0))


def naip_case(rasters: tuple[Path, ...]) -> Case:
    return Case(rasters=rasters, bands=("red", "green", "blue", "nir"), classes=("ground", "plants", "water"), rule=by_infrared)


def eight_band_case(raster: Path) -> Case:
    return Case(
        rasters=(raster,),
        bands=("coastal", "blue", "green", "yellow", "red", "rededge", "nir08", "nir09"),
        classes=("other", "plants"),
        rule=lambda pixels: (pixels[6] > 1.5 * pixels[4]).astype(int),
        has_data=lambda pixels: (pixels > 0).any(axis=0),
        options={"collar": "auto"},
    )


def radar_case(raster: Path) -> Case:
    return Case(
        rasters=(raster,),
        bands=("vv", "vh"),
        classes=("land", "water"),
        rule=lambda pixels: (pixels[0] < -15).astype(int),
        has_data=lambda pixels: np.isfinite(pixels).all(axis=0),
    )


def drone_case(raster: Path, aoi: Path) -> Case:
    return Case(
        rasters=(raster,),
        bands=("red", "green", "blue"),
        classes=("other", "plants"),
        rule=lambda pixels: (2 * pixels[1] - pixels[0] - pixels[2] > 25).astype(int),
        options={"aoi": aoi},
    )


def drawn(folder: Path, bands: int, dtype: str, scale: float = 1.0) -> NDArray[Any]:
    base = np.concatenate([draw_blobs(70, 90, seed=1 + i) for i in range(-(-bands // 3))])[:bands]
    return (base.astype(np.float64) * scale).astype(dtype)


def drawn_case(kind: str, folder: Path) -> Case:
    if kind == "four bands on shifted grids":
        one, other = drawn(folder, 4, "uint8"), drawn(folder, 4, "uint8")[:, ::-1]
        first = write_raster(folder / "2010.tif", one, transform=Affine(5, 0, 485_900, 0, -5, 5_209_245), crs="EPSG:26914", nodata=0)
        second = write_raster(folder / "2020.tif", other, transform=Affine(5, 0, 485_899, 0, -5, 5_209_246), crs="EPSG:26914", nodata=0)
        return naip_case((first, second))
    degrees = {"transform": Affine(1.8e-5, 0, -43.68, 0, -1.8e-5, -22.98), "crs": "EPSG:4326"}
    if kind == "eight bands of uint16 in degrees":
        pixels = drawn(folder, 8, "uint16", scale=4)
        pixels[:, :, :30] = 0
        return eight_band_case(write_raster(folder / "rio.tif", pixels, **degrees))
    if kind == "radar with NaN":
        pixels = drawn(folder, 2, "float32", scale=-0.12)
        pixels[:, 20:40, 50:80] = np.nan
        return radar_case(write_raster(folder / "radar.tif", pixels, **degrees, nodata=np.nan))
    transform = Affine(0.02, 0, 638_838.7, 0, -0.02, 5_802_604.9)
    opaque = np.full((1, 70, 90), 255, np.uint8)
    raster = write_raster(
        folder / "drone.tif", np.concatenate([drawn(folder, 3, "uint8"), opaque]), transform=transform, crs="EPSG:32633", photometric="RGB"
    )
    area = gpd.GeoDataFrame(geometry=[shapely.box(638_838.9, 5_802_603.7, 638_840.2, 5_802_604.6)], crs="EPSG:32633").to_crs(3857)
    area.to_file(folder / "aoi.gpkg")
    return drone_case(raster, folder / "aoi.gpkg")


def real_case(kind: str, data: Path) -> Case:
    if kind == "four bands on shifted grids":
        return naip_case(tuple(data / "timeseries" / f"m_4709963_se_14_1_{day}.tif" for day in ("20100629", "20200831")))
    if kind == "eight bands of uint16 in degrees":
        return eight_band_case(data / "buildings" / "test" / "spacenet_rio" / "8band" / "8band_013022223130_Public_img9.tif")
    if kind == "radar with NaN":
        return radar_case(data / "flood" / "S1" / "Nigeria_812045_S1Hand.tif")
    return drone_case(data / "drone" / "dummy_fotomap_small.tif", data / "drone" / "dummy_fotomap_area_3857.gpkg")


def train(case: Case, folder: Path) -> Path:
    """Label every raster by the rule and learn from it."""
    sites, samples = [], []
    for number, path in enumerate(case.rasters):
        with rasterio.open(path) as dataset:
            pixels, place = dataset.read().astype(np.float64), {"transform": dataset.transform, "crs": dataset.crs}
        there = case.has_data(pixels)
        labels = np.where(there, case.rule(np.nan_to_num(pixels)), 255).astype(np.uint8)
        write_raster(folder / f"labels{number}.tif", labels[None], **place)
        samples.append(pixels[: len(case.bands), there])
        names = {"rasters": str(path.resolve().relative_to("/")), "labels": str(folder / f"labels{number}.tif")}
        sites.append({"name": path.stem, "kind": "class_raster", **names})
    values = np.concatenate(samples, axis=1)
    model = {
        "name": "small",
        "version": "1",
        "description": "Trained by a test.",
        "license": "Apache-2.0",
        "bands": case.bands,
        "mean": values.mean(axis=1).tolist(),
        "std": values.std(axis=1).tolist(),
        "classes": [{"value": i, "name": name, "color": f"#{40 * i + 20:02x}8040"} for i, name in enumerate(case.classes)],
        "heads": {"semantic": {"start": 0, "stop": len(case.classes), "activation": "softmax"}},
        "network": {
            "library": "sklearn",
            "architecture": "random_forest",
            "options": {"scales_px": [1], "trees": 12, "leaves": 48, "samples_per_class": 1500},
            "stride_px": 1,
        },
        "tile_size_px": 256,
        "halo": {"default_px": 4, "exact_px": 4},
    }
    recipe = {"model": model, "sites": sites, "schedule": {"epochs": 1, "seed": 1}, "loss": {"classes": [1.0] * len(case.classes)}}
    fit_baseline(Recipe.model_validate(recipe), Path("/"), folder / "model", lambda _: None)
    return folder / "model"


def strips_m2(path: Path) -> Iterator[tuple[slice, float]]:
    """Rows of a raster, some at a time, and the area of one of their pixels on the WGS 84 ellipsoid, by geodesics."""
    geod = Geod(ellps="WGS84")
    with rasterio.open(path) as dataset:
        to_degrees = Transformer.from_crs(dataset.crs, "EPSG:4326", always_xy=True)
        for rows in np.array_split(np.arange(dataset.height), min(STRIPS, dataset.height)):
            strip = shapely.box(0, int(rows[0]), dataset.width, int(rows[-1]) + 1)
            fine = shapely.segmentize(strip, dataset.width / 8)
            x, y = dataset.transform @ tuple(shapely.get_coordinates(fine).T)
            area, _ = geod.polygon_area_perimeter(*to_degrees.transform(x, y))
            yield slice(int(rows[0]), int(rows[-1]) + 1), abs(area) / (len(rows) * dataset.width)


KINDS = ("four bands on shifted grids", "eight bands of uint16 in degrees", "radar with NaN", "two centimetres with an area in another CRS")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("origin", ["drawn", "real"])
def test_a_model_trained_here_finds_the_classes_and_their_areas(
    origin: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = drawn_case(kind, tmp_path) if origin == "drawn" else real_case(kind, request.getfixturevalue("shared_data"))
    model = train(case, tmp_path)
    for number, path in enumerate(case.rasters):
        run = segment_raster(configure(path, model, tmp_path / f"run{number}", **EXACT, **case.options))
        check(case, path, run)


def check(case: Case, path: Path, run: Path) -> None:
    classes = read_band(run / "classes.tif")
    with rasterio.open(path) as dataset, rasterio.open(run / "classes.tif") as made:
        pixels = dataset.read().astype(np.float64)
        assert (made.transform, made.crs, made.shape) == (dataset.transform, dataset.crs, dataset.shape)
        there = case.has_data(pixels)
        if "aoi" in case.options:
            inside = gpd.read_file(case.options["aoi"]).to_crs(dataset.crs)
            there &= geometry_mask(inside.geometry, dataset.shape, dataset.transform, invert=True)
    # no pixel without data has a class, and none with data lacks one
    assert ((classes != 255) == there).mean() > 0.999
    assert (classes == case.rule(np.nan_to_num(pixels)))[there].mean() > 0.95
    counted = dict.fromkeys(case.classes, 0.0)
    for rows, pixel_m2 in strips_m2(path):
        for value, name in enumerate(case.classes):
            counted[name] += float((classes[rows] == value).sum()) * pixel_m2
    told = {row["name"]: row["area_m2"] for row in json.loads((run / "summary.json").read_text())["classes"]}
    drawn_m2 = gpd.read_file(run / "features.gpkg", layer="landcover").groupby("class")["area_m2"].sum()
    for name, area in counted.items():
        assert area > 0
        # the summary has two decimals
        assert told[name] == pytest.approx(area, rel=0.005, abs=0.005)
        assert drawn_m2[name] == pytest.approx(area, rel=0.005)

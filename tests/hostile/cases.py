"""What is fuzzed: good files of every kind that geoseg reads, and the code that meets damaged ones."""

import copy
import json
import os
import random
import shutil
import struct
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from pydantic import ValidationError
from rasterio.control import GroundControlPoint
from rasterio.windows import Window

from geoseg.config import make_config
from geoseg.errors import ModelError, RasterError
from geoseg.inference.planning import plan_run
from geoseg.io.raster import RasterOptions, has_data, open_raster
from geoseg.io.vector import read_vector
from geoseg.labels.coco import read_coco
from geoseg.labels.convert import convert
from geoseg.labels.cvat import read_cvat
from geoseg.labels.scheme import find_scheme
from geoseg.model.exchange import import_package
from geoseg.model.package import CARD_NAME, ONNX_NAME, WEIGHTS_NAME, find_package, write_card
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ModelSpec
from geoseg.runfolder.folder import RunFolder
from tests.doubles import CRS, TRANSFORM, configure, draw_blobs, network_spec, write_package, write_raster
from tests.hostile.forest import baseline_spec, write_forest
from tests.hostile.mutate import damage_bytes, damage_tree, write_toml

Case = Callable[[random.Random], object]
"""Makes one damaged file and shows it to geoseg."""
SITE = {
    "name": "a",
    "kind": "vectors",
    "rasters": ["*.tif"],
    "labels": "labels.geojson",
    "column": "class",
    "values": {"house": "building"},
    "ignore": [3, "x"],
    "width_m": {"building": 4.0},
    "blocks": {"size_px": 32, "keep": "train", "share": 0.2, "seed": 1, "buffer_px": 4},
    "labelled_lonlat": [85.0, 27.0, 86.0, 28.0],
    "bands": [1, 2, 3],
    "weight": 1.0,
}


def make_cases(kind: str, work: Path) -> Case:
    """Draw the good files of a kind in an empty folder and return what damages and reads them."""
    return _KINDS[kind](work)


def _tiffs(folder: Path) -> list[bytes]:
    pixels = draw_blobs(48, 70, corner=20)
    points = [GroundControlPoint(row, col, 337_200 + col / 2, 3_058_800 - row / 2) for row, col in ((0, 0), (0, 70), (48, 0), (48, 70))]
    profiles: list[tuple[Any, dict[str, Any]]] = [
        (pixels, {"nodata": 0}),
        (pixels, {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}),
        (pixels[:1].astype(np.float32) / 7, {"nodata": float("nan"), "compress": "lzw", "predictor": 3}),
        (np.concatenate([pixels, pixels[:1]]), {"photometric": "rgb", "alpha": "yes"}),
        (pixels.astype(np.uint16) * 256, {"interleave": "band", "compress": "zstd", "nodata": 65535}),
        (pixels, {"compress": "jpeg", "photometric": "ycbcr", "interleave": "pixel"}),
        (pixels, {"BIGTIFF": "YES"}),
        (pixels, {"crs": None, "transform": None, "gcps": points}),
    ]
    for index, (array, more) in enumerate(profiles):
        gcps = more.pop("gcps", None)
        path = write_raster(folder / f"{index}.tif", array, **more)
        if gcps:
            with rasterio.open(path, "r+") as dataset:
                dataset.gcps = (gcps, rasterio.crs.CRS.from_string(CRS))
    return [(folder / f"{index}.tif").read_bytes() for index in range(len(profiles))]


def _read_raster(path: Path, rng: random.Random) -> None:
    options = rng.choice((RasterOptions(), RasterOptions(), RasterOptions(warp=True), RasterOptions(assume_crs=CRS)))
    source = open_raster(path, options, resolution_m=rng.choice((None, None, 2.0)))
    rows, cols = source.shape
    window = Window(0, 0, min(cols, max(1, 128 // source.decimation)), min(rows, max(1, 128 // source.decimation)))
    pixels, valid = source.read(window)
    assert pixels.shape[1:] == valid.shape == (window.height, window.width)
    assert np.isfinite(pixels[:, valid]).all()
    has_data(source)


def tiff(work: Path) -> Case:
    corpus = _tiffs(work)
    path = work / "case.tif"

    def case(rng: random.Random) -> None:
        path.write_bytes(damage_bytes(rng.choice(corpus), rng))
        _read_raster(path, rng)

    return case


def vrt(work: Path) -> Case:
    write_raster(work / "base.tif", draw_blobs(40, 50))
    write_raster(work / "case.tif", draw_blobs(40, 50))
    import rasterio.shutil

    rasterio.shutil.copy(work / "base.tif", work / "base.vrt", driver="VRT")
    text = (work / "base.vrt").read_bytes()
    path = work / "case.vrt"

    def case(rng: random.Random) -> None:
        path.write_bytes(damage_bytes(text, rng, head=len(text)))
        _read_raster(path, rng)

    return case


def plan(work: Path) -> Case:
    """Damaged rasters all the way through planning."""
    corpus = _tiffs(work)
    package, path = write_package(work / "package"), work / "case.tif"

    def case(rng: random.Random) -> None:
        path.write_bytes(damage_bytes(rng.choice(corpus), rng, head=250))
        plan_run(configure(path, package, work / "out", memory="60GB")).fingerprint()

    return case


def model(work: Path) -> Case:
    package = write_package(work / "package")
    raster = write_raster(work / "base.tif", draw_blobs(40, 50))
    card = json.loads((package / CARD_NAME).read_text())
    text = (package / CARD_NAME).read_bytes()

    def case(rng: random.Random) -> None:
        if rng.random() < 0.8:
            damaged = json.loads(json.dumps(card))
            whole = rng.random() < 0.2
            if whole:
                damaged = damage_tree(card, rng)
            else:
                damaged["properties"]["geoseg:spec"] = damage_tree(card["properties"]["geoseg:spec"], rng)
            (package / CARD_NAME).write_text(json.dumps(damaged))
        else:
            (package / CARD_NAME).write_bytes(damage_bytes(text, rng, head=len(text)))
        found = find_package(package)
        _ = found.spec.layers, found.spec.channels, found.weights
        plan_run(configure(raster, package, work / "out")).fingerprint()

    return case


def toml(work: Path) -> Case:
    package = write_package(work / "package")
    raster = write_raster(work / "base.tif", draw_blobs(40, 50))
    config = configure(raster, package, work / "out", bands=(1, 2, 3), halo=16, tile_size=64, stitch="crop", assume_crs=CRS)
    table = json.loads(config.model_dump_json(exclude_none=True))
    path = work / "case.toml"

    def case(rng: random.Random) -> None:
        text = write_toml(damage_tree(table, rng)).encode("utf-8", "surrogatepass")
        path.write_bytes(damage_bytes(text, rng, head=len(text)) if rng.random() < 0.3 else text)
        plan_run(make_config({}, path)).fingerprint()

    return case


def site(work: Path) -> Case:
    """Training configurations with their sites, class tables, and the record of a run."""
    import tomllib

    from geoseg.training.recipe import read_recipe

    configs = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
    tables = [tomllib.loads(path.read_text()) for path in configs]
    for table in tables:
        table.setdefault("sites", []).append(SITE)
    path = work / "case.toml"
    record = work / "run"
    record.mkdir()

    def case(rng: random.Random) -> None:
        text = write_toml(damage_tree(json.loads(json.dumps(rng.choice(tables))), rng)).encode("utf-8", "surrogatepass")
        path.write_bytes(damage_bytes(text, rng, head=len(text)) if rng.random() < 0.3 else text)
        which = rng.random()
        if which < 0.7:
            read_recipe(path)
        elif which < 0.9:
            find_scheme(str(path))
        else:
            shutil.copyfile(path, record / "run.toml")
            RunFolder(record).read_record()

    return case


def _features() -> gpd.GeoDataFrame:
    x, y = TRANSFORM @ (0, 0)
    holed = shapely.Polygon([(x, y - 20), (x + 22, y - 20), (x + 22, y), (x, y)], [[(x + 2, y - 5), (x + 6, y - 5), (x + 6, y - 2)]])
    shapes = [holed, shapely.box(x + 8, y - 12, x + 12, y - 8), shapely.LineString([(x, y), (x + 9, y - 9)]), shapely.Point(x, y)]
    return gpd.GeoDataFrame({"class": ["house", "house", "road", "tree"]}, geometry=shapes, crs=CRS)


def _vector_case(path: Path, make: Callable[[random.Random], bytes], raster: Path, package: Path) -> Case:
    def case(rng: random.Random) -> None:
        path.write_bytes(make(rng))
        if rng.random() < 0.5:
            read_vector(path, rng.choice((CRS, "EPSG:4326", None)))
        else:
            plan_run(configure(raster, package, path.parent / "out", aoi=path))

    return case


def geojson(work: Path) -> Case:
    path = work / "case.geojson"
    _features().to_crs("EPSG:4326").to_file(work / "base.geojson", driver="GeoJSON")
    text = (work / "base.geojson").read_bytes()
    tree = json.loads(text)

    def make(rng: random.Random) -> bytes:
        if rng.random() < 0.6:
            return json.dumps(damage_tree(tree, rng)).encode()
        return damage_bytes(text, rng, head=len(text))

    return _vector_case(path, make, write_raster(work / "base.tif", draw_blobs(40, 50)), write_package(work / "package"))


def gpkg(work: Path) -> Case:
    path = work / "case.gpkg"
    _features().to_file(work / "base.gpkg", layer="a")
    content = (work / "base.gpkg").read_bytes()
    raster, package = write_raster(work / "base.tif", draw_blobs(40, 50)), write_package(work / "package")
    return _vector_case(path, lambda rng: damage_bytes(content, rng, head=rng.choice((100, 4096, len(content)))), raster, package)


def labels(work: Path) -> Case:
    """COCO and CVAT annotations."""
    write_raster(work / "base.tif", draw_blobs(40, 50))
    table = _features().iloc[:2]
    table.to_file(work / "base.gpkg", layer="a")
    convert(work / "base.gpkg", work / "base.json", images=work / "base.tif", column="class")
    convert(work / "base.gpkg", work / "base.xml", images=work / "base.tif", column="class")
    coco, cvat = (work / "base.json").read_bytes(), (work / "base.xml").read_bytes()
    tree = json.loads(coco)

    def case(rng: random.Random) -> None:
        which = rng.random()
        if which < 0.5:
            read_coco(json.dumps(damage_tree(tree, rng)).encode())
        elif which < 0.7:
            read_coco(damage_bytes(coco, rng, head=len(coco)))
        else:
            read_cvat(damage_bytes(cvat, rng, head=len(cvat)))

    return case


def archive(work: Path) -> Case:
    """Zipped packages."""
    package = write_package(work / "package")
    path, target = work / "case.zip", work / "target"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in (CARD_NAME, WEIGHTS_NAME):
            opened.write(package / name, f"package/{name}")
    content = path.read_bytes()

    def case(rng: random.Random) -> None:
        at_end = rng.random() < 0.5
        damaged = damage_bytes(content[::-1], rng, head=400)[::-1] if at_end else damage_bytes(content, rng)
        path.write_bytes(damaged)
        shutil.rmtree(target, ignore_errors=True)
        import_package(path, target)

    return case


def safetensors(work: Path) -> Case:
    """Weights of a network, their checksum right: a hostile package is consistent."""
    import torch

    from geoseg.model.network import load_weights, save_weights

    torch.set_num_threads(1)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))
    package = work / "package"
    package.mkdir()
    path = package / WEIGHTS_NAME
    save_weights(module, path)
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]

    def case(rng: random.Random) -> None:
        if rng.random() < 0.5:
            text = json.dumps(damage_tree(header, rng)).encode()
            path.write_bytes(struct.pack("<Q", len(text)) + text + body)
        else:
            path.write_bytes(damage_bytes(content, rng, head=8 + length))
        write_card(package, double_spec())
        load_weights(module, path)

    return case


def network(work: Path) -> Case:
    """Networks that a card may ask for: built, and run on the smallest image."""
    import torch

    from geoseg.model.network import build_network

    torch.set_num_threads(1)
    spec = json.loads(network_spec().model_dump_json())

    def case(rng: random.Random) -> None:
        damaged = copy.deepcopy(spec)
        damaged["network"] = damage_tree(spec["network"], rng)
        if rng.random() < 0.3:
            damaged["heads"] = damage_tree(spec["heads"], rng)
        (work / "spec.json").write_text(json.dumps(damaged))
        try:
            checked = ModelSpec.model_validate_json((work / "spec.json").read_text())
        except ValidationError as exc:
            raise ModelError("as find_package says it") from exc
        build_network(checked)

    return case


def onnx(work: Path) -> Case:
    """Per-pixel classifiers, their checksum right, loaded and run on one small tile."""
    from geoseg.model.pixelwise import load_pixelwise

    package = write_forest(work / "package")
    path = package / ONNX_NAME
    content = path.read_bytes()
    pixels, valid = draw_blobs(8, 8)[None], np.ones((1, 8, 8), bool)

    def case(rng: random.Random) -> None:
        path.write_bytes(damage_bytes(content, rng, head=rng.choice((100, len(content)))))
        write_card(package, baseline_spec())
        made = load_pixelwise(find_package(package), 1).predict(pixels, valid)
        assert made.shape == (1, len(baseline_spec().layers.names), 8, 8)

    return case


def faulty(work: Path) -> Case:
    """Not geoseg's: what the driver has to tell apart."""
    numbers = {random.Random(f"1/faulty/{number}").random(): number for number in range(7)}

    def case(rng: random.Random) -> None:
        number = numbers[rng.random()]
        if number == 1:
            raise KeyError("a fault")
        if number == 2:
            raise RasterError("refused")
        if number == 3:
            time.sleep(60)
        if number == 4:
            bytearray(40 * 1024**3)
        if number == 5:
            os.abort()

    return case


_KINDS: dict[str, Callable[[Path], Case]] = {
    f.__name__: f for f in (tiff, vrt, plan, model, toml, site, geojson, gpkg, labels, archive, safetensors, network, onnx, faulty)
}
KINDS = tuple(kind for kind in _KINDS if kind != "faulty")


def be_quiet() -> None:
    """Silence warnings of libraries and keep them off the network."""
    warnings.simplefilter("ignore")
    os.environ |= {"GDAL_HTTP_TIMEOUT": "1", "GDAL_HTTP_CONNECTTIMEOUT": "1", "CPL_LOG": os.devnull, "ORT_LOGGING_LEVEL": "4"}

"""The STAC Item of a run: valid by pystac, and its extensions say what the rasters hold."""

import json
from pathlib import Path

import pystac
import pytest
import rasterio
from affine import Affine
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension

from geoseg.config import make_config
from geoseg.inference.planning import plan_run
from geoseg.model.package import hash_file
from geoseg.model.predictor import NeighborhoodPredictor
from geoseg.pipeline import segment_raster
from geoseg.runfolder.item import _short_name
from tests.doubles import TRANSFORM, always, configure, draw_blobs, write_package, write_raster


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("item")
    raster = write_raster(folder / "blobs.tif", draw_blobs(100, 120, corner=20), nodata=0)
    outputs = ("classes", "confidence", "evidence", "panoptic", "probabilities")
    config = configure(raster, write_package(folder / "double"), folder / "out", outputs=outputs)
    return segment_raster(config, load=always(NeighborhoodPredictor(spec=plan_run(config).package.spec)))


@pytest.fixture(scope="module")
def item(run: Path) -> pystac.Item:
    return pystac.Item.from_dict(json.loads((run / "item.json").read_text()))


def test_the_item_is_valid_by_the_schemas_of_stac_1_1(item: pystac.Item, run: Path) -> None:
    # the schemas of the core come with pystac; those of extensions are on the internet
    core = pystac.Item.from_dict({**item.to_dict(transform_hrefs=False), "stac_extensions": []})
    assert core.validate() == ["https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"]
    assert pystac.Item.from_file(str(run / "item.json")).id == "out"
    broken = pystac.Item.from_dict(core.to_dict(transform_hrefs=False))
    broken.assets["classes"].extra_fields["bands"] = [{"name": 7}]
    with pytest.raises(pystac.STACValidationError):
        broken.validate()


def test_classes_have_names_and_colors(item: pystac.Item) -> None:
    (band,) = item.assets["classes"].extra_fields["bands"]
    rows = band["classification:classes"]
    assert [(row["value"], row["name"], row.get("color_hint")) for row in rows] == [
        (0, "ground", "C8B48C"),
        (1, "building", "DC2828"),
        (255, "nodata", None),
    ]
    assert ClassificationExtension.has_extension(item)
    assert _short_name("Bäume & Wege", 4) == "B_ume_Wege"
    assert _short_name("水", 4) == "class_4"


def test_the_grid_is_that_of_the_rasters(item: pystac.Item, run: Path) -> None:
    placed = ProjectionExtension.ext(item)
    with rasterio.open(run / "classes.tif") as raster:
        assert placed.code == raster.crs.to_string()
        assert tuple(placed.shape or ()) == raster.shape
        assert list(placed.transform or ()) == list(raster.transform)[:6]
        assert tuple(placed.bbox or ()) == tuple(raster.bounds)


def test_bands_are_those_of_the_files(item: pystac.Item, run: Path) -> None:
    for key in ("classes", "confidence", "evidence", "instances", "panoptic", "probabilities"):
        if not (run / f"{key}.tif").exists():
            continue
        with rasterio.open(run / f"{key}.tif") as raster:
            bands = item.assets[key].extra_fields["bands"]
            assert [band["name"] for band in bands] == list(raster.descriptions)
            assert {band["data_type"] for band in bands} == set(raster.dtypes)
            assert {band.get("nodata") for band in bands} == set(raster.nodatavals)
            declared = [band.get("raster:scale", 1.0) for band in bands]
            # evidence is read as whole numbers by all that make objects of it
            assert key == "evidence" or declared == list(raster.scales)


def test_files_are_told_by_checksum_and_links_lead_to_imagery_and_model(item: pystac.Item, run: Path) -> None:
    for asset in item.assets.values():
        about = FileExtension.ext(asset)
        assert about.checksum == f"1220{hash_file(run / asset.href)}"
        assert about.size == (run / asset.href).stat().st_size
    sources = [link for link in item.links if link.rel == "derived_from"]
    assert [Path(str(link.target).removeprefix("file://")).name for link in sources] == ["blobs.tif", "model.json"]
    assert item.properties["processing:software"].keys() == {"geoseg"}


def test_a_mosaic_links_to_all_its_rasters(tmp_path: Path) -> None:
    pixels = draw_blobs(64, 128)
    left = write_raster(tmp_path / "left.tif", pixels[:, :, :64])
    right = write_raster(tmp_path / "right.tif", pixels[:, :, 64:], transform=TRANSFORM @ Affine.translation(64, 0))
    config = make_config(
        {
            "raster": (str(left), str(right)),
            "model": str(write_package(tmp_path / "double")),
            "output": tmp_path / "out",
            "outputs": ("classes",),
            "memory": "8GB",
        }
    )
    run = segment_raster(config, load=always(NeighborhoodPredictor(spec=plan_run(config).package.spec)))
    links = json.loads((run / "item.json").read_text())["links"]
    assert [link["href"] for link in links[:2]] == [left.as_uri(), right.as_uri()]

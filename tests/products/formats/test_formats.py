"""Every format holds what the run found, as other programs read it."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
import xarray as xr
from PIL import Image
from pyogrio import set_gdal_config_options
from rasterio.features import rasterize
from rio_cogeo.cogeo import cog_validate
from scipy.special import entr

from geoseg.errors import ConfigError
from geoseg.inference.planning import plan_run
from geoseg.labels.coco import decode_runs, read_coco
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import MEASURE_SCALE
from geoseg.products.exports import export_run
from geoseg.runfolder.verify import verify_run
from tests.doubles import configure, read_all, read_band, read_layer, write_package
from tests.products.formats.conftest import run_double

LAYERS = ("landcover", "buildings")


def equal_shapes(found: gpd.GeoDataFrame, expected: gpd.GeoDataFrame, tolerance: float = 0.0) -> bool:
    """The same features, in any order, told by their areas and places."""
    one, other = (table.iloc[np.lexsort(table.geometry.bounds.round(2).to_numpy().T)] for table in (found, expected))
    gaps = shapely.hausdorff_distance(shapely.normalize(one.geometry.to_numpy()), shapely.normalize(other.geometry.to_numpy()))
    return len(one) == len(other) and bool((gaps <= tolerance).all())


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("ending", ["fgb", "parquet"])
def test_formats_in_the_crs_of_the_run_hold_all_features_to_the_bit(finished: Path, layer: str, ending: str) -> None:
    path, expected = finished / f"{layer}.{ending}", read_layer(finished, layer)
    found = gpd.read_parquet(path) if ending == "parquet" else gpd.read_file(path)
    assert equal_shapes(found, expected)
    assert found.crs == expected.crs
    assert set(found.columns) == set(expected.columns)
    assert found["area_m2"].sum() == pytest.approx(expected["area_m2"].sum(), rel=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_geojson_is_in_degrees_with_shells_counterclockwise(finished: Path, layer: str) -> None:
    content = json.loads((finished / f"{layer}.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert "crs" not in content
    table = gpd.read_file(finished / f"{layer}.geojson")
    assert table.crs.to_epsg() == 4326
    assert shapely.is_ccw(shapely.get_exterior_ring(table.geometry.to_numpy())).all()
    assert equal_shapes(table.to_crs("EPSG:32645"), read_layer(finished, layer), tolerance=0.001)


def test_pmtiles_hold_every_layer_at_the_deepest_zoom(finished: Path) -> None:
    path = finished / "features.pmtiles"
    assert {name for name, _ in pyogrio.list_layers(path)} == set(LAYERS)
    for layer in LAYERS:
        expected = read_layer(finished, layer)
        # a feature is cut at the borders of tiles
        drawn = gpd.read_file(path, layer=layer).to_crs("EPSG:32645")
        assert drawn.union_all().symmetric_difference(expected.union_all()).area < 0.05 * expected.area.sum()
        assert set(drawn["area_m2"]) <= set(expected["area_m2"])


def test_osm_buildings_share_the_nodes_of_their_walls_and_are_all_there(finished: Path) -> None:
    root = ET.parse(finished / "buildings.osm").getroot()
    assert {int(element.attrib["id"]) < 0 for element in root} == {True}
    nodes = {node.attrib["id"]: (node.attrib["lon"], node.attrib["lat"]) for node in root.iter("node")}
    assert len(set(nodes.values())) == len(nodes)
    rings = [[nd.attrib["ref"] for nd in way.iter("nd")] for way in root.iter("way")]
    assert all(ring[0] == ring[-1] and set(ring) <= nodes.keys() for ring in rings)
    expected = read_layer(finished, "buildings")
    assert len([tag for tag in root.iter("tag") if (tag.attrib["k"], tag.attrib["v"]) == ("building", "yes")]) == len(expected)
    # GDAL's index of nodes takes no negative ids, its database does
    set_gdal_config_options({"OSM_USE_CUSTOM_INDEXING": False})
    try:
        found = gpd.read_file(finished / "buildings.osm", layer="multipolygons")
    finally:
        set_gdal_config_options({"OSM_USE_CUSTOM_INDEXING": None})
    assert len(found) == len(expected)
    # whole units of 1e-7 degrees are about a centimetre
    assert found.to_crs("EPSG:32645").area.sum() == pytest.approx(expected.area.sum(), rel=1e-3)


def test_coco_pictures_show_the_imagery_and_annotations_cover_the_buildings(finished: Path, inputs: tuple[Path, Path]) -> None:
    annotations = read_coco((finished / "coco" / "annotations.json").read_bytes())
    (image,) = annotations.images
    with Image.open(finished / "coco" / image.name) as picture:
        np.testing.assert_array_equal(np.asarray(picture).transpose(2, 0, 1), read_all(inputs[0]))
    buildings = read_layer(finished, "buildings")
    assert len(image.shapes) == len(buildings)
    assert sum(shape.geometry.area for shape in image.shapes) * 0.25 == pytest.approx(buildings.area.sum(), rel=1e-4)
    drawn = rasterize([shape.geometry for shape in image.shapes], (150, 200))
    assert (drawn > 0)[read_band(finished / "instances.tif") > 0].mean() > 0.9


def test_zarr_holds_the_probabilities_of_the_raster_in_its_place(finished: Path) -> None:
    with xr.open_zarr(finished / "probabilities.zarr", mask_and_scale=False) as dataset:
        np.testing.assert_array_equal(dataset["probability"].to_numpy(), read_all(finished / "probabilities.tif"))
        assert dataset["probability"].attrs["scale_factor"] * MEASURE_SCALE == 1
        assert dataset["class"].attrs["flag_meanings"] == "ground building"
        with rasterio.open(finished / "probabilities.tif") as raster:
            assert rasterio.crs.CRS.from_wkt(dataset["spatial_ref"].attrs["crs_wkt"]) == raster.crs
            assert (float(dataset["x"][0]), float(dataset["y"][0])) == raster.xy(0, 0)


def test_probabilities_add_up_and_agree_with_classes_and_confidence(finished: Path) -> None:
    classes, confidence = read_band(finished / "classes.tif"), read_band(finished / "confidence.tif").astype(int)
    with rasterio.open(finished / "probabilities.tif") as raster:
        assert raster.descriptions == ("probability:ground", "probability:building")
        assert raster.scales == (1 / MEASURE_SCALE,) * 2
        assert raster.nodata == 255
        stored = raster.read().astype(int)
    there = classes != 255
    assert ((stored == 255).all(axis=0) == ~there).all()
    assert np.abs(stored.sum(axis=0)[there] - MEASURE_SCALE).max() <= 1
    assert np.abs(stored.max(axis=0) / MEASURE_SCALE - confidence / 100)[there].max() < 0.008
    sure = there & (stored[0] != stored[1])
    assert (stored.argmax(axis=0) == classes)[sure].all()
    entropy, margin = read_all(finished / "uncertainty.tif")
    assert np.abs(np.abs(stored[0] - stored[1]) - margin)[there].max() <= 2
    # near certainty a step of 1/250 in the probability is 0.04 of entropy
    p = np.clip(stored[0][there] / MEASURE_SCALE, 0, 1)
    assert np.abs((entr(p) + entr(1 - p)) / np.log(2) - entropy[there] / MEASURE_SCALE).max() < 0.04


def test_a_geopackage_brings_the_styles_of_its_layers(finished: Path) -> None:
    table = pyogrio.read_dataframe(finished / "features.gpkg", layer="layer_styles")
    assert sorted(table["f_table_name"]) == ["buildings", "landcover"]
    assert table["useAsDefault"].astype(bool).all()
    assert (table["f_geometry_column"] == pyogrio.read_info(finished / "features.gpkg", layer="landcover")["geometry_name"]).all()
    assert set(table["f_table_schema"]) == {""}
    style = ET.fromstring(table.set_index("f_table_name").loc["landcover", "styleQML"])
    renderer = style.find("renderer-v2")
    assert renderer is not None
    assert renderer.attrib["attr"] in read_layer(finished, "landcover").columns
    labels = {row.attrib["value"]: row.attrib["label"] for row in renderer.iter("category")}
    assert labels == {"0": "ground", "1": "building"}
    fills = [layer.find("prop[@k='color']") for layer in renderer.iter("layer")]
    assert [fill.attrib["v"][:11] for fill in fills if fill is not None] == ["200,180,140", "220,40,40,1"]


def test_style_files_draw_the_colors_of_the_raster(finished: Path) -> None:
    with rasterio.open(finished / "classes.tif") as raster:
        colors = {value: "#{:02x}{:02x}{:02x}".format(*raster.colormap(1)[value][:3]) for value in (0, 1)}
    palette = ET.parse(finished / "classes.qml").getroot().iter("paletteEntry")
    assert {int(row.attrib["value"]): row.attrib["color"] for row in palette} == colors
    entries = ET.parse(finished / "classes.sld").getroot().iter("{http://www.opengis.net/sld}ColorMapEntry")
    assert {int(row.attrib["quantity"]): row.attrib["color"] for row in entries} == colors
    ogc = "{http://www.opengis.net/ogc}"
    literals = ET.parse(finished / "landcover.sld").getroot().iter(f"{ogc}Literal")
    assert [row.text for row in literals] == ["0", "1"]


def test_the_areas_of_zones_are_those_of_the_summary(finished: Path) -> None:
    summary = {row["name"]: row["area_m2"] for row in json.loads((finished / "summary.json").read_text())["classes"]}
    table = pd.read_csv(finished / "zones.csv").set_index("district")
    for name in ("ground", "building"):
        assert table.loc[["west", "east"], f"{name}_m2"].sum() == pytest.approx(summary[name], rel=1e-4)
    assert table.loc["away", "mapped_m2"] == 0 < table.loc["away", "zone_m2"]
    layer = read_layer(finished, "zones")
    pd.testing.assert_frame_equal(layer.drop(columns="geometry").set_index("district"), table.drop(columns="zone"))


def test_verify_knows_all_files_and_sees_what_was_changed_in_any(finished: Path) -> None:
    assert not verify_run(finished).failed
    for name in ("buildings.fgb", "probabilities.zarr/probability/zarr.json"):
        path = finished / name
        whole = path.read_bytes()
        path.write_bytes(whole.replace(whole[-9:-8], b"#", 1))
        (failed,) = verify_run(finished).failed
        assert failed.name == "checksums"
        assert name.split("/")[0] in failed.message
        path.write_bytes(whole)


def test_coco_run_lengths_are_the_instances_to_the_pixel(finished: Path) -> None:
    content = json.loads((finished / "coco-rle" / "annotations.json").read_bytes())
    labels = read_band(finished / "instances.tif")
    drawn = np.zeros(labels.shape, int)
    for row in content["annotations"]:
        mask = decode_runs(row["segmentation"]["counts"], tuple(row["segmentation"]["size"]))
        assert row["area"] == mask.sum()
        left, top, width, height = row["bbox"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum()
        assert mask[top].any()
        assert mask[:, left + width - 1].any()
        drawn += mask
    np.testing.assert_array_equal(drawn, labels > 0)
    assert len(content["annotations"]) == labels.max()
    assert len(read_coco((finished / "coco-rle" / "annotations.json").read_bytes()).images[0].shapes) == labels.max()


@pytest.mark.parametrize("name", ["osm", "coco"])
def test_formats_of_buildings_are_refused_where_the_model_finds_none(inputs: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    spec = double_spec().model_dump(exclude_none=True)
    spec["classes"][1]["kind"] = "surface"
    spec["heads"] = {"semantic": spec["heads"]["semantic"]}
    package = write_package(tmp_path / "surfaces", ModelSpec.model_validate(spec))
    with pytest.raises(ConfigError, match=f"'{name}' is written from buildings, .* a model that finds it"):
        plan_run(configure(inputs[0], package, tmp_path / "out", formats=(name,)))
    run = run_double(configure(inputs[0], package, tmp_path / "out"))
    with pytest.raises(ConfigError, match=f"'{name}' is written from buildings"):
        export_run(run, formats=(name,))


def test_every_raster_is_a_cog_for_another_validator(finished: Path) -> None:
    names = {"classes", "confidence", "evidence", "instances", "panoptic", "probabilities", "uncertainty"}
    assert {path.stem for path in finished.glob("*.tif")} == names
    for path in finished.glob("*.tif"):
        valid, errors, warned = cog_validate(path, strict=True)
        assert (valid, errors, warned) == (True, [], []), path.name

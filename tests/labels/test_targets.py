"""Labels in the forms that people have end up on the grid of their rasters, and what does not fit is named with numbers."""

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pydantic import ValidationError
from scipy import ndimage

from geoseg.errors import LabelError, RunFolderError
from geoseg.io.ground import pixel_step_m
from geoseg.io.raster import open_raster
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.labels.site import Site
from geoseg.labels.targets import LabelledRaster, Reading, load_raster, load_site, raster_paths
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ClassRow, Head
from geoseg.pixels.classes import ClassKind, ClassScheme, LandClass
from geoseg.scene import SceneOptions, draw_scene
from tests.doubles import CRS, TRANSFORM, write_raster

SCHEME = ClassScheme(
    classes=(
        LandClass(value=0, name="land", color="#c8b48c"),
        LandClass(value=7, name="forest", color="#28a03c"),
        LandClass(value=3, name="road", color="#fadc3c", kind=ClassKind.ROAD),
        LandClass(value=4, name="building", color="#dc2828", kind=ClassKind.BUILDING),
    )
)
LAND, FOREST, ROAD, BUILDING = range(4)
READING = Reading(scheme=SCHEME)
PIXELS = np.random.default_rng(1).integers(1, 255, (3, 40, 60)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image of 40 x 60 pixels of 0.5 m."""
    write_raster(tmp_path / "a_image.tif", PIXELS)
    return tmp_path


def load(folder: Path, reading: Reading = READING, **fields: Any) -> LabelledRaster:
    site = Site.model_validate({"name": "here", "rasters": "a_image.tif", "replace": {"image": "mask"}, **fields})
    return load_raster(folder / "a_image.tif", site, reading, folder)


def load_mask(folder: Path, mask: np.ndarray, *, crs: str | None = CRS, **fields: Any) -> LabelledRaster:
    more = {key: fields.pop(key) for key in ("nodata", "transform") if key in fields}
    write_raster(folder / "a_mask.tif", mask if mask.ndim == 3 else mask[None], crs=crs, **more)
    return load(folder, kind="class_raster", labels="{parent}/{stem}.tif", **fields)


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """A box in the image's pixels, on the ground."""
    (x0, y0), (x1, y1) = TRANSFORM @ (left, top), TRANSFORM @ (right, bottom)
    return shapely.box(x0, y1, x1, y0)


def load_shapes(folder: Path, shapes: list[Any], classes: list[Any] | None = None, *, crs: str = CRS, **fields: Any) -> LabelledRaster:
    columns = {} if classes is None else {"class": classes}
    gpd.GeoDataFrame(columns, geometry=shapes, crs=CRS).to_crs(crs).to_file(folder / "labels.gpkg")
    column = {} if "class_labels" in fields or fields.get("kind") else {"column": "class"}
    return load(folder, **{"kind": "vectors", "labels": "{parent}/labels.gpkg", **column, **fields})


def drawn(*boxes: tuple[int, int, int, int, int], fill: int = UNLABELLED) -> np.ndarray:
    semantic = np.full((40, 60), fill, np.uint8)
    for left, top, right, bottom, channel in boxes:
        semantic[top:bottom, left:right] = channel
    return semantic


class TestClassRasters:
    def test_values_become_channels(self, folder: Path) -> None:
        values = np.tile([0, 7, 3, 4], (40, 15)).astype(np.uint8)
        np.testing.assert_array_equal(load_mask(folder, values).targets[0], np.tile([LAND, FOREST, ROAD, BUILDING], (40, 15)))

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
    def test_values_are_mapped_to_classes_by_name(self, folder: Path, dtype: str) -> None:
        values = np.tile([10, 70, 100, 10], (40, 15)).astype(dtype)
        targets = load_mask(folder, values, values={"10": "building", "70": "forest", "100": "land"}).targets
        np.testing.assert_array_equal(targets[0], np.tile([BUILDING, FOREST, LAND, BUILDING], (40, 15)))

    def test_colors_are_mapped_to_classes_by_name(self, folder: Path) -> None:
        colors = np.zeros((3, 40, 60), np.uint8)
        colors[:, :, 30:] = np.array([60, 16, 152], np.uint8)[:, None, None]
        targets = load_mask(folder, colors, values={"#3c1098": "building", "#000000": "land"}).targets
        np.testing.assert_array_equal(targets[0], drawn((30, 0, 60, 40, BUILDING), fill=LAND))

    def test_colors_are_ignored_by_name_and_blue_is_a_color_like_others(self, folder: Path) -> None:
        colors = np.zeros((3, 40, 60), np.uint8)
        colors[:, :10] = 255
        fields: dict[str, Any] = {"values": {"#000000": "land"}, "ignore": ["#ffffff"]}
        np.testing.assert_array_equal(load_mask(folder, colors, **fields).targets[0], drawn((0, 10, 60, 40, LAND)))
        colors[2, 10:] = 255
        with pytest.raises(LabelError, match=r"no class: \{255: 1800\}"):
            load_mask(folder, colors, **fields)

    def test_text_to_ignore_is_refused_before_anything_is_read(self) -> None:
        with pytest.raises(ValidationError, match="'unsure' in values or ignore is neither a whole number nor a color"):
            Site(name="here", kind="class_raster", rasters="a.tif", labels="b.tif", ignore=("unsure",))

    def test_values_to_ignore_are_unlabelled_in_every_target(self, folder: Path) -> None:
        values = np.full((40, 60), 4, np.uint8)
        values[:10], values[10:20] = 99, 255
        targets = load_mask(folder, values, ignore=[99]).targets
        assert (targets[:, :20] == UNLABELLED).all()
        assert (targets[0, 20:] == BUILDING).all()

    def test_nodata_is_unlabelled_unless_it_was_given_a_class(self, folder: Path) -> None:
        values = np.full((40, 60), 4, np.uint8)
        values[:10] = 0
        assert (load_mask(folder, values, nodata=0).targets[0, :10] == UNLABELLED).all()
        named = load_mask(folder, values, nodata=0, values={"0": "land", "4": "building"})
        assert (named.targets[0, :10] == LAND).all()

    def test_pixels_without_data_are_unlabelled_whatever_number_stands_there(self, folder: Path) -> None:
        values = np.zeros((40, 60), np.float32)
        values[:10], values[10:20] = np.nan, -9999
        fields: dict[str, Any] = {"values": {"0": "land", "4": "building"}, "nodata": -9999.0}
        targets = load_mask(folder, values, **fields).targets
        assert (targets[0, :20] == UNLABELLED).all()
        assert (targets[0, 20:] == LAND).all()
        values[:10], values[20, 0] = np.finfo(np.float32).min, 0.5
        with pytest.raises(LabelError, match="1 pixels that are not whole numbers"):
            load_mask(folder, values, values={"0": "land"}, nodata=float(np.finfo(np.float32).min), ignore=[-9999])
        hidden = np.stack([np.zeros((40, 60), np.uint8), np.full((40, 60), 255, np.uint8)])
        hidden[1, :10] = 0
        with rasterio.open(folder / "a_mask.tif", "w", "GTiff", 60, 40, 2, CRS, TRANSFORM, "uint8", alpha="yes") as dataset:
            dataset.write(hidden)
        targets = load(folder, kind="class_raster", labels="a_mask.tif", values={"0": "land"}).targets
        assert (targets[0, :10] == UNLABELLED).all()
        assert (targets[0, 10:] == LAND).all()

    def test_a_building_ends_where_it_ends_not_where_labels_do(self, folder: Path) -> None:
        values = np.zeros((40, 60), np.uint8)
        values[5:20, 10:30] = 4
        values[:, 20:] = 255
        _, interior, boundary = load_mask(folder, values).targets
        assert boundary[5:20, 10].all()
        assert interior[6:19, 19].all()
        assert not boundary[6:19, 19].any()

    def test_unknown_values_are_named_with_their_pixel_counts(self, folder: Path) -> None:
        values = np.zeros((40, 60), np.uint8)
        values[0, :5], values[1, :3] = 50, 51
        with pytest.raises(LabelError, match=r"no class: \{50: 5, 51: 3\} \(value: pixels\)"):
            load_mask(folder, values)

    def test_labels_on_another_grid_are_warped_by_nearest_neighbor(self, folder: Path) -> None:
        # 2 m pixels, of which the second column lies under the image's columns 0 to 3
        coarse = np.zeros((12, 20), np.uint8)
        coarse[:, 1::2] = 7
        labelled = load_mask(folder, coarse, transform=TRANSFORM @ Affine.translation(-4, -4) @ Affine.scale(4))
        expected = np.tile(np.repeat([FOREST, LAND], 4), (40, 8))[:, :60]
        np.testing.assert_array_equal(labelled.targets[0], expected)
        assert any("another grid" in note for note in labelled.notes)

    def test_labels_in_another_crs_are_reprojected(self, folder: Path) -> None:
        step = 0.5 / 111_000
        left, _, right, top = gpd.GeoSeries([box(0, 0, 60, 40)], crs=CRS).to_crs("EPSG:4326").total_bounds
        west, north = left - 10 * step, top + 10 * step
        values = np.zeros((120, 140), np.uint8)
        middle = (left + right) / 2
        values[:, round((middle - west) / step) :] = 7
        labelled = load_mask(folder, values, transform=Affine(step, 0, west, 0, -step, north), crs="EPSG:4326")
        assert (labelled.targets[0, :, :27] == LAND).all()
        assert (labelled.targets[0, :, 33:] == FOREST).all()

    def test_pixels_outside_the_label_raster_are_unlabelled_and_counted(self, folder: Path) -> None:
        labelled = load_mask(folder, np.zeros((40, 30), np.uint8))
        np.testing.assert_array_equal(labelled.targets[0], drawn((0, 0, 30, 40, LAND)))
        assert any("50.0% of the raster lies outside" in note for note in labelled.notes)

    def test_labels_elsewhere_are_refused(self, folder: Path) -> None:
        with pytest.raises(LabelError, match=r"a_mask\.tif does not overlap"):
            load_mask(folder, np.zeros((40, 60), np.uint8), transform=TRANSFORM @ Affine.translation(1000, 0))

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_labels_without_a_crs_need_the_shape_of_the_raster(self, folder: Path) -> None:
        with pytest.raises(LabelError, match=r"\(40, 59\) pixels, its raster \(40, 60\)"):
            load_mask(folder, np.zeros((40, 59), np.uint8), crs=None, transform=None)

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_georeferenced_rasters_come_to_the_model_s_resolution_unless_told_not_to(self, folder: Path) -> None:
        write_raster(folder / "a_mask.tif", drawn((20, 0, 60, 40, 7), fill=0)[None], crs=None, transform=None)
        fields: dict[str, Any] = {"kind": "class_raster", "labels": "{stem}.tif"}
        coarse = load(folder, Reading(scheme=SCHEME, resolution_m=1.0), **fields)
        np.testing.assert_array_equal(coarse.targets[0], np.repeat([[LAND, FOREST]], 20, axis=0).repeat([10, 20], axis=1))
        kept = load(folder, Reading(scheme=SCHEME, resolution_m=1.0), **fields, native_resolution=True)
        assert kept.targets.shape == (3, 40, 60)

    @pytest.mark.parametrize("own", [{"native_resolution": True}, {"resolution_m": 1.5}, {}])
    def test_blocks_are_drawn_on_the_grid_of_the_tests_whatever_a_site_is_read_at(self, folder: Path, own: dict[str, Any]) -> None:
        write_raster(folder / "a_mask.tif", np.zeros((1, 40, 60), np.uint8))
        parts = []
        for keep, grid in (("train", own), ("test", {})):
            blocks = {"size_px": 5, "buffer_px": 1, "share": 0.4, "keep": keep}
            part = load(
                folder, Reading(scheme=SCHEME, resolution_m=1.0), kind="class_raster", labels="{stem}.tif", blocks=blocks, **grid
            ).targets[0]
            side = -(-40 // part.shape[0])
            parts.append(np.kron(part != UNLABELLED, np.ones((side, side), bool))[:40, :60])
        train, test = parts
        assert train.any()
        # a pixel at 1 m, the model's resolution, is two of the file's
        assert not (ndimage.maximum_filter(test, 2 * 2 + 1) & train).any()

    def test_an_unknown_class_name_is_refused_with_the_names_there_are(self, folder: Path) -> None:
        with pytest.raises(LabelError, match=r"no class 'wood'\. The classes are land, forest, road, building"):
            load_mask(folder, np.zeros((40, 60), np.uint8), values={"0": "wood"})


class TestVectors:
    def test_a_column_of_names_becomes_channels_and_the_rest_is_unlabelled(self, folder: Path) -> None:
        labelled = load_shapes(folder, [box(5, 5, 20, 30), box(30, 10, 50, 20)], ["forest", "building"])
        np.testing.assert_array_equal(labelled.targets[0], drawn((5, 5, 20, 30, FOREST), (30, 10, 50, 20, BUILDING)))

    @pytest.mark.parametrize("classes", [[7, 4], ["7", "4"], [7.0, 4.0]])
    def test_a_column_of_values_becomes_channels(self, folder: Path, classes: list[Any]) -> None:
        labelled = load_shapes(folder, [box(5, 5, 20, 30), box(30, 10, 50, 20)], classes, background="land")
        np.testing.assert_array_equal(labelled.targets[0], drawn((5, 5, 20, 30, FOREST), (30, 10, 50, 20, BUILDING), fill=LAND))

    def test_values_are_mapped_and_ignored_ones_hide_what_lies_below(self, folder: Path) -> None:
        shapes = [box(10, 10, 15, 15), box(0, 0, 30, 30)]
        labelled = load_shapes(folder, shapes, ["unsure", "311"], values={"311": "forest"}, ignore=["unsure"], background="land")
        np.testing.assert_array_equal(labelled.targets[0], drawn((0, 0, 30, 30, FOREST), (10, 10, 15, 15, UNLABELLED), fill=LAND))

    def test_unknown_classes_are_named_with_their_feature_counts(self, folder: Path) -> None:
        with pytest.raises(LabelError, match=r"no class: \{'marsh': 2, '\(empty\)': 1\} \(value: features\)"):
            load_shapes(folder, [box(0, 0, 5, 5)] * 4, ["marsh", "marsh", None, "forest"])

    def test_one_file_per_class_draws_later_files_over_earlier_ones(self, folder: Path) -> None:
        for name, shape in (("woods", box(0, 0, 30, 30)), ("houses", box(20, 20, 40, 40))):
            gpd.GeoDataFrame(geometry=[shape], crs=CRS).to_crs("EPSG:4326").to_file(folder / f"{name}.geojson")
        files = {"building": "houses.geojson", "forest": "woods.geojson"}
        over = load(folder, kind="vectors", class_labels=files, background="land")
        np.testing.assert_array_equal(over.targets[0], drawn((20, 20, 40, 40, BUILDING), (0, 0, 30, 30, FOREST), fill=LAND))

    @pytest.mark.parametrize("crs", [CRS, "EPSG:4326", "EPSG:3857"])
    def test_lines_are_as_wide_on_the_ground_as_was_said(self, folder: Path, crs: str) -> None:
        line = shapely.LineString([TRANSFORM @ (-5, 20), TRANSFORM @ (65, 20)])
        labelled = load_shapes(folder, [line], ["road"], crs=crs, width_m={"road": 6.0}, background="land")
        np.testing.assert_array_equal(labelled.targets[0], drawn((0, 14, 60, 26, ROAD), fill=LAND))

    def test_a_width_in_metres_is_true_in_web_mercator(self, tmp_path: Path) -> None:
        transform = Affine(1.0, 0, 0, 0, -1.0, 8399737.9)
        write_raster(tmp_path / "a_image.tif", PIXELS, transform=transform, crs="EPSG:3857")
        line = shapely.LineString([transform @ (-5, 20), transform @ (65, 20)])
        gpd.GeoDataFrame({"class": ["road"]}, geometry=[line], crs="EPSG:3857").to_file(tmp_path / "labels.gpkg")
        labelled = load(tmp_path, kind="vectors", labels="labels.gpkg", column="class", width_m=8.0)
        height_m = pixel_step_m(open_raster(tmp_path / "a_image.tif").geobox)[1]
        assert (labelled.targets[0] == ROAD).sum(axis=0)[30] * height_m == pytest.approx(8.0, abs=height_m)
        assert height_m == pytest.approx(0.5, abs=0.01)

    def test_a_column_of_widths_counts_before_the_width_of_the_class(self, folder: Path) -> None:
        lines = [shapely.LineString([TRANSFORM @ (-5, y), TRANSFORM @ (65, y)]) for y in (10, 30)]
        table = gpd.GeoDataFrame({"class": "road", "w": [2.0, np.nan]}, geometry=lines, crs=CRS)
        table.to_file(folder / "labels.gpkg")
        labelled = load(folder, kind="vectors", labels="labels.gpkg", column="class", width_m=6.0, width_column="w")
        np.testing.assert_array_equal(labelled.targets[0], drawn((0, 8, 60, 12, ROAD), (0, 24, 60, 36, ROAD)))

    def test_lines_without_a_width_are_counted_and_refused(self, folder: Path) -> None:
        with pytest.raises(LabelError, match="holds 1 lines without a width"):
            load_shapes(folder, [shapely.LineString([TRANSFORM @ (0, 0), TRANSFORM @ (9, 9)])], ["road"])

    def test_invalid_missing_and_distant_features_and_points_are_counted(self, folder: Path) -> None:
        bow = shapely.Polygon([TRANSFORM @ p for p in ((0, 0), (20, 20), (20, 0), (0, 20))])
        shapes = [bow, None, box(500, 500, 510, 510), shapely.Point(TRANSFORM @ (30, 30))]
        notes = load_shapes(folder, shapes, ["forest"] * 4).notes
        for part in (
            "1 features have no geometry",
            "1 invalid geometries were repaired",
            "1 of 4 features lie outside",
            "1 points were left out",
        ):
            assert any(part in note for note in notes), part

    def test_a_class_column_that_is_not_there_is_named(self, folder: Path) -> None:
        with pytest.raises(LabelError, match=r"no column 'kind'\. It has class"):
            load_shapes(folder, [box(0, 0, 5, 5)], ["forest"], column="kind")


class TestBuildings:
    def test_polygons_know_buildings_only(self, folder: Path) -> None:
        targets = load_shapes(folder, [box(10, 10, 30, 30)], kind="building_polygons").targets
        np.testing.assert_array_equal(targets[0], drawn((10, 10, 30, 30, BUILDING), fill=NOT_BUILDING))
        assert targets[1, 20, 20] == 1
        assert targets[2, 20, 10] == 1

    def test_labels_elsewhere_are_refused_unless_the_area_says_that_nothing_is_here(self, folder: Path) -> None:
        far = [box(500, 500, 510, 510)]
        with pytest.raises(LabelError, match=r"no feature of .* touches"):
            load_shapes(folder, far, kind="building_polygons")
        labelled = load_shapes(folder, far, kind="building_polygons", labelled_lonlat=[85, 27, 86, 28])
        assert (labelled.targets[0] == NOT_BUILDING).all()
        assert any("counts as empty" in note for note in labelled.notes)

    def test_an_area_that_holds_no_polygon_is_refused(self, folder: Path) -> None:
        gpd.GeoDataFrame({"name": []}, geometry=[], crs=CRS).to_file(folder / "area.gpkg")
        with pytest.raises(LabelError, match=r"area\.gpkg holds no polygon, so site 'here' has no labelled area"):
            load_shapes(folder, [box(10, 10, 30, 30)], kind="building_polygons", labelled_area="area.gpkg")

    def test_lines_and_points_are_no_outlines(self, folder: Path) -> None:
        ring = shapely.boundary(box(10, 10, 30, 30))
        mixed = load_shapes(folder, [box(10, 10, 30, 30), ring, shapely.Point(ring.coords[0])], kind="building_polygons")
        np.testing.assert_array_equal(mixed.targets[0], drawn((10, 10, 30, 30, BUILDING), fill=NOT_BUILDING))
        assert any("2 features are no polygons" in note for note in mixed.notes)
        with pytest.raises(LabelError, match="holds LineString; outlines of buildings are polygons"):
            load_shapes(folder, [ring], kind="building_polygons")
        stray = load_shapes(folder, [ring], kind="building_polygons", labelled_lonlat=[85, 27, 86, 28])
        assert (stray.targets[0] == NOT_BUILDING).all()

    def test_a_scheme_without_buildings_cannot_take_them(self, folder: Path) -> None:
        scheme = ClassScheme(classes=SCHEME.classes[:2])
        gpd.GeoDataFrame(geometry=[box(0, 0, 5, 5)], crs=CRS).to_file(folder / "labels.gpkg")
        with pytest.raises(LabelError, match="no class of the scheme is of kind 'building'"):
            load(folder, Reading(scheme=scheme), kind="building_polygons", labels="labels.gpkg")


class TestDrawnScenes:
    """Scenes hold land 0, water 1, vegetation 2, road 3 and building 4, whatever values the model's classes have."""

    def load(self, rows: list[tuple[int, str, str]], **fields: Any) -> set[int]:
        classes = tuple(ClassRow(value=v, name=name, color="#102030", kind=ClassKind(kind)) for v, name, kind in rows)
        heads = {"semantic": Head(start=0, stop=len(rows), activation="softmax")}
        spec = double_spec().model_copy(update={"classes": classes, "heads": heads})
        site = Site.model_validate({"name": "drawn", "kind": "drawn_scenes", "seeds": [3], **fields})
        (scene,) = load_site(site, spec, Path("nowhere"))
        self.truth = draw_scene(SceneOptions(height_px=1024, width_px=1024, seed=3, resolution_m=0.3)).classes
        self.found = scene.targets[0]
        return set(np.unique(self.found).tolist())

    def test_classes_are_known_by_name_and_kind_not_by_value(self) -> None:
        seen = self.load([(0, "background", "surface"), (1, "house", "building"), (2, "street", "road"), (9, "water", "surface")])
        assert seen == {1, 2, 3, UNLABELLED}
        for channel, value in ((1, 4), (2, 3), (3, 1)):
            there = self.found == channel
            assert there.any()
            assert (self.truth[there] == value).all()

    def test_values_say_what_stands_for_what(self) -> None:
        rows = [(0, "other", "surface"), (4, "building", "building")]
        assert self.load(rows, values={"0": "other", "4": "building"}) == {0, 1, UNLABELLED}
        assert (self.truth[self.found == 0] == 0).all()
        with pytest.raises(LabelError, match=r"drawn scenes have no value 5\. They have 0 land"):
            self.load(rows, values={"5": "other"})

    def test_a_model_that_shares_no_class_is_refused(self) -> None:
        with pytest.raises(LabelError, match="none of land, water, vegetation, road, building"):
            self.load([(0, "field", "surface"), (1, "forest", "surface")])


class TestRuns:
    """A finished run as a teacher: classes and confidence, or the evidence of buildings."""

    @pytest.fixture
    def run(self, folder: Path) -> Path:
        """Six columns of ten pixels; of each, what was found, how sure, and how likely a building; nothing in the last rows."""
        (folder / "run").mkdir()

        def write(name: str, band: str, columns: list[int], nothing: int, **more: Any) -> None:
            values = np.tile(np.repeat(columns, 10), (40, 1)).astype(np.uint8)
            values[30:] = nothing
            with rasterio.open(write_raster(folder / "run" / name, values[None], **more), "r+") as dataset:
                dataset.descriptions = (band,)

        # numbers are the run's own; names are the same
        legend = {10: "land", 17: "forest", 13: "road", 14: "building"}
        rows = [{"value": value, "name": name, "color": "#102030", "kind": "surface"} for value, name in legend.items()]
        (folder / "run" / "summary.json").write_text(json.dumps({"classes": rows, "counts": {}, "timing_s": {}}))
        write("classes.tif", "class", [10, 17, 13, 14, 14, 10], 255, nodata=255)
        write("confidence.tif", "confidence", [89, 90, 100, 95, 40, 60], 0)
        write("evidence.tif", "building", [0, 25, 26, 255, 230, 229], 0)
        return folder / "run"

    def load(self, folder: Path, **fields: Any) -> np.ndarray:
        return load(folder, kind="run", labels="{parent}/run", **fields).targets

    def test_classes_count_where_the_run_is_sure(self, folder: Path, run: Path) -> None:
        targets = self.load(folder)
        assert targets[0, 0, ::10].tolist() == [UNLABELLED, FOREST, ROAD, BUILDING, UNLABELLED, UNLABELLED]
        assert (targets[0, 30:] == UNLABELLED).all()
        assert (targets[1:] == UNLABELLED).all()
        assert self.load(folder, sure=0.6)[0, 0, ::10].tolist() == [LAND, FOREST, ROAD, BUILDING, UNLABELLED, LAND]

    def test_buildings_and_what_is_none_count_where_their_probability_is_sure(self, folder: Path, run: Path) -> None:
        targets = self.load(folder, learn="buildings")
        assert targets[0, 0, ::10].tolist() == [NOT_BUILDING, NOT_BUILDING, UNLABELLED, BUILDING, BUILDING, UNLABELLED]
        # no evidence where nothing was looked at is no evidence of absence
        assert (targets[:, 30:] == UNLABELLED).all()

    def test_values_name_other_classes_and_ignore_leaves_some_out(self, folder: Path, run: Path) -> None:
        values = {"10": "forest", "13": "road", "14": "building"}
        found = self.load(folder, values=values, ignore=[17])[0, 0, ::10]
        assert found.tolist() == [UNLABELLED, UNLABELLED, ROAD, BUILDING, UNLABELLED, UNLABELLED]
        with pytest.raises(LabelError, match=r"no class: \{17: 300\}"):
            self.load(folder, values=values)
        with pytest.raises(ValidationError, match="neither a whole number"):
            self.load(folder, values={"forest": "forest"})

    def test_classes_of_which_the_model_has_none_are_refused_by_name(self, folder: Path, run: Path) -> None:
        scheme = ClassScheme(classes=(LandClass(value=0, name="wheat", color="#c8b48c"), LandClass(value=7, name="maize", color="#28a03c")))
        with pytest.raises(LabelError, match=r"\(land, forest, road, building\) are none of the model's"):
            load(folder, Reading(scheme=scheme), kind="run", labels="run")

    def test_a_run_that_is_not_finished_teaches_nothing(self, folder: Path, run: Path) -> None:
        told = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps({**told, "quick": {"state": "refining"}}))
        with pytest.raises(RunFolderError, match="is not finished"):
            self.load(folder)
        (run / "summary.json").unlink()
        with pytest.raises(RunFolderError, match="is not finished"):
            self.load(folder, learn="buildings")

    def test_how_much_is_sure_is_said(self, folder: Path, run: Path) -> None:
        assert load(folder, kind="run", labels="run").notes == ("run: the run is sure of 37.5% of the pixels",)

    def test_a_run_without_the_layer_is_refused_with_what_to_do(self, folder: Path, run: Path) -> None:
        (run / "evidence.tif").unlink()
        with pytest.raises(LabelError, match=r"has evidence.tif among its --outputs"):
            self.load(folder, learn="buildings")
        write_raster(run / "evidence.tif", np.zeros((1, 40, 60), np.uint8))
        with pytest.raises(LabelError, match="no band 'building'"):
            self.load(folder, learn="buildings")

    def test_a_run_of_another_place_is_refused(self, folder: Path, run: Path) -> None:
        elsewhere = TRANSFORM @ Affine.translation(5000, 0)
        write_raster(run / "classes.tif", np.zeros((1, 40, 60), np.uint8), transform=elsewhere)
        with pytest.raises(LabelError, match="does not overlap"):
            self.load(folder)

    def test_buildings_need_a_class_of_buildings(self, folder: Path, run: Path) -> None:
        scheme = ClassScheme(classes=(LandClass(value=0, name="land", color="#c8b48c"), LandClass(value=7, name="forest", color="#28a03c")))
        with pytest.raises(LabelError, match="no class of the scheme is of kind 'building'"):
            load(folder, Reading(scheme=scheme), kind="run", labels="run", learn="buildings")


class TestImagery:
    """What a network is shown is what a run would show it."""

    def test_bands_that_are_called_as_the_models_are_found(self, folder: Path) -> None:
        with rasterio.open(folder / "a_image.tif", "r+") as dataset:
            dataset.descriptions = ("blue", "green", "red")
        write_raster(folder / "a_mask.tif", np.zeros((1, 40, 60), np.uint8))
        reading = Reading(scheme=SCHEME, bands=3, band_names=("red", "green", "blue"))
        fields: dict[str, Any] = {"kind": "class_raster", "labels": "a_mask.tif"}
        np.testing.assert_array_equal(load(folder, reading, **fields).pixels, PIXELS[::-1])
        np.testing.assert_array_equal(load(folder, reading, **fields, bands=[1, 2, 3]).pixels, PIXELS)
        with pytest.raises(LabelError, match="needs 3"):
            load(folder, reading, **fields, bands=[1, 2, 3, 1])
        with rasterio.open(folder / "a_image.tif", "r+") as dataset:
            dataset.descriptions = ("nir", "red", "green")
        with pytest.raises(LabelError, match="blue is not among them"):
            load(folder, reading, **fields)

    def test_reflectances_are_refused_instead_of_rounded_away(self, folder: Path) -> None:
        write_raster(folder / "a_image.tif", (PIXELS / 255).astype(np.float32))
        write_raster(folder / "a_mask.tif", np.zeros((1, 40, 60), np.uint8))
        with pytest.raises(LabelError, match=r"lie within 0\.\d+\.\.0\.996; networks are trained on 8-bit imagery"):
            load(folder, kind="class_raster", labels="a_mask.tif")


class TestSites:
    def test_files_can_be_listed_and_left_out(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c"):
            (tmp_path / f"{name}.tif").touch()
        site = Site(name="here", kind="class_raster", rasters=("a.tif", "[bc].tif"), exclude=("b*",), labels="x")
        assert [path.name for path in raster_paths(site, tmp_path)] == ["a.tif", "c.tif"]

    def test_a_glob_that_leaves_out_nothing_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").touch()
        with pytest.raises(LabelError, match=r"no raster matches tets\*"):
            raster_paths(Site(name="here", kind="class_raster", rasters="*", exclude=("tets*",)), tmp_path)

    def test_an_absolute_pattern_is_refused_with_the_folder_that_counts(self, tmp_path: Path) -> None:
        with pytest.raises(LabelError, match="is absolute; rasters are named below"):
            raster_paths(Site(name="here", kind="class_raster", rasters=f"{tmp_path}/*.tif"), tmp_path)

    def test_labels_that_are_the_raster_itself_are_refused(self, folder: Path) -> None:
        with pytest.raises(LabelError, match="are the raster itself"):
            load(folder, kind="class_raster", labels="{stem}.tif", replace={"img": "mask"})

    def test_other_fields_in_the_pattern_are_refused(self, folder: Path) -> None:
        with pytest.raises(LabelError, match="'name'"):
            load(folder, kind="class_raster", labels="{name}.tif")

    def test_blocks_leave_the_other_part_unlabelled(self, folder: Path) -> None:
        blocks = {"size_px": 10, "share": 0.25, "buffer_px": 3}
        parts = [load_mask(folder, np.zeros((40, 60), np.uint8), blocks={**blocks, "keep": keep}).targets[0] for keep in ("train", "test")]
        train, test = (part == LAND for part in parts)
        assert test.sum() == 6 * 100
        assert not (train & test).any()

    def test_a_site_without_a_labelled_pixel_is_refused(self, folder: Path) -> None:
        write_raster(folder / "a_mask.tif", np.full((1, 40, 60), 255, np.uint8))
        site = Site(name="here", kind="class_raster", rasters="a_image.tif", labels="a_mask.tif")
        with pytest.raises(LabelError, match="no pixel of its 1 rasters is labelled"):
            load_site(site, four_classes(), folder)

    def test_bands_are_chosen_and_missing_ones_counted(self, folder: Path) -> None:
        fields: dict[str, Any] = {"kind": "class_raster", "labels": "{stem}.tif"}
        write_raster(folder / "a_mask.tif", np.zeros((1, 40, 60), np.uint8))
        chosen = load(folder, Reading(scheme=SCHEME, bands=2), **fields, bands=(3, 1))
        np.testing.assert_array_equal(chosen.pixels, PIXELS[[2, 0]])
        with pytest.raises(LabelError, match="has 3 bands, 0 of them opacity; the model needs 4"):
            load(folder, Reading(scheme=SCHEME, bands=4), **fields)

    def test_a_few_values_beyond_eight_bits_are_noted_and_many_refused(self, tmp_path: Path) -> None:
        pixels = np.full((3, 40, 60), 90, np.uint16)
        pixels[:, 0, :10] = 900
        write_raster(tmp_path / "a_image.tif", pixels)
        notes = load_mask(tmp_path, np.zeros((40, 60), np.uint8)).notes
        assert any("0.4% of the values of a_image.tif (uint16) lie outside 0..255" in note for note in notes)
        write_raster(tmp_path / "a_image.tif", np.full((3, 40, 60), 900, np.uint16))
        with pytest.raises(LabelError, match=r"100\.0% of the values .* 8-bit"):
            load_mask(tmp_path, np.zeros((40, 60), np.uint8))

    @pytest.mark.parametrize(
        ("fields", "fault"),
        [
            ({"kind": "class_raster", "column": "class"}, "'column' is for kind vectors"),
            ({"kind": "vectors", "labels": "a.gpkg"}, "either labels and column, or class_labels"),
            ({"kind": "class_raster", "values": {"ten": "land"}}, "'ten' in values or ignore is neither a whole number nor a color"),
            ({"kind": "class_raster", "labels": "x", "lables": "y"}, "lables"),
            ({"kind": "class_raster", "labels": "x", "learn": "buildings"}, "'learn' is for kind run"),
            ({"kind": "run"}, "needs labels, the folder of a finished run"),
            ({"kind": "class_raster", "labels": "x", "sure": 0.8}, "'sure' is for kind run"),
            ({"kind": "run", "labels": "x", "learn": "buildings", "ignore": [1]}, "values and ignore are for classes"),
        ],
    )
    def test_fields_that_do_not_fit_are_named(self, fields: dict[str, Any], fault: str) -> None:
        with pytest.raises(ValidationError, match=fault):
            Site.model_validate({"name": "here", **fields})


def test_korea_s_masks_are_found_by_name_and_value(shared_data: Path) -> None:
    site = Site(
        name="korea",
        kind="class_raster",
        rasters="landcover/korea/202309_patchN_0.tif",
        labels="{parent}/{stem}.tif",
        replace={"patchN": "mask"},
        values={"10": "building", "30": "road", "50": "land", "70": "forest", "100": "land"},
    )
    (labelled,) = load_site(site, four_classes(), shared_data)
    counts = np.bincount(labelled.targets[0].ravel(), minlength=4)
    assert counts.tolist() == [16936 + 75795, 156412, 9812, 3189]


def four_classes() -> Any:
    """The double's spec, with the classes of these tests."""
    rows = tuple(ClassRow(value=c.value, name=c.name, color=c.color, kind=c.kind) for c in SCHEME)
    heads = {"semantic": Head(start=0, stop=4, activation="softmax")}
    return double_spec().model_copy(update={"classes": rows, "heads": heads, "resolution_m": None})

"""Chunks make up one raster, and that becomes a COG which holds the same pixels, dressed for programs that show it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from geoseg.errors import RunError, WriteError
from geoseg.io.store.chunks import ChunkStore, check_complete
from geoseg.io.store.mosaic import ChunkMosaic, LayerStyle, plain_vrt, remove_rows
from geoseg.io.store.places import Folder
from geoseg.io.tiffs.cog import write_cog
from geoseg.io.tiffs.image import write_image
from geoseg.io.tiffs.layers import open_layer, read_band_names
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.tiling import TilePlan, TilingOptions, plan_tiles

LAYERS = ("class", "confidence")
MakeGeobox = Callable[[int, int], GeoBox]


def plan_of(height: int, width: int) -> TilePlan:
    return plan_tiles((height, width), TilingOptions(tile_size_px=128, halo_px=32, stride_px=32, chunk_size_px=256))


def fill(tmp_path: Path, geobox: GeoBox, layers: NDArray[np.uint8]) -> tuple[ChunkStore, TilePlan]:
    """Write (L, H, W) as chunks."""
    store, plan = ChunkStore(place=Folder(tmp_path / "chunks & more"), geobox=geobox, layers=LAYERS), plan_of(*layers.shape[1:])
    for chunk in plan.chunks():
        w = chunk.window
        store.write(chunk, layers[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width])
    return store, plan


def mosaic_vrt(store: ChunkStore, plan: TilePlan, layers: tuple[str, ...], style: LayerStyle) -> str:
    """The mosaic of what is there, its rows beside the chunks."""
    folder = Path(store.place.name).parent
    return ChunkMosaic(store=store, tiles=plan, done=store.list_done(plan)).describe(folder, "mosaic", layers, style)


def path_of(store: ChunkStore, row: int, col: int) -> Path:
    return Path(store.address((row, col)))


def to_cog(tmp_path: Path, vrt: str, overviews: str = "nearest", smooth: bool = False) -> Path:
    """Make a COG beside the chunks, its final name in a folder of its own."""
    (tmp_path / "out").mkdir(exist_ok=True)
    write_cog(vrt, tmp_path, tmp_path / "out" / "final.tif", overviews=overviews, smooth=smooth)
    return tmp_path / "out" / "final.tif"


def drawn(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A map of 2 x 2 cells, three pixels of each of one class and one of another; and the class of the three."""
    rng = np.random.default_rng(seed)
    most = rng.choice(np.array([1, 2, 4], np.uint8), (height // 2, width // 2))
    full = most.repeat(2, axis=0).repeat(2, axis=1)
    full[1::2, ::2] = np.where(most == 1, 4, 1)
    return full


def test_chunks_and_the_cog_of_their_mosaic_hold_the_array(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    layers = np.random.default_rng(0).integers(0, 255, (2, 601, 703), np.uint8)
    geobox = make_geobox(601, 703)
    store, plan = fill(tmp_path, geobox, layers)
    assert plan.chunk_count == 9
    for name, expected in zip(LAYERS, layers, strict=True):
        with rasterio.open(to_cog(tmp_path, mosaic_vrt(store, plan, (name,), LayerStyle()))) as dataset:
            np.testing.assert_array_equal(dataset.read(1), expected)
            assert (dataset.transform, dataset.crs, dataset.shape) == (geobox.transform, "EPSG:32645", (601, 703))


def test_a_chunk_stands_at_its_place_on_the_ground(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    geobox = make_geobox(400, 500)
    store, plan = fill(tmp_path, geobox, np.zeros((2, 400, 500), np.uint8))
    chunk = plan.chunk(1, 1)
    with rasterio.open(store.address((chunk.row, chunk.col))) as dataset:
        assert dataset.transform @ (0, 0) == geobox.transform @ (chunk.window.col_off, chunk.window.row_off)
        assert (dataset.height, dataset.width) == (chunk.window.height, chunk.window.width)


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (Affine(1e-5 / 3, 0, 85.123456789012, 0, -1e-5 / 3, 27.98765432101), "EPSG:4326"),
        (Affine(0.1492910708, 0, 9519877.123456, 0, -0.1492910708, 3203000.98765), "EPSG:3857"),
        (Affine(2, 0, 300000, 0, 2, 3000000), "EPSG:32645"),
        (Affine(2, 0, 300000, 0, -2, 3000000), "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=m"),
    ],
    ids=["degrees", "web mercator", "south up", "no EPSG code"],
)
def test_the_grid_of_the_cog_is_the_grid_of_the_run_exactly(tmp_path: Path, transform: Affine, crs: str) -> None:
    geobox = GeoBox((40, 50), transform, crs)
    store, plan = fill(tmp_path, geobox, np.ones((2, 40, 50), np.uint8))
    with rasterio.open(to_cog(tmp_path, mosaic_vrt(store, plan, ("class",), LayerStyle()))) as dataset:
        assert dataset.transform == transform
        assert dataset.crs == rasterio.crs.CRS.from_user_input(crs)


@pytest.fixture
def classes_tif(tmp_path: Path, make_geobox: MakeGeobox, scheme: ClassScheme) -> Path:
    """A drawn class map of 1200 x 1400, its upper left corner nodata, as a COG."""
    layers = np.stack([drawn(1200, 1400)] * 2)
    layers[0, :100, :100] = NODATA_CLASS
    store, plan = fill(tmp_path, make_geobox(1200, 1400), layers)
    return to_cog(tmp_path, mosaic_vrt(store, plan, ("class",), LayerStyle(nodata=NODATA_CLASS, scheme=scheme)), "mode")


def test_a_class_map_is_a_valid_cog(classes_tif: Path) -> None:
    valid, errors, warnings = cog_validate(classes_tif, strict=True)
    assert valid
    assert errors == warnings == []


def test_a_class_map_carries_its_legend_and_nodata(classes_tif: Path, scheme: ClassScheme) -> None:
    with rasterio.open(classes_tif) as dataset:
        colors = dataset.colormap(1)
        assert dataset.nodata == NODATA_CLASS
        assert not dataset.dataset_mask()[:100, :100].any()
        assert dataset.dataset_mask()[100:].all()
    for row in scheme:
        assert colors[row.value] == (*row.rgb, 255)
    described = ElementTree.parse(classes_tif.with_name("final.tif.aux.xml"))
    names = [category.text or "" for category in described.iter("Category")]
    assert names == ["", "water & ice", "house <new>", "", "forest"]


def test_overviews_hold_the_most_frequent_class(classes_tif: Path) -> None:
    expected = drawn(1200, 1400)[::2, ::2]
    with rasterio.open(classes_tif) as dataset:
        assert dataset.overviews(1)[0] == 2
    with rasterio.open(classes_tif, overview_level=0) as dataset:
        overview = dataset.read(1)
    assert (overview[:50, :50] == NODATA_CLASS).all()
    np.testing.assert_array_equal(overview[50:], expected[50:])
    np.testing.assert_array_equal(overview[:, 50:], expected[:, 50:])


@pytest.mark.parametrize(("cell_px", "level"), [(1, 5), (40, 6)])
def test_maps_in_which_hardly_anything_repeats_are_compressed_with_less_effort(
    cell_px: int, level: int, tmp_path: Path, make_geobox: MakeGeobox, scheme: ClassScheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = np.random.default_rng(0).integers(0, 5, (1200 // cell_px, 1200 // cell_px), np.uint8)
    drawn_map = cells.repeat(cell_px, axis=0).repeat(cell_px, axis=1)
    store, plan = fill(tmp_path, make_geobox(1200, 1200), np.stack([drawn_map] * 2))
    copy, levels = rasterio.shutil.copy, []

    def spy(*args: Any, **options: Any) -> None:
        levels.append(options["level"])
        copy(*args, **options)

    monkeypatch.setattr(rasterio.shutil, "copy", spy)
    path = to_cog(tmp_path, mosaic_vrt(store, plan, ("class",), LayerStyle(nodata=NODATA_CLASS, scheme=scheme)), "mode")
    assert levels == [level]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), drawn_map)


def test_only_final_names_remain(classes_tif: Path) -> None:
    assert sorted(p.name for p in classes_tif.parent.iterdir()) == ["final.tif", "final.tif.aux.xml"]
    remove_rows(classes_tif.parent.parent, "mosaic")
    assert sorted(p.name for p in classes_tif.parent.parent.iterdir()) == ["chunks & more", "out"]


def test_a_mosaic_of_several_layers_names_its_bands_and_is_read_by_name(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    layers = np.random.default_rng(0).integers(0, 255, (2, 301, 270), np.uint8)
    store, plan = fill(tmp_path, make_geobox(301, 270), layers)
    path = to_cog(tmp_path, mosaic_vrt(store, plan, ("confidence", "class"), LayerStyle()))
    assert read_band_names(path) == ("confidence", "class")
    with open_layer(path, "class") as read:
        np.testing.assert_array_equal(read(Window(0, 0, plan.width, plan.height)), layers[store.layers.index("class")])
    with pytest.raises(RunError, match=r"no band 'road', only confidence, class"), open_layer(path, "road"):
        pass


def test_a_layer_without_a_legend_has_no_colors(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    smooth = np.add.outer(np.arange(1100), np.arange(1030)).astype(np.float64) / 22
    store, plan = fill(tmp_path, make_geobox(1100, 1030), np.stack([smooth.astype(np.uint8)] * 2))
    path = to_cog(tmp_path, mosaic_vrt(store, plan, ("confidence",), LayerStyle(nodata=255)), "average", smooth=True)
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), smooth.astype(np.uint8))
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        with pytest.raises(ValueError, match="NULL color table"):
            dataset.colormap(1)


def test_labels_of_32_bits_become_a_cog(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    labels = np.random.default_rng(0).integers(0, 2**32, (1, 70, 90)).astype(np.uint32)
    geobox = make_geobox(70, 90)
    write_image(tmp_path / "labels.tif", labels, geobox)
    with open_layer(to_cog(tmp_path, plain_vrt(geobox, "labels.tif", "uint32", LayerStyle(nodata=0)))) as read:
        np.testing.assert_array_equal(read(Window(0, 0, 90, 70)), labels[0])
        np.testing.assert_array_equal(read(Window(11, 5, 30, 20)), labels[0, 5:25, 11:41])


def test_missing_chunks_are_counted_and_the_first_is_named(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    store, plan = fill(tmp_path, make_geobox(400, 900), np.zeros((2, 400, 900), np.uint8))
    check_complete(store, store.list_done(plan))
    path_of(store, 0, 2).unlink()
    path_of(store, 1, 1).unlink()
    with pytest.raises(RunError, match=r"2 chunks are missing .* first r00000_c00002"):
        check_complete(store, store.list_done(plan))


@pytest.mark.parametrize("damage", ["gone", "empty", "cut off"])
def test_a_chunk_that_cannot_be_read_stops_the_cog_and_leaves_the_old_one(tmp_path: Path, make_geobox: MakeGeobox, damage: str) -> None:
    store, plan = fill(tmp_path, make_geobox(300, 900), np.random.default_rng(0).integers(0, 9, (2, 300, 900), np.uint8))
    old = to_cog(tmp_path, mosaic_vrt(store, plan, ("confidence",), LayerStyle())).read_bytes()
    vrt, chunk = mosaic_vrt(store, plan, ("confidence",), LayerStyle()), path_of(store, 0, 1)
    if damage == "gone":
        chunk.unlink()
    else:
        chunk.write_bytes(b"" if damage == "empty" else chunk.read_bytes()[:-20_000])
    with pytest.raises(WriteError, match=r"final\.tif could not be written"):
        to_cog(tmp_path, vrt)
    assert (tmp_path / "out" / "final.tif").read_bytes() == old

"""Imagery of indices into a table of colors is read as what it shows; where no colors are wanted, indices stay."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.shutil import copy
from rasterio.windows import Window

from geoseg.io.raster import has_data, place_source, read_whole
from geoseg.io.sampled import read_coarse
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.dataset import RasterOptions
from geoseg.io.sources.gather import gather_imagery
from geoseg.labels.site import Site
from geoseg.labels.targets import Reading, load_raster
from geoseg.pipeline import segment_raster
from geoseg.pixels.classes import ClassScheme, LandClass
from geoseg.view.backdrop import Backdrop
from tests.doubles import CRS, TRANSFORM, configure, draw_blobs, write_network, write_raster
from tests.io.webserver import serve
from tests.view.test_rasters import tile_at

RGB = ("red", "green", "blue")
RNG = np.random.default_rng(5)
TABLE = {number: (*(int(v) for v in RNG.integers(0, 256, 3)), 255) for number in range(256)}
INDICES = (draw_blobs(90, 130)[0] // 8).astype(np.uint8)
SHOWN = np.array([TABLE[number][:3] for number in range(256)], np.uint8)[INDICES].transpose(2, 0, 1)


def write_paletted(
    path: Path, table: dict[int, Any] = TABLE, *, indices: NDArray[np.uint8] = INDICES, transform: Affine | None = TRANSFORM, **more: Any
) -> Path:
    write_raster(path, indices[None], transform=transform, photometric="palette", **more)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, table)
    return path


def write_picture(folder: Path, opacity: dict[int, int]) -> Path:
    """A PNG with transparent colors and a world file."""
    path = folder / f"{len(opacity)}.png"
    picture = Image.fromarray(INDICES, "P")
    picture.putpalette([value for color in TABLE.values() for value in color[:3]])
    picture.save(path, transparency=bytes(opacity.get(number, 255) for number in range(256)))
    a, b, c, d, e, f = (TRANSFORM @ Affine.translation(0.5, 0.5))[:6]
    path.with_suffix(".pgw").write_text("\n".join(map(str, (a, d, b, e, c, f))))
    return path


def gather(*paths: Path, wanted: tuple[str, ...] = RGB, **arrangement: Any) -> Any:
    return gather_imagery([str(path) for path in paths], RasterOptions(), Arrangement(**arrangement), wanted)


def test_a_palette_is_read_as_red_green_and_blue(tmp_path: Path) -> None:
    imagery = gather(write_paletted(tmp_path / "paletted.tif"))
    assert imagery.bands == (("red",), ("green",), ("blue",))
    assert (imagery.opacity, imagery.dtype) == ((), "uint8")
    assert imagery.is_in_colors
    source = place_source(imagery, None)
    pixels, valid = source.read(Window(30, 11, 50, 40))
    np.testing.assert_array_equal(pixels, SHOWN[:, 11:51, 30:80])
    assert valid.all()


def test_a_palette_stays_what_it_is_where_no_colors_are_wanted(tmp_path: Path) -> None:
    imagery = gather(write_paletted(tmp_path / "pan.tif"), wanted=("pan",))
    np.testing.assert_array_equal(read_whole(place_source(imagery, None))[0], INDICES[None])


def test_an_index_that_means_no_data_and_colors_that_are_transparent_are_no_data(tmp_path: Path) -> None:
    hole = int(np.median(INDICES))
    by_value = gather(write_paletted(tmp_path / "nodata.tif", nodata=hole))
    by_color = gather_imagery([str(write_picture(tmp_path, {hole: 0}))], RasterOptions(assume_crs=CRS), Arrangement(), RGB)
    by_colors = gather_imagery([str(write_picture(tmp_path, {hole: 0, hole + 1: 0}))], RasterOptions(assume_crs=CRS), Arrangement(), RGB)
    for imagery, holes in ((by_value, [hole]), (by_color, [hole]), (by_colors, [hole, hole + 1])):
        pixels, valid = read_whole(place_source(imagery, None).choose((1, 2, 3)))
        np.testing.assert_array_equal(valid, ~np.isin(INDICES, holes))
        np.testing.assert_array_equal(pixels[:, valid], SHOWN[:, valid])
        assert 0 < valid.mean() < 1


def test_files_that_are_no_palette_are_read_as_ever(tmp_path: Path) -> None:
    write_raster(tmp_path / "rgb.tif", SHOWN, crs=None)
    for crs in (CRS, "pixels"):
        imagery = gather_imagery([str(tmp_path / "rgb.tif")], RasterOptions(assume_crs=crs), Arrangement(), RGB)
        assert not imagery.is_in_colors
        np.testing.assert_array_equal(read_whole(place_source(imagery, None))[0], SHOWN)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_control_points_place_a_palette_too(tmp_path: Path) -> None:
    path = write_paletted(tmp_path / "scan.tif", transform=None)
    corners = [(row, col, *(TRANSFORM @ (col, row))) for row in (0, 90) for col in (0, 130)]
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = ([GroundControlPoint(row, col, x, y) for row, col, x, y in corners], CRS)
    imagery = gather_imagery([str(path)], RasterOptions(warp=True), Arrangement(), RGB)
    pixels, valid = read_whole(place_source(imagery, None).choose((1, 2, 3)))
    assert valid.mean() > 0.9
    assert {tuple(color) for color in pixels[:, valid].T} <= {tuple(color) for color in SHOWN.reshape(3, -1).T}


def test_what_a_virtual_raster_of_palettes_points_at_tells_that_it_changed(tmp_path: Path) -> None:
    write_paletted(tmp_path / "part.tif")
    copy(str(tmp_path / "part.tif"), str(tmp_path / "whole.vrt"), driver="VRT")
    imagery = gather(tmp_path / "whole.vrt")
    assert imagery.is_in_colors
    assert any(name.endswith("part.tif") for name in imagery.files())


def test_a_stack_keeps_the_indices_of_a_class_map_beside_colors(tmp_path: Path) -> None:
    rgb = write_raster(tmp_path / "rgb.tif", SHOWN)
    classes = write_paletted(tmp_path / "landcover.tif")
    imagery = gather(rgb, classes, wanted=(*RGB, "landcover"), stack=True)
    np.testing.assert_array_equal(read_whole(place_source(imagery, None).choose((4,)))[0], INDICES[None])


def test_a_band_that_claims_a_palette_and_has_none_stays_one_band(tmp_path: Path) -> None:
    write_raster(tmp_path / "gray.tif", INDICES[None])
    copy(str(tmp_path / "gray.tif"), str(tmp_path / "gray.vrt"), driver="VRT")
    text = (tmp_path / "gray.vrt").read_text()
    (tmp_path / "gray.vrt").write_text(text.replace("<ColorInterp>Gray</ColorInterp>", "<ColorInterp>Palette</ColorInterp>"))
    assert len(gather(tmp_path / "gray.vrt").bands) == 1


def test_palettes_of_their_own_lie_beside_each_other_and_beside_other_imagery(tmp_path: Path) -> None:
    swapped = {255 - number: color for number, color in TABLE.items()}
    west = write_paletted(tmp_path / "a.tif")
    middle = write_paletted(tmp_path / "b.tif", swapped, indices=255 - INDICES, transform=TRANSFORM @ Affine.translation(130, 0))
    east = write_raster(tmp_path / "c.tif", SHOWN, transform=TRANSFORM @ Affine.translation(260, 0))
    pixels, valid = read_whole(place_source(gather(west, middle, east), None))
    np.testing.assert_array_equal(pixels, np.concatenate([SHOWN] * 3, axis=2))
    assert valid.all()


def test_a_palette_that_is_warped_mixes_colors_and_not_indices(tmp_path: Path) -> None:
    # between the indices 0 and 200 lies that of a glaring color
    table = {number: (100, 150, 50, 255) if number in (0, 200) else (255, 0, 255, 255) for number in range(256)}
    indices = np.where(np.arange(130) % 2 == 0, 0, 200).astype(np.uint8) * np.ones((90, 1), np.uint8)
    turned = TRANSFORM @ Affine.rotation(20)
    path = write_paletted(tmp_path / "turned.tif", table, indices=indices, transform=turned)
    imagery = gather_imagery([str(path)], RasterOptions(warp=True), Arrangement(), RGB)
    pixels, valid = read_whole(place_source(imagery, None).choose((1, 2, 3)))
    inside = valid.copy()
    for axis in (0, 1):
        for step in (1, -1):
            inside &= np.roll(valid, step, axis)
    assert inside.any()
    assert (pixels[:, inside] == np.array([[100], [150], [50]])).all()


def test_a_palette_at_an_address_is_read_as_well(tmp_path: Path) -> None:
    write_paletted(tmp_path / "far.tif", tiled=True, blockxsize=64, blockysize=64)
    with serve(tmp_path) as web:
        imagery = gather_imagery([f"{web.address}/far.tif"], RasterOptions(), Arrangement(), RGB)
        np.testing.assert_array_equal(read_whole(place_source(imagery, None))[0], SHOWN)


def test_a_palette_with_nothing_but_transparent_colors_holds_no_data(tmp_path: Path) -> None:
    path = write_picture(tmp_path, dict.fromkeys(range(256), 0))
    imagery = gather_imagery([str(path)], RasterOptions(assume_crs=CRS), Arrangement(), RGB)
    assert not has_data(place_source(imagery, None))


def test_a_table_of_impossible_colors_is_none(tmp_path: Path) -> None:
    write_paletted(tmp_path / "a.tif")
    copy(str(tmp_path / "a.tif"), str(tmp_path / "a.vrt"), driver="VRT")
    text = (tmp_path / "a.vrt").read_text()
    (tmp_path / "a.vrt").write_text(re.sub('<Entry c1="[0-9]+"', '<Entry c1="300"', text, count=1))
    assert len(gather(tmp_path / "a.vrt").bands) == 1


def test_a_stack_of_one_is_read_in_colors(tmp_path: Path) -> None:
    assert gather(write_paletted(tmp_path / "a.tif"), stack=True).is_in_colors


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_jpeg_is_described_as_ever(tmp_path: Path) -> None:
    with rasterio.open(tmp_path / "a.jpg", "w", driver="JPEG", count=3, height=90, width=130, dtype="uint8") as dataset:
        dataset.write(SHOWN)
    imagery = gather_imagery([str(tmp_path / "a.jpg")], RasterOptions(assume_crs="pixels"), Arrangement(), RGB)
    assert len(imagery.bands) == 3


def test_the_report_and_the_map_show_the_colors(tmp_path: Path) -> None:
    source = place_source(gather(write_paletted(tmp_path / "paletted.tif")), None)
    pixels, valid = read_coarse(source, Window(0, 0, 130, 90), 130)
    assert valid.all()
    np.testing.assert_array_equal(pixels, SHOWN)
    backdrop = Backdrop(source, RGB, tmp_path / "work")
    west, south, east, north = backdrop.bounds
    tile, _, _ = tile_at((west + east) / 2, (south + north) / 2, backdrop.zoom)
    (picture,) = backdrop.paint(tile)
    seen = picture[picture[..., 3] > 0][:, :3].astype(int)
    assert len(seen)
    assert np.ptp(seen, axis=1).max() > 40


def test_a_run_over_a_palette_gives_the_map_of_its_colors(tmp_path: Path) -> None:
    network = write_network(tmp_path / "network")
    card = json.loads((network / "model.json").read_text())
    (network / "model.json").write_text(json.dumps(card).replace("band_1", "red").replace("band_2", "green").replace("band_3", "blue"))
    maps = []
    for name, path in (("a", write_paletted(tmp_path / "paletted.tif")), ("b", write_raster(tmp_path / "rgb.tif", SHOWN))):
        segment_raster(configure(path, network, tmp_path / name, cache=tmp_path / "cache", outputs=["classes"]))
        with rasterio.open(tmp_path / name / "classes.tif") as dataset:
            maps.append(dataset.read(1))
    np.testing.assert_array_equal(*maps)
    assert len(np.unique(maps[0])) > 1


def test_training_sees_the_colors_and_a_paletted_label_raster_keeps_its_values(tmp_path: Path) -> None:
    write_paletted(tmp_path / "image.tif")
    write_paletted(tmp_path / "labels.tif", indices=INDICES % 2)
    scheme = ClassScheme(classes=tuple(LandClass(value=n, name=name, color="#000000") for n, name in enumerate(("even", "odd"))))
    site = Site(name="here", rasters="image.tif", labels="labels.tif", kind="class_raster")
    raster = load_raster(tmp_path / "image.tif", site, Reading(scheme=scheme, bands=3, band_names=RGB), tmp_path)
    np.testing.assert_array_equal(raster.pixels, SHOWN)
    np.testing.assert_array_equal(raster.targets[0], INDICES % 2)

"""Overviews of class maps: each the one before, halved by mode, whatever the blocks and chunks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from geoseg.errors import RunError
from geoseg.io.store.chunks import ChunkStore
from geoseg.io.store.mosaic import ChunkMosaic, LayerStyle, plain_vrt
from geoseg.io.store.places import Folder
from geoseg.io.tiffs.cog import write_cog
from geoseg.io.tiffs.image import write_image
from geoseg.pixels.mode import halve_by_mode
from geoseg.tiling import TilingOptions, plan_tiles

MakeGeobox = Callable[[int, int], GeoBox]


def patches(height: int, width: int) -> NDArray[np.uint8]:
    """A map of small patches with some nodata."""
    rng = np.random.default_rng(0)
    coarse = rng.choice(np.array([1, 2, 3, 255], np.uint8), (height // 3 + 1, width // 3 + 1), p=[0.4, 0.3, 0.2, 0.1])
    return coarse.repeat(3, axis=0).repeat(3, axis=1)[:height, :width]


def write_classes(folder: Path, values: NDArray[np.uint8], geobox: GeoBox, nodata: int | None) -> Path:
    folder.mkdir()
    write_image(folder / "plain.tif", values[None], geobox)
    write_cog(plain_vrt(geobox, "plain.tif", "uint8", LayerStyle(nodata=nodata)), folder, folder / "classes.tif", overviews="mode")
    (folder / "plain.tif").unlink()
    return folder / "classes.tif"


@pytest.mark.parametrize("nodata", [255, None])
def test_every_overview_is_the_one_before_halved(
    tmp_path: Path, make_geobox: MakeGeobox, nodata: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.io.tiffs.overviews._BLOCK_PX", 256)
    expected = patches(1101, 2051)
    path = write_classes(tmp_path / "made", expected, make_geobox(1101, 2051), nodata)
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
        levels = len(dataset.overviews(1))
    assert levels == 3
    for level in range(levels):
        expected = halve_by_mode(expected, nodata)
        with rasterio.open(path, overview_level=level) as dataset:
            np.testing.assert_array_equal(dataset.read(1), expected)
    assert max(expected.shape) <= 512
    assert [p.name for p in path.parent.iterdir()] == ["classes.tif"]


def test_a_map_that_fits_into_a_block_has_no_overview(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    path = write_classes(tmp_path / "made", patches(300, 512), make_geobox(300, 512), 255)
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == []


def test_the_same_map_in_other_chunks_is_the_same_file(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    values, geobox = patches(1000, 1300), make_geobox(1000, 1300)
    made = []
    for chunk_size_px in (128, 700):
        folder = tmp_path / str(chunk_size_px)
        store = ChunkStore(place=Folder(folder / "chunks"), geobox=geobox, layers=("class",))
        plan = plan_tiles(values.shape, TilingOptions(tile_size_px=128, halo_px=32, stride_px=32, chunk_size_px=chunk_size_px))
        for chunk in plan.chunks():
            store.write(chunk, values[None, *chunk.window.toslices()])
        mosaic = ChunkMosaic(store=store, tiles=plan, done=store.list_done(plan))
        vrt = mosaic.describe(folder, "classes", ("class",), LayerStyle(nodata=255))
        write_cog(vrt, folder, folder / "classes.tif", overviews="mode")
        made.append((folder / "classes.tif").read_bytes())
    assert made[0] == made[1]


def test_a_chunk_that_is_missing_stops_the_overviews(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    geobox = make_geobox(600, 600)
    with pytest.raises(RunError, match=r"classes\.vrt could not be read"):
        write_cog(plain_vrt(geobox, "gone.tif", "uint8", LayerStyle(nodata=255)), tmp_path, tmp_path / "classes.tif", overviews="mode")
    assert not (tmp_path / "classes.tif").exists()

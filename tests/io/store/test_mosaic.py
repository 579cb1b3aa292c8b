"""The mosaic of chunks is a tree of virtual rasters: no text grows with the raster's area, and a hole holds nodata."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import WriteError
from geoseg.io.store.chunks import ChunkStore
from geoseg.io.store.mosaic import ChunkMosaic, LayerStyle, remove_rows
from geoseg.io.store.places import Folder
from geoseg.tiling import TilePlan, TilingOptions, plan_tiles

MakeGeobox = Callable[[int, int], GeoBox]
LAYERS = ("class", "confidence", "road")


def plan_of(shape: tuple[int, int], chunk_px: int = 32) -> TilePlan:
    return plan_tiles(shape, TilingOptions(tile_size_px=16, halo_px=0, stride_px=16, chunk_size_px=chunk_px))


def fill(place: Folder, geobox: GeoBox, layers: NDArray[np.uint8], leave_out: tuple[tuple[int, int], ...] = ()) -> ChunkMosaic:
    store, plan = ChunkStore(place=place, geobox=geobox, layers=LAYERS), plan_of(layers.shape[1:])
    for chunk in plan.chunks():
        if (chunk.row, chunk.col) not in leave_out:
            store.write(chunk, layers[:, *chunk.window.toslices()])
    return ChunkMosaic(store=store, tiles=plan, done=store.list_done(plan))


def drawn(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 200, (len(LAYERS), height, width)).astype(np.uint8)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside it", "in another folder"])
def test_the_tree_holds_the_pixels_of_the_chunks(tmp_path: Path, make_geobox: MakeGeobox, elsewhere: bool) -> None:
    layers = drawn(101, 77)
    work = tmp_path / "run & more" / ".work"
    mosaic = fill(Folder(tmp_path / "shared" / "x" if elsewhere else work / "chunks"), make_geobox(101, 77), layers)
    work.mkdir(parents=True, exist_ok=True)
    (work / "some.vrt").write_text(mosaic.describe(work, "some", ("road", "class"), LayerStyle()))
    with rasterio.open(work / "some.vrt") as dataset:
        assert dataset.descriptions == ("road", "class")
        np.testing.assert_array_equal(dataset.read(), layers[[2, 0]])
    remove_rows(work, "some")
    assert not (work / "some.rows").exists()


def test_chunks_are_found_from_a_folder_that_is_a_link(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    layers = drawn(40, 40)
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "down")
    mosaic = fill(Folder(tmp_path / "shared"), make_geobox(40, 40), layers)
    (tmp_path / "link" / "some.vrt").write_text(mosaic.describe(tmp_path / "link", "some", ("class",), LayerStyle()))
    with rasterio.open(tmp_path / "link" / "some.vrt") as dataset:
        np.testing.assert_array_equal(dataset.read(1), layers[0])


@pytest.mark.parametrize("nodata", [255, None])
def test_a_missing_chunk_holds_nodata(tmp_path: Path, make_geobox: MakeGeobox, nodata: int | None) -> None:
    layers = drawn(100, 70) + np.uint8(1)
    # one chunk of a row, and a whole row
    mosaic = fill(Folder(tmp_path / "chunks"), make_geobox(100, 70), layers, leave_out=((1, 2), (2, 0), (2, 1), (2, 2)))
    (tmp_path / "some.vrt").write_text(mosaic.describe(tmp_path, "some", ("class",), LayerStyle(nodata=nodata)))
    expected = layers[0].copy()
    expected[32:64, 64:] = expected[64:96] = nodata or 0
    with rasterio.open(tmp_path / "some.vrt") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
    assert len(list((tmp_path / "some.rows").iterdir())) == 3


def test_no_text_names_more_than_a_row(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    shape = 16 * 40, 16 * 30
    store, plan = ChunkStore(place=Folder(tmp_path / "chunks"), geobox=make_geobox(*shape), layers=LAYERS), plan_of(shape, 16)
    done = store.list_done(plan)
    done.there[:] = True
    mosaic = ChunkMosaic(store=store, tiles=plan, done=done)
    over = mosaic.describe(tmp_path, "some", ("class",), LayerStyle())
    assert over.count("<SimpleSource>") == 40
    assert {path.read_text().count("<SimpleSource>") for path in (tmp_path / "some.rows").iterdir()} == {30}


def test_a_folder_that_takes_no_rows_says_so(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    mosaic = fill(Folder(tmp_path / "chunks"), make_geobox(20, 20), drawn(20, 20))
    (tmp_path / "some.rows").write_bytes(b"a file")
    with pytest.raises(WriteError, match=r"some\.rows could not be written"):
        mosaic.describe(tmp_path, "some", ("class",), LayerStyle())

"""Which chunks are done is told by listing, whatever else lies there, and never by more than a byte for each."""

import os
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geoseg.errors import RunError, WriteError
from geoseg.io.store.chunks import ChunkStore, DoneChunks, check_complete, holds_chunks, list_times, move_flat_chunks
from geoseg.io.store.places import Folder
from geoseg.tiling import Chunk, TilePlan, TilingOptions, plan_tiles


def plan_of(height: int, width: int) -> TilePlan:
    return plan_tiles((height, width), TilingOptions(tile_size_px=16, halo_px=0, stride_px=16, chunk_size_px=16))


def store_in(folder: Path, height: int = 64, width: int = 64) -> ChunkStore:
    return ChunkStore(place=Folder(folder), geobox=GeoBox((height, width), Affine.scale(2, -2), "EPSG:32645"), layers=("class",))


def write(store: ChunkStore, chunk: Chunk) -> None:
    store.write(chunk, np.zeros((1, chunk.window.height, chunk.window.width), np.uint8))


@given(there=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_done_and_missing_chunks_make_up_all_of_them(there: list[list[bool]]) -> None:
    done = DoneChunks(there=np.array(there))
    missing = list(done.missing())
    assert done.total == done.count + len(missing) == 3 * len(there)
    assert missing == sorted(missing)
    assert all(key not in done for key in missing)
    assert sum((row, col) in done for row in range(len(there)) for col in range(3)) == done.count


def test_only_whole_chunks_of_the_plan_are_done(tmp_path: Path) -> None:
    store, plan = store_in(tmp_path / "chunks"), plan_of(64, 48)
    assert store.list_done(plan).count == 0
    assert not holds_chunks(store.place)
    for key in [(0, 2), (3, 0), (3, 1)]:
        write(store, plan.chunk(*key))
    (tmp_path / "chunks" / "r00000" / "r00000_c00000.tif.part").write_bytes(b"half")
    (tmp_path / "chunks" / "r00000" / "r00000_c00009.tif").write_bytes(b"of a wider raster")
    (tmp_path / "chunks" / "notes").mkdir()
    done = store.list_done(plan)
    assert [(row, col) for row in range(4) for col in range(3) if (row, col) in done] == [(0, 2), (3, 0), (3, 1)]
    assert holds_chunks(store.place)


def test_the_chunks_of_a_row_lie_in_one_folder(tmp_path: Path) -> None:
    store, plan = store_in(tmp_path), plan_of(64, 48)
    for chunk in plan.chunks():
        write(store, chunk)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r00000", "r00001", "r00002", "r00003"]
    assert all(len(list(folder.iterdir())) == 3 for folder in tmp_path.iterdir())
    assert Path(store.address((2, 1))) == tmp_path / "r00002" / "r00002_c00001.tif"


def test_telling_what_is_done_takes_a_byte_for_each_chunk() -> None:
    plan = plan_of(16_000, 16_000)
    assert plan.chunk_count == 1_000_000
    done = store_in(Path("nowhere")).list_done(plan)
    assert done.there.nbytes == 1_000_000
    assert next(done.missing()) == (0, 0)


def test_missing_chunks_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    store, plan = store_in(tmp_path), plan_of(32, 32)
    for key in [(0, 0), (1, 0)]:
        write(store, plan.chunk(*key))
    with pytest.raises(RunError, match=r"2 chunks are missing .*, first r00000_c00001\. Run the same command"):
        check_complete(store, store.list_done(plan))
    for key in [(0, 1), (1, 1)]:
        write(store, plan.chunk(*key))
    check_complete(store, store.list_done(plan))


def test_the_last_times_are_told_in_order(tmp_path: Path) -> None:
    store, plan = store_in(tmp_path), plan_of(64, 48)
    for number, chunk in enumerate(plan.chunks()):
        write(store, chunk)
        os.utime(store.address((chunk.row, chunk.col)), (1e9 - number,) * 2)
    assert list_times(store.place, 3) == (12, [1e9 - 2, 1e9 - 1, 1e9])
    assert list_times(Folder(tmp_path / "none"), 3) == (0, [])


def test_chunks_of_an_earlier_version_move_into_the_folders_of_their_rows(tmp_path: Path) -> None:
    store, plan = store_in(tmp_path), plan_of(64, 48)
    for name in ["r00000_c00002", "r00003_c00001"]:
        (tmp_path / f"{name}.tif").write_bytes(name.encode())
    move_flat_chunks(tmp_path)
    assert list(store.list_done(plan).there.nonzero()[0]) == [0, 3]
    assert Path(store.address((3, 1))).read_bytes() == b"r00003_c00001"
    assert not list(tmp_path.glob("*.tif"))


def test_a_folder_that_takes_no_chunk_says_so(tmp_path: Path) -> None:
    (tmp_path / "chunks").write_bytes(b"a file")
    store, plan = store_in(tmp_path / "chunks"), plan_of(16, 16)
    with pytest.raises(WriteError, match=r"r00000_c00000\.tif could not be written"):
        write(store, plan.chunk(0, 0))
    with pytest.raises(RunError, match=r"chunks could not be looked at: .*Not a directory"):
        store.list_done(plan)


def test_a_place_is_removed_with_all_that_it_holds(tmp_path: Path) -> None:
    store, plan = store_in(tmp_path / "mine"), plan_of(32, 32)
    (tmp_path / "others").mkdir()
    for chunk in plan.chunks():
        write(store, chunk)
    store.place.remove()
    store.place.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["others"]

"""What a detector found is read back whole, or the file that is damaged is named."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window

from geoseg.errors import RunError, RunFolderError
from geoseg.io.store.found import FoundStore, open_kept
from geoseg.pixels.detections import Detections, pack_detections

WINDOW = Window(0, 64, 8, 8)


@pytest.fixture
def store(tmp_path: Path) -> FoundStore:
    found = Detections(scores=np.array([0.5], np.float32), masks=np.ones((1, 8, 8), bool), classes=np.array([1]))
    store = FoundStore(folder=tmp_path / "found")
    store.write("r0_c0", [(WINDOW, pack_detections(found))])
    return store


def test_what_was_found_comes_back_by_tile(store: FoundStore) -> None:
    assert store.index().read(WINDOW).masks.sum() == 64


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"text"])
def test_a_damaged_file_is_named(store: FoundStore, content: bytes) -> None:
    index, path = store.index(), store.folder / "r0_c0.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"r0_c0\.npz cannot be read"):
        store.index()
    with pytest.raises(RunError, match=r"r0_c0\.npz cannot be read"):
        index.read(WINDOW)


def pack(**changes: Any) -> bytes:
    stream = io.BytesIO()
    arrays: dict[str, Any] = {"bits": np.full(8, 255, np.uint8), "shape": [1, 8, 8], "scores": np.array([0.5]), "classes": np.array([1])}
    np.savez_compressed(stream, **(arrays | changes))
    return stream.getvalue()


def garble(content: bytes) -> bytes:
    """Damage compressed data below the checksums of the outer archive."""
    return content[:60] + b"\xff" * 20 + content[80:]


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("0_64_8", pack()),
        ("0_64_8_8_8", pack()),
        ("0_64_8_8", garble(pack())),
        ("0_64_8_8", pack(shape=5)),
        ("0_64_8_8", pack(shape=[1, 10**7, 10**7])),
        ("0_64_8_8", pack(shape=[1, 4, 16])),
        ("0_64_8_8", pack(bits=np.zeros(8))),
        ("0_64_8_8", pack(scores=np.array(["a"]))),
    ],
)
def test_an_archive_that_is_none_of_ours_is_named(tmp_path: Path, name: str, entry: bytes) -> None:
    arrays: dict[str, Any] = {name: np.frombuffer(entry, np.uint8)}
    np.savez(tmp_path / "r0_c0.npz", **arrays)
    with pytest.raises(RunError, match=r"r0_c0\.npz cannot be read"):
        FoundStore(folder=tmp_path).index().read(WINDOW)


def test_an_archive_of_no_arrays_and_an_array_are_named(tmp_path: Path) -> None:
    path = tmp_path / "r0_c0.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0_64_8_8", b"hello")
    with pytest.raises(RunError, match=r"r0_c0\.npz cannot be read"):
        FoundStore(folder=tmp_path).index().read(WINDOW)
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(RunError, match=r"r0_c0\.npz cannot be read"):
        FoundStore(folder=tmp_path).index()


def test_kept_detections_that_lack_an_archive_are_refused(store: FoundStore, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    store.keep(kept, ("background", "building"))
    assert open_kept(kept).index().read(WINDOW).masks.sum() == 64
    (kept / "r0_c0.npz").unlink()
    with pytest.raises(RunFolderError, match="holds 0 of the 1 archives"):
        open_kept(kept)

"""What a detector found is read back whole, or the file that is damaged is named."""

from pathlib import Path

import numpy as np
import pytest
from rasterio.windows import Window

from geoseg.errors import RunError
from geoseg.io.store.found import FoundStore
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

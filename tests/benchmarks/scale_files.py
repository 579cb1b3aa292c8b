"""What a million chunks cost on disk: listing them, describing their mosaic, reading a window and writing a COG by way of it."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.io.store.chunks import ChunkStore, name_chunk_file, name_row
from geoseg.io.store.mosaic import ChunkMosaic, LayerStyle
from geoseg.io.store.places import Folder
from geoseg.io.tiffs.cog import write_cog
from geoseg.io.tiffs.image import encode_geotiff
from geoseg.io.tiffs.layers import open_layer
from geoseg.tiling import TilePlan, TilingOptions, plan_tiles
from tests.benchmarks.children import ChildError, run_part
from tests.benchmarks.rows import Row

CHUNK_PX = 64
"""Side of a chunk: so small that their number is what costs."""
_COG_UP_TO = 100
"""Chunks along an axis of which a COG is still written in a minute."""
_WINDOWS = 64
_SECTION = "scale: files"


def write_chunks(folder: Path, side: int) -> None:
    """Make ``side`` x ``side`` chunks of a few pixels: one file under all names, for the disk's sake."""
    content = encode_geotiff(np.ones((1, CHUNK_PX, CHUNK_PX), np.uint8), Affine.scale(2, -2), "EPSG:32645")
    (folder / "one.tif").write_bytes(content)
    for row in range(side):
        (folder / "chunks" / name_row(row)).mkdir(parents=True)
        for col in range(side):
            (folder / "chunks" / name_row(row) / name_chunk_file((row, col))).symlink_to("../../one.tif")


def measure(folder: Path, sides: tuple[int, ...]) -> list[Row]:
    """Measure each number of chunks in processes of their own, by the tree and by one flat text.

    Args:
        folder: Takes scratch.
        sides: Chunks along an axis.
    """
    rows = []
    for side in sides:
        here = folder / f"chunks{side}"
        here.mkdir()
        write_chunks(here, side)
        for way in ("tree", "flat"):
            what = {"chunks": side**2, "mosaic": way}
            try:
                child = run_part("scale_files", {"folder": str(here), "side": side, "way": way}, threads=1)
                rows.append(Row(section=_SECTION, what=what, values=dict(child.answer) | {"peak MB": round(child.peak_bytes / 1e6)}))
            except ChildError as exc:
                rows.append(Row(section=_SECTION, what=what, note=f"not measured: {exc}"))
    return rows


def measure_one(folder: Path, side: int, way: str) -> dict[str, float]:
    """Measure one mosaic in this process; seconds are processor time."""
    plan = plan_of(side)
    geobox = GeoBox((plan.height, plan.width), Affine.scale(2, -2), "EPSG:32645")
    store = ChunkStore(place=Folder(folder / "chunks"), geobox=geobox, layers=("class",))
    found: dict[str, float] = {}
    done = _timed(found, "list s", lambda: store.list_done(plan))
    found["list MB"] = round(_peak_mb(), 1)
    mosaic = ChunkMosaic(store=store, tiles=plan, done=done)
    describe = mosaic.describe if way == "tree" else lambda *given: describe_flat(mosaic, *given)
    vrt = _timed(found, "describe s", lambda: describe(folder, way, ("class",), LayerStyle(nodata=255)))
    (folder / f"{way}.vrt").write_text(vrt)
    found["text MB"] = round(len(vrt) / 1e6, 1)
    _timed(found, "open and 64 windows s", lambda: _read(folder / f"{way}.vrt", plan))
    found["read MB"] = round(_peak_mb(), 1)
    if side <= _COG_UP_TO:
        _timed(found, "COG s", lambda: write_cog(vrt, folder, folder / f"{way}.tif", overviews="nearest"))
    return found


def describe_flat(mosaic: ChunkMosaic, folder: Path, _name: str, _layers: tuple[str, ...], style: LayerStyle) -> str:
    """Describe all chunks in one text, as geoseg 0.4 did."""
    plan, sources = mosaic.tiles, []
    for row, (top, bottom) in enumerate(plan.chunk_rows):
        home = os.path.relpath(mosaic.store.place.address(name_row(row)), folder)
        for col, (left, right) in enumerate(plan.chunk_cols):
            size = f'xSize="{right - left}" ySize="{bottom - top}"'
            sources.append(
                f'<SimpleSource><SourceFilename relativeToVRT="1">{home}/{name_chunk_file((row, col))}</SourceFilename>'
                f'<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{left}" yOff="{top}" {size}/></SimpleSource>'
            )
    band = f'<VRTRasterBand dataType="Byte" band="1"><NoDataValue>{style.nodata}</NoDataValue>{"".join(sources)}</VRTRasterBand>'
    place = "<GeoTransform>0, 2, 0, 0, 0, -2</GeoTransform>"
    return f'<VRTDataset rasterXSize="{plan.width}" rasterYSize="{plan.height}">{place}{band}</VRTDataset>'


def plan_of(side: int) -> TilePlan:
    """Return a plan of ``side`` x ``side`` chunks."""
    options = TilingOptions(tile_size_px=CHUNK_PX, halo_px=0, stride_px=16, chunk_size_px=CHUNK_PX)
    return plan_tiles((side * CHUNK_PX,) * 2, options)


def _read(path: Path, plan: TilePlan) -> None:
    """Read windows of 64 px all over the raster."""
    generator = np.random.default_rng(0)
    with open_layer(path) as read:
        for _ in range(_WINDOWS):
            col, row = (int(generator.integers(0, length - 64)) for length in (plan.width, plan.height))
            assert (read(Window(col, row, 64, 64)) == 1).all()


def _timed(found: dict[str, float], name: str, do: Callable[[], Any]) -> Any:
    began = time.process_time()
    result = do()
    found[name] = round(time.process_time() - began, 2)
    return result


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(measure_one(Path(request["folder"]), request["side"], request["way"])))

"""Cloud-optimized GeoTIFFs, written once and given their name when they are whole."""

from pathlib import Path

import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.env import Env
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.errors import RunError, WriteError
from geoseg.io.files import move_whole, write_whole
from geoseg.io.raster import bounded_cache, open_plain
from geoseg.io.tiffs.overviews import add_mode_overviews, bytes_per_pixel

_BLOCK_PX = 512
_ADVICE = "Check the free space; the same command again goes on."
_FLAT = {"level": 6, "predictor": "no"}
_BUSY = {"level": 5, "predictor": "no"}
"""Level 6 searches four times as long where hardly anything repeats, for files that are a fortieth smaller."""
_SMOOTH = {"level": 1, "predictor": "yes"}
"""Level 6 takes twice the time for files that are a fifteenth smaller; of class maps they are a third smaller, and soon made."""
_BUSY_FROM = 0.2
"""Bytes of a pixel of the first overview, packed in passing: 0.06 to 0.11 in maps of trained networks, 0.31 in those of a random one."""


def write_cog(vrt: str, work_dir: Path, path: Path, *, overviews: str, smooth: bool = False) -> None:
    """Copy a virtual raster into a COG.

    Args:
        vrt: Text of the VRT; its relative paths start from ``work_dir``.
        work_dir: Where it is made.
        path: Final name. Category names go into ``<name>.aux.xml`` beside it, as GDAL keeps them.
        overviews: Resampling of the overviews: ``mode`` (of one band of uint8), ``average`` or ``nearest``.
        smooth: Values change little from pixel to pixel: differences are stored, and with less effort, as more would save little.

    Raises:
        RunError: If the virtual raster cannot be read.
        WriteError: If the disk does not take it.
    """
    description = work_dir / f"{path.stem}.vrt"
    write_whole(description, vrt.encode())
    levels: list[Path] = []
    if overviews == "mode":
        vrt, levels = add_mode_overviews(vrt, description, _BLOCK_PX)
        write_whole(description, vrt.encode())
    made = work_dir / path.name
    effort = _SMOOTH if smooth else _BUSY if levels and bytes_per_pixel(levels[0]) > _BUSY_FROM else _FLAT
    options = {"blocksize": _BLOCK_PX, "compress": "deflate", **effort}
    try:
        # no threads for reading: one that has to write the blocks of another file out of the cache can lock up all of them
        with bounded_cache(), Env(GDAL_TIFF_INTERNAL_MASK=True):
            rasterio.shutil.copy(
                description, made, driver="COG", overview_resampling=overviews, num_threads="all_cpus", bigtiff="if_safer", **options
            )
    except (RasterioError, CPLE_BaseError, OSError) as exc:
        raise WriteError(f"{path} could not be written: {exc}. {_ADVICE}") from exc
    sidecar = made.with_name(made.name + ".aux.xml")
    _check_end(made, sidecar, path)
    if sidecar.exists():
        move_whole(sidecar, path.with_name(path.name + ".aux.xml"))
    move_whole(made, path)
    for done in (description, *levels):
        done.unlink()


def _check_end(made: Path, sidecar: Path, path: Path) -> None:
    """Read the last block of a COG at every level.

    What GDAL still has to write when it closes a file, its directories and the last 64 kB, can be lost without a word.
    """
    try:
        with open_plain(made) as dataset:
            for step in (1, *dataset.overviews(1)):
                side = _BLOCK_PX * step
                last = Window.from_slices(*(slice(max(0, (length - 1) // side * side), length) for length in dataset.shape))
                shape = (-(-int(last.height) // step), -(-int(last.width) // step))
                dataset.read(window=last, out_shape=(dataset.count, *shape))
                dataset.dataset_mask(window=last, out_shape=shape)
        is_whole = not sidecar.exists() or sidecar.read_bytes().rstrip().endswith(b"</PAMDataset>")
    except (RunError, RasterioError, OSError) as exc:
        raise WriteError(f"{path} could not be written whole: {exc}. {_ADVICE}") from exc
    if not is_whole:
        raise WriteError(f"{sidecar.name} could not be written whole. {_ADVICE}")

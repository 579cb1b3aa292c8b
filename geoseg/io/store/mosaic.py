"""The one raster that chunks make up together: a tree of GDAL's virtual rasters, one for each row of chunks and one over the rows."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.io.files import write_error, write_whole
from geoseg.io.store.chunks import ChunkStore, DoneChunks, name_chunk_file, name_row
from geoseg.io.tiffs.attributes import attribute_table
from geoseg.io.tiffs.image import BLOCK_PX
from geoseg.pixels.classes import ClassScheme
from geoseg.tiling import TilePlan

_GDAL_TYPES = {"uint8": "Byte", "uint32": "UInt32"}
_VRT_BLOCK_PX = 128
"""Blocks that GDAL says virtual rasters have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStyle:
    """How a raster is presented to programs that show it."""

    nodata: int | None = None
    """Value of pixels without data."""
    scale: float | None = None
    """What a value of 1 stands for; None declares nothing."""
    scheme: ClassScheme | None = None
    """Colour table and category names of its first band."""
    masked: bool = False
    """Its own mask band tells where data is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Underlay:
    """A coarser raster of the same bands that is seen where chunks are missing."""

    path: Path
    """The raster; its upper left corner is that of the mosaic."""
    factor: int
    """Pixels of the mosaic along each side of one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkMosaic:
    """All chunks that are done, as one raster; where one is missing it holds nodata.

    One text of a million sources takes gigabytes once it is read, and every read would look at each of them. So there is a text for each
    row of chunks, which GDAL opens when it reads there, and one over the rows.
    """

    store: ChunkStore
    """The chunks."""
    tiles: TilePlan
    """Their places."""
    done: DoneChunks
    """Which of them are there."""

    def describe(self, folder: Path, name: str, layers: Sequence[str], style: LayerStyle, under: Underlay | None = None) -> str:
        """Write the virtual rasters of the rows, and return the text of the one over them.

        Args:
            folder: Where that one lies; its paths start from there.
            name: The rows lie in ``<name>.rows`` beside it, until :func:`remove_rows`.
            layers: Which ones become bands, in order.
            style: What the raster is dressed in.
            under: What is seen where chunks are missing; None shows nodata.

        Raises:
            WriteError: If the disk does not take them.
            RunError: If the chunks cannot be reached.
        """
        self.store.place.open_to_gdal()
        rows = _rows_folder(folder, name)
        remove_rows(folder, name)
        try:
            rows.mkdir(parents=True)
        except OSError as exc:
            raise write_error(rows, exc) from exc
        cols, made = self.tiles.chunk_cols, []
        for row, (top, bottom) in enumerate(self.tiles.chunk_rows):
            if under is not None or self.done.there[row].any():
                path = rows / f"{name_row(row)}.vrt"
                made.append((f"{rows.name}/{path.name}", Window(0, top, self.tiles.width, bottom - top)))
                chunks = self._chunks_of(row, rows, [Window(left, 0, right - left, bottom - top) for left, right in cols])
                bands = {
                    layer: ("" if under is None else _stretched(under, rows, band, Window(0, top, self.tiles.width, bottom - top)))
                    + self._list_sources(chunks, self.store.layers.index(layer) + 1, BLOCK_PX)
                    for band, layer in enumerate(layers, start=1)
                }
                write_whole(path, _vrt((bottom - top, self.tiles.width), None, LayerStyle(nodata=style.nodata), bands).encode())
        over = {layer: self._list_sources(made, band, _VRT_BLOCK_PX) for band, layer in enumerate(layers, start=1)}
        return _vrt((self.tiles.height, self.tiles.width), self.store.geobox, style, over)

    def _chunks_of(self, row: int, folder: Path, windows: Sequence[Window]) -> list[tuple[str, Window]]:
        """Return the chunks of a row that are there: their names as seen from a folder, and their places in the row."""
        home = self.store.place.address(name_row(row))
        if not home.startswith("/vsi"):
            # the way out of a folder that is a link is another one than its name tells
            inside = Path(home).is_relative_to(folder.parent)
            home = os.path.relpath(home, folder) if inside else os.path.abspath(home)
        there = (int(col) for col in np.flatnonzero(self.done.there[row]))
        return [(f"{home}/{name_chunk_file((row, col))}", windows[col]) for col in there]

    @staticmethod
    def _list_sources(sources: Sequence[tuple[str, Window]], band: int, block_px: int) -> str:
        return "".join(_source(name, band, window, block_px) for name, window in sources)


def remove_rows(folder: Path, name: str) -> None:
    """Remove the virtual rasters of rows; see :meth:`ChunkMosaic.describe`."""
    shutil.rmtree(_rows_folder(folder, name), ignore_errors=True)


def _rows_folder(folder: Path, name: str) -> Path:
    return folder / f"{name}.rows"


def plain_vrt(geobox: GeoBox, name: str, dtype: str, style: LayerStyle, bands: Sequence[str] = ("",)) -> str:
    """Describe a raster beside the VRT, dressed in a style and with names for its bands."""
    height, width = geobox.shape
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'
    mask = _simple_source(name, "mask,1", "", rect, rect) if style.masked else ""
    sources = {band: _simple_source(name, i, "", rect, rect) for i, band in enumerate(bands, start=1)}
    return _vrt((height, width), geobox, style, sources, dtype=dtype, mask=mask)


def _source(name: str, band: int, to: Window, block_px: int) -> str:
    """Describe a raster of uint8 that is placed as a whole; what it is like is said, so that it is not opened to be asked."""
    size = f'xSize="{to.width}" ySize="{to.height}"'
    known = f'RasterXSize="{to.width}" RasterYSize="{to.height}" DataType="Byte" BlockXSize="{block_px}" BlockYSize="{block_px}"'
    properties = f"<SourceProperties {known}/>"
    return _simple_source(name, band, properties, f'xOff="0" yOff="0" {size}', f'xOff="{to.col_off}" yOff="{to.row_off}" {size}')


def _stretched(under: Underlay, folder: Path, band: int, to: Window) -> str:
    """Describe the part of a coarser raster that lies under a window, as the only source of that window or the lowest one."""
    top, height, width = (repr(length / under.factor) for length in (to.row_off, to.height, to.width))
    source = f'xOff="0" yOff="{top}" xSize="{width}" ySize="{height}"'
    return _simple_source(
        os.path.relpath(under.path, folder), band, "", source, f'xOff="0" yOff="0" xSize="{to.width}" ySize="{to.height}"'
    )


def _simple_source(name: str, band: int | str, properties: str, source: str, target: str) -> str:
    relative = 0 if name.startswith("/") else 1
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{escape(name)}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand>{properties}<SrcRect {source}/><DstRect {target}/></SimpleSource>"
    )


def _vrt(
    shape: tuple[int, int], geobox: GeoBox | None, style: LayerStyle, bands: Mapping[str, str], *, dtype: str = "uint8", mask: str = ""
) -> str:
    height, width = shape
    place = _describe_place(geobox) if geobox is not None else ""
    nodata = f"<NoDataValue>{style.nodata}</NoDataValue>" if style.nodata is not None else ""
    nodata += f"<Scale>{style.scale!r}</Scale><Offset>0</Offset>" if style.scale is not None else ""
    masked = f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>' if mask else ""
    described = "".join(
        f'<VRTRasterBand dataType="{_GDAL_TYPES[dtype]}" band="{index}"><Description>{escape(name)}</Description>'
        f"{nodata}{_legend(style.scheme) if index == 1 else ''}{sources}</VRTRasterBand>"
        for index, (name, sources) in enumerate(bands.items(), start=1)
    )
    return f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{place}{masked}{described}</VRTDataset>'


def _describe_place(geobox: GeoBox) -> str:
    transform = ", ".join(repr(float(v)) for v in geobox.transform.to_gdal())
    crs = f"<SRS>{escape(geobox.crs.to_wkt())}</SRS>" if geobox.crs is not None else ""
    return f"{crs}<GeoTransform>{transform}</GeoTransform>"


def _legend(scheme: ClassScheme | None) -> str:
    if scheme is None:
        return ""
    by_value = {c.value: c for c in scheme}
    names, colors = [], []
    for value in range(max(by_value) + 1):
        row = by_value.get(value)
        names.append(f"<Category>{escape(row.name) if row else ''}</Category>")
        red, green, blue = row.rgb if row else (0, 0, 0)
        colors.append(f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="{255 if row else 0}"/>')
    empty = '<Entry c1="0" c2="0" c3="0" c4="0"/>' * (256 - len(colors))
    return (
        f"<ColorInterp>Palette</ColorInterp><CategoryNames>{''.join(names)}</CategoryNames>"
        f"<ColorTable>{''.join(colors)}{empty}</ColorTable>{attribute_table(scheme)}"
    )

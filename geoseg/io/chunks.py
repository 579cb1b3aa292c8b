"""Finished chunks on disk, and the one raster that they make up together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import RunError
from geoseg.io.files import write_whole
from geoseg.io.image import encode_geotiff
from geoseg.io.raster import open_plain
from geoseg.pixels.classes import ClassScheme
from geoseg.tiling import Chunk, TilePlan

_GDAL_TYPES = {"uint8": "Byte", "uint32": "UInt32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkStore:
    """A folder with one GeoTIFF per finished chunk."""

    folder: Path
    """Where the chunks lie."""
    geobox: GeoBox
    """The run's grid."""
    layers: tuple[str, ...]
    """Band names of each chunk, in order."""

    def path(self, chunk: Chunk) -> Path:
        """Return the final name of a chunk."""
        return self.folder / f"{chunk.name}.tif"

    def is_done(self, chunk: Chunk) -> bool:
        """Tell whether a chunk stands under its final name."""
        return self.path(chunk).exists()

    def write(self, chunk: Chunk, layers: NDArray[np.uint8]) -> None:
        """Write a chunk, whole or not at all.

        Args:
            chunk: Which one.
            layers: (L, H, W).

        Raises:
            WriteError: If the disk does not take it.
        """
        origin = Affine.translation(chunk.window.col_off, chunk.window.row_off)
        content = encode_geotiff(layers, self.geobox.transform @ origin, self.geobox.crs)
        write_whole(self.path(chunk), content)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStyle:
    """How a raster is presented to programs that show it."""

    nodata: int | None = None
    """Value of pixels without data."""
    scheme: ClassScheme | None = None
    """Colour table and category names of its first band."""
    masked: bool = False
    """Its own mask band tells where data is."""


def mosaic_vrt(store: ChunkStore, plan: TilePlan, layers: Sequence[str], style: LayerStyle) -> str:
    """Describe layers of all chunks as a GDAL virtual raster, with paths relative to the store's parent folder.

    A chunk that is missing is left out: there the raster holds nodata, or 0.
    """
    there = [chunk for chunk in plan.chunks() if store.is_done(chunk)]
    sources = [[_source(store, chunk, store.layers.index(layer) + 1) for chunk in there] for layer in layers]
    return _vrt(store.geobox, "uint8", style, {layer: "".join(each) for layer, each in zip(layers, sources, strict=True)})


def plain_vrt(geobox: GeoBox, name: str, dtype: str, style: LayerStyle, bands: Sequence[str] = ("",)) -> str:
    """Describe a raster beside the VRT, dressed in a style and with names for its bands."""
    height, width = geobox.shape
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'
    mask = _simple_source(name, "mask,1", rect, rect) if style.masked else ""
    return _vrt(geobox, dtype, style, {band: _simple_source(name, i, rect, rect) for i, band in enumerate(bands, start=1)}, mask)


def _source(store: ChunkStore, chunk: Chunk, band: int) -> str:
    w = chunk.window
    size = f'xSize="{w.width}" ySize="{w.height}"'
    name = f"{store.folder.name}/{store.path(chunk).name}"
    return _simple_source(name, band, f'xOff="0" yOff="0" {size}', f'xOff="{w.col_off}" yOff="{w.row_off}" {size}')


def _simple_source(name: str, band: int | str, source: str, target: str) -> str:
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="1">{escape(name)}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand><SrcRect {source}/><DstRect {target}/></SimpleSource>"
    )


def _vrt(geobox: GeoBox, dtype: str, style: LayerStyle, bands: Mapping[str, str], mask: str = "") -> str:
    height, width = geobox.shape
    transform = ", ".join(repr(float(v)) for v in geobox.transform.to_gdal())
    crs = f"<SRS>{escape(geobox.crs.to_wkt())}</SRS>" if geobox.crs is not None else ""
    nodata = f"<NoDataValue>{style.nodata}</NoDataValue>" if style.nodata is not None else ""
    masked = f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>' if mask else ""
    described = "".join(
        f'<VRTRasterBand dataType="{_GDAL_TYPES[dtype]}" band="{index}"><Description>{escape(name)}</Description>'
        f"{nodata}{_legend(style.scheme) if index == 1 else ''}{sources}</VRTRasterBand>"
        for index, (name, sources) in enumerate(bands.items(), start=1)
    )
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{crs}<GeoTransform>{transform}</GeoTransform>'
        f"{masked}{described}</VRTDataset>"
    )


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
        f"<ColorTable>{''.join(colors)}{empty}</ColorTable>"
    )


class LayerReader:
    """Reads windows of one band of a raster that is held open.

    Args:
        dataset: An open rasterio dataset.
        band: Which one, from 1.
    """

    def __init__(self, dataset: Any, band: int = 1) -> None:
        self._dataset = dataset
        self._band = band

    @property
    def nodata(self) -> float | None:
        """Value of pixels without data, as the file declares it."""
        value: float | None = self._dataset.nodata
        return value

    def __call__(self, window: Window) -> NDArray[Any]:
        """Return the pixels (H, W) of a window inside the raster."""
        pixels: NDArray[Any] = self._dataset.read(self._band, window=window)
        return pixels


@contextmanager
def open_layer(path: Path, name: str | None = None) -> Iterator[LayerReader]:
    """Hold a raster open for reading windows of one of its bands.

    Args:
        path: The raster.
        name: Description of the band; None takes the first one.

    Raises:
        RunError: If it cannot be opened, or has no such band.
    """
    with open_plain(path) as dataset:
        if name is not None and name not in dataset.descriptions:
            raise RunError(f"{path} holds no band '{name}', only {', '.join(map(str, dataset.descriptions))}.")
        yield LayerReader(dataset, 1 if name is None else dataset.descriptions.index(name) + 1)


def read_band_names(path: Path) -> tuple[str, ...]:
    """Return the descriptions of a raster's bands, in order.

    Raises:
        RunError: If it cannot be opened.
    """
    with open_plain(path) as dataset:
        return tuple(name or "" for name in dataset.descriptions)


def check_complete(store: ChunkStore, chunks: Iterable[Chunk]) -> None:
    """Make sure that every chunk is there, so that no hole is ever filled with silence.

    Raises:
        RunError: If chunks are missing; the message counts and names them.
    """
    missing = [chunk.name for chunk in chunks if not store.is_done(chunk)]
    if missing:
        raise RunError(f"{len(missing)} chunks are missing in {store.folder}, first {missing[0]}. Run the same command again to make them.")

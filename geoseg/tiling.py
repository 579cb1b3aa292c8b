"""Which pixels are inferred together: tiles with halos, whose cores partition the raster, gathered into chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rasterio.windows import Window

from geoseg.errors import ConfigError

Stitch = Literal["crop", "blend"]
"""``crop`` throws halos away; ``blend`` weights overlapping tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One model input."""

    window: Window
    """Pixels that the model sees, in the padded raster: it may reach past the lower and right edge."""
    core: Window
    """Pixels that are kept; inside the raster."""
    reach: Window
    """Pixels that count in blending: the window without the outer half of its halo. At the raster's edge nothing is taken off."""
    ramp_px: int
    """Pixels over which two neighbors are blended: the part of their overlap that both reach."""

    @property
    def crop(self) -> tuple[slice, slice]:
        """Rows and columns of the core inside the tile."""
        return place(self.core, self.window)

    def place_in(self, chunk: Window) -> tuple[slice, slice]:
        """Rows and columns of the core inside a chunk."""
        return place(self.core, chunk)


ChunkKey = tuple[int, int]
"""Row and column of a chunk."""


def name_chunk(row: int, col: int) -> str:
    """Return the name of a chunk that is unique in a plan."""
    return f"r{row:05d}_c{col:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """k x k tiles: the unit of reading, scheduling, writing and resuming."""

    row: int
    """Row of chunks, from the top."""
    col: int
    """Column of chunks, from the left."""
    window: Window
    """What is stored; the chunks partition the raster."""
    tiles: tuple[Tile, ...]
    """Row-major. Their cores make up the window; a blended chunk also holds the neighbors that reach into it."""
    stitch: Stitch = "crop"
    """How the tiles become one piece."""

    @property
    def name(self) -> str:
        """Name that is unique in a plan, for file names and messages."""
        return name_chunk(self.row, self.col)

    @property
    def footprint(self) -> Window:
        """Smallest window that holds all tiles, in the padded raster."""
        top, left = self.tiles[0].window.row_off, self.tiles[0].window.col_off
        last = self.tiles[-1].window
        return Window(left, top, last.col_off + last.width - left, last.row_off + last.height - top)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Tiling of one axis: starts at multiples of the stride, the last tile ends where the padded raster ends."""

    length: int
    tile: int
    halo: int
    stride: int
    fit: bool

    @property
    def padded(self) -> int:
        return -(-self.length // self.stride) * self.stride

    @property
    def count(self) -> int:
        return self._count(self.size)

    def _count(self, size: int) -> int:
        if self.padded <= size:
            return 1
        return -(-(self.padded - size) // (size - 2 * self.halo)) + 1

    @property
    def size(self) -> int:
        if self.padded <= self.tile or not self.fit:
            return min(self.tile, self.padded)
        # no more tiles than before, each as small as they can be
        core = -(-(self.padded - 2 * self.halo) // self._count(self.tile))
        return -(-core // self.stride) * self.stride + 2 * self.halo

    @property
    def step(self) -> int:
        return self.size - 2 * self.halo

    def start(self, index: int) -> int:
        return min(index * self.step, self.padded - self.size)

    def core(self, index: int) -> tuple[int, int]:
        begin = 0 if index == 0 else index * self.step + self.halo
        end = self.length if index == self.count - 1 else (index + 1) * self.step + self.halo
        return begin, end

    @property
    def ramp(self) -> int:
        return 2 * (self.halo // 2)

    def reach(self, index: int) -> tuple[int, int]:
        margin = self.halo - self.ramp // 2
        begin, end = self.start(index), self.start(index) + self.size
        return begin + (margin if index else 0), end - (margin if index < self.count - 1 else 0)

    def reaching(self, indices: range) -> range:
        """Widen a range of tiles by the neighbors that reach into their cores."""
        first, last = indices[0], indices[-1]
        begin, end = self.core(first)[0], self.core(last)[1]
        while first > 0 and self.reach(first - 1)[1] > begin:
            first -= 1
        while last < self.count - 1 and self.reach(last + 1)[0] < end:
            last += 1
        return range(first, last + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """The tiles of one raster. Tiles and chunks are made when asked for, so a plan of any size is small.

    Law 1: the cores of all tiles, and the windows of all chunks, partition the raster.
    Law 3: with a halo that covers the receptive field, tiled inference equals whole-image inference.

    Raises:
        ConfigError: If a size is not positive, the tile is not a multiple of the stride, or the halo leaves no core.
    """

    height: int
    """Rows of the raster."""
    width: int
    """Columns of the raster."""
    tile_size_px: int
    """Largest side of a tile, a multiple of the stride. Tiles are smaller where the padded raster is, or where they fit so."""
    halo_px: int
    """Margin that is thrown away, a multiple of :func:`halo_step`."""
    stride_px: int
    """Tiles start at its multiples."""
    tiles_per_chunk: int
    """k: a chunk holds at most k x k tiles, and those that reach into it where it is blended."""
    stitch: Stitch = "crop"
    """How the tiles become one piece."""
    fit: bool = False
    """Make tiles only as large as their number needs, so that the last one overlaps its neighbor no more than others do."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"A raster needs at least one pixel; this one has {self.height} rows and {self.width} columns.")
        if self.stride_px < 1 or self.halo_px < 0:
            raise ConfigError(f"Stride {self.stride_px} px must be above 0 and halo {self.halo_px} px not below.")
        if self.tile_size_px % self.stride_px or self.halo_px % halo_step(self.stride_px):
            raise ConfigError(
                f"Tile {self.tile_size_px} px must be a multiple of the stride {self.stride_px} px, "
                f"and halo {self.halo_px} px of {halo_step(self.stride_px)} px."
            )
        if self.tile_size_px <= 2 * self.halo_px:
            raise ConfigError(
                f"A tile of {self.tile_size_px} px with a halo of {self.halo_px} px on each side keeps nothing. "
                f"Choose --tile-size above {2 * self.halo_px}, or a smaller --halo."
            )
        if self.tiles_per_chunk < 1:
            raise ConfigError(f"A chunk needs at least one tile; {self.tiles_per_chunk} was asked for.")

    @property
    def _rows(self) -> _Axis:
        return _Axis(length=self.height, tile=self.tile_size_px, halo=self.halo_px, stride=self.stride_px, fit=self.fit)

    @property
    def _cols(self) -> _Axis:
        return _Axis(length=self.width, tile=self.tile_size_px, halo=self.halo_px, stride=self.stride_px, fit=self.fit)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Rows and columns of every tile."""
        return self._rows.size, self._cols.size

    @property
    def tile_count(self) -> int:
        """Number of tiles."""
        return self._rows.count * self._cols.count

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """Rows and columns of chunks."""
        return -(-self._rows.count // self.tiles_per_chunk), -(-self._cols.count // self.tiles_per_chunk)

    @property
    def chunk_count(self) -> int:
        """Number of chunks."""
        return self.chunk_shape[0] * self.chunk_shape[1]

    @property
    def inferred_count(self) -> int:
        """Number of forward passes: blended chunks infer the tiles at their borders once more for each neighbor."""
        if self.stitch == "crop":
            return self.tile_count
        down, across = (
            sum(len(axis.reaching(self._of_chunk(axis, i))) for i in range(count))
            for axis, count in zip((self._rows, self._cols), self.chunk_shape, strict=True)
        )
        return down * across

    @property
    def halo_work(self) -> float:
        """Pixels inferred per pixel of the raster, at least 1."""
        rows, cols = self.tile_shape
        return self.inferred_count * rows * cols / (self.height * self.width)

    def tile(self, row: int, col: int) -> Tile:
        """Return the tile at a row and column of tiles."""
        rows, cols = self._rows, self._cols
        return Tile(
            window=Window(cols.start(col), rows.start(row), cols.size, rows.size),
            core=_window(rows.core(row), cols.core(col)),
            reach=_window(rows.reach(row), cols.reach(col)),
            ramp_px=rows.ramp,
        )

    def chunk(self, row: int, col: int) -> Chunk:
        """Return the chunk at a row and column of chunks."""
        rows, cols = self._of_chunk(self._rows, row), self._of_chunk(self._cols, col)
        window = _window(self._span(self._rows, row), self._span(self._cols, col))
        if self.stitch == "blend":
            rows, cols = self._rows.reaching(rows), self._cols.reaching(cols)
        return Chunk(row=row, col=col, window=window, tiles=tuple(self.tile(i, j) for i in rows for j in cols), stitch=self.stitch)

    def _of_chunk(self, axis: _Axis, index: int) -> range:
        """Rows or columns of the tiles whose cores make up a chunk."""
        k = self.tiles_per_chunk
        return range(index * k, min((index + 1) * k, axis.count))

    def _span(self, axis: _Axis, index: int) -> tuple[int, int]:
        """First pixel of a chunk along an axis, and the one behind its last."""
        tiles = self._of_chunk(axis, index)
        return axis.core(tiles[0])[0], axis.core(tiles[-1])[1]

    @property
    def chunk_rows(self) -> list[tuple[int, int]]:
        """First row of pixels of each row of chunks, and the one behind its last."""
        return [self._span(self._rows, row) for row in range(self.chunk_shape[0])]

    @property
    def chunk_cols(self) -> list[tuple[int, int]]:
        """First column of pixels of each column of chunks, and the one behind its last."""
        return [self._span(self._cols, col) for col in range(self.chunk_shape[1])]

    def chunks(self) -> Iterator[Chunk]:
        """Yield all chunks, row-major."""
        rows, cols = self.chunk_shape
        return (self.chunk(i, j) for i in range(rows) for j in range(cols))


@dataclass(frozen=True, slots=True, kw_only=True)
class TilingOptions:
    """How a raster is cut into tiles."""

    tile_size_px: int
    """Rounded up to a multiple of the stride."""
    halo_px: int
    """Rounded up to a multiple of :func:`halo_step`."""
    stride_px: int
    """Stride of the network."""
    chunk_size_px: int = 1024
    """Side of a chunk, rounded to whole tiles, at least one."""
    stitch: Stitch = "crop"
    """How tiles become one piece."""
    fit: bool = False
    """Shrink tiles to what their number needs; rasters of other sizes then have tiles of other sizes."""


def halo_step(stride_px: int) -> int:
    """Return what halos are multiples of: tiles begin at multiples of the stride if two halos together are one."""
    return stride_px // 2 if stride_px % 2 == 0 else stride_px


def plan_tiles(shape: tuple[int, int], options: TilingOptions) -> TilePlan:
    """Cut a raster into tiles.

    Args:
        shape: Rows and columns of the raster.
        options: Sizes, in pixels.

    Raises:
        ConfigError: If the sizes leave no core.
    """
    stride = options.stride_px
    if min(options.tile_size_px, options.chunk_size_px) < 1 or options.halo_px < 0:
        raise ConfigError(f"Tile, chunk and halo cannot be {options.tile_size_px}, {options.chunk_size_px} and {options.halo_px} px.")
    sizes = ((options.tile_size_px, stride), (options.halo_px, halo_step(stride)))
    tile, halo = (-(-size // step) * step for size, step in sizes)
    core = max(tile - 2 * halo, stride)
    return TilePlan(
        height=shape[0],
        width=shape[1],
        tile_size_px=tile,
        halo_px=halo,
        stride_px=stride,
        tiles_per_chunk=max(1, options.chunk_size_px // core),
        stitch=options.stitch,
        fit=options.fit,
    )


def partition(shape: tuple[int, int], block_px: int) -> Iterator[Window]:
    """Yield square blocks that partition a raster, row-major; smaller ones at the lower and right edge."""
    height, width = shape
    for top in range(0, height, block_px):
        for left in range(0, width, block_px):
            yield Window(left, top, min(block_px, width - left), min(block_px, height - top))


def _window(rows: tuple[int, int], cols: tuple[int, int]) -> Window:
    return Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0])


def place(inner: Window, outer: Window) -> tuple[slice, slice]:
    """Return the rows and columns of a window inside another one."""
    top, left = inner.row_off - outer.row_off, inner.col_off - outer.col_off
    return slice(top, top + inner.height), slice(left, left + inner.width)


def place_slice(inner: slice, outer: slice) -> slice:
    """Return where a slice lies inside another one."""
    return slice(inner.start - outer.start, inner.stop - outer.start)

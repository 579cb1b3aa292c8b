"""The part of a raster that a preview looks at."""

from pathlib import Path

import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from geoseg.io.raster import open_raster
from geoseg.qgis_plugin.preview import LARGEST_PX, Clip, Grid, PreviewError, clip_address, plan_clip
from tests.doubles import draw_blobs, write_raster

SIDE = 40_000
SQUARE = Grid(west=500_000, north=3_000_000, pixel_x=0.15, pixel_y=0.15, width_px=SIDE, height_px=SIDE, pixel_m=0.15)


def see(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    """West, south, east and north of a window in pixels."""
    return (
        SQUARE.west + left * SQUARE.pixel_x,
        SQUARE.north - bottom * SQUARE.pixel_y,
        SQUARE.west + right * SQUARE.pixel_x,
        SQUARE.north - top * SQUARE.pixel_y,
    )


def test_all_pixels_that_are_seen_are_taken_from_the_corner_of_a_pixel_of_the_run() -> None:
    # geoseg averages 2 x 2 pixels of 0.15 m for a model of 0.3 m
    assert plan_clip(SQUARE, see(101.2, 200.2, 699.8, 599.8), 0.3) == Clip(100, 200, 600, 400, is_whole=True)


def test_of_a_map_that_shows_more_the_middle_is_taken_at_the_same_pixels() -> None:
    side = 2 * LARGEST_PX
    assert plan_clip(SQUARE, see(0, 0, SIDE, SIDE), 0.3) == Clip((SIDE - side) // 2, (SIDE - side) // 2, side, side, is_whole=False)


@pytest.mark.parametrize("resolution_m", [None, 0.1])
def test_what_is_not_averaged_is_taken_as_it_is_up_to_the_largest_size(resolution_m: float | None) -> None:
    clip = plan_clip(SQUARE, see(0, 0, SIDE, 10), resolution_m)
    assert (clip.width_px, clip.height_px, clip.is_whole) == (LARGEST_PX, 10, False)


def test_a_map_beside_the_layer_is_refused() -> None:
    with pytest.raises(PreviewError, match="shows nothing of this layer"):
        plan_clip(SQUARE, see(SIDE + 1, 0, SIDE + 500, 400), 0.3)


@given(
    left=st.floats(-5e4, 5e4), top=st.floats(-5e4, 5e4), width=st.floats(1, 9e4), height=st.floats(1, 9e4),
    resolution=st.none() | st.floats(0.05, 10),
)  # fmt: skip
def test_a_clip_lies_in_the_raster_on_the_grid_of_the_run_and_is_small(
    left: float, top: float, width: float, height: float, resolution: float | None
) -> None:
    seen = see(left, top, left + width, top + height)
    try:
        clip = plan_clip(SQUARE, seen, resolution)
    except PreviewError:
        assert left >= SIDE - 1 or top >= SIDE - 1 or left + width <= 1 or top + height <= 1
        return
    averaged = max(1, round(resolution / 0.15)) if resolution else 1
    assert min(clip.column, clip.row) >= 0
    assert min(clip.width_px, clip.height_px) >= 1
    assert clip.column + clip.width_px <= SIDE
    assert clip.row + clip.height_px <= SIDE
    assert clip.column % averaged == clip.row % averaged == 0
    assert max(clip.width_px, clip.height_px) <= LARGEST_PX * averaged


def test_the_address_of_a_clip_is_read_in_place_with_its_place_on_the_ground(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "Größe 1.tif", draw_blobs(60, 80), nodata=0)
    address = clip_address(str(path), Clip(10, 20, 40, 30, is_whole=True))
    with rasterio.open(path) as whole, rasterio.open(address) as part:
        assert (part.read() == whole.read(window=((20, 50), (10, 50)))).all()
        assert part.transform * (0, 0) == whole.transform * (10, 20)
        assert part.nodata == 0
    assert open_raster(address).shape == (30, 40)


def test_a_name_that_cuts_an_address_in_two_is_refused() -> None:
    with pytest.raises(PreviewError, match=r"what\?\.tif holds"):
        clip_address("/data/what?.tif", Clip(0, 0, 1, 1, is_whole=True))

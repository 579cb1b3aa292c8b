"""The part of a raster that a preview looks at."""

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


def test_a_close_look_takes_all_pixels_that_are_seen_as_they_are() -> None:
    clip = plan_clip(SQUARE, see(100.2, 200.2, 699.8, 599.8), 0.1, 0.3, 1.5)
    assert clip == Clip(100, 200, 600, 400, 1, is_whole=True)


def test_from_farther_away_pixels_are_averaged_to_those_of_the_canvas() -> None:
    clip = plan_clip(SQUARE, see(0, 0, 4000, 3001), 0.6, 0.3, 1.5)
    assert clip == Clip(0, 0, 4000, 3000, 4, is_whole=True)


def test_pixels_are_never_coarser_than_the_model_takes_and_the_middle_remains() -> None:
    clip = plan_clip(SQUARE, see(0, 0, SIDE, SIDE), 60, 0.3, 1.5)
    side = LARGEST_PX * 10
    assert clip == Clip((SIDE - side) // 2, (SIDE - side) // 2, side, side, 10, is_whole=False)


def test_fine_imagery_counts_in_the_pixels_that_the_network_sees() -> None:
    # 0.15 m averaged by geoseg to 0.3 m: twice as many pixels of the raster make a preview
    clip = plan_clip(SQUARE, see(0, 0, SIDE, SIDE), 0.15, 0.3, 1.5)
    assert (clip.width_px, clip.height_px, clip.factor) == (2 * LARGEST_PX, 2 * LARGEST_PX, 1)


def test_a_model_without_resolution_gets_the_pixels_of_the_raster_up_to_the_largest_size() -> None:
    clip = plan_clip(SQUARE, see(0, 0, SIDE, 10), 0.15, None, None)
    assert (clip.width_px, clip.height_px, clip.factor, clip.is_whole) == (LARGEST_PX, 10, 1, False)


def test_a_map_beside_the_layer_is_refused() -> None:
    with pytest.raises(PreviewError, match="shows nothing of this layer"):
        plan_clip(SQUARE, see(SIDE + 1, 0, SIDE + 500, 400), 0.15, 0.3, 1.5)


@given(
    left=st.floats(-5e4, 5e4), top=st.floats(-5e4, 5e4), width=st.floats(1, 9e4), height=st.floats(1, 9e4), zoom=st.floats(0.01, 100),
    resolution=st.none() | st.floats(0.05, 10), coarsest=st.none() | st.floats(0.05, 20),
)  # fmt: skip
def test_a_clip_lies_in_the_raster_holds_whole_means_and_is_small(
    left: float, top: float, width: float, height: float, zoom: float, resolution: float | None, coarsest: float | None
) -> None:
    seen = see(left, top, left + width, top + height)
    try:
        clip = plan_clip(SQUARE, seen, zoom, resolution, coarsest)
    except PreviewError:
        assert left >= SIDE - 1 or top >= SIDE - 1 or left + width <= 1 or top + height <= 1
        return
    assert clip.column >= 0
    assert clip.row >= 0
    assert clip.column + clip.width_px <= SIDE
    assert clip.row + clip.height_px <= SIDE
    assert min(clip.width_px, clip.height_px, clip.factor) >= 1
    assert clip.width_px % clip.factor == clip.height_px % clip.factor == 0
    averaged = max(1, round(resolution / (clip.factor * 0.15))) if resolution else 1
    assert max(clip.width_px, clip.height_px) <= LARGEST_PX * clip.factor * averaged
    assert clip.factor == 1 or coarsest is None or clip.factor * 0.15 <= coarsest * 1.0001


def test_the_address_of_a_clip_is_read_in_place_with_its_place_on_the_ground(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = write_raster(tmp_path / "Größe 1.tif", draw_blobs(60, 80), nodata=0)
    address = clip_address(str(path), Clip(10, 20, 40, 30, 2, is_whole=True))
    with rasterio.open(path) as whole:
        expected = whole.read(window=((20, 50), (10, 50))).reshape(3, 15, 2, 20, 2).mean((2, 4))
        corner = whole.transform * (10, 20)
    with rasterio.open(address) as part:
        assert part.transform * (0, 0) == corner
        assert part.nodata == 0
        assert abs(part.read() - expected).max() <= 0.5
    assert open_raster(address).shape == (15, 20)


def test_a_name_that_cuts_an_address_in_two_is_refused() -> None:
    with pytest.raises(PreviewError, match=r"what\?\.tif holds"):
        clip_address("/data/what?.tif", Clip(0, 0, 1, 1, 1, is_whole=True))

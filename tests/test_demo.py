"""The demo: a drawn scene through the shipped model."""

import numpy as np
import pytest
from PIL import Image

from geoseg.demo import DemoResult, run_demo
from geoseg.errors import RunFolderError
from geoseg.events import Finished
from geoseg.model.package import shipped_models
from geoseg.scene import SceneOptions, draw_scene
from tests.doubles import Listening, contents, read_band

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("aerial" not in shipped_models(), reason="no model is shipped in this checkout"),
]
SCENE = SceneOptions(height_px=512, width_px=512)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return run_demo(tmp_path_factory.mktemp("demo"), SCENE)


def test_everything_that_is_named_is_there(demo: DemoResult) -> None:
    assert contents(demo.run) >= {"classes.tif", "confidence.tif", "instances.tif", "features.gpkg", "summary.json", "run.toml"}
    np.testing.assert_array_equal(read_band(demo.run / "classes.tif") == 255, ~draw_scene(SCENE).valid)


def test_the_picture_opens_and_shows_something(demo: DemoResult) -> None:
    with Image.open(demo.picture) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(10_000_000) or ()) > 1000


def test_the_comparison_counts_what_was_drawn(demo: DemoResult) -> None:
    assert demo.buildings_drawn == len(draw_scene(SCENE).buildings)
    assert 0 <= demo.buildings_matched <= min(demo.buildings_drawn, demo.buildings_found)
    assert set(demo.iou) == {"land", "water", "vegetation", "road", "building"}
    assert all(np.isnan(value) or 0 <= value <= 1 for value in demo.iou.values())
    assert demo.road_length_m >= 0


def test_a_second_call_finds_everything_done(demo: DemoResult) -> None:
    heard = Listening()
    again = run_demo(demo.raster.parent, SCENE, heard)
    assert [type(event) for event in heard] == [Finished]
    assert again == demo or np.isnan(list(again.iou.values())).any()


def test_another_scene_in_the_same_folder_is_refused(demo: DemoResult) -> None:
    with pytest.raises(RunFolderError, match="holds another scene"):
        run_demo(demo.raster.parent, SceneOptions(height_px=512, width_px=512, seed=2))

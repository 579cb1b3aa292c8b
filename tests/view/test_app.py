"""What the server of a map answers: scenes, tiles, vectors, places; of run folders finished or not, of many, before and after."""

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from pyproj import Transformer
from rasterio.shutil import copy as copy_raster
from starlette.testclient import TestClient

from geoseg.config import RunConfig
from geoseg.errors import MissingFileError, RunError, UsageError
from geoseg.view import app, make_app, shown
from tests.doubles import always, bytes_of, contents, draw_blobs, read_band, write_package, write_raster
from tests.view.test_rasters import tile_at
from tests.view.town import COLORS, NEAR, configure_town, make_town

Told = dict[str, Any]


@contextmanager
def opened(*paths: Path, **options: Any) -> Iterator[TestClient]:
    with TestClient(make_app(paths, **options), base_url="http://127.0.0.1:8765") as client:
        yield client


def ask_until(client: TestClient, there: Callable[[list[Told]], bool]) -> list[Told]:
    end = time.monotonic() + 20
    while not there(scenes := client.get("/api/scenes").json()["scenes"]):
        assert time.monotonic() < end, scenes
        time.sleep(0.05)
    return scenes


def is_prepared(scenes: list[Told]) -> bool:
    return not any(scene["preparing"] for scene in scenes)


def degrees_of(run: Path, row: int, col: int) -> tuple[float, float]:
    with rasterio.open(run / "classes.tif") as dataset:
        x, y = dataset.transform @ (col + 0.5, row + 0.5)
        lon, lat = Transformer.from_crs(dataset.crs, "EPSG:4326", always_xy=True).transform(x, y)
    return float(lon), float(lat)


def picture_of(answer: Any) -> NDArray[np.uint8]:
    assert answer.status_code == 200
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def color_at(client: TestClient, place: tuple[float, float], layer: str = "classes", scene: int = 0, query: str = "") -> list[int]:
    tile, row, col = tile_at(*place, 20)
    return picture_of(client.get(f"/tiles/{scene}/{layer}/{tile.z}/{tile.x}/{tile.y}{query}"))[row, col].tolist()


@pytest.fixture(scope="module")
def map_of_town(town: Path) -> Iterator[TestClient]:
    with opened(town) as client:
        ask_until(client, is_prepared)
        yield client


HOUSE, GROUND, NOWHERE = (40, 40), (10, 80), (2, 2)


def test_tiles_show_the_class_map_in_its_colors(map_of_town: TestClient, town: Path) -> None:
    classes = read_band(town / "classes.tif")
    for row, col in (HOUSE, GROUND, (200, 120), (319, 0), (0, 319)):
        assert color_at(map_of_town, degrees_of(town, row, col)) == [*COLORS[classes[row, col]], 255]
    assert color_at(map_of_town, degrees_of(town, *NOWHERE))[3] == 0


def test_a_class_that_is_off_is_not_in_the_picture(map_of_town: TestClient, town: Path) -> None:
    assert color_at(map_of_town, degrees_of(town, *HOUSE), query="?hide=building")[3] == 0
    assert color_at(map_of_town, degrees_of(town, *GROUND), query="?hide=building")[3] == 255


def test_imagery_and_confidence_are_shown_too(map_of_town: TestClient, town: Path) -> None:
    bright, dark = (color_at(map_of_town, degrees_of(town, *place), "imagery") for place in (HOUSE, GROUND))
    assert min(bright[:3]) > 220
    assert max(dark[:3]) < 40
    assert color_at(map_of_town, degrees_of(town, *NOWHERE), "imagery")[3] == 0
    assert color_at(map_of_town, degrees_of(town, *HOUSE), "confidence")[3] == 255


def test_a_place_tells_its_class_and_how_sure_it_is(map_of_town: TestClient, town: Path) -> None:
    lon, lat = degrees_of(town, *HOUSE)
    confidence = int(read_band(town / "confidence.tif")[HOUSE])
    assert map_of_town.get(f"/api/0/at?lon={lon}&lat={lat}").json() == {"class": "building", "confidence": confidence}
    assert map_of_town.get("/api/0/at?lon=0&lat=0").json() == {}
    for wrong in ("lon=1", "lon=x&lat=2", "lon=nan&lat=2", "lon=1&lat=91"):
        assert map_of_town.get(f"/api/0/at?{wrong}").status_code == 400


def test_the_page_is_told_classes_with_areas_layers_and_bounds(map_of_town: TestClient, town: Path) -> None:
    (scene,) = map_of_town.get("/api/scenes").json()["scenes"]
    summary = json.loads((town / "summary.json").read_text())
    assert [(row["name"], row["color"], row["area_m2"]) for row in scene["legend"]] == [
        (row["name"], row["color"], row["area_m2"]) for row in summary["classes"] if row["name"] != "nodata"
    ]
    assert [layer["id"] for layer in scene["layers"]] == ["imagery", "classes", "confidence"]
    assert scene["counts"]["buildings"] == summary["counts"]["buildings"] == 16
    assert [run["state"] for run in scene["runs"]] == ["finished"]
    west, south, east, north = scene["bounds"]
    lon, lat = degrees_of(town, 160, 160)
    assert west < lon < east
    assert south < lat < north


def test_buildings_come_as_vector_tiles_with_their_attributes(map_of_town: TestClient, town: Path) -> None:
    (scene,) = map_of_town.get("/api/scenes").json()["scenes"]
    archive = next(one for one in scene["vectors"] if one["layer"] == "buildings")
    assert {"instance_id", "class", "score", "area_m2"} <= set(archive["columns"])
    tile, _, _ = tile_at(*degrees_of(town, *HOUSE), archive["maxzoom"])
    answer = map_of_town.get(f"/vectors/0/{archive['version']}/{tile.z}/{tile.x}/{tile.y}")
    assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    for word in (b"buildings", b"instance_id", b"area_m2"):
        assert word in answer.content
    nothing = map_of_town.get(f"/vectors/0/{archive['version']}/{tile.z}/0/0")
    assert (nothing.status_code, nothing.content) == (200, b"")


def test_a_browser_that_has_a_tile_is_told_so(map_of_town: TestClient, town: Path) -> None:
    tile, _, _ = tile_at(*degrees_of(town, *HOUSE), 19)
    address = f"/tiles/0/classes/{tile.z}/{tile.x}/{tile.y}"
    first = map_of_town.get(address)
    again = map_of_town.get(address, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "address",
    [
        "/tiles/0/features.gpkg/1/0/0",
        "/tiles/0/..%2f..%2fsummary/1/0/0",
        "/tiles/0/uncertainty/1/0/0",
        "/tiles/1/classes/1/0/0",
        "/tiles/0/classes/1/2/0",
        "/tiles/0/classes/99/0/0",
        "/vectors/0/nothing/1/0/0",
        "/static/../scenes.py",
        "/static/%2e%2e/scenes.py",
        "/run.toml",
        "/summary.json",
    ],
)
def test_nothing_but_the_map_is_served(map_of_town: TestClient, address: str) -> None:
    assert map_of_town.get(address).status_code == 404


def test_the_page_and_all_that_it_loads_come_from_here(map_of_town: TestClient) -> None:
    page = map_of_town.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("http-equiv", "")
    for name in ("main.js", "view.css", "vendor/maplibre-gl.mjs", "vendor/maplibre-gl-worker.mjs", "vendor/maplibre-gl.css", "icon.svg"):
        answer = map_of_town.get(f"/static/{name}")
        assert answer.status_code == 200
        assert "sourceMappingURL" not in answer.text[-200:]


def test_looking_changes_nothing(town: Path) -> None:
    before, names = bytes_of(town), contents(town)
    with opened(town) as client:
        ask_until(client, is_prepared)
        color_at(client, degrees_of(town, *HOUSE))
    assert bytes_of(town) == before
    assert contents(town) == names


def test_an_unfinished_run_shows_what_is_done_and_goes_on_to_show_it(unfinished: RunConfig, town: Path, tmp_path: Path) -> None:
    out = shutil.copytree(unfinished.output, tmp_path / "out")
    with opened(out) as client:
        (scene,) = ask_until(client, is_prepared)
        (run,) = scene["runs"]
        assert run["state"] == "stopped"
        assert 0 < run["chunksDone"] < run["chunks"]
        assert [row["area_m2"] for row in scene["legend"]] == [None, None]
        assert {"imagery", "classes", "confidence"} == {layer["id"] for layer in scene["layers"]}
        assert color_at(client, degrees_of(town, *HOUSE)) == [*COLORS[1], 255]
        assert color_at(client, degrees_of(town, 300, 300))[3] == 0
        before = scene["layers"][1]["version"]
        for name in ("classes.tif", "confidence.tif"):
            shutil.copy(town / name, out / name)
        (scene,) = ask_until(client, lambda scenes: scenes[0]["layers"][1]["version"] != before)
        assert color_at(client, degrees_of(town, 300, 300)) == [*COLORS[read_band(town / "classes.tif")[300, 300]], 255]


def test_two_runs_are_two_scenes(town: Path, neighbor: Path) -> None:
    with opened(town, neighbor) as client:
        scenes = ask_until(client, is_prepared)
        assert [scene["name"] for scene in scenes] == ["town", "neighbor"]
        place = degrees_of(neighbor, 40, 160)
        assert color_at(client, place, scene=0)[3] == 0
        assert color_at(client, place, scene=1)[3] == 255


def test_a_folder_of_runs_is_one_scene_and_grows(town: Path, neighbor: Path, tmp_path: Path) -> None:
    out = tmp_path / "all"
    shutil.copytree(town, out / "town")
    with opened(out) as client:
        ask_until(client, is_prepared)
        shutil.copytree(neighbor, out / "neighbor")
        (scene,) = ask_until(client, lambda scenes: len(scenes[0]["runs"]) == 2 and is_prepared(scenes) and len(scenes[0]["vectors"]) == 2)
        for run in (town, neighbor):
            assert color_at(client, degrees_of(run, 160, 160))[3] == 255
        areas = [json.loads((run / "summary.json").read_text())["classes"][1]["area_m2"] for run in (town, neighbor)]
        assert scene["legend"][1]["area_m2"] == pytest.approx(sum(areas))
        assert client.get("/api/0/at?lon={}&lat={}".format(*degrees_of(neighbor, 200, 200))).json()["run"] == "neighbor"


def test_a_watched_folder_tells_its_sources_and_shows_no_run_outside_of_it(town: Path, neighbor: Path, tmp_path: Path) -> None:
    out = tmp_path / "watched"
    shutil.copytree(town, out / "town")
    sources = [
        {"name": "town.tif", "state": "done", "run": "town", "bounds": [85, 27, 86, 28], "seconds": 1.0, "error": None},
        {"name": "far.tif", "state": "failed", "run": str(neighbor), "error": "it is damaged", "bounds": None},
    ]
    (out / "watch.json").write_text(json.dumps({"sources": sources}))
    with opened(out) as client:
        (scene,) = ask_until(client, is_prepared)
        assert [(run["name"], run["state"], run["error"]) for run in scene["runs"]] == [
            ("town.tif", "done", None),
            ("far.tif", "failed", "it is damaged"),
        ]
        assert color_at(client, degrees_of(town, *HOUSE))[3] == 255
        assert color_at(client, degrees_of(neighbor, 160, 160))[3] == 0


def test_a_folder_of_changes_shows_both_dates_and_the_changes_over_the_later(town: Path, neighbor: Path, tmp_path: Path) -> None:
    out = tmp_path / "change"
    out.mkdir()
    copy_raster(town / "classes.tif", out / "transitions.tif", driver="GTiff")
    shutil.copy(town / "features.gpkg", out / "change.gpkg")
    dates = {"before": neighbor, "after": town}
    (out / "change.json").write_text(json.dumps({name: {"classes": str(run / "classes.tif")} for name, run in dates.items()}))
    with opened(out) as client:
        before, after = ask_until(client, is_prepared)
        assert (before["name"], after["name"]) == ("before", "after")
        assert "transitions" not in {layer["id"] for layer in before["layers"]}
        assert "transitions" in {layer["id"] for layer in after["layers"]}
        assert [vector["file"] for vector in after["vectors"] if vector["layer"] == "buildings"] == ["features.gpkg", "change.gpkg"]
        assert after["counts"]["change:buildings"] == after["counts"]["buildings"] == 16
        assert color_at(client, degrees_of(town, *HOUSE), "transitions", scene=1) == [*COLORS[1], 255]


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_pictures_in_coordinates_of_pixels_are_shown_on_a_plane_of_their_own(tmp_path: Path) -> None:
    picture = write_raster(tmp_path / "plain.tif", draw_blobs(200, 300), transform=None, crs=None)
    config = configure_town(tmp_path / "t").model_copy(
        update={"raster": str(picture), "assume_crs": "pixels", "chunk_size": None, "output": tmp_path / "out"}
    )
    with opened(config=config, keep=True, load=always(NEAR)) as client:
        (scene,) = ask_until(client, is_prepared)
        assert scene["inPixels"]
        west, south, east, north = scene["bounds"]
        assert (east - west) / (north - south) == pytest.approx(1.5, rel=0.01)
        assert color_at(client, ((west + east) / 2, (south + north) / 2), "imagery")[3] == 255


def test_a_raster_is_segmented_where_one_looks(tmp_path: Path) -> None:
    config = configure_town(tmp_path, chunk_size=None, tile_size=128)
    with opened(config=config, keep=True, load=always(NEAR)) as client:
        (scene,) = ask_until(client, is_prepared)
        assert [layer["id"] for layer in scene["layers"]] == ["imagery"]
        assert client.post("/api/0/view", json={"bounds": scene["bounds"]}).status_code == 204
        (scene,) = ask_until(client, lambda scenes: scenes[0]["live"]["done"] == 9 and len(scenes[0]["layers"]) == 3)
        west, south, east, north = scene["bounds"]
        assert color_at(client, ((west + east) / 2, (south + north) / 2))[3] == 255
        for wrong in ({}, {"bounds": [1, 2, 3]}, {"bounds": [2, 0, 1, 1]}, {"bounds": ["a", 0, 1, 1]}, {"bounds": [0, 0, 1e9, 1]}, []):
            assert client.post("/api/0/view", json=wrong).status_code == 400
        assert client.post("/api/0/view", content=b" " * 2000).status_code == 413


def test_where_imagery_is_gone_the_rest_is_shown_and_a_note_says_so(tmp_path: Path) -> None:
    out = make_town(tmp_path)
    (tmp_path / "town.tif").unlink()
    with opened(out) as client:
        (scene,) = ask_until(client, is_prepared)
        assert [layer["id"] for layer in scene["layers"]] == ["classes", "confidence"]
        assert any("town.tif" in note for note in scene["notes"])


def test_what_is_no_run_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="There is no folder"):
        make_app([tmp_path / "nowhere"])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no run of geoseg"):
        make_app([tmp_path])


def test_a_model_that_does_not_fit_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    config = configure_town(tmp_path)
    other = config.model_copy(update={"model": str(write_package(tmp_path / "other")), "bands": (1,)})
    with pytest.raises(UsageError, match="needs 3 bands"):
        make_app(config=other)


@pytest.fixture
def copied(town: Path, tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(town, tmp_path / "copied"))


@pytest.fixture
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_LOOKS_APART_S", 0.0)


@pytest.mark.parametrize("path", ["/tiles/0/classes/{n}/0/0", "/tiles/{n}/classes/0/0/0", "/api/{n}/at", "/vectors/0/x/0/0/{n}"])
def test_numbers_of_thousands_of_digits_are_no_fault_of_the_server(map_of_town: TestClient, path: str) -> None:
    assert map_of_town.get(path.format(n="9" * 5000)).status_code == 414


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told.update(classes=3),
        lambda told: told.update(classes=[{}]),
        lambda told: told.update(counts=[1]),
        lambda told: told.update(warnings=5),
        lambda told: told["classes"][0].update(kind="nothing"),
        lambda told: told["classes"][0].update(color="red; background: url(http://elsewhere)"),
    ],
)
@pytest.mark.usefixtures("always_looks")
def test_a_damaged_summary_is_a_note_until_it_is_mended(copied: Path, spoil: Callable[[Told], None]) -> None:
    whole = (copied / "summary.json").read_text()
    told = json.loads(whole)
    spoil(told)
    (copied / "summary.json").write_text(json.dumps(told))
    with opened(copied) as client:
        (scene,) = client.get("/api/scenes").json()["scenes"]
        assert len(scene["notes"]) == 1
        (copied / "summary.json").write_text(whole)
        (scene,) = ask_until(client, is_prepared)
        assert scene["notes"] == []
        assert len(scene["legend"]) == 2


@pytest.mark.usefixtures("always_looks")
def test_a_damaged_raster_leaves_the_others_and_is_shown_when_it_is_mended(copied: Path) -> None:
    whole = (copied / "classes.tif").read_bytes()
    (copied / "classes.tif").write_bytes(whole[: len(whole) // 3])
    with opened(copied) as client:
        (scene,) = ask_until(client, is_prepared)
        assert "confidence" in [layer["id"] for layer in scene["layers"]]
        assert (len(scene["notes"]), len(scene["legend"])) == (1, 2)
        (copied / "classes.tif").write_bytes(whole)
        (scene,) = client.get("/api/scenes").json()["scenes"]
        assert "classes" in [layer["id"] for layer in scene["layers"]]
        assert scene["notes"] == []


def test_numbers_that_are_none_and_names_that_are_no_text_are_told(copied: Path) -> None:
    told = json.loads((copied / "summary.json").read_text())
    told["classes"][0]["area_m2"] = float("nan")
    (copied / "summary.json").write_text(json.dumps(told))
    named = copied.rename(copied.with_name(os.fsdecode(b"caf\xe9")))
    with opened(named) as client:
        (scene,) = client.get("/api/scenes").json()["scenes"]
    assert scene["legend"][0]["area_m2"] is None


@pytest.mark.parametrize("run", ["\0", "x" * 5000, "../town", "/"])
def test_a_book_that_names_no_run_of_the_folder_shows_none(tmp_path: Path, run: str) -> None:
    (tmp_path / "watch.json").write_text(json.dumps({"sources": [{"name": "a", "run": run}]}))
    with opened(tmp_path) as client:
        (scene,) = client.get("/api/scenes").json()["scenes"]
    assert scene["layers"] == []


def test_pixels_that_cannot_be_read_are_told_in_words(copied: Path) -> None:
    with opened(copied) as client:
        ask_until(client, is_prepared)
        scene_of = client.app.routes[1].endpoint.__self__.scenes[0]  # type: ignore[attr-defined]
        scene_of.runs[0].look_at = fail_to_read
        answer = client.get("/api/0/at?lon=85.35&lat=27.6425")
    assert (answer.status_code, answer.text) == (500, "classes.tif could not be read.")


def fail_to_read(*_: Any) -> Any:
    raise RunError("classes.tif could not be read.")


@pytest.mark.usefixtures("always_looks")
def test_tiles_are_answered_while_a_map_is_replaced(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(copied) as client:
        (scene,) = ask_until(client, is_prepared)
        during = []
        make = shown.TileRaster

        def make_slowly(*arguments: Any, **options: Any) -> Any:
            during.append(client.get("/tiles/0/classes/1/1/0").status_code)
            return make(*arguments, **options)

        monkeypatch.setattr(shown, "TileRaster", make_slowly)
        shutil.copyfile(copied / "classes.tif", copied / "new.tif")
        (copied / "new.tif").replace(copied / "classes.tif")
        (after,) = client.get("/api/scenes").json()["scenes"]
    assert during == [200]
    assert versions(scene)["classes"] != versions(after)["classes"]


@pytest.mark.usefixtures("always_looks")
def test_a_run_that_another_one_replaces_is_shown_with_its_own_imagery(tmp_path: Path) -> None:
    run = make_town(tmp_path)
    with opened(run) as client:
        (before,) = ask_until(client, is_prepared)
        shutil.rmtree(run)
        make_town(tmp_path, shift=40)
        (after,) = ask_until(client, lambda scenes: is_prepared(scenes) and bool(scenes[0]["layers"]))
        assert versions(before)["imagery"] != versions(after)["imagery"]
        place = degrees_of(run, *HOUSE)
        assert max(color_at(client, place, "imagery")[:3]) < 100


def versions(scene: Told) -> dict[str, str]:
    return {layer["id"]: layer["version"] for layer in scene["layers"]}

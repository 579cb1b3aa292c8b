"""The map in a real browser: layers, divider, clicks, progress; nothing leaves this machine and nothing complains."""

import io
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from pyproj import Transformer
from starlette.applications import Starlette

from geoseg.config import RunConfig
from geoseg.view import make_app
from geoseg.view.serve import bind
from tests.doubles import always, read_band
from tests.view.test_app import degrees_of
from tests.view.town import COLORS, NEAR, configure_town

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
DRAWS_WITHOUT_GPU = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
ASKS_NOBODY = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
WAIT_MS = 60_000


@dataclass(slots=True)
class Shown:
    """A map on a page."""

    page: Any
    home: str
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """Wait until all tiles are drawn."""
        self.page.wait_for_function(
            """() => [geosegView.right, geosegView.swipe.left].every((pane) => !pane || (pane.map.areTilesLoaded() && !pane.map.isMoving()))
            && geosegView.right.map.loaded()""",
            timeout=WAIT_MS,
        )
        self.page.wait_for_timeout(250)

    def wait_for(self, told: str) -> None:
        self.page.wait_for_function(f"() => {told}", timeout=WAIT_MS)

    def on_screen(self, place: tuple[float, float]) -> tuple[int, int]:
        x, y = self.page.evaluate("(at) => { const p = geosegView.right.map.project(at); return [p.x, p.y]; }", list(place))
        return round(x), round(y)

    def only(self, *layers: str) -> None:
        """Show these layers only, opaque."""
        for row in self.page.locator("#layers li").all():
            name = re.sub(r"[\d,]+$", "", row.locator("label").inner_text()).strip().lower()
            row.locator("input[type=checkbox]").set_checked(name in layers)
            if name in layers:
                row.locator("input[type=range]").fill("100")
        self.settle()

    def picture(self) -> NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))

    def color(self, place: tuple[float, float]) -> tuple[int, ...]:
        x, y = self.on_screen(place)
        return tuple(int(value) for value in self.picture()[y, x])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox", *DRAWS_WITHOUT_GPU, *ASKS_NOBODY])
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser: Any) -> Iterator[Any]:
    ends: list[Any] = []

    def open_map(app: Starlette, width: int = 1100, height: int = 700) -> Shown:
        taken = bind("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        page = browser.new_page(viewport={"width": width, "height": height})
        shown = Shown(page=page, home=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        page.on("request", lambda request: shown.asked.append(request.url))
        page.on("console", lambda message: shown.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        page.on("response", lambda answer: answer.status >= 400 and shown.complaints.append(f"{answer.status} {answer.url}"))
        ends.append((server, thread, page))
        while not server.started:
            time.sleep(0.02)
        page.goto(shown.home)
        shown.wait_for("globalThis.geosegView && document.querySelectorAll('#layers li').length > 0")
        return shown

    yield open_map
    for server, thread, page in ends:
        page.close()
        server.should_exit = True
        thread.join(20)


def assert_quiet(shown: Shown) -> None:
    assert [address for address in shown.asked if not address.startswith((shown.home, "blob:", "data:"))] == []
    assert shown.complaints == []
    assert len(shown.asked) > 10


def near(found: tuple[int, ...], expected: tuple[int, ...], by: int = 2) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, expected, strict=True))


HOUSE, GROUND = (120, 120), (160, 160)


def test_layers_appear_classes_switch_off_and_a_click_tells_of_a_building(show: Any, town: Path) -> None:
    shown = show(make_app([town]))
    shown.wait_for("document.querySelectorAll('#layers li').length >= 4")
    shown.only("classes")
    classes = read_band(town / "classes.tif")
    for row, col in (HOUSE, GROUND, (40, 200), (250, 90)):
        assert near(shown.color(degrees_of(town, row, col)), COLORS[classes[row, col]])
    shown.page.locator("#legend label", has_text="building").locator("input").uncheck()
    shown.settle()
    shown.page.wait_for_timeout(500)
    assert near(shown.color(degrees_of(town, *HOUSE)), (21, 24, 28))
    assert near(shown.color(degrees_of(town, *GROUND)), COLORS[0])
    shown.only("imagery", "buildings")
    assert min(shown.color(degrees_of(town, *HOUSE))) > 180
    shown.page.mouse.click(*shown.on_screen(degrees_of(town, *HOUSE)))
    shown.wait_for("!document.getElementById('info').hidden")
    said = shown.page.locator("#facts").inner_text()
    for words in (r"Building", r"instance id\s+6", r"class\s+building", r"area\s+4\d\d m²", r"confidence\s+\d+ %"):
        assert re.search(words, said), said
    shown.page.keyboard.press("Escape")
    assert shown.page.locator("#info").is_hidden()
    assert re.search(r"building.*[\d.,]+ (m²|ha)", shown.page.locator("#legend").inner_text(), re.DOTALL)
    assert_quiet(shown)


def test_the_divider_shows_imagery_on_its_left_and_moves_by_mouse_and_keys(show: Any, town: Path) -> None:
    shown = show(make_app([town]))
    shown.wait_for("document.querySelectorAll('#layers li').length >= 4")
    shown.only("classes")
    shown.page.locator("#swipe").click()
    shown.wait_for("geosegView.swipe.isReady")
    shown.settle()
    place = degrees_of(town, *GROUND)
    x, y = shown.on_screen(place)
    grip = shown.page.locator("#divider")
    for at, is_imagery in ((x + 80, True), (x - 80, False)):
        box = grip.bounding_box()
        shown.page.mouse.move(box["x"] + box["width"] / 2, 300)
        shown.page.mouse.down()
        shown.page.mouse.move(at, 300, steps=4)
        shown.page.mouse.up()
        shown.settle()
        found = tuple(shown.picture()[y, x].tolist())
        assert (max(found) < 60) == is_imagery, found
        assert near(found, COLORS[0]) != is_imagery
    before = int(grip.get_attribute("aria-valuenow"))
    grip.focus()
    shown.page.keyboard.press("ArrowRight")
    assert int(grip.get_attribute("aria-valuenow")) == before + 2
    shown.page.evaluate("geosegView.right.map.panBy([60, 0], { animate: false }), null")
    assert shown.page.evaluate("geosegView.swipe.left.map.getCenter().lng === geosegView.right.map.getCenter().lng")
    assert_quiet(shown)


def test_two_runs_are_compared_before_on_the_left_and_after_on_the_right(show: Any, town: Path, neighbor: Path) -> None:
    shown = show(make_app([town, neighbor]))
    shown.wait_for("geosegView.swipe.isReady && geosegView.swipe.left.shown.has('raster-classes')")
    assert shown.page.locator("#left-name").inner_text() == "town"
    assert shown.page.locator("#right-name").inner_text() == "neighbor"
    shown.only("classes")
    assert shown.page.evaluate("geosegView.swipe.left.number") == 0
    assert shown.page.evaluate("geosegView.right.number") == 1
    assert_quiet(shown)


def test_a_raster_is_segmented_where_one_looks_and_tiles_appear_without_reload(show: Any, tmp_path: Path) -> None:
    config = configure_town(tmp_path, chunk_size=None, tile_size=128)
    shown = show(make_app(config=config, keep=True, load=always(NEAR)))
    shown.wait_for("/9 of 9 tiles are segmented/.test(document.getElementById('progress').innerText)")
    shown.wait_for("geosegView.right.shown.has('raster-classes')")
    shown.only("classes")
    assert near(shown.color(degrees_of_config(config, *GROUND)), COLORS[0])
    assert near(shown.color(degrees_of_config(config, *HOUSE)), COLORS[1])
    assert_quiet(shown)


def degrees_of_config(config: RunConfig, row: int, col: int) -> tuple[float, float]:
    with rasterio.open(str(config.raster)) as dataset:
        to_degrees = Transformer.from_crs(dataset.crs, "EPSG:4326", always_xy=True)
        lon, lat = to_degrees.transform(*(dataset.transform @ (col + 0.5, row + 0.5)))
    return float(lon), float(lat)


def test_a_narrow_window_keeps_the_map_and_opens_the_panel_on_demand(show: Any, unfinished: RunConfig, town: Path) -> None:
    shown = show(make_app([unfinished.output]), width=380, height=640)
    assert shown.page.locator("#contents").is_hidden()
    shown.page.locator("#fold").click()
    assert shown.page.locator("#contents").is_visible()
    assert re.search(r"Stopped: \d+ of 9 chunks", shown.page.locator("#progress").inner_text())
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown.page.keyboard.press("p")
    assert shown.page.locator("#contents").is_hidden()
    assert_quiet(shown)

"""The map as a web application: one page, web tiles, what lies under a place, what is going on."""

import json
import math
import tempfile
import time
import zlib
from asyncio import Semaphore
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from platformdirs import user_cache_dir
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from geoseg.config import RunConfig
from geoseg.errors import GeosegError
from geoseg.inference.whole import LoadPredictor
from geoseg.machine import count_cores
from geoseg.view.demand import DemandRun, plan_demand
from geoseg.view.guard import LOCAL_HOSTS, Guard
from geoseg.view.paint import kind_of, nothing
from geoseg.view.rasters import WebTile
from geoseg.view.scenes import Scene, open_demand, open_scenes

_STATIC = Path(__file__).with_name("static")
_PICTURES_BYTES = 64 * 2**20
"""Pictures of tiles that are kept."""
_LOOKS_APART_S = 0.5
"""Folders are not looked at more often, however many pages ask."""
_LARGEST_LOOK_BYTES = 1000


class MapServer:
    """Answers what a page asks for.

    Args:
        scenes: What is shown.
        work: Folder for what is made to show it; goes in the end.
    """

    def __init__(self, scenes: list[Scene], work: "tempfile.TemporaryDirectory[str]") -> None:
        self.scenes = scenes
        self._work = work
        self._looking, self._looked = Lock(), 0.0
        self._background = ThreadPoolExecutor(1, thread_name_prefix="map")
        self._pictures = PictureCache(_PICTURES_BYTES)
        self._slots = Semaphore(max(2, count_cores()))
        self._tile_errors: dict[str, None] = {}

    @asynccontextmanager
    async def run(self, _app: Starlette) -> AsyncIterator[None]:
        """Work on what is looked at, until the server ends."""
        with ExitStack() as stack:
            stack.enter_context(self._work)
            stack.callback(self._close)
            for scene in self.scenes:
                if scene.demand is not None:
                    stack.enter_context(scene.demand.working())
            yield

    def _close(self) -> None:
        self._background.shutdown(wait=True, cancel_futures=True)
        for scene in self.scenes:
            scene.close()

    def refresh(self) -> None:
        """Look at all folders again, unless that was done just now."""
        with self._looking:
            if time.monotonic() - self._looked < _LOOKS_APART_S:
                return
            for scene in self.scenes:
                scene.refresh(self._background)
            self._looked = time.monotonic()

    async def show_page(self, _request: Request) -> Response:
        """Return the page."""
        return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def tell_scenes(self, _request: Request) -> Response:
        """Return what is shown, and how far it is."""
        await run_in_threadpool(self.refresh)
        told = {"scenes": [scene.describe() for scene in self.scenes], "errors": list(self._tile_errors)}
        return _tell(told)

    async def draw_tile(self, request: Request) -> Response:
        """Return the picture of a layer in a web tile."""
        scene, tile = self._find_scene(request), _find_tile(request)
        layer = request.path_params["layer"]
        version = scene.version(layer)
        if not version:
            raise HTTPException(404)
        hidden = frozenset(request.query_params.getlist("hide"))
        key = (id(scene), layer, version, tile, hidden)
        found = self._pictures.get(key)
        if found is None:
            async with self._slots:
                # pages take back what has left the view: nobody waits for it any more
                if await request.is_disconnected():
                    return Response(status_code=499)
                found = await run_in_threadpool(self._paint, scene, layer, tile, hidden)
            self._pictures.put(key, found)
        return _answer(request, found, kind_of(found))

    async def cut_tile(self, request: Request) -> Response:
        """Return a vector tile."""
        scene, tile = self._find_scene(request), _find_tile(request)
        archive = next((archive for archive in scene.archives if archive.version == request.path_params["version"]), None)
        if archive is None:
            raise HTTPException(404)
        found = await run_in_threadpool(archive.read, tile)
        zipped = {"Content-Encoding": "gzip"} if found[:2] == b"\x1f\x8b" else {}
        return _answer(request, found, "application/vnd.mapbox-vector-tile", zipped)

    async def look_at(self, request: Request) -> Response:
        """Return what lies under a place."""
        scene = self._find_scene(request)
        try:
            lon, lat = (float(request.query_params[name]) for name in ("lon", "lat"))
        except (KeyError, ValueError) as exc:
            raise HTTPException(400, "Expected lon and lat in degrees.") from exc
        if not (math.isfinite(lon) and abs(lat) <= 90):
            raise HTTPException(400, "Expected lon and lat in degrees.")
        return _tell(await run_in_threadpool(scene.look_at, lon, lat))

    async def take_view(self, request: Request) -> Response:
        """Take note of what is looked at, for rasters that are segmented on demand."""
        scene, body = self._find_scene(request), b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_LOOK_BYTES:
                raise HTTPException(413)
        try:
            west, south, east, north = (float(side) for side in json.loads(body)["bounds"])
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as exc:
            raise HTTPException(400, "Expected bounds: west, south, east and north in degrees.") from exc
        if scene.demand is None or not (west < east and -90 <= south < north <= 90 and max(-west, east) <= 720):
            raise HTTPException(400, "Expected bounds of a raster that is segmented on demand.")
        await run_in_threadpool(scene.demand.look, (max(-180, west), max(-85, south), min(180, east), min(85, north)))
        return Response(status_code=204)

    def _paint(self, scene: Scene, layer: str, tile: WebTile, hidden: frozenset[str]) -> bytes:
        try:
            return scene.paint(layer, tile, hidden) or nothing()
        except GeosegError as exc:
            self._tile_errors[str(exc)] = None
            return nothing()

    def _find_scene(self, request: Request) -> Scene:
        number = int(request.path_params["scene"])
        if number >= len(self.scenes):
            raise HTTPException(404)
        return self.scenes[number]


class PictureCache:
    """The last pictures that were asked for.

    Args:
        most_bytes: How much of them is kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._size = most_bytes, 0
        self._kept: OrderedDict[object, bytes] = OrderedDict()

    def get(self, key: object) -> bytes | None:
        """Return a picture, if it is still there."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: object, picture: bytes) -> None:
        """Keep a picture, and let those go that were not asked for the longest."""
        self._size += len(picture) - len(self._kept.pop(key, b""))
        self._kept[key] = picture
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1])


def _find_tile(request: Request) -> WebTile:
    tile = WebTile(**{axis: int(request.path_params[axis]) for axis in ("z", "x", "y")})
    if not tile.exists:
        raise HTTPException(404)
    return tile


def _tell(told: dict[str, Any]) -> Response:
    """Return a table as JSON that any browser reads, whatever stood in files: numbers that are none are null, names any letters."""
    finite = json.loads(json.dumps(told), parse_constant=lambda _: None)
    return Response(json.dumps(finite), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _say_error(_request: Request, exc: Exception) -> Response:
    """Return the message of an error that a file is to blame for; it is no fault of the server, which would log a traceback."""
    return PlainTextResponse(str(exc).encode(errors="replace"), 500)


def _answer(request: Request, content: bytes, kind: str, headers: dict[str, str] | None = None) -> Response:
    """Return content, or that it is what the browser has already."""
    told = {"ETag": f'"{zlib.crc32(content):08x}{len(content):x}"', "Cache-Control": "no-cache", **(headers or {})}
    if request.headers.get("if-none-match") == told["ETag"]:
        return Response(status_code=304, headers=told)
    return Response(content, media_type=kind, headers=told)


def make_app(
    paths: Sequence[str | Path] = (),
    config: RunConfig | None = None,
    *,
    keep: bool = False,
    token: str | None = None,
    hosts: Collection[str] | None = LOCAL_HOSTS,
    load: LoadPredictor | None = None,
) -> Starlette:
    """Return the map of run folders, or of a raster that is segmented where one looks at it, as an ASGI application.

    Args:
        paths: Run folders, folders of runs, or folders of changes; two are shown as before and after.
        config: A raster and a model, instead of paths.
        keep: Keep what is segmented in the configuration's ``output``; else in the cache folder.
        token: What has to be known to see the map; None lets everybody in who reaches it.
        hosts: Names under which it may be asked for; None takes any, and should have a token.
        load: Makes the predictor of the configuration; None loads its model.

    Raises:
        MissingFileError: If a folder, the raster or the model is not there.
        UsageError: If there is nothing to show.
        RunError: If a file cannot be read.
    """
    work = tempfile.TemporaryDirectory(prefix="geoseg-view-", ignore_cleanup_errors=True)
    cache = (config.cache_folder if config is not None else Path(user_cache_dir("geoseg", appauthor=False))) / "view" / "vectors"
    try:
        scenes = open_scenes([Path(path) for path in paths], cache, Path(work.name))
        if config is not None:
            scenes.append(open_demand(DemandRun(plan_demand(config, keep=keep), load), cache, Path(work.name) / "demand"))
    except BaseException:
        work.cleanup()
        raise
    server = MapServer(scenes, work)
    tile = "{z:int}/{x:int}/{y:int}"
    routes = [
        Route("/", server.show_page),
        Route("/api/scenes", server.tell_scenes),
        Route("/api/{scene:int}/at", server.look_at),
        Route("/api/{scene:int}/view", server.take_view, methods=["POST"]),
        Route("/tiles/{scene:int}/{layer}/" + tile, server.draw_tile),
        Route("/vectors/{scene:int}/{version}/" + tile, server.cut_tile),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    guard = Middleware(Guard, hosts=hosts, token=token)
    return Starlette(routes=routes, lifespan=server.run, middleware=[guard], exception_handlers={GeosegError: _say_error})

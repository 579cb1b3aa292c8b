"""Rasters on the web and in object stores: read by ranges, the same bytes as the local file, secrets nowhere."""

import threading
from collections.abc import Iterator
from email.message import Message
from hashlib import sha256
from pathlib import Path
from urllib.request import Request

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.windows import Window

from geoseg.errors import RasterError, RunError
from geoseg.inference.planning import plan_run
from geoseg.io.raster import RasterOptions, open_raster, read_whole
from geoseg.io.sources import address
from geoseg.io.sources.address import checksum_names, gdal_name, identify, is_remote
from geoseg.model.predictor import ThresholdPredictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import always, configure, read_band, write_package, write_raster
from tests.io.webserver import Web, serve

_BLOCK_PX = 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cloud-optimized GeoTIFF that compresses badly, as imagery does."""
    folder = tmp_path_factory.mktemp("store")
    noise = np.random.default_rng(1).integers(1, 255, (3, 1024, 1280), np.uint8)
    plain = write_raster(folder / "plain.tif", noise)
    copy(str(plain), str(folder / "city.tif"), driver="COG", compress="DEFLATE", blocksize=_BLOCK_PX)
    plain.unlink()
    return folder


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with serve(folder) as web:
        yield web


def needed_bytes(path: Path, window: Window) -> int:
    """Bytes of the blocks below a window."""
    first, last = (window.row_off, window.col_off), (window.row_off + window.height - 1, window.col_off + window.width - 1)
    rows, cols = (range(a // _BLOCK_PX, b // _BLOCK_PX + 1) for a, b in zip(first, last, strict=True))
    with rasterio.open(path) as dataset:
        return sum(dataset.block_size(1, row, col) for row in rows for col in cols)


def test_a_window_of_a_raster_on_the_web_costs_little_more_than_its_own_bytes(folder: Path, web: Web) -> None:
    here = open_raster(folder / "city.tif")
    there = open_raster(f"{web.address}/city.tif")
    opening = web.sent_bytes
    assert opening <= 40_000
    windows = [Window(300, 300, 200, 200), Window(0, 512, 600, 500), Window(700, 200, 512, 700), Window(1100, 0, 100, 900)]
    with there.open() as raster:
        for window in windows:
            before = web.sent_bytes
            for one, other in zip(raster.read(window), here.read(window), strict=True):
                np.testing.assert_array_equal(one, other)
            assert web.sent_bytes - before <= 1.2 * needed_bytes(folder / "city.tif", window) + 40_000 * (window is windows[0])
    assert {path for _, path in web.requests} == {"/city.tif"}, "nothing is looked for beside it"


def test_a_run_over_the_web_finds_what_one_over_the_file_does_and_keeps_the_token_to_itself(folder: Path, web: Web, tmp_path: Path) -> None:
    package = write_package(tmp_path / "model")
    load = always(ThresholdPredictor(spec=double_spec()))
    wanted = {"outputs": ("classes",), "bbox": None}
    here = segment_raster(configure(folder / "city.tif", package, tmp_path / "here", **wanted), load=load)
    address = f"{web.address}/city.tif?token=s3cr3t"
    there = segment_raster(configure(Path("x"), package, tmp_path / "there", **wanted).model_copy(update={"raster": address}), load=load)
    np.testing.assert_array_equal(read_band(here / "classes.tif"), read_band(there / "classes.tif"))
    assert all(b"s3cr3t" not in path.read_bytes() for path in there.iterdir())


def test_a_raster_on_the_web_that_changed_is_another_one(folder: Path, web: Web, tmp_path: Path) -> None:
    package = write_package(tmp_path / "model")
    config = configure(Path("x"), package, tmp_path / "out").model_copy(update={"raster": f"{web.address}/other.tif"})
    (folder / "other.tif").write_bytes((folder / "city.tif").read_bytes())
    before = plan_run(config).fingerprint()
    assert plan_run(config).fingerprint() == before
    with rasterio.open(folder / "other.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.write(np.zeros((3, 9, 9), np.uint8), window=Window(0, 0, 9, 9))
    assert plan_run(config).fingerprint() != before


def test_a_run_asks_the_server_once_before_and_once_after_its_chunks(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, asked = address._ask_server, []

    def count(name: str) -> list[str]:
        asked.append(name)
        return ask(name)

    monkeypatch.setattr(address, "_ask_server", count)
    raster = f"{web.address}/city.tif"
    config = configure(Path("x"), write_package(tmp_path / "model"), tmp_path / "out", outputs=("classes",))
    config, load = config.model_copy(update={"raster": raster}), always(ThresholdPredictor(spec=double_spec()))
    segment_raster(config, load=load)
    assert asked == [raster] * 2
    segment_raster(config, load=load)
    assert asked == [raster] * 3, "a finished run is only compared"


@pytest.mark.parametrize("gets_only", [False, True])
def test_a_server_that_fails_for_a_moment_is_asked_again(web: Web, monkeypatch: pytest.MonkeyPatch, gets_only: bool) -> None:
    monkeypatch.setattr(address, "_PAUSES_S", (0.0, 0.0))
    web.gets_only = gets_only
    known = identify(f"{web.address}/city.tif")
    web.hiccups = 2
    assert identify(f"{web.address}/city.tif") == known
    assert (web.hiccups, len(known.split())) == (0, 3)


def test_a_server_that_gives_no_answer_is_an_error_and_no_other_raster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_PAUSES_S", (0.0, 0.0))
    with serve(folder) as web:
        name = f"{web.address}/city.tif?token=s3cr3t"
        web.hiccups = 99
        with pytest.raises(RunError, match=r"could not be asked whether the raster has changed: .*503.*goes on") as caught:
            checksum_names([name])
        assert "s3cr3t" not in str(caught.value)
    with pytest.raises(RunError, match=r"could not be asked .*refused"):
        checksum_names([name])


def test_what_a_server_does_not_tell_is_no_failure(folder: Path, web: Web) -> None:
    web.is_silent = True
    there, not_there = f"{web.address}/city.tif", f"{web.address}/nothing.tif"
    assert identify(there) == f"{there}   {(folder / 'city.tif').stat().st_size}"
    assert identify(not_there) == not_there


def test_servers_are_asked_for_several_files_at_a_time_and_told_apart_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4, timeout=20)

    def answer(request: Request) -> Message:
        together.wait()
        said = Message()
        said["ETag"] = request.selector
        return said

    monkeypatch.setattr(address, "_ask_once", answer)
    names = [f"https://host.org/{number}.tif" for number in range(4)]
    expected = "\n".join(f"{name} /{number}.tif  " for number, name in enumerate(names))
    assert checksum_names(names) == sha256(expected.encode()).hexdigest()


def test_a_raster_that_is_not_on_the_server_says_so(web: Web) -> None:
    with pytest.raises(RasterError, match=r"nothing\.tif could not be opened"):
        open_raster(f"{web.address}/nothing.tif")


def test_a_virtual_raster_at_an_address_is_refused(folder: Path, web: Web) -> None:
    copy(str(folder / "city.tif"), str(folder / "far.vrt"), driver="VRT")
    for options in (RasterOptions(), RasterOptions(warp=True)):
        with pytest.raises(RasterError, match=r"far\.vrt is a virtual raster at an address.*--trust-vrt"):
            open_raster(f"{web.address}/far.vrt", options)


def test_a_raster_on_the_web_may_be_warped(folder: Path, web: Web) -> None:
    there, here = (open_raster(name, RasterOptions(warp=True)) for name in (f"{web.address}/city.tif", folder / "city.tif"))
    window = Window(300, 200, 50, 40)
    np.testing.assert_array_equal(there.read(window)[0], here.read(window)[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("https://a.org/b.tif?x=1", "/vsicurl/https://a.org/b.tif?x=1"),
        ("s3://bucket/b.tif", "/vsis3/bucket/b.tif"),
        ("gs://bucket/b.tif", "/vsigs/bucket/b.tif"),
        ("az://box/b.tif", "/vsiaz/box/b.tif"),
        ("/vsis3/bucket/b.tif", "/vsis3/bucket/b.tif"),
        ("city.tif", "city.tif"),
        ("netcdf:a.nc:b", "netcdf:a.nc:b"),
    ],
)
def test_addresses_are_spelled_as_gdal_does(name: str, expected: str) -> None:
    assert gdal_name(name) == expected
    assert is_remote(name) == expected.startswith("/vsi")


def test_a_checksum_changes_with_any_of_the_files(tmp_path: Path) -> None:
    names = [str(write_raster(tmp_path / f"{n}.tif", np.full((1, 4, 4), n, np.uint8))) for n in range(3)]
    before = checksum_names(names)
    assert checksum_names(names) == before
    write_raster(tmp_path / "1.tif", np.full((1, 5, 4), 7, np.uint8))
    assert checksum_names(names) != before
    assert checksum_names(names[:2]) != before


def test_a_signature_that_is_renewed_does_not_make_another_raster(web: Web) -> None:
    assert identify(f"{web.address}/city.tif?sig=one") == identify(f"{web.address}/city.tif?sig=two")


def test_an_object_store_gives_the_bytes_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server", reason="moto plays the object store")
    boto3 = pytest.importorskip("boto3", reason="boto3 fills the object store")
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        environment = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        environment |= {"AWS_S3_ENDPOINT": f"{host}:{port}", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="images")
        client.upload_file(str(folder / "city.tif"), "images", "a/city.tif")
        there = open_raster("s3://images/a/city.tif")
        for one, other in zip(read_whole(there), read_whole(open_raster(folder / "city.tif")), strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        moto.stop()

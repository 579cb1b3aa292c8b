"""STAC: items, collections and searches are read as the rasters that they name."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg import plugins
from geoseg.config import RunConfig
from geoseg.errors import ConfigError, MissingFileError, RasterError, RunError, RunFolderError, UsageError
from geoseg.inference.planning import plan_run
from geoseg.io.raster import RasterSource, place_source, read_whole
from geoseg.io.sources import signing as signing_module
from geoseg.io.sources.address import identify, without_signature
from geoseg.io.sources.arrangement import Arrangement, Rule
from geoseg.io.sources.dataset import RasterOptions
from geoseg.io.sources.gather import gather_imagery
from geoseg.io.sources.imagery import FileImagery, describe_file, list_files
from geoseg.io.sources.signing import hold_signature, sign_address
from geoseg.io.sources.stac import is_stac, read_items
from geoseg.model.predictor import ThresholdPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.runs.batch import BatchOptions, segment_list
from geoseg.runs.runlist import read_run_list
from tests.doubles import TRANSFORM, always, configure, draw_blobs, read_band, write_package, write_raster
from tests.io.webserver import Web, serve

RGB = ("red", "green", "blue")


def source_of(name: str | Path, *wanted: str, rule: Rule = "first", trust: bool = False) -> RasterSource:
    return place_source(gather_imagery([str(name)], RasterOptions(trust_vrt=trust), Arrangement(rule=rule), wanted), None)


def make_item(folder: Path, number: int, pixels: NDArray[Any], cloud: float = 0.0) -> dict[str, Any]:
    """An item with a file for each band, as Sentinel-2 has them, and a picture that is no imagery."""
    item = pystac.Item(
        id=f"scene-{number}",
        geometry=None,
        bbox=None,
        datetime=pystac.utils.str_to_datetime(f"2024-0{number + 1}-01T00:00:00Z"),
        properties={"eo:cloud_cover": cloud},
    )
    for code, name, band in zip(("B04", "B03", "B02"), RGB, pixels, strict=True):
        path = write_raster(folder / f"{number}_{code}.tif", band[None], transform=TRANSFORM @ Affine.translation(40 * number, 0), nodata=0)
        media = pystac.MediaType.COG
        item.add_asset(
            code, pystac.Asset(f"./{path.name}", media_type=media, extra_fields={"eo:bands": [{"name": code, "common_name": name}]})
        )
    item.add_asset("thumbnail", pystac.Asset("./missing.png", media_type="image/png", roles=["thumbnail"]))
    return item.to_dict(include_self_link=False, transform_hrefs=False)


SCENES = [draw_blobs(60, 80, seed=n) for n in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stac")
    items = [make_item(folder, n, pixels, cloud=30.0 * n) for n, pixels in enumerate(SCENES)]
    (folder / "item.json").write_text(json.dumps(items[0]))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return folder


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with serve(folder) as web:
        items = json.loads((folder / "items.json").read_text())
        for item in items["features"]:
            for asset in item["assets"].values():
                asset["href"] = f"{web.address}/{asset['href']}"
        root = {
            "type": "Catalog",
            "id": "small",
            "stac_version": "1.0.0",
            "description": "a search of three items",
            "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
            "links": [
                {"rel": "self", "href": web.address},
                {"rel": "root", "href": web.address},
                {"rel": "search", "href": f"{web.address}/search", "method": "POST", "type": "application/geo+json"},
            ],
        }
        web.answers = {"/": json.dumps(root).encode(), "/search": json.dumps(items).encode()}
        yield web


def test_an_item_is_the_stack_of_the_assets_that_a_model_wants(folder: Path) -> None:
    source = source_of(folder / "item.json", "blue", "red")
    assert source.imagery.bands == (("blue", "b02"), ("red", "b04"))
    np.testing.assert_array_equal(read_whole(source)[0], SCENES[0][[2, 0]])
    assert source.path == "scene-0"
    assert sorted(Path(name).name for name in source.imagery.files()) == ["0_B02.tif", "0_B04.tif"]


def test_a_collection_is_a_mosaic_of_its_items_and_one_is_named_by_its_id(folder: Path) -> None:
    source = source_of(folder / "items.json", *RGB)
    assert source.shape == (60, 160)
    np.testing.assert_array_equal(read_whole(source)[0][:, :, :80], SCENES[0])
    np.testing.assert_array_equal(read_whole(source)[0][:, :, 120:], SCENES[2][:, :, 40:])
    last = source_of(folder / "items.json", *RGB, rule="last")
    np.testing.assert_array_equal(read_whole(last)[0][:, :, 40:80], SCENES[1][:, :, :40])
    one = source_of(f"{folder / 'items.json'}#scene-2", *RGB)
    np.testing.assert_array_equal(read_whole(one)[0], SCENES[2])


@pytest.mark.filterwarnings("ignore:The 'shapely.ops")
def test_the_median_composite_is_that_of_odc_stac(tmp_path: Path) -> None:
    odc = pytest.importorskip("odc.stac", reason="odc-stac is the other program")
    scenes = [draw_blobs(60, 80, seed=n, corner=40) for n in range(3)]
    items = [make_item(tmp_path, 0, scenes[0])]
    for number in (1, 2):
        item = make_item(tmp_path, number, scenes[number])
        for code, band in zip(("B04", "B03", "B02"), scenes[number], strict=True):
            write_raster(tmp_path / f"{number}_{code}.tif", band[None], nodata=0)
        items.append(item)
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    source = source_of(tmp_path / "items.json", *RGB, rule="median")
    pixels, valid = read_whole(source)
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = str(tmp_path / asset["href"])
    parsed = [pystac.Item.from_dict(item) for item in items]
    for item in parsed:
        item.geometry = source.geobox.geographic_extent.json
        item.bbox = list(source.geobox.geographic_extent.boundingbox)
    cube = odc.load(parsed, bands=["B04", "B03", "B02"], geobox=source.geobox, nodata=0).astype("float32")
    median = cube.where(cube != 0).median("time")
    expected = np.stack([median[name].to_numpy() for name in ("B04", "B03", "B02")])
    np.testing.assert_array_equal(valid, np.isfinite(expected).all(axis=0))
    np.testing.assert_array_equal(pixels[:, valid], np.rint(expected)[:, valid])


def test_a_search_finds_items_by_box_dates_and_clouds(web: Web) -> None:
    address = f"{web.address}/search?collections=small&bbox=85,27,86,28&datetime=2024-01-01/2024-12-31&cloud_cover=30"
    assert [item["id"] for item, _ in read_items(address)] == ["scene-0", "scene-1"]
    assert source_of(address, *RGB).shape == (60, 120)
    np.testing.assert_array_equal(read_whole(source_of(address, *RGB))[0][:, :, :80], SCENES[0])


def test_a_run_on_a_search_is_that_on_the_files(web: Web, folder: Path, tmp_path: Path) -> None:
    spec = double_spec().model_copy(update={"bands": RGB})
    package, load = write_package(tmp_path / "model", spec), always(ThresholdPredictor(spec=spec))
    runs = []
    for name, raster in (("there", f"{web.address}/search?limit=3"), ("here", str(folder / "items.json"))):
        config = configure(Path("x"), package, tmp_path / name, outputs=("classes",)).model_copy(update={"raster": raster})
        runs.append(read_band(segment_raster(config, load=load) / "classes.tif"))
    np.testing.assert_array_equal(*runs)


def test_scale_and_offset_of_an_item_count(folder: Path, tmp_path: Path) -> None:
    item = json.loads((folder / "item.json").read_text())
    for asset in item["assets"].values():
        asset["href"] = f"./{Path(asset['href']).name}"
        asset["raster:bands"] = [{"scale": 0.0001, "offset": -0.1}]
    (folder / "scaled.json").write_text(json.dumps(item))
    imagery = source_of(folder / "scaled.json", "red").imagery
    source = place_source(imagery.each_file(FileImagery.scaled), None)
    np.testing.assert_allclose(read_whole(source)[0][0], SCENES[0][0] * 0.0001 - 0.1, rtol=1e-4)


@pytest.mark.parametrize(
    ("of_asset", "of_item"),
    [
        ({"raster:scale": 0.0001, "raster:offset": -0.1}, {}),
        ({"bands": [{"name": "red"}], "raster:bands": [{"scale": 0.0001, "offset": -0.1}]}, {}),
        ({"bands": [{"name": "red", "raster:scale": 0.0001}], "raster:offset": -0.1}, {"raster:scale": 7}),
        ({"bands": [{"name": "red"}]}, {"raster:scale": 0.0001, "raster:offset": -0.1}),
    ],
    ids=["asset", "bands that are only named", "band before asset before item", "item"],
)
def test_scale_and_offset_are_found_wherever_stac_writes_them(folder: Path, of_asset: dict[str, Any], of_item: dict[str, Any]) -> None:
    item = json.loads((folder / "item.json").read_text())
    item["properties"] |= of_item
    for asset in item["assets"].values():
        asset["href"] = f"./{Path(asset['href']).name}"
    item["assets"]["B04"] |= of_asset
    (folder / "scaled.json").write_text(json.dumps(item))
    imagery = source_of(folder / "scaled.json", "red").imagery
    assert [file.scales for file in list_files(imagery)] == [((0.0001, -0.1),)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/items.json", True),
        ("a/items.geojson#one", True),
        ("https://a.org/search?collections=x", True),
        ("https://a.org/collections/x/items", True),
        ("https://a.org/collections/x/items/y", True),
        ("https://a.org/x.tif", False),
        ("a.tif", False),
        ("s3://a/b.tif", False),
    ],
)
def test_what_names_stac(name: str, expected: bool) -> None:
    assert is_stac(name) == expected


def test_what_does_not_fit_says_so(folder: Path, web: Web, tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"searched for nir, but holds B04: .*red"):
        source_of(folder / "item.json", "nir")
    with pytest.raises(RasterError, match="holds no item"):
        source_of(f"{folder / 'items.json'}#gone", "red")
    with pytest.raises(MissingFileError, match=r"gone\.json"):
        source_of(folder / "gone.json", "red")
    with pytest.raises(UsageError, match="asks for color"):
        source_of(f"{web.address}/search?color=red", "red")
    with pytest.raises(UsageError, match="no number"):
        source_of(f"{web.address}/search?bbox=a,b", "red")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(RasterError, match="an object was expected"):
        source_of(tmp_path / "list.json", "red")
    (tmp_path / "zones.geojson").write_text('{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": null}]}')
    with pytest.raises(RasterError, match="holds no STAC item"):
        source_of(tmp_path / "zones.geojson", "red")


def test_an_item_that_points_out_of_its_folder_is_refused_unless_it_is_trusted(folder: Path, tmp_path: Path) -> None:
    item = json.loads((folder / "item.json").read_text())
    for asset in item["assets"].values():
        asset["href"] = str(folder / Path(asset["href"]).name)
    (tmp_path / "far.json").write_text(json.dumps(item))
    with pytest.raises(RasterError, match="points out of its folder"):
        source_of(tmp_path / "far.json", "red")
    np.testing.assert_array_equal(read_whole(source_of(tmp_path / "far.json", "red", trust=True))[0][0], SCENES[0][0])


def test_an_item_at_an_address_never_reads_files_of_this_machine(folder: Path, web: Web) -> None:
    item = json.loads((folder / "item.json").read_text())
    for scheme in ("file", "vrt"):
        item["assets"] = {"B04": item["assets"]["B04"] | {"href": f"{scheme}://{folder / '0_B04.tif'}"}}
        web.answers["/near.json"] = json.dumps(item).encode()
        with pytest.raises(RasterError, match=f"points at {scheme}.*no address"):
            source_of(f"{web.address}/near.json", "red")


def test_a_collection_that_a_server_gives_out_page_by_page_is_read_to_its_end(web: Web) -> None:
    items = json.loads(web.answers["/search"])["features"]
    for page, item in enumerate(items):
        # some servers let the last page point at itself
        link = {"rel": "next", "href": f"/{min(page + 1, 2)}/items"}
        web.answers[f"/{page}/items"] = json.dumps({"type": "FeatureCollection", "features": [item], "links": [link]}).encode()
    assert [item["id"] for item, _ in read_items(f"{web.address}/0/items")] == ["scene-0", "scene-1", "scene-2"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "FeatureCollection", "features": [1]},
        {"type": "Feature", "assets": {"a": 1}},
        {"type": "Feature", "assets": {"a": {"href": "0_B04.tif"}}, "links": [3]},
        {"type": "Feature", "assets": {"a": {"href": "0_B04.tif", "bands": [5]}}},
        {"type": "Feature", "assets": {"a": {"href": "0_B04.tif", "bands": [{"name": 5}]}}},
        {"type": "Feature", "assets": {"a": {"href": "0_B04.tif", "bands": [{"name": "x", "scale": "wide"}]}}},
        {"type": "Feature", "assets": {"a": {"href": "\0"}}},
    ],
)
def test_what_only_looks_like_an_item_is_refused(folder: Path, wrong: Any) -> None:
    (folder / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(RasterError, match=r"wrong\.json is no valid STAC"):
        source_of(folder / "wrong.json")


SIGNED = "sv=2024&sig=abc%2B1"


def signing(web: Web, folder: Path, package: Path, **options: Any) -> RunConfig:
    config = configure(Path("x"), package, folder, outputs=("classes",), stac_sign=f"{web.address}/sign", **options)
    return config.model_copy(update={"raster": f"{web.address}/search?limit=1"})


def forget_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do as another process would."""
    monkeypatch.setattr(signing_module, "_SIGNATURES", signing_module._Signatures())


def test_a_catalog_that_wants_signed_addresses_gets_them_and_no_file_of_the_run_does(
    web: Web, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = double_spec().model_copy(update={"bands": RGB})
    package, load = write_package(tmp_path / "model", spec), always(ThresholdPredictor(spec=spec))
    config = signing(web, tmp_path / "out", package)
    here = {"output": tmp_path / "plain", "stac_sign": None, "raster": f"{folder}/items.json#scene-0"}
    plain = segment_raster(config.model_copy(update=here), load=load)
    web.signature = SIGNED
    with pytest.raises((RasterError, MissingFileError)):
        plan_run(config.model_copy(update={"stac_sign": None}))
    run = segment_raster(config, load=load)
    np.testing.assert_array_equal(read_band(run / "classes.tif"), read_band(plain / "classes.tif"))
    assert not [path.name for path in run.rglob("*") if path.is_file() and b"abc%2B1" in path.read_bytes()]
    first = plan_run(config).fingerprint()
    web.signature = "sv=2025&sig=def"
    forget_signatures(monkeypatch)
    assert plan_run(config).fingerprint() == first


def test_an_asset_that_changed_on_its_server_makes_another_run(web: Web, folder: Path, tmp_path: Path) -> None:
    spec = double_spec().model_copy(update={"bands": RGB})
    package, load = write_package(tmp_path / "model", spec), always(ThresholdPredictor(spec=spec))
    config = signing(web, tmp_path / "out", package, collar="none").model_copy(update={"stac_sign": None})
    segment_raster(config, load=load)
    content = (folder / "0_B03.tif").read_bytes()
    try:
        (folder / "0_B03.tif").write_bytes(content + b" ")
        with pytest.raises(RunFolderError, match="sources_sha256"):
            segment_raster(config, load=load)
    finally:
        (folder / "0_B03.tif").write_bytes(content)


def test_a_change_is_seen_where_only_get_is_allowed_and_without_reading_the_file(web: Web, folder: Path) -> None:
    path, address = folder / "change.bin", f"{web.address}/change.bin"
    path.write_bytes(b"a" * 1000)
    known = identify(address)
    web.gets_only = True
    assert identify(address) == known
    assert web.sent_bytes == 1
    path.write_bytes(b"b" * 1000)
    assert identify(address) != known


def test_a_signature_that_runs_out_is_renewed_while_the_raster_is_open(
    web: Web, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = double_spec().model_copy(update={"bands": RGB})
    config = signing(web, tmp_path / "out", write_package(tmp_path / "model", spec), collar="none")
    monkeypatch.setattr(signing_module, "_MARGIN_S", 0)
    web.signature = f"se={iso_in(3600)}&sig=long"
    source = plan_run(config).source
    whole = Window(0, 0, *source.shape[::-1])
    expected, _ = source.read(whole)
    forget_signatures(monkeypatch)
    web.signature = f"se={iso_in(1)}&sig=short"
    with source.open() as raster:
        raster.read(Window(0, 0, 8, 8))
        asked = signatures_asked(web)
        raster.read(Window(8, 0, 8, 8))
        assert signatures_asked(web) == asked, "a signature that holds is used again"
        web.signature = f"se={iso_in(3600)}&sig=renewed"
        time.sleep(1.1)
        pixels, _ = raster.read(whole)
    np.testing.assert_array_equal(pixels, expected)
    assert signatures_asked(web) == asked + 3, "one for each band's file"


def test_a_signature_that_is_refused_before_its_end_is_renewed_by_the_next_try(web: Web, folder: Path) -> None:
    # larger than what GDAL keeps of an address
    noise = np.random.default_rng(5).integers(0, 256, (1, 512, 512), np.uint8)
    write_raster(folder / "noise.tif", noise)
    web.signature = f"se={iso_in(3600)}&sig=refused"
    options = RasterOptions(sign=f"{web.address}/sign")
    source = place_source(describe_file(f"{web.address}/noise.tif", options, needs_georeference=True), None)
    whole = Window(0, 0, 512, 512)
    with source.open() as raster:
        raster.read(Window(0, 0, 8, 8))
        web.signature = f"se={iso_in(3600)}&sig=given"
        with pytest.raises(RunError, match=r"noise\.tif could not be read"):
            raster.read(whole)
        np.testing.assert_array_equal(raster.read(whole)[0], noise)


def noise_behind(web: Web, folder: Path) -> RasterSource:
    """Return a raster behind signatures, larger than what GDAL keeps of an address."""
    write_raster(folder / "hidden.tif", np.random.default_rng(6).integers(0, 256, (1, 512, 512), np.uint8))
    options = RasterOptions(sign=f"{web.address}/sign")
    return place_source(describe_file(f"{web.address}/hidden.tif", options, needs_georeference=True), None)


def test_a_signature_that_opens_nothing_is_renewed_by_the_next_try(web: Web, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_signatures(monkeypatch)
    web.signature = f"se={iso_in(3600)}&sig=early"
    source = noise_behind(web, folder)
    web.signature = f"se={iso_in(3600)}&sig=late"
    with source.open() as raster:
        with pytest.raises(RunError, match=r"hidden\.tif could not be read"):
            raster.read(Window(0, 0, 512, 512))
        assert raster.read(Window(0, 0, 512, 512))[1].all()


def test_a_service_that_is_away_for_a_while_fails_what_is_tried_and_not_the_run(
    web: Web, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_signatures(monkeypatch)
    web.signature = signature = f"se={iso_in(3600)}&sig=first"
    source, whole = noise_behind(web, folder), Window(0, 0, 512, 512)
    forget_signatures(monkeypatch)
    with source.open() as raster:
        web.signature = ""
        with pytest.raises(RunError, match=r"does not sign .*hidden\.tif: 404"):
            raster.read(whole)
        web.signature = signature
        assert raster.read(whole)[1].all()


def test_a_signature_is_used_further_while_its_renewal_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    held, moment = signing_module._Signatures(), time.time()
    monkeypatch.setattr(signing_module, "sign_address", lambda href, _: f"{href}?se={iso_in(200)}&sig=a")
    first = held.get("https://a.org/b.tif", "mine")
    monkeypatch.setattr(signing_module, "sign_address", refuse_to_sign)
    monkeypatch.setattr(signing_module.time, "time", lambda: moment + 150)
    assert held.get("https://a.org/b.tif", "mine").address == first.address
    assert held.get("https://a.org/b.tif", "mine").is_fresh, "nobody is asked again for some seconds"
    with pytest.raises(RasterError, match="busy"):
        held.get("https://a.org/c.tif", "mine")


def refuse_to_sign(*_: str) -> str:
    raise RasterError("busy")


def test_signatures_that_are_over_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    held, moment = signing_module._Signatures(), time.time()
    monkeypatch.setattr(signing_module, "sign_address", lambda href, _: f"{href}?key=1")
    for at in range(3000):
        monkeypatch.setattr(signing_module.time, "time", lambda at=at: moment + 10 * at)
        held.get(f"https://a.org/{at}.tif", "mine")
    assert len(held._held) <= 1001


def signatures_asked(web: Web) -> int:
    return sum(path.startswith("/sign") for _, path in web.requests)


def iso_in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("signature", "ends"),
    [
        ("sv=2024&se=2050-01-01T00:00:00Z&sig=a", datetime(2050, 1, 1, tzinfo=UTC)),
        ("se=2050-01-01&sig=a", datetime(2050, 1, 1, tzinfo=UTC)),
        ("X-Amz-Date=20500101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=a", datetime(2050, 1, 1, 1, tzinfo=UTC)),
        ("X-Goog-Date=20500101T000000Z&X-Goog-Expires=60&X-Goog-Signature=a", datetime(2050, 1, 1, 0, 1, tzinfo=UTC)),
        ("Expires=2524608000&Signature=a", datetime(2050, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_signature_is_renewed_two_minutes_before_it_says_that_it_ends(web: Web, signature: str, ends: datetime) -> None:
    web.signature = signature
    signed = hold_signature(f"{web.address}/{len(signature)}.tif", f"{web.address}/sign")
    assert signed.renew_at == pytest.approx((ends - timedelta(minutes=2)).timestamp())
    assert signed.is_fresh


UNTOLD = ["key=1", "se=2020-01-01T00:00:00Z&sig=a", "se=soon&sig=a", "se=inf&sig=a", "X-Amz-Date=x&X-Amz-Expires=9", "expires=nan"]


@pytest.mark.parametrize("signature", UNTOLD)
def test_a_signature_that_does_not_tell_its_end_or_one_gone_by_is_renewed_after_ten_minutes(web: Web, signature: str) -> None:
    web.signature = signature
    signed = hold_signature(f"{web.address}/untold-{len(signature)}.tif", f"{web.address}/sign")
    assert 590 < signed.renew_at - time.time() <= 600


def test_a_service_that_does_not_sign_or_points_elsewhere_is_named(web: Web) -> None:
    with pytest.raises(RasterError, match=r"does not sign .*a\.tif: 404"):
        sign_address(f"{web.address}/a.tif", f"{web.address}/nothing")
    for answer, message in ((b"[]", "could not be asked to sign"), (b'{"href": "https://evil.example/a.tif?sig=1"}', "another place")):
        web.answers["/odd"] = answer
        with pytest.raises(RasterError, match=message):
            sign_address(f"{web.address}/a.tif", f"{web.address}/odd")
    for odd in ("http://127.0.0.1:none/sign", f"{web.address}/si gn"):
        with pytest.raises(RasterError, match="could not be asked to sign"):
            sign_address(f"{web.address}/a.tif", odd)
    assert sign_address("s3://bucket/a.tif", f"{web.address}/nothing") == "s3://bucket/a.tif"
    with pytest.raises(ConfigError, match=r"adds 'nobody' to geoseg\.signers"):
        sign_address(f"{web.address}/a.tif", "nobody")


def test_what_a_package_that_signs_fails_with_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(href: str) -> str:
        raise KeyError(f"{href}?sig=abc")

    entry = EntryPoint("failing", "tests:sign", plugins.SIGNERS)
    object.__setattr__(entry, "load", lambda: fail)
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [entry])
    with pytest.raises(RasterError, match=r"'failing' could not sign .*KeyError.*sig=\*\*\*"):
        sign_address("https://a.org/b.tif", "failing")


def test_another_package_can_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "tests:sign", plugins.SIGNERS)
    object.__setattr__(entry, "load", lambda: lambda href: f"{href}?key=1")
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [entry])
    assert sign_address("https://a.org/b.tif", "mine") == "https://a.org/b.tif?key=1"


def test_a_list_of_items_is_a_raster_each(folder: Path, web: Web) -> None:
    local = read_run_list(str(folder / "items.json"))
    assert [(item.raster, item.name) for item in local] == [(f"{folder}/items.json#scene-{n}", f"scene-{n}") for n in range(3)]
    found = json.loads(web.answers["/search"])
    for number, item in enumerate(found["features"]):
        item["links"] = [{"rel": "self", "href": f"{web.address}/collections/small/items/scene-{number}"}]
    web.answers["/search"] = json.dumps(found).encode()
    assert [item.raster for item in read_run_list(f"{web.address}/search?cloud_cover=30")] == [
        f"{web.address}/collections/small/items/scene-{n}" for n in (0, 1)
    ]
    found["features"][1]["id"] = ""
    web.answers["/search"] = json.dumps(found).encode()
    with pytest.raises(UsageError, match="has no id"):
        read_run_list(f"{web.address}/search")


def test_items_of_a_collection_are_segmented_each_into_its_folder(folder: Path, tmp_path: Path) -> None:
    spec = double_spec().model_copy(update={"bands": RGB})
    package, load = write_package(tmp_path / "model", spec), always(ThresholdPredictor(spec=spec))

    def configuring(raster: str, output: Path) -> RunConfig:
        return configure(Path("x"), package, output, outputs=("classes",)).model_copy(update={"raster": raster})

    result = segment_list(read_run_list(str(folder / "items.json")), tmp_path / "out", configuring, BatchOptions(), load=load)
    assert sorted(result.done) == ["scene-0", "scene-1", "scene-2"]
    for number, pixels in enumerate(SCENES):
        run = tmp_path / "out" / f"scene-{number}"
        expected = np.where(pixels.mean(axis=0) >= 128, 1, 0)
        assert (read_band(run / "classes.tif") == expected)[(pixels != 0).all(axis=0)].all()


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("https://a.org/b.tif?st=1&se=2&sig=x%3D", "https://a.org/b.tif"),
        ("https://a.org/b.tif?version=3&X-Amz-Date=1&X-Amz-Signature=2", "https://a.org/b.tif?version=3"),
        ("https://a.org/b.tif?se=2", "https://a.org/b.tif?se=2"),
        ("a?sig=1.tif", "a?sig=1.tif"),
    ],
)
def test_what_signs_an_address_is_no_part_of_its_name(name: str, plain: str) -> None:
    assert without_signature(name) == plain

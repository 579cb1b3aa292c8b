"""Files made to harm: pointers, entities, pickles, links, sizes that are lies. All are refused at once, and say why."""

import json
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from affine import Affine

from geoseg.errors import GeosegError, MissingFileError, ModelError, RasterError, RunError, UsageError, WriteError
from geoseg.inference.planning import check_disk, plan_run
from geoseg.io.raster import RasterOptions, has_data, open_raster, read_whole
from geoseg.io.vector import read_as_drawn, read_vector
from geoseg.labels.cvat import read_cvat
from geoseg.model.exchange import import_package
from geoseg.model.package import CARD_NAME, WEIGHTS_NAME, find_package, write_card
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ModelSpec
from tests.doubles import CRS, TRANSFORM, configure, contents, draw_blobs, network_spec, write_package, write_raster

LINES = "\n"
BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "ha">{}]>'.format(
    "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
)


pytestmark = pytest.mark.timeout(60)


def describe_vrt(source: str, *, relative: int = 1, width: int = 50, height: int = 40, more: str = "", head: str = "") -> str:
    size = f'rasterXSize="{width}" rasterYSize="{height}"'
    x, y = TRANSFORM @ (0, 0)
    band = "".join(
        f'<VRTRasterBand dataType="Byte" band="{i}"><SimpleSource><SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
        f"<SourceBand>1</SourceBand></SimpleSource>{more}</VRTRasterBand>"
        for i in (1, 2, 3)
    )
    grid = f"<SRS>{CRS}</SRS><GeoTransform>{x}, 0.5, 0, {y}, 0, -0.5</GeoTransform>"
    return f"{head}<VRTDataset {size}>{grid}{band}</VRTDataset>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``inside/base.tif`` beside a VRT, ``secret.tif`` outside."""
    (tmp_path / "inside" / "below").mkdir(parents=True)
    write_raster(tmp_path / "secret.tif", draw_blobs(40, 50))
    write_raster(tmp_path / "inside" / "base.tif", draw_blobs(40, 50))
    write_raster(tmp_path / "inside" / "below" / "base.tif", draw_blobs(40, 50))
    return tmp_path / "inside"


# Virtual rasters


@pytest.mark.parametrize("source", ["base.tif", "below/base.tif", "./below/../base.tif"])
def test_a_virtual_raster_that_points_beside_itself_is_read(folder: Path, source: str) -> None:
    (folder / "a.vrt").write_text(describe_vrt(source))
    assert read_whole(open_raster(folder / "a.vrt"))[1].all()


@pytest.mark.parametrize(
    "source",
    [
        *("../secret.tif", "below/../../secret.tif", "/etc/passwd", "/vsicurl/http://127.0.0.1:9/a.tif", "http://127.0.0.1:9/a.tif"),
        *("/vsizip/a.zip/a.tif", "NETCDF:a.nc:b", "&lt;VRTDataset/&gt;", "/vsistdin/", "vrt://../secret.tif"),
    ],
)
def test_a_virtual_raster_that_points_elsewhere_is_refused_by_name(folder: Path, source: str) -> None:
    (folder / "a.vrt").write_text(describe_vrt(source))
    with pytest.raises(RasterError, match=r"a\.vrt points out of its folder, at .*--trust-vrt"):
        open_raster(folder / "a.vrt")


@pytest.mark.parametrize("disguise", ["a.tif", "a.txt", "a"])
def test_its_name_does_not_hide_a_virtual_raster(folder: Path, disguise: str) -> None:
    for head in ("", " \n\n", "\ufeff", "<!-- nothing to see -->"):
        (folder / disguise).write_text(describe_vrt("../secret.tif", head=head))
        with pytest.raises(RasterError, match="points out of its folder"):
            open_raster(folder / disguise)


def test_trust_opens_a_virtual_raster_that_points_elsewhere(folder: Path) -> None:
    (folder / "a.vrt").write_text(describe_vrt("../secret.tif"))
    assert read_whole(open_raster(folder / "a.vrt", RasterOptions(trust_vrt=True)))[1].all()


def test_a_link_and_a_chain_lead_no_further(folder: Path) -> None:
    (folder / "link.tif").symlink_to(folder.parent / "secret.tif")
    (folder / "last.vrt").write_text(describe_vrt("../secret.tif"))
    for source in ("link.tif", "last.vrt"):
        (folder / "first.vrt").write_text(describe_vrt(source))
        with pytest.raises(RasterError, match="points out of its folder"):
            open_raster(folder / "first.vrt")


def test_a_path_from_where_the_user_stands_is_no_path_beside_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "a.vrt").write_text(describe_vrt("secret.tif", relative=0))
    with pytest.raises(RasterError, match="points out of its folder"):
        open_raster(folder / "a.vrt")


def test_virtual_rasters_that_point_at_each_other_end(folder: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (folder / f"{one}.vrt").write_text(describe_vrt(f"{other}.vrt"))
    with pytest.raises(RasterError, match="more than 8 deep"):
        open_raster(folder / "a.vrt")


def test_code_in_a_virtual_raster_is_never_run(folder: Path) -> None:
    code = "<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode>import os</PixelFunctionCode>"
    (folder / "a.vrt").write_text(describe_vrt("base.tif", more=code))
    with pytest.raises(RasterError, match="holds code"):
        open_raster(folder / "a.vrt")


@pytest.mark.parametrize("head", [BOMB, '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'], ids=["bomb", "file"])
def test_entities_are_never_expanded(folder: Path, head: str) -> None:
    (folder / "a.vrt").write_text(describe_vrt("&a11;", head=head))
    with pytest.raises(RasterError, match="document type or entities"):
        open_raster(folder / "a.vrt")
    with pytest.raises(GeosegError, match="document type or entities"):
        read_cvat(f"{head}<annotations>&a11;</annotations>".encode())


@pytest.mark.parametrize("root", ["GDAL_WMS", "GDAL_WMTS", "GDALTileIndexDataset", "OGRVRTDataSource"])
def test_files_that_make_gdal_fetch_are_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "a.xml").write_text(f"<{root}><Service><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></{root}>")
    with pytest.raises(RasterError, match=f"is a {root}"):
        open_raster(tmp_path / "a.xml")
    with pytest.raises(UsageError, match=f"is a {root}"):
        read_vector(tmp_path / "a.xml", CRS)


def test_a_crs_that_is_none_is_refused(folder: Path) -> None:
    (folder / "a.vrt").write_text(describe_vrt("base.tif").replace(f"<SRS>{CRS}</SRS>", "<SRS>LOCAL_CS[&quot;{a&quot;]</SRS>"))
    with pytest.raises(RasterError, match=r"a\.vrt"):
        open_raster(folder / "a.vrt")


# Sizes that are lies


def test_a_raster_of_1e18_pixels_is_refused_with_numbers(folder: Path) -> None:
    (folder / "a.vrt").write_text(describe_vrt("base.tif", width=10**9, height=10**9))
    with pytest.raises(RasterError, match=r"declares 1000000000 x 1000000000 pixels in 3 bands; at most 1e\+14 pixels"):
        open_raster(folder / "a.vrt")


def test_a_raster_that_no_disk_holds_is_refused_while_planning_with_numbers(folder: Path) -> None:
    (folder / "a.vrt").write_text(describe_vrt("base.tif", width=9_000_000, height=10_000_000))
    plan = plan_run(configure(folder / "a.vrt", write_package(folder / "package"), folder / "out"))
    with pytest.raises(WriteError, match=r"needs about \d{8,} MB in .*; \d+ MB are free"):
        check_disk(plan, folder / "out")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("resolution_m", [1e4, 1e308])
def test_a_model_that_wants_a_raster_averaged_away_is_refused_with_numbers(tmp_path: Path, resolution_m: float) -> None:
    raster = write_raster(tmp_path / "a.tif", draw_blobs(40, 50))
    with pytest.raises(RasterError, match=r"pixels of 0\.5 m on the ground; the model was made for .* At most 1000 x 1000 are averaged"):
        open_raster(raster, resolution_m=resolution_m)


def test_an_empty_raster_that_takes_hours_to_look_through_is_not(tmp_path: Path) -> None:
    size = 'rasterXSize="900000" rasterYSize="900000"'
    (tmp_path / "a.vrt").write_text(
        f"<VRTDataset {size}><SRS>{CRS}</SRS><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><NoDataValue>0</NoDataValue></VRTRasterBand></VRTDataset>'
    )
    assert has_data(open_raster(tmp_path / "a.vrt"))


@pytest.mark.parametrize("bands", [65_000, 2_000_000_000])
def test_a_raster_of_too_many_bands_is_refused(tmp_path: Path, bands: int) -> None:
    (tmp_path / "a.dat").write_bytes(b"\x00" * 65_000)
    header = ["ENVI", "samples = 1", "lines = 1", f"bands = {bands}", "data type = 1", "interleave = bsq", "byte order = 0"]
    (tmp_path / "a.hdr").write_text(LINES.join(header))
    with pytest.raises(RasterError, match=r"bands"):
        open_raster(tmp_path / "a.dat")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 0.0])
def test_a_transform_that_places_nothing_is_refused(tmp_path: Path, wrong: float) -> None:
    path = write_raster(tmp_path / "a.tif", draw_blobs(40, 50), transform=Affine(0.5, 0, 1, 0, -0.5, 1))
    content = path.read_bytes()
    at = content.index(struct.pack("<ddd", 0.5, 0.5, 0.0))
    path.write_bytes(content[:at] + struct.pack("<d", wrong) + content[at + 8 :])
    with pytest.raises(RasterError, match=r"a\.tif has the transform|could not be opened|placed by ground control"):
        open_raster(path)


def test_blocks_of_gigabytes_are_an_error_and_no_death() -> None:
    """A TIFF that says that its one block is 60000 x 60000 pixels of three bands, under a limit of memory."""
    code = f"""
import resource, sys, struct, tempfile, pathlib
import numpy as np, rasterio
from geoseg.errors import GeosegError
from geoseg.io.raster import open_raster
from rasterio.windows import Window
folder = pathlib.Path(tempfile.mkdtemp())
profile = dict(driver="GTiff", width=60000, height=60000, count=3, dtype="uint8", crs="{CRS}", compress="deflate", sparse_ok=True)
with rasterio.open(folder / "a.tif", "w", blockysize=60000, transform=rasterio.Affine(0.5, 0, 337200, 0, -0.5, 3058800), **profile):
    pass
path = folder / "a.tif"
content = bytearray(path.read_bytes())
source = open_raster(path)
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 1_500_000_000,) * 2)
try:
    source.read(Window(0, 0, 64, 64))
    print("read")
except GeosegError as exc:
    print(type(exc).__name__)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("read", RunError.__name__)


# Vectors


def write_geojson(path: Path, *rings: list[list[float]]) -> Path:
    features = [{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}} for ring in rings]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


HERE = [[85.35, 27.64], [85.36, 27.64], [85.36, 27.65], [85.35, 27.64]]


def test_coordinates_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write_geojson(tmp_path / "a.geojson", HERE, [[0, 0], [1, 1e400], [1, 0], [0, 0]])
    with pytest.raises(UsageError, match=r"a\.geojson holds 1 features with coordinates that are no numbers|could not be read"):
        read_vector(path, CRS)


@pytest.mark.filterwarnings("ignore")
def test_a_ring_of_two_points_is_refused(tmp_path: Path) -> None:
    path = write_geojson(tmp_path / "a.geojson", HERE[:2])
    with pytest.raises(UsageError, match=r"a\.geojson could not be read as vector data"):
        read_vector(path, CRS)


def test_features_without_a_place_in_the_crs_are_counted_for_areas_and_missing_for_labels(tmp_path: Path) -> None:
    far = [[-3.0, 0.0], [-2.0, 0.0], [-2.0, 1.0], [-3.0, 0.0]]
    path = write_geojson(tmp_path / "a.geojson", HERE, far)
    with pytest.raises(UsageError, match=r"holds 1 features that have no place in EPSG:32645"):
        read_vector(path, CRS)
    assert list(read_as_drawn(path, CRS).geometry.isna()) == [False, True]


# Models


class Exploit:
    """Pickled, it would write a file when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (Path("owned"),))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.pth", "weights.safetensors"])
def test_a_pickle_given_as_a_model_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(MissingFileError, match=r"neither a shipped model .* nor a folder with model\.json"):
        find_package(tmp_path / name)
    with pytest.raises((ModelError, MissingFileError)):
        import_package(tmp_path / name, tmp_path / "target")
    assert contents(tmp_path) == {name}


def test_weights_that_are_a_pickle_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoseg.model.network import build_network, load_weights

    monkeypatch.chdir(tmp_path)
    package = tmp_path / "package"
    package.mkdir()
    for protocol in (0, 2, 4):
        (package / WEIGHTS_NAME).write_bytes(pickle.dumps(Exploit(), protocol))
        write_card(package, network_spec())
        with pytest.raises(ModelError, match="do not fit the network"):
            load_weights(build_network(network_spec()), find_package(package).weights)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "network",
    [
        *({"encoder": "tu-hf-hub:someone/model"}, {"encoder": "../../model"}, {"options": {"checkpoint_path": "weights.pkl"}}),
        *(
            {"options": {"pretrained_cfg_overlay": {"file": "a.pkl"}}},
            {"options": {"cache_dir": "/tmp"}},
            {"options": {"encoder_weights": "x"}},
        ),
    ],
    ids=str,
)
def test_a_network_that_would_open_or_fetch_other_files_is_refused(network: dict[str, object]) -> None:
    spec = network_spec().model_dump()
    with pytest.raises(ValueError, match=r"names a place|names another file"):
        ModelSpec.model_validate(spec | {"network": spec["network"] | network})


@pytest.mark.parametrize("href", ["../other/weights.safetensors", "/etc/passwd", "https://host/weights.safetensors", "./weights.pkl"])
def test_a_card_that_names_other_weights_is_refused(tmp_path: Path, href: str) -> None:
    package = write_package(tmp_path / "package")
    card = (package / CARD_NAME).read_text()
    (package / CARD_NAME).write_text(card.replace(f"./{WEIGHTS_NAME}", href))
    with pytest.raises(ModelError, match=r"must name \./weights\.safetensors"):
        find_package(package)


def test_an_archive_that_grows_is_stopped_at_the_size_that_it_says(tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", double_spec())
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(package / CARD_NAME, CARD_NAME)
        archive.writestr(WEIGHTS_NAME, b"\x00" * 50_000_000)
    content = bytearray(bomb.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 10)
    bomb.write_bytes(content)
    assert bomb.stat().st_size < 100_000
    before = contents(tmp_path)
    with pytest.raises(ModelError, match=r"holds more than it says|no zip archive that can be read"):
        import_package(bomb, tmp_path / "target")
    assert contents(tmp_path) == before


def test_deep_nesting_is_an_error_of_ours(tmp_path: Path) -> None:
    package = write_package(tmp_path / "package")
    (package / CARD_NAME).write_text("[" * 100_000)
    with pytest.raises(ModelError, match="not a model card"):
        find_package(package)

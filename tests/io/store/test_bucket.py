"""Chunks in an object store, on loopback: whole runs by way of it, and errors that say what is wrong with it."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from rasterio._env import del_gdal_config

from geoseg.config import RunConfig, make_config
from geoseg.errors import ChunkError, ConfigError, RunError, RunFolderError
from geoseg.inference.planning import plan_run
from geoseg.io.store.bucket import Bucket, _modified_s, open_place
from geoseg.io.store.chunks import list_times
from geoseg.io.store.places import Folder
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.status import read_status
from geoseg.runfolder.verify import verify_run
from tests.doubles import Logged, always, bytes_of, configure, draw_blobs, write_package, write_raster

pytest.importorskip("s3fs", minversion="2024.2", reason="the extra 'cloud' is not installed")
server = pytest.importorskip("moto.server", reason="there is no object store to test with: moto[server] is not installed")
NEAR = NeighborhoodPredictor(spec=double_spec(), radius_px=4)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store with the bucket ``tiles``, empty."""
    told = {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "mine", "DEFAULT_REGION": "us-east-1"}
    for name, value in (told | {"EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    store = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    store.mkdir("tiles")
    yield store
    store.rm("tiles", recursive=True)
    type(store).clear_instance_cache()
    for name in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"):
        del_gdal_config(name)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(100, 140, corner=40), nodata=0)
    return configure(raster, write_package(tmp_path / "package"), tmp_path / "out", chunk_size=64)


def elsewhere(config: RunConfig, at: str, **more: Any) -> RunConfig:
    return config.model_copy(update={"chunks_at": at, **more})


def test_a_run_by_way_of_a_bucket_is_the_same_and_leaves_nothing_there(config: RunConfig, s3: Any, tmp_path: Path) -> None:
    s3.pipe_file("tiles/run/geoseg-of-somebody-else/r00000/r00000_c00000.tif", b"not ours")
    away = segment_raster(elsewhere(config, "s3://tiles/run/", output=tmp_path / "away"), load=always(NEAR))
    assert bytes_of(away) == bytes_of(segment_raster(config, load=always(NEAR)))
    assert s3.find("tiles") == ["tiles/run/geoseg-of-somebody-else/r00000/r00000_c00000.tif"]
    assert not (away / ".work").exists()
    assert not verify_run(away).failed
    assert 'chunks_at = "s3://tiles/run/"' in (away / "run.toml").read_text()


def test_a_run_that_broke_goes_on_with_the_chunks_of_its_bucket(config: RunConfig, s3: Any, tmp_path: Path) -> None:
    config = elsewhere(config, "s3://tiles")
    logged = Logged(NEAR, tmp_path / "calls", fails_from=9)
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(logged))
    kept = [name for name in s3.find("tiles") if name.endswith(".tif")]
    assert kept
    assert not list((config.output / ".work").rglob("*.tif"))
    found = read_status(config.output)
    assert (found.chunks_done, found.chunks) == (len(kept), plan_run(config).tiles.chunk_count)
    assert f"{found.chunks - len(kept)} of {found.chunks} chunks are missing" in verify_run(config.output).checks[0].message
    _, times = list_times(RunFolder(config.output).chunk_place, 2)
    assert min(times) > 1.6e9
    with pytest.raises(RunFolderError, match=r"lie in s3://tiles/geoseg-\w+-\w+; they cannot move to s3://others"):
        segment_raster(elsewhere(config, "s3://others"), load=always(NEAR))
    # the option need not be given again
    before = logged.calls
    heard: list[Any] = []
    segment_raster(elsewhere(config, None), heard.append, always(Logged(NEAR, tmp_path / "calls")))
    assert next(event for event in heard if type(event).__name__ == "RunPlanned").chunks_done == len(kept)
    assert logged.calls > before
    assert s3.find("tiles") == []


def test_overwriting_a_run_removes_its_chunks_from_the_bucket(config: RunConfig, s3: Any, tmp_path: Path) -> None:
    config = elsewhere(config, "s3://tiles")
    with pytest.raises(ChunkError):
        segment_raster(config, load=always(Logged(NEAR, tmp_path / "calls", fails_from=9)))
    assert s3.find("tiles")
    RunFolder(config.output).clear()
    assert s3.find("tiles") == []


def test_a_bucket_that_is_not_there_is_refused_before_anything_is_written(config: RunConfig, s3: Any) -> None:
    with pytest.raises(ConfigError, match=r"could not be written to s3://nowhere/.*: there is no bucket nowhere\. Make it"):
        segment_raster(elsewhere(config, "s3://nowhere/x"), load=always(NEAR))
    assert not config.output.exists()


def test_a_store_without_credentials_says_which_are_missing(config: RunConfig, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    type(s3).clear_instance_cache()
    with pytest.raises(ConfigError, match=r"no credentials were found .*AWS_PROFILE"):
        segment_raster(elsewhere(config, "s3://tiles"), load=always(NEAR))
    assert not config.output.exists()


def test_a_store_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=r"Chunks at gs://tiles/a need gcsfs\. Install it with: pip install 'geoseg\[cloud\]' or gcsfs"):
        Bucket("gs://tiles/a").prepare()


@pytest.mark.parametrize("at", ["ftp://host/tiles", "memory://tiles", "s3://"])
def test_other_addresses_are_refused(at: str) -> None:
    with pytest.raises(ConfigError, match=r"Chunks cannot lie at .*: a folder, or one of s3://bucket/prefix"):
        open_place(at)


def test_secrets_in_the_address_are_refused_and_not_repeated(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="secrets do not belong into an address") as caught:
        make_config({**config.model_dump(), "chunks_at": "s3://me:hunter2@tiles/x"})
    assert "hunter2" not in str(caught.value)


def test_folders_may_be_named_in_two_ways(tmp_path: Path) -> None:
    assert open_place(f"file://{tmp_path}/a") == open_place(str(tmp_path / "a")) == Folder(tmp_path / "a")


def test_a_folder_stays_the_same_from_wherever_the_run_goes_on(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_config({**config.model_dump(), "chunks_at": "shared"}).chunks_at == str(tmp_path / "shared")
    assert make_config({**config.model_dump(), "chunks_at": "s3://tiles/run"}).chunks_at == "s3://tiles/run"


def test_gdal_reads_each_store_by_its_own_name() -> None:
    names = {at: open_place(at).address("r00001/x.tif") for at in ("s3://b/p/", "gs://b/p", "az://b/p")}
    assert names == {"s3://b/p/": "/vsis3/b/p/r00001/x.tif", "gs://b/p": "/vsigs/b/p/r00001/x.tif", "az://b/p": "/vsiaz/b/p/r00001/x.tif"}


def test_times_are_read_as_each_store_writes_them() -> None:
    time = datetime(2026, 1, 2, tzinfo=UTC)
    entries = [{"LastModified": time}, {"updated": "2026-01-02T00:00:00.000Z"}, {"last_modified": time}]
    assert [_modified_s(entry) for entry in entries] == [time.timestamp()] * 3
    assert _modified_s({"name": "a"}) == 0


def test_a_run_by_way_of_a_shared_folder_removes_only_its_own(config: RunConfig, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "geoseg-other").mkdir(parents=True)
    away = segment_raster(elsewhere(config, str(shared), output=tmp_path / "away"), load=always(NEAR))
    assert [path.name for path in shared.iterdir()] == ["geoseg-other"]
    summary = json.loads((away / "summary.json").read_text())
    assert summary["counts"]["chunks"] == plan_run(config).tiles.chunk_count


def test_a_store_that_cannot_be_reached_fails_the_run_and_keeps_what_was_made(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(s3), "ls", refuse)
    with pytest.raises(RunError, match=r"s3://tiles/x could not be listed: access to tiles is denied \(Access Denied\)"):
        list(Bucket("s3://tiles/x").list_names("r00000"))

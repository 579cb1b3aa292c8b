"""Chunks in an object store: written and listed through fsspec, read by GDAL."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rasterio.env import get_gdal_config, set_gdal_config

from geoseg.errors import ConfigError, RunError, WriteError
from geoseg.io.store.places import Folder, Listed, Place

_STORES = {"s3": ("/vsis3", "s3fs"), "gs": ("/vsigs", "gcsfs"), "az": ("/vsiaz", "adlfs")}
"""What GDAL and fsspec read an address with."""
_MARK = "geoseg.txt"
_MARK_TEXT = b"Finished chunks of a run of geoseg that is under way; it removes this folder when it is finished.\n"
_TIMES = ("LastModified", "updated", "last_modified")
"""What the stores call the time at which an object was written."""


def open_place(at: str) -> Place:
    """Return the place at a folder or an address.

    Args:
        at: A folder, or ``file://``, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.

    Raises:
        ConfigError: If it is another kind of address.
    """
    if "://" not in at:
        return Folder(Path(at).absolute())
    address = urlsplit(at)
    if address.scheme == "file":
        return Folder(Path(address.path))
    if address.scheme not in _STORES or not address.netloc:
        known = ", ".join(f"{name}://bucket/prefix" for name in _STORES)
        raise ConfigError(f"Chunks cannot lie at {at}: a folder, or one of {known} was expected.")
    return Bucket(at.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Bucket:
    """A prefix in an object store; one object is put in one piece, so that it is whole or not there."""

    url: str
    """Address without a slash at its end. Who may write there is told by the environment, as the store's own programs take it."""

    @property
    def name(self) -> str:
        """Name for messages."""
        return self.url

    @property
    def _scheme(self) -> str:
        return self.url.split("://", maxsplit=1)[0]

    @property
    def _root(self) -> str:
        return self.url.split("://", maxsplit=1)[1]

    def address(self, name: str) -> str:
        """Return the name by which GDAL reads an object."""
        return f"{_STORES[self._scheme][0]}/{self._root}/{name}"

    def prepare(self) -> None:
        """Put a mark there, so that a place which takes nothing is found out before work begins; see :class:`Place`."""
        try:
            self.write(_MARK, _MARK_TEXT)
        except WriteError as exc:
            raise ConfigError(str(exc)) from exc

    def write(self, name: str, content: bytes) -> None:
        """Put an object; see :class:`Place`."""
        with self._saying(WriteError, f"{name} could not be written to {self.url}"):
            self._files().pipe_file(f"{self._root}/{name}", content)

    def list_folders(self) -> Iterator[str]:
        """Yield the prefixes; see :class:`Place`."""
        return (Path(entry["name"]).name for entry in self._list("") if entry["type"] == "directory")

    def list_names(self, folder: str) -> Iterator[str]:
        """Yield the names of the objects of a prefix; see :class:`Place`."""
        return (Path(entry["name"]).name for entry in self._list(folder))

    def list_files(self, folder: str) -> Iterator[Listed]:
        """Yield the objects of a prefix with their times; see :class:`Place`."""
        return (Listed(Path(entry["name"]).name, _modified_s(entry)) for entry in self._list(folder))

    def _list(self, folder: str) -> list[dict[str, Any]]:
        with self._saying(RunError, f"{self.url} could not be listed"):
            try:
                found: list[dict[str, Any]] = self._files().ls(f"{self._root}/{folder}".rstrip("/"), detail=True)
            except FileNotFoundError:
                return []
            return found

    def remove(self) -> None:
        """Remove all objects, prefix by prefix; see :class:`Place`."""
        folders = list(self.list_folders())
        with self._saying(WriteError, f"{self.url} could not be removed"):
            files = self._files()
            for name in [*folders, _MARK]:
                if files.exists(f"{self._root}/{name}"):
                    files.rm(f"{self._root}/{name}", recursive=True)

    def open_to_gdal(self) -> None:
        """Tell GDAL of a store that is not where it expects one: fsspec may have been told by a profile."""
        if self._scheme != "s3" or get_gdal_config("AWS_S3_ENDPOINT") is not None:
            return
        with self._saying(RunError, f"{self.url} could not be reached"):
            endpoint = urlsplit(self._files().s3.meta.endpoint_url)
        if not endpoint.netloc.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            set_gdal_config("AWS_S3_ENDPOINT", endpoint.netloc)
            set_gdal_config("AWS_HTTPS", "YES" if endpoint.scheme == "https" else "NO")
            set_gdal_config("AWS_VIRTUAL_HOSTING", "FALSE")

    def _files(self) -> Any:
        # loads the store's own library
        import fsspec

        try:
            # what was listed a while ago is not what is there
            return fsspec.filesystem(self._scheme, use_listings_cache=False)
        except ImportError as exc:
            library = _STORES[self._scheme][1]
            raise ConfigError(f"Chunks at {self.url} need {library}. Install it with: pip install 'geoseg[cloud]' or {library}.") from exc

    @contextmanager
    def _saying(self, kind: type[RunError], what: str) -> Iterator[None]:
        """Say what could not be done; every store has errors of its own."""
        try:
            yield
        except ConfigError:
            raise
        except Exception as exc:
            raise kind(f"{what}: {self._explain(exc)} The same command again goes on.") from exc

    def _explain(self, cause: Exception) -> str:
        bucket = self._root.split("/", maxsplit=1)[0]
        if isinstance(cause, FileNotFoundError):
            return f"there is no bucket {bucket}. Make it, or choose another --chunks-at."
        if isinstance(cause, PermissionError):
            return f"access to {bucket} is denied ({cause}). Ask for the right to write, list and delete there."
        if "redential" in type(cause).__name__ + str(cause):
            return f"no credentials were found ({cause}). Set them as for the store's own programs, for example AWS_PROFILE."
        return f"{type(cause).__name__}: {cause}."


def _modified_s(entry: dict[str, Any]) -> float:
    """Return when an object was written, 0 if the store does not say."""
    time = next((entry[name] for name in _TIMES if entry.get(name)), None)
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return float(time.timestamp()) if isinstance(time, datetime) else 0.0

"""Where a model comes from: a shipped one, a package, or a model from elsewhere, which is taken in as a package first."""

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from geoseg import __version__
from geoseg.errors import MissingFileError, ModelError, WriteError
from geoseg.model.exchange import import_package, renamed
from geoseg.model.fetch import PICKLES, Version, fetch_changed, fetch_file, is_address
from geoseg.model.hub import fetch_hub, is_hub_name
from geoseg.model.package import (
    CARD_NAME,
    ONNX_NAME,
    PROGRAM_NAME,
    ModelPackage,
    find_package,
    hash_file,
    is_package,
    shipped_models,
    write_card,
)
from geoseg.model.sheet import Sheet, merge, read_sheet, sheet_beside
from geoseg.model.spec import ModelSpec

_SMP_CONFIG, _SMP_WEIGHTS = "config.json", "model.safetensors"
_KNOWN = "a package (folder or .zip), a folder of SMP's save_pretrained, hf:ORG/NAME, .onnx, .pt2 of torch.export, or a STAC item (.json)"
_LONGEST_CARD_BYTES = 20_000_000
_ASKS = threading.Lock()
"""Held by who asks for a model at an address: rasters that begin together fetch it once."""

Complete = Callable[[Sheet], Sheet]
"""Takes what a model says of itself, and returns the sheet that goes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A model from elsewhere, described; its weights are not written yet."""

    spec: ModelSpec
    write: Callable[[Path], None]
    """Writes the weights into a folder, under the name that the spec gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """Where a model comes from."""

    base: str
    """Path, address or name."""
    work: Path
    """Folder for what is fetched; it goes when the package stands."""

    def bring(self) -> Path:
        """Return where the source lies on this machine; what lies elsewhere is fetched."""
        if is_hub_name(self.base):
            return fetch_hub(self.base)
        return fetch_file(self.base, self.work) if is_address(self.base) else Path(self.base)


def find_model(model: str | Path, cache: Path | None = None) -> ModelPackage:
    """Return the package of a model, wherever it comes from; one from elsewhere is imported once, and kept by its content.

    One at an address is asked for once in a process, and fetched only if it has changed since; where nobody answers, what was fetched last
    is taken.

    Args:
        model: Name of a shipped model, folder of a package, or what :func:`import_model` takes. What a foreign model does not say of itself
            stands in a sheet beside it (see :func:`geoseg.model.sheet.sheet_beside`).
        cache: Folder for what is imported; None takes the user's cache.

    Raises:
        MissingFileError: If it is not there.
        ModelError: If it cannot be used.
        WriteError: If the cache cannot be written.
    """
    name = str(model)
    if name in shipped_models() or is_package(Path(name)) or not _may_be_foreign(name):
        return find_package(model)
    models = (cache or Path(user_cache_dir("geoseg", appauthor=False))) / "models"
    if is_address(name):
        return find_package(_find_at_address(name, models))
    with tempfile.TemporaryDirectory(prefix="geoseg-") as work:
        where = _Where(base=name, work=Path(work))
        local = where.bring()
        if _is_own_item(local):
            return find_package(local.parent)
        folder = models / _key(local, name)
        if not is_package(folder):
            _import_once(where, local, folder)
    return find_package(folder)


def _find_at_address(address: str, models: Path) -> Path:
    with _ASKS:
        folder = _ask_once(address, models)
        if is_package(folder):
            return folder
        # the cache was emptied meanwhile
        _ask_once.cache_clear()
        return _ask_once(address, models)


@lru_cache(maxsize=64)
def _ask_once(address: str, models: Path) -> Path:
    """Return the package of a model at an address, and note which version it is."""
    # addresses may hold secrets
    note = models / "addresses" / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}.json"
    kept = _read_note(note, models)
    with tempfile.TemporaryDirectory(prefix="geoseg-") as work:
        fetched = fetch_changed(address, Path(work), None if kept is None else kept[1])
        if fetched is None:
            assert kept is not None, "what is not known is fetched"
            return kept[0]
        folder = models / _key(fetched.path, address)
        if not is_package(folder):
            _import_once(_Where(base=address, work=Path(work)), fetched.path, folder)
    _write_note(note, {"geoseg": __version__, "package": folder.name, "version": asdict(fetched.version)})
    return folder


def _read_note(note: Path, models: Path) -> tuple[Path, Version] | None:
    """Return the package that was made of an address by this version of geoseg, if it is there still."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        told = json.loads(note.read_text(encoding="utf-8"))
        folder = models / str(told["package"])
        if told["geoseg"] == __version__ and is_package(folder):
            return folder, Version(**told["version"])
    return None


def _write_note(note: Path, told: dict[str, Any]) -> None:
    """Write a note; where that cannot be, the next process fetches the model again."""
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=note.parent, prefix=".geoseg-") as work:
            made = Path(work) / note.name
            made.write_text(json.dumps(told), encoding="utf-8")
            made.replace(note)


def import_model(source: str, target: Path, sheet: Sheet, *, name: str | None = None, complete: Complete | None = None) -> ModelPackage:
    """Take in a model from elsewhere as a package.

    Args:
        source: A package (folder or ``.zip``), a folder of SMP's ``save_pretrained``, ``hf:ORG/NAME[@REVISION]``, an ONNX model, a
            ``.pt2`` archive of ``torch.export``, or a STAC item with the MLM extension; the last three also as addresses.
        target: New folder of the package.
        sheet: What the model does not say of itself; it overrules a sheet that lies beside the model.
        name: New name of the model.
        complete: Makes the sheet of what the model says, for example by asking; None takes the sheet as it is.

    Raises:
        MissingFileError: If it is not there.
        ModelError: If something is missing or does not fit; the message names it.
        WriteError: If the target exists or cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise WriteError(f"{target} is there already. Choose a new name with -o, or remove it.")
    with tempfile.TemporaryDirectory(prefix="geoseg-") as work:
        where = _Where(base=source, work=Path(work))
        local = where.bring()
        return _take_in(where, local, target, sheet, name=name, complete=complete)


def _take_in(
    where: _Where, local: Path, target: Path, sheet: Sheet, *, name: str | None = None, complete: Complete | None = None
) -> ModelPackage:
    if is_package(local) or local.suffix == ".zip" or _is_own_item(local):
        return import_package(local.parent if local.suffix == ".json" else local, target, name)
    found = _describe(local, merge(read_sheet(sheet_beside(local)), sheet), complete, where)
    return _write(found, found.spec if name is None else renamed(found.spec, name), target)


def _may_be_foreign(name: str) -> bool:
    """Tell whether a name is meant for something else than a package: an address, or a file or folder that is there."""
    try:
        return is_hub_name(name) or is_address(name) or Path(name).exists()
    except OSError:
        return False


def _key(local: Path, base: str) -> str:
    """Name a model by its content, the sheet beside it, and the version that reads them."""
    files = _list_files(local) if local.is_file() else sorted(p for p in (local / _SMP_CONFIG, local / _SMP_WEIGHTS) if p.is_file())
    sheet = sheet_beside(local)
    parts = [__version__, local.suffix, *(hash_file(path) for path in (*files, *([sheet] if sheet else ())))]
    if local.suffix == ".json":
        # an equal one elsewhere may name another model
        parts.append(base if is_address(base) else str(local.absolute()))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _list_files(local: Path) -> list[Path]:
    """Return a model's file and those beside it that it names: the key of the cache must know when any of them has changed."""
    if local.suffix == ".onnx":
        from geoseg.model.onnxfile import list_files

        return list_files(local)
    if local.suffix != ".json":
        return [local]
    from geoseg.model.mlm import list_beside

    return [local, *(path for asset in list_beside(_read_item(local), local) for path in _list_files(asset))]


def _import_once(where: _Where, local: Path, folder: Path) -> None:
    """Import aside and rename: others find it whole or not at all, and the first of two wins."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".geoseg-") as work:
            made = _take_in(where, local, Path(work) / "package", {})
            try:
                os.rename(made.folder, folder)
            except OSError:
                if not is_package(folder):
                    raise
    except OSError as exc:
        if isinstance(exc, MissingFileError | WriteError):
            raise
        raise WriteError(f"{local} could not be taken in below {folder.parent}: {exc}. Set another cache in the configuration.") from exc


def _write(found: _Found, spec: ModelSpec, target: Path) -> ModelPackage:
    parent = target.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".geoseg-") as work:
            folder = Path(work) / "package"
            folder.mkdir()
            found.write(folder)
            write_card(folder, spec)
            folder.rename(target)
    except OSError as exc:
        if isinstance(exc, MissingFileError | WriteError):
            raise
        raise WriteError(f"The package could not be written to {target}: {exc}.") from exc
    return find_package(target)


def _is_own_item(local: Path) -> bool:
    return local.name == CARD_NAME and is_package(local.parent) and "geoseg:spec" in _read_item(local).get("properties", {})


def _read_item(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LONGEST_CARD_BYTES:
            raise ModelError(f"{path} has {path.stat().st_size / 1e6:.0f} MB; a STAC item has {_LONGEST_CARD_BYTES / 1e6:.0f} MB at most.")
        item = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as exc:
        if isinstance(exc, ModelError):
            raise
        raise ModelError(f"{path} is not valid JSON: {exc}.") from exc
    if not isinstance(item, dict):
        raise ModelError(f"{path} holds a {type(item).__name__}; a STAC item was expected.")
    return item


def _describe(local: Path, sheet: Sheet, complete: Complete | None, where: _Where) -> _Found:
    if local.is_dir():
        return _describe_folder(local, sheet, complete)
    if not local.is_file():
        raise MissingFileError(f"There is no {local}; {_KNOWN} was expected. For a model of the Hugging Face hub write hf:ORG/NAME.")
    if local.suffix == ".json":
        return _describe_item(local, sheet, complete, where)
    readers = {".onnx": _describe_onnx, ".pt2": _describe_program}
    if local.suffix in readers:
        return readers[local.suffix](local, sheet, complete)
    if local.suffix in PICKLES:
        raise ModelError(
            f"{local} is a pickle or a checkpoint, which can run any code and is never read. Save the network as ONNX, with torch.export "
            "(.pt2), or with SMP's save_pretrained."
        )
    raise ModelError(f"{local} is no model that geoseg knows: {_KNOWN} was expected.")


def _describe_folder(local: Path, sheet: Sheet, complete: Complete | None) -> _Found:
    if not ((local / _SMP_CONFIG).is_file() and (local / _SMP_WEIGHTS).is_file()):
        raise ModelError(
            f"{local} holds neither {CARD_NAME} nor {_SMP_CONFIG} with {_SMP_WEIGHTS}: it is no model that geoseg knows. "
            f"Expected was {_KNOWN}."
        )
    # torch is only loaded for networks that it runs
    from geoseg.model.foreign import describe_smp, tell_smp, write_smp

    spec = describe_smp(local, merge(sheet, complete(merge(tell_smp(local), sheet))) if complete else sheet)
    return _Found(spec=spec, write=lambda folder: write_smp(local, spec, folder))


def _describe_onnx(local: Path, sheet: Sheet, complete: Complete | None) -> _Found:
    from geoseg.model.onnxfile import open_whole, read_onnx
    from geoseg.model.whole import describe_whole

    content = read_onnx(local)
    whole = open_whole(str(local), content, sheet.get("ports", {}))
    spec = describe_whole(whole, merge(sheet, complete(merge(whole.told, sheet))) if complete else sheet)
    return _Found(spec=spec, write=lambda folder: _keep(folder / ONNX_NAME, content))


def _describe_program(local: Path, sheet: Sheet, complete: Complete | None) -> _Found:
    from geoseg.model.program import open_whole
    from geoseg.model.whole import describe_whole

    whole = open_whole(local)
    spec = describe_whole(whole, merge(sheet, complete(merge(whole.told, sheet))) if complete else sheet)
    return _Found(spec=spec, write=lambda folder: _copy(local, folder / PROGRAM_NAME))


def _describe_item(local: Path, sheet: Sheet, complete: Complete | None, where: _Where) -> _Found:
    from geoseg.model.mlm import read_item

    described = read_item(_read_item(local), local, where.base, where.work, sheet)
    return _describe(described.weights, merge(described.sheet, sheet), complete, where)


def _keep(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)

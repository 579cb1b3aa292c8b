"""Packages on their way: copied, zipped, and taken in from strangers with care."""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from geoseg.errors import MissingFileError, ModelError, WriteError
from geoseg.model.package import CARD_NAME, GRAPH_NAME, ONNX_NAME, PROGRAM_NAME, WEIGHTS_NAME, ModelPackage, find_package, write_card
from geoseg.model.spec import ModelSpec

_WEIGHTS = (WEIGHTS_NAME, ONNX_NAME, PROGRAM_NAME)
SIZE_LIMIT_BYTES = 8 * 1024**3
"""Weights beyond it are no segmentation model, or an archive that wants to fill the disk."""


def export_package(package: ModelPackage, target: Path) -> Path:
    """Copy a package into a new folder, or into a ``.zip``, and verify the copy.

    Raises:
        WriteError: If the target exists or cannot be written.
    """
    _refuse_existing(target)
    try:
        with tempfile.TemporaryDirectory(dir=_made_parent(target), prefix=".geoseg-") as work:
            copy = Path(work) / target.name
            if target.suffix == ".zip":
                with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as archive:
                    graph = () if package.graph is None else (GRAPH_NAME,)
                    for name in (CARD_NAME, package.weights.name, *graph):
                        archive.write(package.folder / name, name)
                _unpack(copy, Path(work) / "check")
                find_package(Path(work) / "check")
            else:
                copy_members(package.folder, copy)
                find_package(copy)
            copy.rename(target)
    except OSError as exc:
        raise WriteError(f"The package could not be written to {target}: {exc}.") from exc
    return target


def import_package(source: Path, target: Path, name: str | None = None) -> ModelPackage:
    """Take in a package from a folder or a ``.zip``: its card, its weights and its graph, and nothing else.

    Args:
        source: Folder or archive.
        target: New folder.
        name: New name of the model; None keeps its own.

    Returns:
        The package at the target, its checksums verified.

    Raises:
        MissingFileError: If the source is no package.
        ModelError: If the archive is unsafe, or card and weights do not fit.
        WriteError: If the target exists or cannot be written.
    """
    _refuse_existing(target)
    try:
        with tempfile.TemporaryDirectory(dir=_made_parent(target), prefix=".geoseg-") as work:
            folder = Path(work) / "package"
            if source.is_dir():
                copy_members(source, folder)
            else:
                _unpack(source, folder)
            package = find_package(folder)
            if name is not None:
                write_card(folder, renamed(package.spec, name))
            folder.rename(target)
    except OSError as exc:
        if isinstance(exc, MissingFileError):
            raise
        raise WriteError(f"{source} could not be brought to {target}: {exc}.") from exc
    return find_package(target)


def renamed(spec: ModelSpec, name: str) -> ModelSpec:
    """Return a spec under another name."""
    return ModelSpec.model_validate({**spec.model_dump(), "name": name})


def copy_members(source: Path, target: Path) -> None:
    """Copy card, weights and, where there is one, the graph; links are refused, as they may lead anywhere.

    Raises:
        MissingFileError: If one of them is missing.
        ModelError: If one of them is a link, or larger than the limit.
    """
    weights = next((name for name in _WEIGHTS if (source / name).exists()), WEIGHTS_NAME)
    target.mkdir()
    graph = (GRAPH_NAME,) if (source / GRAPH_NAME).exists() else ()
    for name in (CARD_NAME, weights, *graph):
        path = source / name
        if path.is_symlink():
            raise ModelError(f"{path} is a link; a package holds its files itself. Copy the file that it leads to.")
        if not path.is_file():
            raise MissingFileError(f"{source} holds no {name}: it is no model package of geoseg.")
        _check_size(path.stat().st_size, str(path))
        shutil.copyfile(path, target / name)


def _unpack(archive: Path, target: Path) -> None:
    """Unpack card, weights and graph from a zip that may hold them in one folder."""
    if not archive.is_file():
        raise MissingFileError(f"There is no {archive}; a package folder or a .zip of one was expected.")
    try:
        with zipfile.ZipFile(archive) as opened:
            found = _find_members(opened, archive)
            target.mkdir()
            for name, info in found.items():
                _check_size(info.file_size, f"{info.filename} in {archive}")
                with opened.open(info) as stream, (target / name).open("wb") as out:
                    _copy_limited(stream.read, out.write, info.file_size, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as exc:
        raise ModelError(f"{archive} is no zip archive that can be read: {exc}. Get it again.") from exc


def _find_members(opened: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for info in opened.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in info.filename:
            raise ModelError(f"{archive} holds '{info.filename}', which leads out of its folder. It was not made by geoseg; do not use it.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ModelError(f"{archive} holds the link '{info.filename}'; a package holds its files itself. Do not use it.")
        if path.name in (CARD_NAME, GRAPH_NAME, *_WEIGHTS) and len(path.parts) <= 2:
            if path.name in found:
                raise ModelError(f"{archive} holds {path.name} twice; one package was expected. Unpack it and name the folder.")
            found[path.name] = info
    missing = CARD_NAME if CARD_NAME not in found else WEIGHTS_NAME if not found.keys() & set(_WEIGHTS) else None
    if missing is not None:
        raise MissingFileError(f"{archive} holds no {missing}: it is no model package of geoseg.")
    return found


def _copy_limited(read: Callable[[int], bytes], write: Callable[[bytes], int], size: int, archive: Path) -> None:
    """Copy as many bytes as the archive's table says, so that its table cannot lie about a size."""
    left = size
    while block := read(1 << 20):
        left -= len(block)
        if left < 0:
            raise ModelError(f"{archive} holds more than it says. It is damaged or made to harm; do not use it.")
        write(block)


def _check_size(size: int, what: str) -> None:
    if size > SIZE_LIMIT_BYTES:
        raise ModelError(f"{what} has {size / 1e9:.1f} GB; at most {SIZE_LIMIT_BYTES / 1e9:.1f} GB are taken in.")


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise WriteError(f"{target} is there already. Choose a new name with -o, or remove it.")


def _made_parent(target: Path) -> Path:
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    return target.absolute().parent

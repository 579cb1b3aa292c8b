"""Versions of what geoseg needs, and whether it can be loaded; what of the optional packages is there."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from geoseg import __version__
from geoseg.doctor.finding import Finding, describe_error, failed, ok, warning

_LOADED = ("numpy", "shapely", "pyproj", "rasterio", "pyogrio", "geopandas", "numba", "onnxruntime", "pydantic")
"""Loaded one by one, so that the broken one is named. Torch takes seconds, and the self-test loads it."""
_EXTRAS = ("train", "arrays", "stac", "formats", "view", "cluster", "cloud", "onnx")
_REINSTALL = "Install it anew: pip install --force-reinstall --no-deps {}."


def look_at_versions() -> Iterator[Finding]:
    """Tell versions of geoseg, Python and the system."""
    yield ok("geoseg", f"{__version__} in {Path(__file__).parents[1]}, Python {platform.python_version()}, {platform.platform()}")


def look_at_requirements() -> Iterator[Finding]:
    """Compare what is installed with what geoseg asks for."""
    try:
        asked = [Requirement(text) for text in requires("geoseg") or ()]
    except (PackageNotFoundError, InvalidRequirement):
        yield warning("packages", "geoseg is not installed: it runs from its source.", "Install it: pip install . in its folder.")
        return
    needed = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    faults = [text for each in needed if (text := _compare(each))]
    if faults:
        yield failed("packages", "; ".join(faults), "Bring them up to date: in the folder of its source, pip install --upgrade .")
    else:
        yield ok("packages", f"all {len(needed)} are installed as asked for")
    missing = {extra: names for extra in _EXTRAS if (names := [e.name for e in _of_extra(asked, extra) if _compare(e)])}
    there = [extra for extra in _EXTRAS if extra not in missing]
    lacking = "; ".join(f"geoseg[{extra}] lacks {', '.join(names)}" for extra, names in missing.items())
    yield ok("extras", f"{', '.join(there) or 'none'} installed" + (f"; {lacking}: install it when you need it" if lacking else ""))


def _of_extra(asked: list[Requirement], extra: str) -> list[Requirement]:
    return [each for each in asked if each.marker is not None and each.marker.evaluate({"extra": extra}) and each.name != "geoseg"]


def _compare(asked: Requirement) -> str:
    """Say what is wrong with an installed package, if anything is."""
    try:
        there = version(asked.name)
    except PackageNotFoundError:
        return f"{asked.name} is not installed"
    return "" if asked.specifier.contains(there, prereleases=True) else f"{asked.name} is {there}, {asked.specifier} is needed"


def look_at_loading() -> Iterator[Finding]:
    """Load the libraries whose compiled parts break when environments are mixed."""
    broken = 0
    for name in _LOADED:
        try:
            module = import_module(name)
        except Exception as exc:
            broken += 1
            yield failed(name, f"cannot be loaded: {describe_error(exc)}", _cause_of_shadow(name) or _REINSTALL.format(name))
            continue
        shadow = _cause_of_shadow(name, getattr(module, "__file__", None))
        if shadow:
            yield warning(name, f"is loaded from {module.__file__}", shadow)
    if not broken:
        yield ok("loading", ", ".join(f"{name} {_version_of(name)}" for name in _LOADED))


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "of unknown version"


def _cause_of_shadow(name: str, file: str | None = None) -> str:
    """Say so if a folder of PYTHONPATH, or the working directory, holds a module of that name that is taken instead."""
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    for folder in (*folders, os.getcwd()):
        if folder not in sys.path and folder not in folders:
            continue
        candidates = [Path(folder, name), Path(folder, f"{name}.py")]
        found = next((path for path in candidates if path.exists()), None)
        if found is not None and (file is None or Path(file).is_relative_to(Path(folder))):
            return f"{found} is taken for {name}: take its folder out of PYTHONPATH (unset PYTHONPATH), or work in another folder."
    return ""

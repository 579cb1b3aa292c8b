"""Which file formats a run can be written in beside its own, and what each of them needs; nothing of them is loaded here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from geoseg.errors import ConfigError, MissingFileError
from geoseg.plugins import WRITERS, load_plugin, plugin_names

_FEATURES = frozenset({"landcover", "buildings", "roads"})
_ARROW = ("pyarrow",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format by name."""

    name: str
    """As ``--formats`` takes it."""
    entry: str = ""
    """Module and function of geoseg's own that write it; empty for those of other packages."""
    made_from: frozenset[str] = frozenset()
    """Outputs of which the run needs one; empty needs none."""
    modules: tuple[str, ...] = ()
    """Optional packages that it takes, all in the extra ``formats``."""


_OWN = (
    Format(name="geoparquet", entry="geoseg.products.formats.geoparquet:write_geoparquet", made_from=_FEATURES, modules=_ARROW),
    Format(name="flatgeobuf", entry="geoseg.products.formats.simple:write_flatgeobuf", made_from=_FEATURES, modules=_ARROW),
    Format(name="geojson", entry="geoseg.products.formats.simple:write_geojson", made_from=_FEATURES, modules=_ARROW),
    Format(name="pmtiles", entry="geoseg.products.formats.pmtiles:write_pmtiles", made_from=_FEATURES, modules=("pyarrow", "pmtiles")),
    Format(name="osm", entry="geoseg.products.formats.osm:write_osm", made_from=frozenset({"buildings"}), modules=_ARROW),
    Format(name="coco", entry="geoseg.products.formats.coco:write_coco_folder", made_from=frozenset({"buildings"})),
    Format(name="coco-rle", entry="geoseg.products.formats.coco:write_coco_masks", made_from=frozenset({"buildings"})),
    Format(name="zarr", entry="geoseg.products.formats.zarr:write_zarr", made_from=frozenset({"probabilities"}), modules=("zarr",)),
    Format(name="styles", entry="geoseg.products.formats.styles:write_styles"),
)
FORMATS = {each.name: each for each in _OWN}
"""The formats of geoseg itself."""


def list_formats() -> dict[str, Format]:
    """Return all formats by name, those that other packages add included; geoseg's own come first and cannot be replaced."""
    return FORMATS | {name: Format(name=name) for name in plugin_names(WRITERS) if name not in FORMATS}


def check_formats(names: Iterable[str], outputs: Iterable[str]) -> None:
    """Refuse formats that cannot be written, before any work.

    Args:
        names: What was asked for.
        outputs: What the run makes.

    Raises:
        ConfigError: If one is unknown, what it is made from is not among the outputs, or a package is not installed or broken.
    """
    known, made = list_formats(), set(outputs)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            raise ConfigError(f"There is no format '{name}'{hint} Formats are {', '.join(known)}.")
        form = known[name]
        if not form.entry:
            # what another package cannot do is known before the network has done its work
            load_writer(name)
        if form.made_from and not form.made_from & made:
            raise ConfigError(
                f"The format '{name}' is written from {' or '.join(sorted(form.made_from))}, which is not among the outputs "
                f"({', '.join(sorted(made)) or 'none'}). Add it to --outputs, choose a model that finds it, or leave the format out."
            )
        lacking = [module for module in form.modules if find_spec(module) is None]
        if lacking:
            raise ConfigError(f"The format '{name}' needs {' and '.join(lacking)}. Install them with: pip install 'geoseg[formats]'.")


def check_zones(zones: Path | None, outputs: Iterable[str], geobox: GeoBox | None = None) -> None:
    """Refuse zones that cannot be measured, before any work.

    Args:
        zones: Vector file of polygons; None is none.
        outputs: What the run makes.
        geobox: Its grid, which they have to touch; None where it is not known yet.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it is no vector file, declares no CRS, or holds no polygon, or none that touches the grid.
        ConfigError: If classes are not among the outputs, or a package is not installed.
    """
    if zones is None:
        return
    if not zones.exists():
        raise MissingFileError(f"There is no vector file {zones}. Check --zones.")
    if "classes" not in outputs:
        raise ConfigError(f"Areas in zones are measured in the class map; outputs are {', '.join(outputs)}. Add classes to --outputs.")
    if find_spec("exactextract") is None:
        raise ConfigError("Areas in zones need exactextract. Install it with: pip install 'geoseg[formats]'.")
    # loads geopandas, which most runs do not need until they write polygons
    from geoseg.io.polygons import read_zones

    read_zones(zones, geobox)


def load_writer(name: str) -> Callable[..., Any]:
    """Return the function that writes a format: :data:`geoseg.products.formats.run.Writer`.

    Raises:
        ConfigError: If another package's cannot be loaded.
    """
    own = FORMATS.get(name)
    if own is None:
        loaded: Callable[..., Any] = load_plugin(WRITERS, name)
        return loaded
    module, _, attribute = own.entry.partition(":")
    writer: Callable[..., Any] = getattr(import_module(module), attribute)
    return writer

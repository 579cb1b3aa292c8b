"""A run as a STAC Item, so that catalogs find it and programs know what its files hold."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import mapping

from geoseg import __version__
from geoseg.inference.runplan import RunPlan
from geoseg.io.files import is_there
from geoseg.io.ground import pixel_size_m
from geoseg.io.sources.imagery import list_files
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.pixels.decode import EVIDENCE_SCALE, MEASURE_SCALE, LayerPlan
from geoseg.redact import redact
from geoseg.runfolder.provenance import checksum_files, identify_run

FORMAT_KEY = "geoseg:format"
"""Field of an asset that was written for a format of ``--formats``."""
_HOME = "https://stac-extensions.github.io"
_EXTENSIONS = tuple(
    f"{_HOME}/{name}/schema.json"
    for name in ("classification/v2.0.0", "file/v2.1.0", "processing/v1.2.0", "projection/v2.0.0", "raster/v2.0.0")
)
_GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
_MEDIA_TYPES = {
    ".tif": _GEOTIFF,
    ".gpkg": "application/geopackage+sqlite3",
    ".graphml": "application/graphml+xml",
    ".toml": "application/toml",
    ".xml": "application/xml",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".fgb": "application/vnd.flatgeobuf",
    ".geojson": "application/geo+json",
    ".pmtiles": "application/vnd.pmtiles",
    ".osm": "application/vnd.openstreetmap.data+xml",
    ".zarr": "application/vnd.zarr; version=3",
    ".qml": "application/xml",
    ".sld": "application/vnd.ogc.sld+xml",
    ".csv": "text/csv",
    ".html": "text/html",
}
_MOST_LINKS = 100
"""Links to imagery."""
_UNKNOWN_TYPE = "application/octet-stream"
_OTHER_ROLES = {".toml": "metadata", ".xml": "metadata", ".html": "overview", ".qml": "style", ".sld": "style"}
_PLAIN_KEYS = {".tif", ".gpkg", ".graphml", ".toml", ".json"}
"""Files that are known by their names without ending; others keep it."""


def describe_item(plan: RunPlan, folder: Path, products: Iterable[Path], formats: Mapping[str, str]) -> bytes:
    """Write the run as a STAC Item.

    Args:
        plan: The run.
        folder: Run folder; its name is the item's id.
        products: Where the products lie now; each becomes an asset with size and SHA-256.
        formats: Which format a file was written for, by its name.
    """
    geobox, spec = plan.source.geobox, plan.package.spec
    box = geobox.boundingbox
    to_degrees = Transformer.from_crs(geobox.crs, "EPSG:4326", always_xy=True)
    outline = shapely.box(*to_degrees.transform_bounds(box.left, box.bottom, box.right, box.top))
    now = _now()
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": folder.absolute().name,
        "geometry": mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {
            "datetime": now,
            "created": now,
            **_projection(geobox),
            "processing:software": {"geoseg": __version__},
            "processing:lineage": f"{redact(plan.source.path)} segmented with model {spec.name} {spec.version}",
            "geoseg:model": f"{spec.name} {spec.version}",
            "geoseg:run_id": identify_run(plan.fingerprint()),
        },
        "links": [
            *({"rel": "derived_from", "href": _address(name), "title": "Imagery"} for name in _names(plan)),
            {
                "rel": "derived_from",
                "href": _address(str(plan.package.folder / "model.json")),
                "type": "application/geo+json",
                "title": f"Model {spec.name} {spec.version}",
            },
        ],
        "assets": _assets(products, formats, _describe_rasters(spec.scheme, spec.layers, geobox)),
    }
    return (json.dumps(_admit_footprint(item, plan), indent=2) + "\n").encode()


def _admit_footprint(item: dict[str, Any], plan: RunPlan) -> dict[str, Any]:
    """Return an item that claims no place, or an approximate one, for imagery that has no better."""
    placed = [file.options.placed for file in list_files(plan.source.imagery) if file.options.placed is not None]
    if not placed:
        return item
    if not all(placement.is_place for placement in placed):
        return {key: value for key, value in item.items() if key != "bbox"} | {"geometry": None}
    return item | {"properties": item["properties"] | {"geoseg:footprint": "approximate"}}


def describe_item_redone(item: dict[str, Any], run_id: str, products: Iterable[Path], formats: Mapping[str, str]) -> bytes:
    """Write the STAC Item again after some products were made anew.

    Args:
        item: What it held.
        run_id: Id under the settings that the products were made with.
        products: Where all products lie now.
        formats: Which format a file was written for, by its name.
    """
    properties = item.get("properties", {}) | {"created": _now(), "geoseg:run_id": run_id}
    extensions = sorted({*item.get("stac_extensions", ()), *(name for name in _EXTENSIONS if "/file/" in name)})
    redone = item | {"stac_extensions": extensions, "properties": properties, "assets": _assets(products, formats, item.get("assets", {}))}
    return (json.dumps(redone, indent=2) + "\n").encode()


def formats_of(item: Mapping[str, Any]) -> dict[str, str]:
    """Return which format each file of an item was written for, by its name."""
    assets = item.get("assets", {}).values()
    return {str(asset["href"]).removeprefix("./"): str(asset[FORMAT_KEY]) for asset in assets if FORMAT_KEY in asset}


def _names(plan: RunPlan) -> list[str]:
    """Return the files of the imagery, the first ones of very many."""
    return [file.name for file in list_files(plan.source.imagery)][:_MOST_LINKS] or [plan.source.path]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _address(path: str) -> str:
    """Return a file as a URI; addresses stay, but for their secrets."""
    return Path(redact(path)).absolute().as_uri() if is_there(Path(path)) else redact(path)


def _projection(geobox: GeoBox) -> dict[str, Any]:
    box = geobox.boundingbox
    placed = {"proj:shape": [int(side) for side in geobox.shape], "proj:transform": [float(v) for v in tuple(geobox.transform)[:6]]}
    placed["proj:bbox"] = [float(v) for v in (box.left, box.bottom, box.right, box.top)]
    if geobox.crs is None:
        return {"proj:code": None, **placed}
    if geobox.crs.epsg is None:
        return {"proj:code": None, "proj:wkt2": geobox.crs.to_wkt(), **placed}
    return {"proj:code": f"EPSG:{geobox.crs.epsg}", **placed}


def _describe_rasters(scheme: ClassScheme, layers: LayerPlan, geobox: GeoBox) -> dict[str, dict[str, Any]]:
    """Return what is known of the bands of each raster, by asset."""
    common = {"raster:spatial_resolution": round(pixel_size_m(geobox), 6), "raster:sampling": "area"}

    def bands(names: Sequence[str], **more: Any) -> list[dict[str, Any]]:
        return [{"name": name, **more, **common} for name in names]

    measured = {"data_type": "uint8", "nodata": NODATA_CLASS, "raster:scale": 1 / MEASURE_SCALE, "raster:offset": 0}
    groups = {kind: [m.name for m in layers.measures if (m.kind == "probability") == (kind == "probabilities")] for kind in _MEASURED}
    classes = bands(["class"], data_type="uint8", nodata=NODATA_CLASS)
    classes[0]["classification:classes"] = _describe_classes(scheme)
    return {
        "classes": {"bands": classes},
        "confidence": {"bands": bands(["confidence"], data_type="uint8", nodata=NODATA_CLASS, unit="%")},
        "evidence": {"bands": bands([e.name for e in layers.evidence], data_type="uint8", **{"raster:scale": 1 / EVIDENCE_SCALE})},
        "instances": {"bands": bands(["instance"], data_type="uint32", nodata=0)},
        "panoptic": {"bands": bands(["class", "instance"], data_type="uint32")},
        **{kind: {"bands": bands(names, **measured)} for kind, names in groups.items()},
    }


_MEASURED = ("probabilities", "uncertainty")


def _describe_classes(scheme: ClassScheme) -> list[dict[str, Any]]:
    known = [
        {"value": c.value, "name": _short_name(c.name, c.value), "title": c.name, "description": c.name, "color_hint": c.color[1:].upper()}
        for c in scheme
    ]
    return [*known, {"value": NODATA_CLASS, "name": "nodata", "title": "No data", "description": "No data", "nodata": True}]


def _short_name(name: str, value: int) -> str:
    """Return a name of the letters that the classification extension takes."""
    return re.sub("[^0-9A-Za-z_-]+", "_", name).strip("_") or f"class_{value}"


def _assets(products: Iterable[Path], formats: Mapping[str, str], known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Describe files and folders, but for the item itself."""
    named = {path.name: path for path in products if path.name != "item.json"}
    sums = checksum_files(named.values())
    assets = {}
    for name in sorted(named):
        ending = Path(name).suffix
        key = Path(name).stem if ending in _PLAIN_KEYS else name
        about = {"href": f"./{name}", "type": _MEDIA_TYPES.get(ending, _UNKNOWN_TYPE), "roles": [_OTHER_ROLES.get(ending, "data")]}
        more = {field: value for field, value in known.get(key, {}).items() if not field.startswith(("file:", "geoseg:"))}
        assets[key] = more | about | sums[name] | ({FORMAT_KEY: formats[name]} if name in formats else {})
    return assets

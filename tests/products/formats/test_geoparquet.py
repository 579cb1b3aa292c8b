"""GeoParquet 1.1: the metadata of the standard, features in Hilbert order, large layers in parts of the curve."""

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geoseg.io.vector import open_layers
from geoseg.pixels.classes import ClassScheme, LandClass
from geoseg.products.formats import geoparquet
from geoseg.products.formats.geoparquet import write_geoparquet
from geoseg.products.formats.run import RunProducts
from tests.doubles import TRANSFORM, read_layer

SCHEME = ClassScheme(classes=(LandClass(value=0, name="ground", color="#102030"),))
BOX = GeoBox((1000, 1000), TRANSFORM, "EPSG:32645")


def draw(folder: Path, count: int) -> RunProducts:
    """A run of many small buildings, some on top of each other."""
    rng = np.random.default_rng(5)
    box = BOX.boundingbox
    x, y = rng.uniform(box.left, box.right - 5, count), rng.uniform(box.bottom, box.top - 5, count)
    x[1 : count // 2], y[1 : count // 2] = x[:1], y[:1]
    table = gpd.GeoDataFrame({"instance_id": np.arange(count)}, geometry=shapely.box(x, y, x + 5, y + 5), crs="EPSG:32645")
    with open_layers(folder / "features.gpkg") as add:
        add("buildings", table)
    return RunProducts(name="many", places=(folder,), geobox=BOX, scheme=SCHEME)


def geo_of(path: Path) -> dict[str, Any]:
    return json.loads(pq.read_schema(path).metadata[b"geo"])


def test_the_metadata_are_those_of_version_1_1(finished: Path) -> None:
    geo = geo_of(finished / "buildings.parquet")
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"], column["edges"]) == ("WKB", ["Polygon"], "planar")
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32645}
    assert column["covering"] == {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
    buildings = read_layer(finished, "buildings")
    np.testing.assert_array_equal(column["bbox"], buildings.total_bounds)
    rows = pq.read_table(finished / "buildings.parquet")
    assert rows.column_names[-2:] == ["geometry", "bbox"]
    boxes = np.array([list(row.values()) for row in rows.column("bbox").to_pylist()])
    np.testing.assert_array_equal(boxes, shapely.bounds(shapely.from_wkb(rows.column("geometry").to_pylist())))


def test_features_follow_the_curve_and_a_reader_may_filter_by_their_boxes(finished: Path) -> None:
    path = finished / "buildings.parquet"
    table = gpd.read_parquet(path)
    box = (337_200.0, 3_058_725.0, 337_300.0, 3_058_800.0)
    assert table.hilbert_distance(total_bounds=box).is_monotonic_increasing
    some = gpd.read_parquet(path, bbox=(337_200, 3_058_725, 337_230, 3_058_800))
    assert 0 < len(some) < len(table)
    assert set(some["instance_id"]) == set(table[table.bounds.minx <= 337_230]["instance_id"])


@pytest.mark.parametrize("count", [0, 1, 1000, 1001])
def test_parts_hold_every_feature_once_and_follow_one_another_on_the_curve(tmp_path: Path, count: int) -> None:
    products = draw(tmp_path, count)
    made = tmp_path / "made"
    made.mkdir()
    write_geoparquet(products, made, part_rows=100)
    assert [path.name for path in made.iterdir()] == ["buildings.parquet"]
    path = made / "buildings.parquet"
    assert path.is_dir() == (count > 100)
    found = gpd.read_parquet(path)
    assert sorted(found["instance_id"]) == list(range(count))
    if path.is_dir():
        parts = [gpd.read_parquet(part) for part in sorted(path.iterdir())]
        # half of the features lie in one place, which no cut divides
        assert sorted(len(part) for part in parts)[-1] < 700
        assert sum(len(part) <= 150 for part in parts) >= 4
        keys = [part.hilbert_distance(total_bounds=tuple(BOX.boundingbox.bbox)).to_numpy() for part in parts]
        assert (np.diff(np.concatenate(keys).astype(np.int64)) >= 0).all()
        assert {geo_of(part)["version"] for part in path.iterdir()} == {"1.1.0"}


def test_a_run_reads_the_curve_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.io.arrow.BATCH_ROWS", 64)
    sizes = []
    located = geoparquet._locate

    def counting(column: Any, bounds: Any) -> Any:
        sizes.append(len(column))
        return located(column, bounds)

    monkeypatch.setattr(geoparquet, "_locate", counting)
    (tmp_path / "made").mkdir()
    write_geoparquet(draw(tmp_path, 300), tmp_path / "made", part_rows=100)
    assert max(sizes) == 64
    assert sum(sizes) == 600


_PATH = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
_KINDS = "^(GeometryCollection|(Multi)?(Point|LineString|Polygon))( Z)?$"
RULES = {
    "type": "object",
    "required": ["version", "primary_column", "columns"],
    "properties": {
        "version": {"const": "1.1.0"},
        "primary_column": {"type": "string", "minLength": 1},
        "columns": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["encoding", "geometry_types"],
                "properties": {
                    "encoding": {"enum": ["WKB", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"]},
                    "geometry_types": {"type": "array", "uniqueItems": True, "items": {"type": "string", "pattern": _KINDS}},
                    "crs": {"type": ["object", "null"]},
                    "edges": {"enum": ["planar", "spherical"]},
                    "orientation": {"const": "counterclockwise"},
                    "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
                    "epoch": {"type": "number"},
                    "covering": {
                        "type": "object",
                        "required": ["bbox"],
                        "properties": {
                            "bbox": {
                                "type": "object",
                                "required": ["xmin", "ymin", "xmax", "ymax"],
                                "additionalProperties": _PATH,
                            }
                        },
                    },
                },
            },
        },
    },
}
"""What version 1.1 of the standard says of the metadata, in words of JSON Schema."""


@pytest.mark.parametrize("layer", ["landcover", "buildings"])
def test_a_file_keeps_the_rules_of_the_standard_and_other_programs_agree_on_its_crs(finished: Path, layer: str) -> None:
    path = finished / f"{layer}.parquet"
    geo = geo_of(path)
    jsonschema.validate(geo, RULES)
    column = geo["columns"][geo["primary_column"]]
    assert CRS.from_json_dict(column["crs"]) == CRS(32645)
    rows = pq.read_table(path)
    shapes = shapely.from_wkb(rows.column(geo["primary_column"]).to_pylist())
    assert {shape.geom_type for shape in shapes} <= set(column["geometry_types"])
    for side, names in column["covering"]["bbox"].items():
        assert rows.schema.field(names[0]).type.field(names[1]).type in (pa.float32(), pa.float64())
        assert side == names[1]
    if "orientation" in column:
        assert shapely.is_ccw(shapely.get_exterior_ring(shapely.get_parts(shapes))).all()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(geo | {"version": "1.0.0"}, RULES)


def draw_in(folder: Path, crs: str | None, count: int) -> RunProducts:
    """Polygons of a run in any CRS, or none, that reach a little over each other."""
    geobox = GeoBox((100, 100), Affine(1e-5, 0, 85.5, 0, -1e-5, 27.6), crs)
    box = geobox.boundingbox
    x, y = np.linspace(box.left, box.right, count + 2)[1:-1], np.linspace(box.bottom, box.top, count + 2)[1:-1]
    table = gpd.GeoDataFrame({"instance_id": np.arange(count)}, geometry=shapely.box(x, y, x + 1e-5, y + 2e-5), crs=crs)
    with open_layers(folder / "features.gpkg") as add:
        add("buildings", table)
    return RunProducts(name="some", places=(folder,), geobox=geobox, scheme=SCHEME)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(("crs", "count"), [("EPSG:4326", 30), ("EPSG:3857", 30), (None, 30), ("EPSG:4326", 0), ("EPSG:4326", 300)])
def test_another_program_finds_every_file_conformant(tmp_path: Path, crs: str | None, count: int) -> None:
    validator = pytest.importorskip("geoparquet_validator", reason="geoparquet-validator is not installed")
    made = tmp_path / "made"
    made.mkdir()
    write_geoparquet(draw_in(tmp_path, crs, count), made, part_rows=100)
    files = sorted(path for path in made.rglob("*.parquet") if path.is_file())
    assert len(files) == max(1, count // 100)
    for path in files:
        report = validator.check(str(path))
        # the class distribution is of version 2.0
        failed = [*validator.failed(report, "core"), *validator.failed(report, "covering")]
        assert (report["version"], failed) == ("1.1.0", [])
        passed = {outcome["id"] for outcome in report["outcomes"] if outcome["status"] == "pass"}
        assert {"/conf/core/geo-metadata", "/conf/core/column-metadata", "/conf/covering/bbox-column-structure"} <= passed


def test_the_other_program_would_tell(finished: Path, tmp_path: Path) -> None:
    validator = pytest.importorskip("geoparquet_validator", reason="geoparquet-validator is not installed")
    table = pq.read_table(finished / "buildings.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"]["geometry"]["bbox"][0] += 20
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), tmp_path / "off.parquet")
    assert validator.failed(validator.check(str(tmp_path / "off.parquet"))) == ["/conf/core/bbox-extent"]

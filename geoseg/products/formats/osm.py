"""Buildings as OpenStreetMap has them: nodes, closed ways, multipolygon relations where there are courtyards; all ids negative, so new.

Walls that two buildings share use the same nodes. The file is for an editor, such as JOSM, in which somebody looks at every building before
it is uploaded: https://wiki.openstreetmap.org/wiki/Import/Guidelines.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.errors import WriteError
from geoseg.io.arrow import open_features
from geoseg.products.formats.run import RunProducts

_UNITS = 10_000_000
"""Coordinates of OpenStreetMap are whole numbers of 1e-7 degrees, about a centimetre."""
_COLUMNS = _UNITS * 360 + 1
_TABLES = """
    CREATE TABLE node (id INTEGER PRIMARY KEY, place INTEGER UNIQUE);
    CREATE TABLE way (id INTEGER PRIMARY KEY, building INTEGER, role TEXT, places BLOB);
"""


def write_osm(products: RunProducts, target: Path) -> None:
    """Write ``buildings.osm``: outlines in degrees with ``building=yes``, squared as the run has squared them.

    Raises:
        WriteError: If the disk does not take it.
    """
    if "buildings" not in products.layers():
        return
    # nodes come first in the file, each once: the disk keeps them meanwhile, not memory
    scratch = target / ".buildings.sqlite"
    try:
        with closing(sqlite3.connect(scratch)) as store, (target / "buildings.osm").open("w", encoding="utf-8") as out:
            store.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_TABLES}")
            _gather(products.features, store)
            _write_file(store, out)
        scratch.unlink()
    except (sqlite3.Error, OSError) as exc:
        raise WriteError(f"buildings.osm could not be written: {exc}. Make room and run the same command again.") from exc


def _gather(features: Path, store: sqlite3.Connection) -> None:
    """Put the rings of all buildings, and their corners, into tables."""
    building = 0
    with open_features(features, "buildings", columns=[]) as stream:
        to_degrees = Transformer.from_crs(stream.crs, "EPSG:4326", always_xy=True)
        for batch in stream.batches:
            shapes = shapely.from_wkb(batch.column(stream.geometry).to_numpy(zero_copy_only=False))
            # the way that OpenStreetMap likes: shells counterclockwise
            shapes = shapely.orient_polygons(shapely.transform(shapes, lambda points: np.column_stack(to_degrees.transform(*points.T))))
            store.executemany("INSERT INTO way (building, role, places) VALUES (?, ?, ?)", _rings(shapes, building, store))
            building += len(shapes)


def _rings(shapes: NDArray[np.object_], first: int, store: sqlite3.Connection) -> Iterator[tuple[int, str, bytes]]:
    for number, shape in enumerate(shapes, start=first):
        for role, ring in (("outer", shape.exterior), *(("inner", hole) for hole in shape.interiors)):
            places = _places(shapely.get_coordinates(ring))
            if len(places) > 3:
                store.executemany("INSERT OR IGNORE INTO node (place) VALUES (?)", ((int(place),) for place in places))
                yield number, role, places.tobytes()
            elif role == "outer":
                break


def _places(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return coordinates of OpenStreetMap as one number each, without repeated ones in a row."""
    whole = np.rint(points * _UNITS).astype(np.int64)
    places = (whole[:, 1] + 90 * _UNITS) * _COLUMNS + whole[:, 0] + 180 * _UNITS
    moves = np.concatenate([[True], np.diff(places) != 0])
    return np.asarray(places[moves])


def _write_file(store: sqlite3.Connection, out: IO[str]) -> None:
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n<osm version="0.6" generator="geoseg" upload="false">\n')
    for number, place in store.execute("SELECT id, place FROM node ORDER BY id"):
        lat, lon = divmod(place, _COLUMNS)
        out.write(f' <node id="-{number}" lat="{_degrees(lat, 90)}" lon="{_degrees(lon, 180)}"/>\n')
    (nodes,) = store.execute("SELECT count(*) FROM node").fetchone()
    courtyards = "SELECT building FROM way WHERE role = 'inner'"
    ways = store.execute(f"SELECT id, places, building IN ({courtyards}) FROM way ORDER BY id")
    for number, blob, is_member in ways:
        out.write(f' <way id="-{nodes + number}">\n')
        for place in np.frombuffer(blob, np.int64):
            (node,) = store.execute("SELECT id FROM node WHERE place = ?", (int(place),)).fetchone()
            out.write(f'  <nd ref="-{node}"/>\n')
        out.write(f"{'' if is_member else _tags(('building', 'yes'))} </way>\n")
    _write_relations(store, out, courtyards, nodes)
    out.write("</osm>\n")


def _write_relations(store: sqlite3.Connection, out: IO[str], courtyards: str, nodes: int) -> None:
    (ways,) = store.execute("SELECT count(*) FROM way").fetchone()
    members = store.execute(f"SELECT building, id, role FROM way WHERE building IN ({courtyards}) ORDER BY id")
    for number, (_, rings) in enumerate(_by_building(members), start=1):
        out.write(f' <relation id="-{nodes + ways + number}">\n')
        out.writelines(f'  <member type="way" ref="-{nodes + way}" role="{role}"/>\n' for _, way, role in rings)
        out.write(f"{_tags(('type', 'multipolygon'), ('building', 'yes'))} </relation>\n")


def _by_building(rows: Iterable[Any]) -> Iterator[tuple[int, list[Any]]]:
    together: list[Any] = []
    for row in rows:
        if together and row[0] != together[0][0]:
            yield together[0][0], together
            together = []
        together.append(row)
    if together:
        yield together[0][0], together


def _degrees(units: int, offset: int) -> str:
    return f"{(units - offset * _UNITS) / _UNITS:.7f}"


def _tags(*tags: tuple[str, str]) -> str:
    return "".join(f'  <tag k="{key}" v="{value}"/>\n' for key, value in tags)

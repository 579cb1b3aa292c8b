"""Names of the columns of vector files: formats do not take every pair of them."""

from collections.abc import Collection, Iterable, Mapping
from sys import maxsize
from typing import Any

import geopandas as gpd
from numpy.typing import NDArray

RESERVED = frozenset({"fid", "geom"})
"""Columns that a GeoPackage has itself."""


def drop_columns(table: gpd.GeoDataFrame, names: Collection[str]) -> gpd.GeoDataFrame:
    """Return a table without the columns of some names, which are in small letters, whatever their capitals; its shapes stay."""
    return table.drop(columns=[name for name in table.columns if name.lower() in names and name != table.geometry.name])


def replace_columns(table: gpd.GeoDataFrame, columns: Mapping[str, NDArray[Any]]) -> gpd.GeoDataFrame:
    """Return a table with columns in place of those of the same name, whatever their capitals."""
    return drop_columns(table, {name.lower() for name in columns}).assign(**columns)


def part_twins(names: Iterable[str], longest: int = maxsize) -> dict[str, str]:
    """Return new names for columns that cannot keep theirs.

    Args:
        names: All names.
        longest: Characters that a format takes.

    Returns:
        New names by old ones: shortened, and numbered where they differ from an earlier one by capitals only, which most formats do not
        tell apart.
    """
    taken: set[str] = set()
    renamed = {}
    for name in names:
        new, number = name[:longest], 1
        while new.lower() in taken:
            number += 1
            new = f"{name[: longest - len(f'_{number}')]}_{number}"
        taken.add(new.lower())
        if new != name:
            renamed[name] = new
    return renamed

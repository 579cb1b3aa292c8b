"""Names of columns that every format takes."""

import geopandas as gpd
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geoseg.io.columns import RESERVED, drop_columns, part_twins, replace_columns


@given(st.lists(st.text("aAbB_2", min_size=1, max_size=6), unique=True), st.integers(4, 8))
def test_parted_names_differ_by_more_than_capitals_and_are_short_enough(names: list[str], longest: int) -> None:
    renamed = part_twins(names, longest)
    told = [renamed.get(name, name) for name in names]
    assert len({name.lower() for name in told}) == len(names)
    assert all(len(name) <= longest for name in told)


def test_columns_are_replaced_whatever_their_capitals_and_the_shapes_stay() -> None:
    table = gpd.GeoDataFrame({"STATE": ["old"], "FID": [3], "name": ["a"]}, geometry=[shapely.Point(1, 2)])
    renamed = table.rename_geometry("geom")
    assert list(replace_columns(drop_columns(renamed, RESERVED), {"state": table["STATE"].to_numpy()}).columns) == ["name", "geom", "state"]

"""Places in metres, for distances between things; what is far off is farther on the map than on the ground."""

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

_ARCTIC, _ANTARCTIC = "EPSG:3995", "EPSG:3031"


def find_metric_crs(bounds: tuple[float, float, float, float], crs: str) -> CRS:
    """Return the UTM zone in the middle of bounds (left, bottom, right, top), a polar map where there is none.

    Its distances are right to 0.1 % inside a zone.
    """
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    if not -80 <= lat <= 84:
        return CRS.from_user_input(_ARCTIC if lat > 0 else _ANTARCTIC)
    return CRS.from_user_input(gpd.GeoSeries([shapely.Point(lon, lat)], crs="EPSG:4326").estimate_utm_crs())


def move(shapes: NDArray[np.object_], crs: object, onto: object) -> NDArray[np.object_]:
    """Return shapes (n,) in another CRS."""
    return np.asarray(gpd.GeoSeries(shapes, crs=crs).to_crs(onto).to_numpy())


def move_points(points: NDArray[np.float64], crs: object, onto: object) -> NDArray[np.float64]:
    """Return points (n, 2) in another CRS; not finite where they have no place there."""
    x, y = Transformer.from_crs(crs, onto, always_xy=True).transform(points[:, 0], points[:, 1])
    return np.column_stack([x, y])

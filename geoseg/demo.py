"""The main job on a scene that geoseg draws itself, compared with the truth of the drawing."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from geoseg.config import make_config
from geoseg.errors import RunFolderError
from geoseg.events import Listener, ignore_events
from geoseg.io.raster import open_raster, read_whole
from geoseg.io.tiffs.image import write_image
from geoseg.io.vector import read_layer
from geoseg.model.package import find_package
from geoseg.picture import Overview, write_overview
from geoseg.pipeline import segment_raster
from geoseg.pixels.classes import ClassScheme
from geoseg.products.features import to_ground
from geoseg.scene import Scene, SceneOptions, draw_scene


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Where everything is, and how it compares with the truth."""

    raster: Path
    """The drawn orthophoto."""
    run: Path
    """The run folder."""
    picture: Path
    """The overview."""
    iou: dict[str, float]
    """Intersection over union by class name."""
    buildings_drawn: int
    """Buildings in the scene."""
    buildings_found: int
    """Buildings in the result."""
    buildings_matched: int
    """Drawn buildings that a found one covers with an intersection over union of at least 0.5."""
    road_length_m: float
    """Length of the centrelines found."""


def run_demo(folder: Path, options: SceneOptions, listener: Listener = ignore_events) -> DemoResult:
    """Draw a scene, segment it with the shipped model, and compare.

    Args:
        folder: Takes ``scene.tif``, the run folder ``out`` and ``overview.png``.
        options: The scene.
        listener: Takes the run's events.

    Raises:
        RunFolderError: If the folder holds another demo.
    """
    scene = draw_scene(options)
    height, width = scene.classes.shape
    geobox = GeoBox((height, width), scene.transform, scene.crs)
    raster = folder / "scene.tif"
    _put_scene(raster, scene, geobox)
    run = segment_raster(make_config({"raster": str(raster), "output": folder / "out"}), listener)
    scheme = find_package("aerial").spec.scheme
    classes = read_whole(open_raster(run / "classes.tif"))[0][0]
    buildings, roads = (read_layer(run / "features.gpkg", layer) for layer in ("buildings", "roads"))
    overview = Overview(
        image=np.moveaxis(scene.pixels, 0, -1), classes=classes, scheme=scheme, geobox=geobox, buildings=buildings, roads=roads
    )
    write_overview(overview, folder / "overview.png")
    drawn = to_ground(np.asarray(scene.buildings, dtype=object), geobox)
    return DemoResult(
        raster=raster,
        run=run,
        picture=folder / "overview.png",
        iou=_iou(scene, classes, scheme),
        buildings_drawn=len(drawn),
        buildings_found=len(buildings),
        buildings_matched=_count_matched(drawn, buildings),
        road_length_m=float(roads["length_m"].sum()),
    )


def _put_scene(path: Path, scene: Scene, geobox: GeoBox) -> None:
    """Write the scene unless the very same one stands there, so that a stopped demo goes on."""
    pixels = np.where(scene.valid, np.maximum(scene.pixels, 1), 0).astype(np.uint8)
    if path.exists():
        if np.array_equal(read_whole(open_raster(path))[0], pixels):
            return
        raise RunFolderError(f"{path} holds another scene. Choose another folder with -o, or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels, geobox, nodata=0)


def _iou(scene: Scene, classes: np.ndarray, scheme: ClassScheme) -> dict[str, float]:
    shares = {}
    for row in scheme:
        truth, found = (scene.classes == row.value) & scene.valid, (classes == row.value) & scene.valid
        union = (truth | found).sum()
        shares[row.name] = float((truth & found).sum() / union) if union else float("nan")
    return shares


def _count_matched(drawn: np.ndarray, found: gpd.GeoDataFrame) -> int:
    tree = shapely.STRtree(found.geometry.to_numpy())
    one, other = tree.query(drawn, predicate="intersects")
    shapes = found.geometry.to_numpy()
    overlap = shapely.area(shapely.intersection(drawn[one], shapes[other]))
    iou = overlap / shapely.area(shapely.union(drawn[one], shapes[other]))
    return len(np.unique(one[iou >= 0.5]))

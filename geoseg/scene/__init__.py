"""A seeded, drawn orthophoto with exact truth: for ``geoseg demo`` and for tests."""

from geoseg.scene.canvas import Land
from geoseg.scene.drawing import Scene, draw_scene
from geoseg.scene.options import SceneOptions

__all__ = ["Land", "Scene", "SceneOptions", "draw_scene"]

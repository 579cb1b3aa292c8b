"""A seeded, drawn orthophoto with exact truth: for ``geoseg demo`` and for tests."""

from geoseg.scene.drawing import Scene, draw_scene
from geoseg.scene.options import SceneOptions

__all__ = ["Scene", "SceneOptions", "draw_scene"]

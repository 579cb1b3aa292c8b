"""A per-pixel model, small enough to be made for each test."""

from pathlib import Path

import numpy as np

from geoseg.model.package import ONNX_NAME, write_card
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ModelSpec
from tests.doubles import draw_blobs


def baseline_spec(bands: int = 3) -> ModelSpec:
    """A per-pixel model of two classes."""
    spec = double_spec(bands)
    network = {"library": "sklearn", "architecture": "random_forest", "options": {"scales_px": [1]}, "stride_px": 1}
    given = spec.model_dump() | {"name": "pixels", "network": network, "heads": {"semantic": spec.heads["semantic"].model_dump()}}
    return ModelSpec.model_validate(given)


def write_forest(folder: Path, bands: int = 3) -> Path:
    """A package with a tiny random forest."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    from geoseg.model.pixelfeatures import pixel_features

    spec = baseline_spec(bands)
    features = pixel_features(draw_blobs(16, 16)[:bands], np.ones((16, 16), bool), spec.scaling, (1,))
    flat = features.reshape(-1, features.shape[-1]).astype(np.float32)
    forest = RandomForestClassifier(2, max_depth=3, random_state=1).fit(flat, np.arange(len(flat)) % 2)
    folder.mkdir(parents=True)
    (folder / ONNX_NAME).write_bytes(to_onnx(forest, flat[:1], options={"zipmap": False}).SerializeToString())
    write_card(folder, spec)
    return folder

"""Train a per-pixel baseline for few labels: a random forest or a support vector machine, stored as ONNX."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import LabelError, UsageError
from geoseg.io.raster import read_whole
from geoseg.labels.coding import UNLABELLED
from geoseg.labels.targets import LabelledRaster, load_site
from geoseg.model.package import ONNX_NAME, ModelPackage
from geoseg.model.pixelfeatures import feature_radius, pixel_features
from geoseg.model.pixelwise import BaselineOptions, baseline_options
from geoseg.model.spec import Halo, ModelSpec
from geoseg.tiling import partition
from geoseg.training.card import with_memory, write_measured
from geoseg.training.recipe import Recipe

_BLOCK_PX = 512
_OPSET = 18
_FOLDS = 3
"""Of the cross-validation that calibrates an SVM."""


def fit_baseline(recipe: Recipe, data_dir: Path, folder: Path, say: Callable[[str], None]) -> ModelPackage:
    """Train the per-pixel model of a recipe and write its package.

    Only pixels whose class is known are learned from; of the schedule only the seed counts.

    Args:
        recipe: What to train; ``[model.network]`` names ``sklearn``.
        data_dir: Folder that the recipe's paths start from.
        folder: Package folder; weights and card in it are replaced.
        say: Takes one line per step.

    Returns:
        The package. Its halo is exact: how far the features reach.

    Raises:
        ModelError: If the options do not fit.
        LabelError: If a class occurs at no site.
        UsageError: If scikit-learn or skl2onnx is missing.
    """
    options = baseline_options(recipe.model)
    if recipe.start_from:
        raise UsageError(
            f"A per-pixel model learns from its samples alone and cannot start from '{recipe.start_from[0]}'. Remove start_from."
        )
    _need_libraries()
    features, labels = _sample(recipe, data_dir, options)
    say(f"learning from {len(labels)} pixels with {features.shape[1]} features each")
    classifier = fit_classifier(recipe, options, features, labels)
    folder.mkdir(parents=True, exist_ok=True)
    weights = to_onnx(classifier, features.shape[1])
    (folder / ONNX_NAME).write_bytes(weights)
    radius = feature_radius(options.scales_px)
    stride = recipe.model.network.stride_px
    halo = -(-radius // stride) * stride
    spec = recipe.model.model_copy(update={"halo": Halo(default_px=halo, exact_px=halo, measured_on="exact: the reach of the features")})
    return write_measured(folder, with_memory(folder, spec, say), recipe.tests, data_dir, say)


def _need_libraries() -> None:
    try:
        import skl2onnx  # noqa: F401  # asked for before the work, not after it
    except ModuleNotFoundError as exc:
        raise UsageError(f"A baseline needs {exc.name}: pip install 'geoseg[baseline]'.") from exc


def _sample(recipe: Recipe, data_dir: Path, options: BaselineOptions) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw known pixels of every class; sites share them by weight, the rasters of a site equally."""
    rng = np.random.default_rng(recipe.schedule.seed)
    wanted = options.samples_per_class if recipe.model.network.architecture == "random_forest" else options.samples_per_class // 10
    whole_weight = sum(site.weight for site in recipe.sites)
    features, labels = [], []
    for site in recipe.sites:
        rasters = load_site(site, recipe.model, data_dir)
        quota = int(np.ceil(wanted * site.weight / whole_weight / len(rasters)))
        for raster in rasters:
            chosen = _choose(raster.targets[0], quota, len(recipe.model.classes), rng)
            features.append(_features_at(raster, chosen, recipe.model, options))
            labels.append(raster.targets[0][chosen])
    known = np.concatenate(labels)
    missing = [c.name for i, c in enumerate(recipe.model.classes) if not (known == i).any()]
    if missing:
        raise LabelError(f"No site shows the class {', '.join(missing)}; a baseline needs pixels of all. Add a site or drop the class.")
    few = [f"{c.name} ({(known == i).sum()})" for i, c in enumerate(recipe.model.classes) if (known == i).sum() < _FOLDS]
    if few and recipe.model.network.architecture != "random_forest":
        raise LabelError(
            f"An SVM needs {_FOLDS} pixels of each class to calibrate it; there are fewer of {', '.join(few)}. "
            "Add labels, or take random_forest."
        )
    return np.concatenate(features), known


def _choose(semantic: NDArray[np.uint8], quota: int, classes: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    chosen = np.zeros(semantic.shape, bool)
    for channel in range(classes):
        places = np.flatnonzero(semantic == channel)
        chosen.flat[rng.choice(places, min(len(places), quota), replace=False)] = True
    return chosen


def _features_at(raster: LabelledRaster, chosen: NDArray[np.bool_], spec: ModelSpec, options: BaselineOptions) -> NDArray[np.float32]:
    """Compute features block by block, so that memory does not grow with the raster; rows in row-major order of the image."""
    # the raster's own values, as a run reads them
    pixels, valid = (raster.pixels, raster.targets[1] != UNLABELLED) if raster.source is None else read_whole(raster.source)
    radius = feature_radius(options.scales_px)
    found: NDArray[np.float32] | None = None
    order = np.cumsum(chosen.ravel()).reshape(chosen.shape) - 1
    for block in partition(chosen.shape, _BLOCK_PX):
        rows, cols = block.toslices()
        here = chosen[rows, cols]
        wide, inner = _widen(block, radius)
        features = pixel_features(pixels[:, *wide], valid[wide], spec.scaling, options.scales_px)[inner]
        if found is None:
            found = np.empty((int(chosen.sum()), features.shape[-1]), np.float32)
        found[order[rows, cols][here]] = features[: here.shape[0], : here.shape[1]][here]
    assert found is not None
    return found


def _widen(block: Window, radius: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    top, left = max(block.row_off - radius, 0), max(block.col_off - radius, 0)
    wide = (slice(top, block.row_off + block.height + radius), slice(left, block.col_off + block.width + radius))
    return wide, (slice(block.row_off - top, None), slice(block.col_off - left, None))


def fit_classifier(recipe: Recipe, options: BaselineOptions, features: NDArray[np.float32], labels: NDArray[np.uint8]) -> Any:
    """Fit the scikit-learn model of a recipe.

    Random forest: Breiman 2001. SVM: Cortes & Vapnik 1995, with probabilities by cross-validated calibration (Platt 1999).

    Args:
        recipe: Names the model, the seed and the weights of the classes.
        options: Of the model.
        features: (N, F).
        labels: (N,) semantic channels; all of them occur.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    seed, weights = recipe.schedule.seed, dict(enumerate(recipe.loss.classes))
    # skl2onnx takes labels of other integer types for text
    known = labels.astype(np.int64)
    if recipe.model.network.architecture == "random_forest":
        forest = RandomForestClassifier(
            n_estimators=options.trees, max_leaf_nodes=options.leaves, class_weight=weights, random_state=seed, n_jobs=-1
        )
        return forest.fit(features, known)
    machine = SVC(kernel=options.kernel, C=options.penalty, class_weight=weights, random_state=seed)
    return make_pipeline(StandardScaler(), CalibratedClassifierCV(machine, cv=_FOLDS, ensemble=False)).fit(features, known)


def to_onnx(classifier: Any, features: int) -> bytes:
    """Return a fitted classifier as ONNX: labels and (N, K) probabilities of (N, features) float32."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    inputs = [("features", FloatTensorType([None, features]))]
    with warnings.catch_warnings():
        # skl2onnx 1.20 reads attributes of SVC that scikit-learn 1.9 deprecates
        warnings.simplefilter("ignore", FutureWarning)
        model = convert_sklearn(classifier, initial_types=inputs, options={"zipmap": False}, target_opset=_OPSET)
    return bytes(model.SerializeToString())

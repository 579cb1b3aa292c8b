"""A model that classifies each pixel by its features: ONNX in, no torch and no pickle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg.errors import ModelError
from geoseg.model.execution import Execution
from geoseg.model.memory import batch_memory
from geoseg.model.package import ModelPackage
from geoseg.model.pixelfeatures import feature_radius, pixel_features
from geoseg.model.predictor import Keep, activate
from geoseg.model.session import open_session
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import decode

_SMALLEST = 1e-6


class BaselineOptions(BaseModel):
    """Options of a per-pixel model, as they stand in ``[model.network]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales_px: tuple[int, ...] = Field(default=(2, 5, 10), min_length=1)
    """Radii of the squares whose means and spreads are features."""
    samples_per_class: int = Field(default=8000, gt=0)
    """Pixels of each class that are learned from, at most; of an SVM a tenth of them does."""
    trees: int = Field(default=64, gt=0)
    """Trees of a random forest."""
    leaves: int = Field(default=512, gt=1)
    """Most leaves of a tree; bounds the size of the package."""
    kernel: str = Field(default="rbf", pattern="^(linear|rbf)$")
    """Kernel of an SVM."""
    penalty: float = Field(default=1.0, gt=0)
    """C of an SVM."""


def baseline_options(spec: ModelSpec) -> BaselineOptions:
    """Read the options of a per-pixel model, and check that the spec fits it.

    Raises:
        ModelError: If an option or the architecture is unknown, there are heads beside ``semantic``, or the halo is too small.
    """
    try:
        options = BaselineOptions.model_validate(spec.network.options)
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(str(p) for p in f['loc'])}: {f['msg']}" for f in exc.errors())
        raise ModelError(f"The options of model '{spec.name}' do not fit a per-pixel model: {faults}.") from exc
    if min(options.scales_px) < 1:
        raise ModelError(f"scales_px of model '{spec.name}' must be 1 or more; got {list(options.scales_px)}.")
    if spec.network.architecture not in ("random_forest", "svm"):
        raise ModelError(f"Model '{spec.name}' asks scikit-learn for '{spec.network.architecture}'; random_forest or svm was expected.")
    more = [name for name in spec.heads if name != "semantic"]
    if more:
        raise ModelError(f"A per-pixel model has the head 'semantic' alone; '{spec.name}' also has {', '.join(more)}. Remove them.")
    return options


class PixelwisePredictor:
    """Features of each pixel through an ONNX classifier.

    Args:
        spec: What the model is.
        classifier: An ONNX model that gives labels and (N, K) probabilities of (N, F) features.
        threads: Processor threads; 0 leaves the choice to onnxruntime.

    Raises:
        ModelError: If onnxruntime cannot read the classifier.
    """

    def __init__(self, spec: ModelSpec, classifier: bytes, threads: int = 0) -> None:
        self.spec = spec
        self._options = baseline_options(spec)
        self._session = open_session(classifier, spec.name, Execution(threads=threads))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 2:
            raise ModelError(
                f"The classifier of model '{spec.name}' has {len(inputs)} inputs and {len(outputs)} outputs; one input, "
                "labels and probabilities were expected. Get the package again."
            )
        self._input, self._probabilities = inputs[0].name, outputs[1].name

    @property
    def radius_px(self) -> int:
        """How far a pixel sees; with a halo as wide, tiled equals whole-image inference to the bit."""
        return feature_radius(self._options.scales_px)

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            return decode(self._score(pixels, valid), valid, self.spec.layers, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            return activate(self._score(pixels, valid), self.spec)

    def _score(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        logits = np.zeros((len(pixels), self.spec.channels, *pixels.shape[2:]), np.float32)
        for scores, image, there in zip(logits, pixels, valid, strict=True):
            features = pixel_features(image, there, self.spec.scaling, self._options.scales_px)
            if there.any():
                scores[:, there] = np.log(np.maximum(self._classify(features[there]), _SMALLEST)).T
        return logits

    def _classify(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities (N, K) of pixels."""
        shape = len(features), self.spec.channels
        try:
            (probability,) = self._session.run([self._probabilities], {self._input: features})
            found = np.asarray(probability, np.float32)
        except Exception as exc:  # onnxruntime's errors share no public base
            raise ModelError(f"The classifier of model '{self.spec.name}' cannot be run: {exc}") from exc
        if found.shape != shape:
            raise ModelError(f"The classifier of model '{self.spec.name}' gives {found.shape} probabilities; {shape} were expected.")
        return found


def load_pixelwise(package: ModelPackage, threads: int = 0) -> PixelwisePredictor:
    """Load a per-pixel model.

    Raises:
        ModelError: If its weights cannot be read or its options do not fit.
    """
    return PixelwisePredictor(package.spec, package.weights.read_bytes(), threads)

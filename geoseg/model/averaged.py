"""Test-time augmentation: a batch is inferred in several views, turned, mirrored and scaled, and the probabilities are averaged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import DeviceMemoryError
from geoseg.model.execution import Views
from geoseg.model.memory import batch_memory
from geoseg.model.predictor import Keep, Predictor
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import decode_probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to look at a tile."""

    mirrored: bool = False
    """Whether columns are reversed, before it is turned."""
    quarters: int = 0
    """Quarter turns."""
    scale: float = 1.0
    """Pixels of the view for one of the tile, before it is rounded to the network's stride."""

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array (..., H, W) as it is seen; nothing is copied."""
        return np.rot90(array[..., ::-1] if self.mirrored else array, self.quarters, axes=(-2, -1))

    def turn_back(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return what was seen as it lies in the tile; the inverse of :meth:`turn`."""
        straight = np.rot90(array, -self.quarters, axes=(-2, -1))
        return straight[..., ::-1] if self.mirrored else straight


def list_views(views: Views, scales: tuple[float, ...] = ()) -> tuple[View, ...]:
    """Return the views of a tile, that of the tile itself first.

    Args:
        views: ``none`` has the tile itself, ``flips`` the four that keep rows rows, ``d4`` all eight symmetries of the square.
        scales: Further sizes; each is seen in all of the views.
    """
    turns = {"none": ((False, 0),), "flips": tuple((m, q) for q in (0, 2) for m in (False, True))}
    chosen = turns.get(views) or tuple((m, q) for q in range(4) for m in (False, True))
    return tuple(View(mirrored=mirrored, quarters=quarters, scale=scale) for scale in (1.0, *scales) for mirrored, quarters in chosen)


def count_passes(views: tuple[View, ...]) -> float:
    """Return how many times the pixels of a tile go through the network."""
    return sum(view.scale**2 for view in views)


class AveragedPredictor:
    """A predictor that infers each batch in several views, one after the other, and averages their probabilities in float32.

    Whatever runs the network is left as it is; decoding is done here, on the processor, also where the network runs on a GPU.

    Args:
        inner: Infers one view.
        views: At least one.
    """

    def __init__(self, inner: Predictor, views: tuple[View, ...]) -> None:
        self._inner = inner
        self._views = views

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._inner.spec

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If a view of the batch does not fit into memory.
        """
        rows, cols = keep or (slice(None), slice(None))
        mean = self.predict_probabilities(pixels, valid)[:, :, rows, cols]
        with batch_memory(pixels.shape):
            return decode_probabilities(mean, valid[:, rows, cols], self.spec.layers)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch to be blended; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If a view of the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            summed = np.zeros((len(pixels), self.spec.channels, *pixels.shape[2:]), np.float32)
            for view in self._views:
                summed += self._see(view, pixels, valid)
            summed /= np.float32(len(self._views))
            return summed

    def _see(self, view: View, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the probabilities (N, C, H, W) that one view gives."""
        seen = (view.turn(pixels), view.turn(valid)) if view.scale == 1 else self._scale(view, pixels, valid)
        try:
            made = self._inner.predict_probabilities(*map(np.ascontiguousarray, seen))
        except DeviceMemoryError as exc:
            raise DeviceMemoryError(f"{exc} This is one of {len(self._views)} views of test-time augmentation.") from exc
        straight: NDArray[np.float32] = view.turn_back(made)
        return straight if view.scale == 1 else _resize(straight, pixels.shape[2:])

    def _scale(self, view: View, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return pixels and valid at the size of a view, turned; what is not valid becomes the mean, which the network sees as zero."""
        stride = self.spec.network.stride_px
        rows, cols = (max(stride, round(side * view.scale / stride) * stride) for side in pixels.shape[2:])
        filled = np.where(valid[:, None], pixels, np.asarray(self.spec.mean, np.float32)[:, None, None]).astype(np.float32)
        there = _resize(valid.astype(np.float32)[:, None], (rows, cols))[:, 0] >= 0.5
        return view.turn(_resize(filled, (rows, cols))), view.turn(there)


def _resize(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return (N, C, H, W) at another size, linearly, smoothed where it becomes smaller."""
    # a second that only those pay who scale
    from skimage.transform import resize

    wanted = (*array.shape[:2], *shape)
    made = resize(array, wanted, order=1, mode="edge", anti_aliasing=shape[0] < array.shape[2])
    return np.asarray(made, np.float32)

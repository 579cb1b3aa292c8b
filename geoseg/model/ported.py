"""A network that came as a whole, behind geoseg's own protocol: any library runs it, tiles and batches fit what it takes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.model.ports import pack_input, read_ports, unpack_outputs
from geoseg.model.predictor import Keep
from geoseg.model.scored import ScoredPredictor
from geoseg.model.spec import ModelSpec
from geoseg.pixels.fused import scale_batch

RunGraph = Callable[[NDArray[Any]], list[NDArray[Any]]]
"""Takes the input of a batch, and returns the outputs that count, in order."""


class PortedPredictor(ScoredPredictor):
    """A network that came as a whole.

    Args:
        spec: What the model is; its network's options say what the network takes and gives.
        run: Runs it.
        threads: Processor threads for scaling and decoding; 0 takes all.

    Raises:
        ModelError: If the options do not fit.
    """

    def __init__(self, spec: ModelSpec, run: RunGraph, *, threads: int = 0) -> None:
        ports = read_ports(spec)

        def score(pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep, threads: int) -> NDArray[np.float32]:
            scaled = scale_batch(pixels, valid, spec.scaling, threads=threads)
            outputs = run_batches(run, pack_input(scaled, ports), ports.batch)
            return unpack_outputs(outputs, (pixels.shape[2], pixels.shape[3]), spec, ports)[:, :, *keep]

        super().__init__(spec, score, threads=threads)


def run_batches(run: RunGraph, given: NDArray[Any], batch: int | None) -> list[NDArray[Any]]:
    """Run a network on a batch of any size; where it takes one size only, the last batch is filled up with its last tile."""
    if batch is None or len(given) == batch:
        return run(given)
    parts = []
    for start in range(0, len(given), batch):
        part = given[start : start + batch]
        missing = batch - len(part)
        outputs = run(np.concatenate([part, *[part[-1:]] * missing]) if missing else part)
        parts.append([output[: len(part)] for output in outputs])
    return [np.concatenate(each) for each in zip(*parts, strict=True)]

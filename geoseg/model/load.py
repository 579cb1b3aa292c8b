"""From a package to a predictor, whichever library it needs; torch is loaded for networks only."""

from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage
from geoseg.model.pixelwise import load_pixelwise
from geoseg.model.predictor import Predictor


def load_predictor(package: ModelPackage, execution: Execution) -> Predictor:
    """Load the model of a package.

    Args:
        package: The model.
        execution: Where and how it runs; per-pixel models always run on the processor, in onnxruntime.

    Raises:
        ModelError: If the model cannot be built, its weights do not fit, or the device is not there.
    """
    if package.spec.network.library == "sklearn":
        return load_pixelwise(package, execution.threads)
    from geoseg.model.network import load_predictor as load_network

    return load_network(package, execution)

"""From a package to a predictor, whichever library it needs; torch is loaded for networks only."""

from geoseg.model.package import ModelPackage
from geoseg.model.pixelwise import load_pixelwise
from geoseg.model.predictor import Predictor


def load_predictor(package: ModelPackage, device: str = "auto", threads: int = 0) -> Predictor:
    """Load the model of a package.

    Args:
        package: The model.
        device: ``auto``, ``cpu`` or ``cuda``; per-pixel models always run on the processor.
        threads: Processor threads for computing in this process; 0 leaves the library's choice.

    Raises:
        ModelError: If the model cannot be built, its weights do not fit, or the device is not there.
    """
    if package.spec.network.library == "sklearn":
        return load_pixelwise(package, threads)
    from geoseg.model.network import load_predictor as load_network

    return load_network(package, device, threads)

"""Start a training from the weights of a package, as far as they fit."""

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from geoseg.errors import ModelError
from geoseg.model.package import ModelPackage
from geoseg.model.spec import ModelSpec

_LEAST_SHARE = 0.5


def start_from_package(module: nn.Module, spec: ModelSpec, package: ModelPackage) -> str | None:
    """Load the tensors of a package whose names and shapes fit a network; the others stay as they are.

    Args:
        module: The network, with fresh weights.
        spec: What it is, for messages.
        package: What to start from.

    Returns:
        What did not fit, in a sentence; None if everything did.

    Raises:
        ModelError: If the weights cannot be read, or fewer than half of the network's tensors fit.
    """
    try:
        stored = load_file(package.weights)
    except (OSError, ValueError, SafetensorError) as exc:
        raise ModelError(f"The weights in {package.weights} cannot be read: {exc}.") from exc
    own = module.state_dict()
    fitting = {k: v.float() if v.is_floating_point() else v for k, v in stored.items() if k in own and own[k].shape == v.shape}
    theirs, asked = package.spec.network, spec.network
    if len(fitting) < _LEAST_SHARE * len(own):
        raise ModelError(
            f"start_from names '{package.spec.name}', a {theirs.architecture} with {theirs.encoder}; the recipe asks for a "
            f"{asked.architecture} with {asked.encoder}, and only {len(fitting)} of its {len(own)} tensors fit. "
            "Start from a model of the same network, or from random weights."
        )
    module.load_state_dict({**own, **fitting})
    fresh = [name for name in own if name not in fitting]
    if not fresh:
        return None
    return (
        f"Started from '{package.spec.name}': {len(fitting)} of {len(own)} tensors fit; {len(fresh)} start fresh, the first is {fresh[0]}."
    )

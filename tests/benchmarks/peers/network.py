"""The handed-out network as a torch module; uses only what every peer's environment has."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CARD, WEIGHTS, SCRIPT, ONNX, ONNX_DEFAULTS = "network.json", "weights.safetensors", "network.pt", "network.onnx", "network_defaults.onnx"


def read_card(folder: Path) -> dict[str, Any]:
    """Return what network.json says."""
    card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    return card


class Scaled(nn.Module):
    """Takes pixels as a peer prepares them, scales them as the network learned to see them, and returns the logits of the classes."""

    def __init__(self, network: nn.Module, card: dict[str, Any], divided_by: float) -> None:
        super().__init__()
        self.classes = Classes(network, card)
        self.register_buffer("mean", torch.tensor(card["mean"])[:, None, None] / divided_by)
        self.register_buffer("std", torch.tensor(card["std"])[:, None, None] / divided_by)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (N, C, H, W) pixels to (N, K, H, W) logits."""
        logits: Tensor = self.classes((pixels.float() - self.mean) / self.std)
        return logits


class Classes(nn.Module):
    """Takes pixels that a peer has standardized in its own way, and returns the logits of the classes."""

    def __init__(self, network: nn.Module, card: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.start, self.stop = card["semantic"]
        self.stride = card["stride"]

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (N, C, H, W) standardized pixels to (N, K, H, W) logits; tiles of odd sizes are padded to whole strides."""
        height, width = pixels.shape[2:]
        below, right = -height % self.stride, -width % self.stride
        padded = nn.functional.pad(pixels, (0, right, 0, below)) if below or right else pixels
        logits: Tensor = self.network(padded)
        return logits[:, self.start : self.stop, :height, :width]


def build(folder: Path, divided_by: float | None) -> nn.Module:
    """Build the network and load the weights.

    Args:
        folder: The handout.
        divided_by: What the peer divides uint8 pixels by; None for a peer that standardizes them itself.
    """
    import segmentation_models_pytorch as smp
    from safetensors.torch import load_file

    card = read_card(folder)
    network = smp.create_model(
        card["architecture"],
        encoder_name=card["encoder"],
        encoder_weights=None,
        in_channels=len(card["mean"]),
        classes=card["channels"],
        **card["options"],
    )
    state = {name: value.float() if value.is_floating_point() else value for name, value in load_file(folder / WEIGHTS).items()}
    # stages of the encoder that the depth leaves unused are not stored
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or any(not name.startswith("encoder.") for name in missing):
        raise ValueError(f"the weights do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return (Classes(network, card) if divided_by is None else Scaled(network, card, divided_by)).eval()

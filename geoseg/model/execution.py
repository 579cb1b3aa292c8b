"""How a network is run: by which library, where, how precisely, with how many threads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Backend = Literal["torch", "compile", "onnx"]
"""``torch`` runs a network as it is, ``compile`` through ``torch.compile``, ``onnx`` in onnxruntime."""
Precision = Literal["float32", "bfloat16", "float16"]
"""What a network computes with; results of the other two differ from float32 in a few labels."""
Views = Literal["none", "flips", "d4"]
"""How tiles are seen besides as they are: not at all, mirrored along both axes, or also in quarter turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What a predictor is loaded for. Travels between processes."""

    backend: Backend = "torch"
    """Library that runs the network."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:1``."""
    precision: Precision = "float32"
    """Numbers that it computes with; onnxruntime on the processor always takes float32."""
    threads: int = 0
    """Processor threads for computing in each call; 0 leaves the library's choice."""
    pool_threads: int = 0
    """Threads of a session that several lanes call at once, one of the callers among them; 0 takes ``threads``."""
    cache: Path | None = None
    """Folder where exported graphs are kept; None takes the user's cache."""

"""What a model is: bands in, channels out, classes, tiles, and what is known of its accuracy."""

import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from geoseg.model.execution import Backend
from geoseg.pixels.classes import ClassKind, ClassScheme, LandClass
from geoseg.pixels.decode import Evidence, LayerPlan, Measure
from geoseg.pixels.normalize import BandScaling
from geoseg.tiling import Stitch

BUILT = frozenset({"segmentation_models_pytorch", "geoseg"})
"""Libraries whose networks geoseg builds, and loads weights into."""
WHOLE: Mapping[str, Backend] = {"onnx": "onnx", "torch.export": "torch"}
"""Networks that came as a whole, and what runs them."""
LIBRARIES = BUILT | WHOLE.keys() | {"sklearn"}
"""What geoseg loads without a plugin."""
_REACHING = frozenset({"cache_dir", "encoder_weights", "filename", "hf_hub_id", "url", "weights"})
"""Options of networks that libraries take for a file or an address, beside those named for a path or pretraining."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassRow(_Strict):
    """One class as it stands in ``model.json`` and in training configurations."""

    value: int
    """Value in the class map."""
    name: str
    """Name in legends and tables."""
    color: str
    """``#rrggbb``."""
    kind: ClassKind = ClassKind.SURFACE
    """Surface, building or road."""


class Head(_Strict):
    """A slice of the network's channels with a meaning of its own."""

    start: int = Field(ge=0)
    """First channel."""
    stop: int
    """One past the last channel."""
    activation: Literal["softmax", "sigmoid"]
    """What turns logits into probabilities."""


class NetworkSpec(_Strict):
    """How to build the network before its weights are loaded.

    Raises:
        ValueError: If the encoder or an option would make a library open another file, or fetch one, or a network that geoseg does not
            build is to be magnified.
    """

    library: str = "segmentation_models_pytorch"
    """Package that holds the architecture: ``segmentation_models_pytorch``, ``geoseg`` (the classics), ``sklearn`` (the per-pixel
    baselines); ``onnx`` or ``torch.export`` for a network that came as a whole; else a plugin of ``geoseg.models``."""
    architecture: str
    """Name in ``segmentation_models_pytorch.create_model``, for example ``unet``; ``fcn8s``, ``segnet``, ``deconvnet`` or ``pixel``;
    ``random_forest`` or ``svm``."""
    encoder: str = ""
    """Encoder name, for example ``resnet18``, or ``tu-`` and a name in timm; empty where the architecture has no choice."""
    options: dict[str, Any] = {}
    """Further keyword arguments, for example ``encoder_depth``."""
    stride_px: int = Field(gt=0)
    """Tiles start, and their sizes are, at multiples of it."""
    magnification: float = Field(default=1.0, ge=1.0, le=4.0, multiple_of=0.25)
    """How many times as large as it is the network sees its input; its output is made as small again. A multiple of a quarter."""
    global_context: bool = False
    """Whether a pixel depends on the whole tile (global pooling, squeeze-and-excitation, attention)."""

    @model_validator(mode="after")
    def _check(self) -> "NetworkSpec":
        if re.search(r"[:/\\]", self.encoder):
            raise ValueError(f"encoder {self.encoder!r} names a place; a name in segmentation_models_pytorch or timm was expected")
        reaching = sorted(name for name in self.options if name in _REACHING or "path" in name or "pretrained" in name)
        if reaching:
            raise ValueError(f"option '{reaching[0]}' names another file; all weights of a model are in its package. Remove it")
        if self.magnification != 1 and self.library not in BUILT:
            raise ValueError(f"magnification is for networks that geoseg builds, not for those of {self.library}. Leave it out")
        return self

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Say nothing of a magnification of 1: checksums and cards of such networks stay those of versions that knew of none."""
        told: dict[str, Any] = dump(self)
        return {name: value for name, value in told.items() if name != "magnification" or value != 1}

    @property
    def is_whole(self) -> bool:
        """Whether the network came as a whole, with weights, and cannot be changed."""
        return self.library in WHOLE

    @property
    def backend(self) -> Backend | None:
        """The only backend that runs it; None where geoseg builds it, and has the choice."""
        if self.library in BUILT:
            return None
        return "onnx" if self.library == "sklearn" else WHOLE.get(self.library, "torch")


class Halo(_Strict):
    """Measured margins beyond which whole-image inference gives the same labels."""

    default_px: int = Field(ge=0)
    """At most 0.5 % of the labels differ."""
    exact_px: int = Field(ge=0)
    """At most 0.05 % of the labels differ."""
    measured_on: str = ""
    """Imagery that it was measured on."""


class Metric(_Strict):
    """One measured number."""

    dataset: str
    """What it was measured on."""
    name: str
    """For example ``IoU building``."""
    value: float
    """The number."""


class TrainingData(_Strict):
    """One source of imagery and labels."""

    name: str
    """Site or collection."""
    attribution: str
    """Who must be named, and the licence."""


class Throughput(_Strict):
    """How fast a model ran on one machine."""

    machine: str
    """Processor with its cores, or GPU."""
    threads: int = Field(ge=0)
    """Processor threads that computed; 0 on a GPU."""
    date: datetime.date
    """Day of the measurement."""
    tile_size_px: int = Field(gt=0)
    """Side of a tile."""
    batch_size: int = Field(gt=0)
    """Tiles in one forward pass."""
    mpx_per_s: float = Field(gt=0)
    """Million pixels in a second, halos included: the median of repeated passes."""


class ModelSpec(_Strict):
    """Everything that geoseg knows of a model but its weights.

    Raises:
        ValueError: If the heads do not fit the classes, or a size is not a multiple of the stride.
    """

    name: str
    """Short name, for example ``aerial``."""
    version: str
    """Version of the weights."""
    description: str
    """What it was made for, and where it must not be trusted."""
    license: str
    """SPDX identifier of the weights' licence."""
    bands: tuple[str, ...]
    """Common names of the input bands, in order."""
    mean: tuple[FiniteFloat, ...]
    """Per band."""
    std: tuple[FiniteFloat, ...]
    """Per band."""
    values: Literal["stored", "scaled"] = "stored"
    """What mean and std are of: values as files store them, or with the scale and offset applied that files declare."""
    dtype: str | None = None
    """Type of the pixel values that mean and std were chosen for, for example ``uint8``; None takes any."""
    resolution_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Pixel size on the ground that finer imagery is averaged to; None takes imagery as it is."""
    coarsest_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Pixel size on the ground from which results are not to be trusted; None knows no limit."""
    classes: tuple[ClassRow, ...]
    """Class scheme, in the channel order of the ``semantic`` head."""
    heads: dict[str, Head]
    """``semantic`` and, where there are objects, ``building_interior`` and ``building_boundary``."""
    network: NetworkSpec
    """How to build it."""
    tile_size_px: int = Field(gt=0)
    """Tile side that it runs best with."""
    memory_bytes_per_px: int = Field(default=1200, gt=0)
    """Memory that a forward pass takes per pixel of a batch, measured."""
    halo: Halo
    """Margins that were measured."""
    training_data: tuple[TrainingData, ...] = ()
    """What it learned from."""
    accuracy: tuple[Metric, ...] = ()
    """What it reached on data that it did not learn from."""
    created: AwareDatetime | None = None
    """When the weights were published; None in the cards of early versions, which say so as STAC's ``datetime`` only."""
    receptive_field_px: int | None = Field(default=None, ge=0)
    """Farthest pixel that a pixel of the output depends on, measured; None where it was not, or is the whole tile."""
    measured: tuple[Throughput, ...] = ()
    """Speed on machines that it was probed on."""
    asked_layers: tuple[Literal["probabilities", "uncertainty"], ...] = Field(default=(), exclude=True)
    """Layers of probability and uncertainty that a run wants beside the others; no part of a card."""

    @model_validator(mode="after")
    def _check(self) -> "ModelSpec":
        semantic = self.heads.get("semantic")
        if semantic is None or semantic.stop - semantic.start != len(self.classes):
            raise ValueError(f"head 'semantic' must span one channel per class; there are {len(self.classes)} classes")
        if not len(self.mean) == len(self.std) == len(self.bands):
            raise ValueError(f"mean and std need one number per band; there are {len(self.bands)} bands")
        if self.tile_size_px % self.network.stride_px:
            raise ValueError(f"tile_size_px {self.tile_size_px} must be a multiple of the stride {self.network.stride_px}")
        empty = [name for name, head in self.heads.items() if head.stop <= head.start]
        if empty:
            raise ValueError(f"head '{empty[0]}' spans no channel: {self.heads[empty[0]].start}..{self.heads[empty[0]].stop}")
        # both check themselves at birth, and their errors are ValueErrors
        _ = self.scheme, self.scaling
        return self

    @property
    def scheme(self) -> ClassScheme:
        """The class scheme."""
        rows = tuple(LandClass(value=c.value, name=c.name, color=c.color, kind=c.kind) for c in self.classes)
        return ClassScheme(classes=rows)

    @property
    def layers(self) -> LayerPlan:
        """Layers that a run stores: class, confidence, and the evidence that the heads and object classes give."""
        head = self.heads["semantic"]
        semantic = (head.start, head.stop)
        evidence = [Evidence(name=name, channel=h.start, among=None) for name, h in self.heads.items() if h.activation == "sigmoid"]
        # objects of a detector are made of its masks, never of these layers
        found = "detected_" if self.detects else ""
        for kind in (ClassKind.BUILDING, ClassKind.ROAD):
            channels = [head.start + i for i, c in enumerate(self.classes) if c.kind is kind]
            if channels:
                evidence.append(Evidence(name=f"{found}{kind.value}", channel=channels[0], among=semantic))
        return LayerPlan(
            semantic=semantic, values=tuple(c.value for c in self.classes), evidence=tuple(evidence), measures=self._measures()
        )

    def _measures(self) -> tuple[Measure, ...]:
        start = self.heads["semantic"].start
        found: list[Measure] = []
        if "probabilities" in self.asked_layers:
            found += [Measure(name=f"probability:{c.name}", kind="probability", channel=start + i) for i, c in enumerate(self.classes)]
        if "uncertainty" in self.asked_layers:
            found += [Measure(name="entropy", kind="entropy"), Measure(name="margin", kind="margin")]
        return tuple(found)

    @property
    def scaling(self) -> BandScaling:
        """Band scaling of the input."""
        return BandScaling(mean=self.mean, std=self.std)

    @property
    def detects(self) -> bool:
        """Whether it finds objects by their masks, rather than classes of pixels."""
        return self.network.is_whole and self.network.options.get("decoder") is not None

    @property
    def finds(self) -> frozenset[str]:
        """Objects that can be made of what it says: ``buildings``, ``roads``, both or none."""
        evidence = {layer.name for layer in self.layers.evidence}
        has_buildings = (
            bool(self.scheme.of_kind(ClassKind.BUILDING)) if self.detects else bool(evidence & {"building_interior", "building"})
        )
        there = {"buildings": has_buildings, "roads": "road" in evidence}
        return frozenset(name for name, is_there in there.items() if is_there)

    @property
    def stitch(self) -> Stitch:
        """How its tiles become one piece: blended where a pixel depends on the whole tile."""
        return "blend" if self.network.global_context else "crop"

    @property
    def result_sha256(self) -> str:
        """Checksum of what decides results beside the weights: bands, scaling, classes, heads and network."""
        decisive = self.model_dump(mode="json", include={"bands", "mean", "std", "classes", "heads", "network"})
        if self.values != "stored":
            decisive["values"] = self.values
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> int:
        """Channels that the network returns."""
        return max(head.stop for head in self.heads.values())

"""A model's card in words, for tables."""

from collections.abc import Iterator
from typing import Any

from geoseg.model.package import ModelPackage
from geoseg.model.spec import NetworkSpec


def summarize(package: ModelPackage) -> tuple[str, ...]:
    """Return version, bands, resolution, classes, size, halo and main accuracy, as shown in a list of models."""
    spec = package.spec
    metric = spec.accuracy[0] if spec.accuracy else None
    return (
        spec.version,
        ", ".join(spec.bands),
        _resolution(package),
        ", ".join(row.name for row in spec.classes),
        f"{package.weights.stat().st_size / 1e6:.1f} MB",
        f"{spec.halo.default_px} px",
        f"{metric.name} {metric.value:.3f} ({metric.dataset})" if metric else "not measured",
    )


def outline(package: ModelPackage) -> dict[str, Any]:
    """Return what a program that offers models has to know of one, as plain values: name, bands, resolutions in metres, classes."""
    told = {"name", "version", "description", "bands", "resolution_m", "coarsest_m", "classes"}
    return package.spec.model_dump(mode="json", include=told)


def card_rows(package: ModelPackage) -> Iterator[tuple[str, str]]:
    """Yield names and values of everything that a card says."""
    spec = package.spec
    yield "what", spec.description
    yield "created", spec.created.isoformat() if spec.created else "unknown"
    yield "license", spec.license
    yield "network", f"{name_network(spec.network)}, stride {spec.network.stride_px} px"
    for band, mean, std in zip(spec.bands, spec.mean, spec.std, strict=True):
        yield f"band {band}", f"(value - {mean:g}) / {std:g}"
    yield "resolution", _resolution(package)
    for row in spec.classes:
        yield f"class {row.value}", f"{row.name}, {row.color}, {row.kind.value}"
    for name, head in spec.heads.items():
        yield f"head {name}", f"channels {head.start} to {head.stop - 1}, {head.activation}"
    yield "tile", f"{spec.tile_size_px} px, {spec.stitch}"
    yield (
        "halo",
        f"{spec.halo.default_px} px (0.5 % of labels), {spec.halo.exact_px} px (0.05 %), measured on {spec.halo.measured_on or 'nothing'}",
    )
    yield "receptive field", _field(package)
    yield "memory", f"{spec.memory_bytes_per_px} bytes per pixel of a batch"
    for speed in spec.measured:
        where = f"{speed.machine}, {speed.threads} threads, {speed.date}"
        yield f"speed, tile {speed.tile_size_px} px, batch {speed.batch_size}", f"{speed.mpx_per_s:.3g} Mpx/s ({where})"
    for data in spec.training_data:
        yield f"learned from {data.name}", data.attribution
    for metric in spec.accuracy:
        yield f"{metric.dataset}: {metric.name}", f"{metric.value:.4f}"
    yield "weights", f"{package.weights.stat().st_size / 1e6:.1f} MB, SHA-256 {package.sha256}"


def _resolution(package: ModelPackage) -> str:
    spec = package.spec
    finest = "as it is" if spec.resolution_m is None else f"{spec.resolution_m:g} m"
    return finest if spec.coarsest_m is None else f"{finest}, up to {spec.coarsest_m:g} m"


def _field(package: ModelPackage) -> str:
    spec = package.spec
    if spec.network.global_context:
        return "the whole tile"
    return "not measured" if spec.receptive_field_px is None else f"{spec.receptive_field_px} px"


def name_network(network: NetworkSpec) -> str:
    """Return what a network is, in a few words."""
    enlarged = f", sees its input {network.magnification:g} times larger" if network.magnification != 1 else ""
    return f"{network.architecture} {network.encoder}".strip() + enlarged

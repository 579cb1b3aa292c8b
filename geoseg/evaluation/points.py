"""Sample points as files: drawn from a class map, looked at by a person, read back."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray

from geoseg.errors import LabelError, UsageError
from geoseg.evaluation.area import AreaEstimate, estimate_area, least_points
from geoseg.evaluation.found import Found, open_found
from geoseg.evaluation.sampling import SampleOptions, allocate, count_values, draw_points, read_at
from geoseg.evaluation.semantic import confusion_matrix
from geoseg.io.files import write_whole
from geoseg.io.ground import row_areas_m2
from geoseg.io.vector import open_layers, read_vector
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.runfolder.report import count_classes

_REFERENCE = "reference"
_LAYER = "points"
_MOST_UNEVEN = 1.05
"""Ratio of the largest to the smallest pixel of a map whose points stand for equal areas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyTable:
    """An estimate with the names that belong to it."""

    scheme: ClassScheme
    """Classes of the map."""
    counts: NDArray[np.int64]
    """(K, K) points by mapped (row) and reference (column) class."""
    estimate: AreaEstimate
    """Accuracies and areas."""
    notes: tuple[str, ...]
    """Points that were left out, and what biases the estimates."""

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per class: value, margin of the 95 % confidence interval and standard error of each estimate."""
        told = {"users": self.estimate.users, "producers": self.estimate.producers, "area_m2": self.estimate.area_m2}
        return [
            {
                "class": c.name,
                "points": int(self.counts[i].sum()),
                "mapped_m2": float(self.estimate.mapped_m2[i]),
                **{name: float(e.value[i]) for name, e in told.items()},
                **{f"{name}_margin": float(e.margin[i]) for name, e in told.items()},
                **{f"{name}_error": float(e.error[i]) for name, e in told.items()},
            }
            for i, c in enumerate(self.scheme)
        ]

    def write(self, path: Path) -> None:
        """Write everything as JSON; what is not defined is null.

        Raises:
            WriteError: If the disk does not take it.
        """
        overall = self.estimate.overall
        told = {
            "overall_accuracy": float(overall.value[0]),
            "overall_accuracy_margin": float(overall.margin[0]),
            "classes": [{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()} for row in self.rows()],
            "counts": self.counts.tolist(),
            "proportions": self.estimate.proportions.tolist(),
            "notes": list(self.notes),
        }
        write_whole(path, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())


def parse_expected(texts: Sequence[str]) -> dict[str, float]:
    """Read expected accuracies such as ``water=0.95``.

    Raises:
        UsageError: If one is not a class and a share between 0 and 1.
    """
    expected = {}
    for text in texts:
        name, _, share = text.rpartition("=")
        try:
            expected[name] = float(share)
        except ValueError:
            expected[name] = -1.0
        if not name or not 0 <= expected[name] <= 1:
            raise UsageError(f"--expected takes CLASS=SHARE with a share between 0 and 1, for example water=0.95; got {text!r}.")
    return expected


def draw_sample(
    classmap: Path, output: Path, options: SampleOptions, expected: dict[str, float] | None = None, *, hide: bool = False
) -> dict[str, int]:
    """Draw points within each class of a map and write them for interpretation.

    Args:
        classmap: Class raster or run folder with a CRS.
        output: GeoPackage that is written, with ``point_id``, ``reference`` (empty) and ``map_value, map_class``.
        options: How many points, and where.
        expected: User's accuracy by class name, for optimal allocation.
        hide: Leave the mapped class out.

    Returns:
        Points by class name.

    Raises:
        UsageError: If the output exists, a class is unknown, or the points are too few, in all or of a class.
    """
    if output.exists():
        raise UsageError(f"{output} exists; it may hold interpreted points. Choose another -o or remove it.")
    with open_found(classmap) as found:
        _check_ground(found, classmap)
        counts = count_values(found.classes, found.shape)
        sizes = counts[list(found.scheme.values)]
        shares = allocate(sizes, options, _expected(found.scheme, expected or {}))
        _check_shares(found.scheme, sizes, shares)
        sizes_by_value = dict(zip(found.scheme.values, sizes.tolist(), strict=True))
        wanted = dict(zip(found.scheme.values, shares.tolist(), strict=True))
        rows, cols, values = draw_points(found.classes, found.shape, sizes_by_value, wanted, options.seed)
    transform: Any = found.geobox.transform
    x, y = transform @ (cols + 0.5, rows + 0.5)
    names = {c.value: c.name for c in found.scheme}
    columns: dict[str, Any] = {"point_id": np.arange(1, len(rows) + 1), _REFERENCE: [""] * len(rows)}
    if not hide:
        columns |= {"map_value": values.astype(np.int32), "map_class": [names[int(v)] for v in values]}
    table = gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(x, y), crs=str(found.geobox.crs))
    output.parent.mkdir(parents=True, exist_ok=True)
    with open_layers(output) as add:
        add(_LAYER, table)
    return {c.name: int(n) for c, n in zip(found.scheme, shares, strict=True)}


def evaluate_points(points: Path, classmap: Path) -> AccuracyTable:
    """Estimate accuracies and areas from interpreted points.

    What a point was mapped as is read from the map at its place, so a file without the mapped class serves as well.

    Args:
        points: Vector file with the column ``reference``: class names or values; empty ones are left out.
        classmap: The map that the points were drawn from.

    Raises:
        LabelError: If no point is interpreted, a reference is no class, or a class has too few points; it is named.
    """
    with open_found(classmap) as found:
        _check_ground(found, classmap)
        table = read_vector(points, found.geobox.crs)
        if _REFERENCE not in table.columns:
            raise LabelError(f"{points} has no column '{_REFERENCE}'; it has {', '.join(c for c in table.columns if c != 'geometry')}.")
        column = table[_REFERENCE]
        truth = _reference_channels(np.where(column.isna(), "", column.astype(str)).tolist(), found.scheme, points)
        cols, rows = ~found.geobox.transform @ (table.geometry.x.to_numpy(), table.geometry.y.to_numpy())
        values = read_at(found.classes, np.floor(rows).astype(np.int64), np.floor(cols).astype(np.int64), found.shape, outside=NODATA_CLASS)
        pixel_m2 = row_areas_m2(found.geobox)
        legend = count_classes(found.classes, found.scheme, pixel_m2, found.shape)[:-1]
    mapped_m2, pixels = np.array([row["area_m2"] for row in legend]), np.array([row["pixels"] for row in legend])
    mapped = np.full(256, -1)
    mapped[list(found.scheme.values)] = np.arange(len(found.scheme))
    empty, off = truth < 0, mapped[values] < 0
    kept = ~empty & ~off
    if not kept.any():
        raise LabelError(f"None of the {len(table)} points of {points} is interpreted and lies on the map. Fill in '{_REFERENCE}'.")
    counts = confusion_matrix(mapped[values][kept], truth[kept], len(found.scheme))
    notes = [
        f"{n} points were left out: {why}." for n, why in ((empty.sum(), "no reference"), ((off & ~empty).sum(), "no data on the map")) if n
    ]
    estimate = estimate_area(counts, mapped_m2, names=[c.name for c in found.scheme], pixels=pixels)
    return AccuracyTable(scheme=found.scheme, counts=counts, estimate=estimate, notes=(*notes, *_uneven(pixel_m2)))


def _uneven(pixel_m2: NDArray[np.float64]) -> tuple[str, ...]:
    """Say where points that are drawn by pixel stand for unequal areas, given the area of a pixel of each row."""
    least, most = float(np.nanmin(pixel_m2)), float(np.nanmax(pixel_m2))
    if most <= least * _MOST_UNEVEN:
        return ()
    return (
        f"Pixels of this map cover {least:.4g} to {most:.4g} m2 from row to row, and each point counts alike, so rows of small pixels "
        "weigh too much in the estimates. Warp the map to an equal-area CRS with gdalwarp -r near, and draw the points on that.",
    )


def _check_shares(scheme: ClassScheme, sizes: NDArray[np.int64], shares: NDArray[np.int64]) -> None:
    """Refuse a sample that nothing could be estimated from, before anybody interprets it."""
    short = [f"{scheme.classes[i].name} {shares[i]}" for i in np.flatnonzero(shares < least_points(sizes))]
    if short:
        raise UsageError(f"Each class of the map needs 2 points; too few would be drawn of {', '.join(short)}. Raise --minimum or -n.")


def _check_ground(found: Found, classmap: Path) -> None:
    if found.geobox.crs is None:
        raise UsageError(f"{classmap} declares no CRS, so points and areas have no place on the ground.")


def _expected(scheme: ClassScheme, told: dict[str, float]) -> NDArray[np.float64]:
    names = [c.name for c in scheme]
    unknown = sorted(set(told) - set(names))
    if unknown:
        raise UsageError(f"--expected names '{unknown[0]}', which is no class of the map. The classes are {', '.join(names)}.")
    return np.array([told.get(name, 0.8) for name in names])


def _reference_channels(told: list[Any], scheme: ClassScheme, path: Path) -> NDArray[np.int64]:
    channel = {str(c.value): i for i, c in enumerate(scheme)} | {c.name.lower(): i for i, c in enumerate(scheme)}
    words = [str(value).strip().lower().removesuffix(".0") for value in told]
    unknown = Counter(word for word in words if word and word not in channel)
    if unknown:
        raise LabelError(
            f"{path} has references that are no class of the map: {dict(unknown)} (reference: points). "
            f"The classes are {', '.join(f'{c.value} {c.name}' for c in scheme)}."
        )
    return np.array([channel.get(word, -1) for word in words], np.int64)

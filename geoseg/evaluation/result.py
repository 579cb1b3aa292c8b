"""Scores of a data set, as numbers to print, to write and to put into a model's card."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.apls import Apls
from geoseg.evaluation.calibration import Calibration, calibrate
from geoseg.evaluation.measure import Tally
from geoseg.evaluation.objects import ObjectScores, score_objects
from geoseg.evaluation.roads import RoadMatches
from geoseg.evaluation.semantic import ClassScores, ratio, score_classes
from geoseg.model.spec import Metric
from geoseg.pixels.classes import ClassKind, ClassScheme

Row = tuple[str, float]
"""Name and value of one metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that was measured on one data set."""

    name: str
    """Of the data set."""
    scheme: ClassScheme
    """Classes of the result."""
    tally: Tally
    """What was counted."""

    @property
    def is_partial(self) -> bool:
        """Whether labels tell only buildings from everything else."""
        return self.tally.pixels is not None and self.tally.pixels.is_partial

    @property
    def classes(self) -> ClassScores | None:
        """Scores of the classes; None if they are not known."""
        pixels = self.tally.pixels
        return None if pixels is None or pixels.is_partial else score_classes(pixels.confusion)

    @property
    def building(self) -> ClassScores | None:
        """Scores of not building and building; None if the scheme has no building."""
        pixels = self.tally.pixels
        return score_classes(pixels.building) if pixels is not None and pixels.building.any() else None

    @property
    def calibration(self) -> Calibration | None:
        """Reliability of the confidence; None without confidence or without known classes."""
        pixels = self.tally.pixels
        if pixels is None or pixels.is_partial or not pixels.confidence.any():
            return None
        return calibrate(pixels.confidence)

    @property
    def objects(self) -> ObjectScores | None:
        """Scores of buildings as objects."""
        return None if self.tally.objects is None else score_objects(self.tally.objects)

    @property
    def roads(self) -> RoadMatches | None:
        """Lengths of roads, found and missed."""
        return self.tally.roads

    @property
    def apls(self) -> Apls | None:
        """Similarity of road networks, the mean over rasters weighted by the length of their reference."""
        parts = [(weight, a) for weight, a in self.tally.apls if not math.isnan(a.score)]
        if not parts:
            return None
        weights = [weight for weight, _ in parts]
        forth, back = ([getattr(a, f) for _, a in parts] for f in ("reference_to_found", "found_to_reference"))
        return Apls(
            reference_to_found=float(np.average(forth, weights=weights)), found_to_reference=float(np.average(back, weights=weights))
        )

    def rows(self) -> list[Row]:
        """Return every score as a row of a table; what is not defined is left out."""
        rows = [*self._pixel_rows(), *self._object_rows(), *self._road_rows()]
        return [(name, value) for name, value in rows if not math.isnan(value)]

    def card(self) -> tuple[Metric, ...]:
        """Return the scores that stand in the card of a model, rounded to four digits."""
        wanted = (
            {"IoU building", "precision building", "recall building", "F1 objects at IoU 0.5", "AP50"}
            if self.is_partial
            else {"mean IoU", "accuracy", *(f"IoU {c.name}" for c in self.scheme), "F1 objects at IoU 0.5", "AP50"}
        )
        return tuple(Metric(dataset=self.name, name=name, value=round(value, 4)) for name, value in self.rows() if name in wanted)

    def _pixel_rows(self) -> list[Row]:
        pixels, building = self.tally.pixels, self.building
        if pixels is None:
            return []
        if self.classes is None:
            assert building is not None
            rows = [(f"{what} building", float(getattr(building, key)[1])) for what, key in _PER_CLASS]
            return [*rows, ("boundary IoU building", ratio(*pixels.building_boundary.tolist()))]
        scores, names = self.classes, [c.name for c in self.scheme]
        boundary = [ratio(*pair) for pair in pixels.boundary.tolist()]
        rows = [("mean IoU", scores.mean_iou), ("mean F1", scores.mean_f1), ("accuracy", scores.accuracy), ("kappa", scores.kappa)]
        for what, key in _PER_CLASS:
            rows += [(f"{what} {name}", float(v)) for name, v in zip(names, getattr(scores, key), strict=True)]
        rows += [("mean boundary IoU", _mean(boundary)), *((f"boundary IoU {n}", v) for n, v in zip(names, boundary, strict=True))]
        return rows if self.calibration is None else [*rows, ("calibration error", self.calibration.ece)]

    def _object_rows(self) -> list[Row]:
        scores = self.objects
        if scores is None:
            return []
        return [
            ("precision objects at IoU 0.5", scores.precision),
            ("recall objects at IoU 0.5", scores.recall),
            ("F1 objects at IoU 0.5", scores.f1),
            ("AP50", scores.ap50),
            ("AP50:95", scores.ap),
            ("PQ", scores.pq),
            ("SQ", scores.sq),
            ("RQ", scores.f1),
        ]

    def _road_rows(self) -> list[Row]:
        roads, apls = self.roads, self.apls
        rows: list[Row] = []
        if roads is not None:
            rows += [("completeness roads", roads.completeness), ("correctness roads", roads.correctness), ("quality roads", roads.quality)]
        if apls is not None:
            rows += [("APLS", apls.score)]
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; what is not defined is null."""
        pixels, objects, roads, apls, calibration = self.tally.pixels, self.objects, self.roads, self.apls, self.calibration
        told: dict[str, Any] = {"name": self.name, "metrics": {name: round(value, 6) for name, value in self.rows()}}
        if pixels is not None:
            told["pixels"] = {
                "compared": pixels.known,
                "labels": "buildings only" if pixels.is_partial else "classes",
                "classes": [{"value": c.value, "name": c.name} for c in self.scheme],
                "confusion": None if pixels.is_partial else pixels.confusion.tolist(),
                "building_confusion": pixels.building.tolist() if self.scheme.of_kind(ClassKind.BUILDING) else None,
                "boundary_px": sorted(set(self.tally.boundary_px)),
            }
        if calibration is not None:
            told["calibration"] = {name: _plain(getattr(calibration, name)) for name in ("edges", "pixels", "confidence", "accuracy")}
        if objects is not None:
            told["objects"] = {"references": objects.references, "found": objects.found, "matched": objects.matched}
        if roads is not None:
            lengths = ("reference_m", "reference_matched_m", "found_m", "found_matched_m")
            told["roads"] = {name: round(getattr(roads, name), 2) for name in lengths}
        if apls is not None:
            told["apls"] = {"reference_to_found": apls.reference_to_found, "found_to_reference": apls.found_to_reference}
        return {**told, "worst_places": [p.caption for p in self.tally.pictures], "notes": list(self.tally.notes)}


_PER_CLASS = (("IoU", "iou"), ("precision", "precision"), ("recall", "recall"), ("F1", "f1"))


def _mean(values: list[float]) -> float:
    there = [v for v in values if not math.isnan(v)]
    return sum(there) / len(there) if there else float("nan")


def _plain(values: NDArray[Any]) -> list[float | int | None]:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values.tolist()]

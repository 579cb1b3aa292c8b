"""An evaluation as files: ``evaluation.json`` for programs, ``evaluation.html`` for people."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from geoseg import __version__
from geoseg.evaluation.calibration import Calibration
from geoseg.evaluation.result import Evaluation
from geoseg.evaluation.semantic import ClassScores
from geoseg.io.files import write_error, write_whole
from geoseg.runfolder.page import Page

_LIGHT = 0.5


def write_report(folder: Path, title: str, evaluations: Sequence[Evaluation]) -> Path:
    """Write both files into a folder, which is made if it does not exist.

    Returns:
        The HTML page.

    Raises:
        WriteError: If the disk does not take them.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise write_error(folder, exc) from exc
    told = {"geoseg_version": __version__, "title": title, "data": [e.to_json() for e in evaluations]}
    write_whole(folder / "evaluation.json", (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())
    page = Page(title)
    for evaluation in evaluations:
        _add(page, evaluation)
    page.write(folder / "evaluation.html")
    return folder / "evaluation.html"


def _add(page: Page, evaluation: Evaluation) -> None:
    page.heading(evaluation.name)
    _add_summary(page, evaluation)
    _add_classes(page, evaluation)
    _add_objects(page, evaluation)
    _add_roads(page, evaluation)
    if evaluation.tally.pictures:
        panels = (
            "Image, labels, result"
            if evaluation.tally.pictures[0].panels.shape[1] > 2.5 * evaluation.tally.pictures[0].panels.shape[0]
            else "Labels, result"
        )
        page.heading(f"{evaluation.name}: worst places").text(
            f"{panels}, side by side. White is not labelled; gray is known to be no building."
        )
        page.gallery([(p.caption, p.panels) for p in evaluation.tally.pictures])


def _add_summary(page: Page, evaluation: Evaluation) -> None:
    pixels = evaluation.tally.pixels
    if pixels is not None:
        what = "buildings against everything else" if pixels.is_partial else f"{len(evaluation.scheme)} classes"
        width = " and ".join(str(w) for w in sorted(set(evaluation.tally.boundary_px)))
        page.text(f"{pixels.known:,} labelled pixels were compared: {what}. Boundary regions are {width} px wide.")
    for note in evaluation.tally.notes:
        page.text(note)
    by_class = {c.name for c in evaluation.scheme}
    overall = evaluation.classes is not None
    rows = [(name, value) for name, value in evaluation.rows() if not (overall and name.split(" ", 1)[-1].removeprefix("IoU ") in by_class)]
    page.table(("metric", "value"), [tuple(row) for row in rows])


def _add_classes(page: Page, evaluation: Evaluation) -> None:
    scores, pixels = evaluation.classes, evaluation.tally.pixels
    if scores is None or pixels is None:
        return
    values = dict(evaluation.rows())
    columns = ("class", "IoU", "precision", "recall", "F1", "boundary IoU", "true pixels", "found pixels")
    true, found = pixels.confusion.sum(axis=1), pixels.confusion.sum(axis=0)
    page.heading(f"{evaluation.name}: classes").table(
        columns,
        [
            (c.name, *(values.get(f"{what} {c.name}", float("nan")) for what in columns[1:6]), int(true[i]), int(found[i]))
            for i, c in enumerate(evaluation.scheme)
        ],
    )
    page.chart(_draw_confusion(evaluation, scores))
    if evaluation.calibration is not None:
        page.text(
            f"Confidence against accuracy: the expected calibration error is {evaluation.calibration.ece:.3f}. "
            "Bars above the line are better than they claim."
        )
        page.chart(_draw_reliability(evaluation.calibration))


def _add_objects(page: Page, evaluation: Evaluation) -> None:
    objects = evaluation.objects
    if objects is None:
        return
    page.heading(f"{evaluation.name}: buildings as objects").table(
        ("in the labels", "found", "matched", "precision", "recall", "F1", "AP50", "AP50:95", "PQ", "SQ", "RQ"),
        [
            (
                *(objects.references, objects.found, objects.matched, objects.precision, objects.recall, objects.f1),
                *(objects.ap50, objects.ap, objects.pq, objects.sq, objects.f1),
            )
        ],
    )


def _add_roads(page: Page, evaluation: Evaluation) -> None:
    roads, apls = evaluation.roads, evaluation.apls
    if roads is None:
        return
    page.heading(f"{evaluation.name}: roads").table(
        ("reference m", "of it found m", "found m", "of it right m", "completeness", "correctness", "quality", "APLS"),
        [
            (
                *(round(v) for v in (roads.reference_m, roads.reference_matched_m, roads.found_m, roads.found_matched_m)),
                *(roads.completeness, roads.correctness, roads.quality, float("nan") if apls is None else apls.score),
            )
        ],
    )


def _draw_confusion(evaluation: Evaluation, scores: ClassScores) -> Figure:
    """Draw shares of each true class, so that rare classes are seen."""
    assert evaluation.tally.pixels is not None
    confusion = evaluation.tally.pixels.confusion
    total = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    names = [c.name for c in evaluation.scheme]
    side = 2.2 + 0.62 * len(names)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, col), share in np.ndenumerate(shares):
        axes.text(col, row, f"{share:.2f}", ha="center", va="center", color="white" if share > _LIGHT else "black", fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("found")
    axes.set_ylabel("true")
    axes.set_title(f"Share of each true class; accuracy {scores.accuracy:.3f}")
    return figure


def _draw_reliability(calibration: Calibration) -> Figure:
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    width = np.diff(calibration.edges)
    axes.bar(calibration.edges[:-1], np.nan_to_num(calibration.accuracy), width, align="edge", color="#4477aa", edgecolor="white")
    axes.plot([0, 1], [0, 1], color="#1c2430", linewidth=1, linestyle="--")
    axes.scatter(calibration.confidence, calibration.accuracy, s=14, color="#ee6677", zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share of pixels that are right")
    return figure

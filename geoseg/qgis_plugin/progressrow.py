"""A line that shows work going on: what, how far, and a button that ends it."""

from __future__ import annotations

from typing import Any

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QGridLayout, QLabel, QProgressBar, QToolButton, QWidget

from .background import Background
from .text import tr

_INFERENCE_SHARE = 0.8
"""Part of a run's time, about, until all chunks are done."""
_STAGES = ("rasters", "landcover", "buildings", "roads", "report")
"""Stages after inference, in the order in which they are done; a run may have fewer, and others of its formats."""


class ProgressRow(QWidget):
    """Hidden unless there is work; shows events of a run."""

    ended = pyqtSignal()
    """The work has ended, this way or that."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._work: Background | None = None
        self.label = QLabel(self)
        self.label.setWordWrap(True)
        self.bar = QProgressBar(self)
        self.button = QToolButton(self)
        self.button.setText(tr("Cancel"))
        self.button.clicked.connect(self._cancel)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.label, 0, 0, 1, 2)
        grid.addWidget(self.bar, 1, 0)
        grid.addWidget(self.button, 1, 1)
        self.hide()

    @property
    def is_free(self) -> bool:
        """Whether nothing is at work."""
        return self._work is None

    def watch(self, work: Background, text: str) -> None:
        """Show work from its beginning to its end.

        Args:
            work: Not started yet.
            text: What it is; how long it takes is not known yet.
        """
        self._work = work
        work.heard.connect(self.hear)
        for end in (work.done, work.failed, work.stopped):
            end.connect(self._end)
        self.label.setText(text)
        self.bar.setRange(0, 0)
        self.bar.reset()
        self.button.setEnabled(True)
        self.show()

    def hear(self, event: dict[str, Any]) -> None:
        """Show an event of a run."""
        kind = event.get("event")
        if kind == "RunPlanned":
            self._count(event["chunks_done"], event["chunks"])
            self.label.setText(tr("{model}: {width} x {height} px").format(
                model=event["model"], width=event["width_px"], height=event["height_px"]))  # fmt: skip
        elif kind == "ChunkDone":
            self._count(event["done"], event["chunks"])
        elif kind == "StageDone" and event["stage"] in _STAGES:
            done = (_STAGES.index(event["stage"]) + 1) / len(_STAGES)
            self._set(_INFERENCE_SHARE + (1 - _INFERENCE_SHARE) * done)
            self.label.setText(tr("{stage} done").format(stage=event["stage"]))

    def _end(self, *_: object) -> None:
        self._work = None
        self.hide()
        self.ended.emit()

    def _count(self, done: int, chunks: int) -> None:
        self._set(_INFERENCE_SHARE * done / max(1, chunks))
        if done:
            self.label.setText(tr("{done} of {chunks} chunks").format(done=done, chunks=chunks))

    def _set(self, part: float) -> None:
        self.bar.setRange(0, 100)
        self.bar.setValue(max(self.bar.value(), round(100 * part)))

    def _cancel(self) -> None:
        self.button.setEnabled(False)
        self.label.setText(tr("Ending ..."))
        if self._work is not None:
            self._work.cancel()

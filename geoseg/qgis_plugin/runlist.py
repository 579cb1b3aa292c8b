"""The list of runs in the dock: state, open, resume, take off the list."""

from __future__ import annotations

import os
from typing import Any

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QHBoxLayout, QHeaderView, QPushButton, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from .runs import RunState, forget, remembered
from .text import tr

_FOLDER, _STATE = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1


class RunsWidget(QWidget):
    """Runs that QGIS started, the newest first."""

    opened = pyqtSignal(str)
    """Folder of the run whose layers are wanted."""
    resumed = pyqtSignal(object)
    """State of the run that shall go on."""
    refreshed = pyqtSignal()
    """The states shall be asked anew."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tree = QTreeWidget(self)
        self.tree.setRootIsDecorated(False)
        self.tree.setHeaderLabels([tr("Run"), tr("State")])
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.tree.header().setStretchLastSection(False)
        self.tree.setMinimumHeight(90)
        self.tree.itemSelectionChanged.connect(self._enable)
        self.tree.itemDoubleClicked.connect(lambda *_: self._open())
        self.open_button = self._button(tr("Open"), tr("Load the layers of the run"), self._open)
        self.resume_button = self._button(tr("Resume"), tr("Go on where the run stopped"), self._resume)
        self.remove_button = self._button(tr("Remove"), tr("Take the run off the list; its files stay"), self._remove)
        self.refresh_button = self._button(tr("Refresh"), tr("Ask for the states again"), self.refreshed.emit)
        buttons = QHBoxLayout()
        for button in (self.open_button, self.resume_button, self.remove_button, self.refresh_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tree)
        layout.addLayout(buttons)
        self.reload()

    def _button(self, text: str, tip: str, action: Any) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tip)
        button.clicked.connect(lambda *_: action())
        return button

    def reload(self) -> None:
        """Read the list of folders anew; states stay as they were known."""
        known, chosen = self.states(), self._selected()
        self.tree.clear()
        for folder in remembered():
            item = QTreeWidgetItem([os.path.basename(folder.rstrip("/\\")), ""])
            item.setData(0, _FOLDER, folder)
            item.setToolTip(0, folder)
            self.tree.addTopLevelItem(item)
            state = known.get(folder)
            if state is not None:
                self._show(item, state)
        if chosen is not None:
            self.select(chosen[0])
        self._enable()

    def show_state(self, state: RunState) -> None:
        """Show the state of a run that is in the list."""
        for item in self._items():
            if item.data(0, _FOLDER) == state.folder:
                self._show(item, state)
        self._enable()

    def select(self, folder: str) -> None:
        """Select a run."""
        for item in self._items():
            item.setSelected(item.data(0, _FOLDER) == folder)

    def states(self) -> dict[str, RunState | None]:
        """Return the state of each run as it is shown; None where it is not known yet."""
        return {item.data(0, _FOLDER): item.data(0, _STATE) for item in self._items()}

    def _show(self, item: QTreeWidgetItem, state: RunState) -> None:
        words = {
            "running": tr("running"), "stopped": tr("stopped"), "finished": tr("finished"), "gone": tr("folder is gone"),
            "foreign": tr("no run"), "empty": tr("not begun"), "unknown": tr("unknown"),
        }  # fmt: skip
        text = words.get(state.state, state.state)
        if state.state in {"running", "stopped"} and state.chunks:
            text = tr("{state}, {done} of {chunks}").format(state=text, done=state.chunks_done or 0, chunks=state.chunks)
        item.setData(0, _STATE, state)
        item.setText(1, text)
        item.setToolTip(1, state.note)
        self.tree.resizeColumnToContents(1)

    def _items(self) -> list[QTreeWidgetItem]:
        return [self.tree.topLevelItem(row) for row in range(self.tree.topLevelItemCount())]

    def _selected(self) -> tuple[str, RunState | None] | None:
        items = self.tree.selectedItems()
        return (items[0].data(0, _FOLDER), items[0].data(0, _STATE)) if items else None

    def _enable(self) -> None:
        chosen = self._selected()
        state = chosen[1] if chosen else None
        self.open_button.setEnabled(state is not None and state.state == "finished")
        self.resume_button.setEnabled(state is not None and bool(state.resume))
        self.remove_button.setEnabled(chosen is not None and (state is None or state.state != "running"))

    def _open(self) -> None:
        if self.open_button.isEnabled():
            self.opened.emit(self._selected()[0])  # type: ignore[index]

    def _resume(self) -> None:
        self.resumed.emit(self._selected()[1])  # type: ignore[index]

    def _remove(self) -> None:
        forget(self._selected()[0])  # type: ignore[index]
        self.reload()

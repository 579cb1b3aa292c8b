"""The widgets of the settings page."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from .environment import Environment
from .text import tr

_LOG_LINES = 2000


class SettingsForm(QWidget):
    """Two boxes: the environment that is used, and how a new one is made; :class:`SettingsPage` says what the buttons do."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.python = QComboBox(self)
        self.python.setEditable(True)
        self.python.setToolTip(tr("Executable of a Python that has geoseg"))
        self.find_button = QPushButton(tr("Find"), self)
        self.test_button = QPushButton(tr("Test"), self)
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.models = _folder_widget(self, tr("Folder with model packages of your own; the dock offers them too"))
        self.source = _file_widget(self, tr("Wheel of geoseg, folder of its source, address, or geoseg==VERSION"))
        self.wheels = _folder_widget(self, tr("Folder of wheels for a machine without internet; empty asks the package index"))
        self.base = _file_widget(self, tr("Python 3.11 or newer to make it with; empty takes the newest that is found"))
        self.cpu_only = QCheckBox(tr("Smaller PyTorch that knows no GPU"), self)
        self.folder = QLabel(self)
        self.create_button = QPushButton(self)
        self.bar = QProgressBar(self)
        self.bar.setRange(0, 0)
        self.log = QPlainTextEdit(self)
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(_LOG_LINES)
        self._put_together(parent)
        self.show_creation(False)

    def _put_together(self, parent: QWidget) -> None:
        used = QGroupBox(tr("Environment that geoseg runs in"), self)
        row = QHBoxLayout()
        row.addWidget(self.python, 1)
        row.addWidget(self.find_button)
        row.addWidget(self.test_button)
        column = QVBoxLayout(used)
        column.addLayout(row)
        column.addWidget(self.status)
        own = QFormLayout()
        own.addRow(tr("Own models"), self.models)
        column.addLayout(own)
        made = QGroupBox(tr("Create an environment"), self)
        form = QFormLayout(made)
        form.addRow(tr("Install"), self.source)
        form.addRow(tr("Wheels"), self.wheels)
        form.addRow(tr("Made with"), self.base)
        form.addRow("", self.cpu_only)
        form.addRow(tr("Folder"), self.folder)
        form.addRow("", self.create_button)
        form.addRow(self.bar)
        form.addRow(self.log)
        whole = QVBoxLayout(self)
        whole.addWidget(used)
        whole.addWidget(made, 1)
        outer = QVBoxLayout(parent)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self)

    def chosen_python(self) -> str:
        """Return the executable that is chosen or typed."""
        return str(self.python.currentText()).strip()

    def offer(self, environments: Sequence[Environment]) -> None:
        """Offer environments; the one that was chosen stays chosen, else the first that works is."""
        before = self.chosen_python()
        self.python.clear()
        self.python.addItems([one.python for one in environments])
        works = [one.python for one in environments if one.problem is None]
        self.python.setCurrentText(before or (works[0] if works else ""))

    def show_busy(self, text: str) -> None:
        """Say what is being done."""
        self.status.setText(text)

    def show_environment(self, environment: Environment) -> None:
        """Say which geoseg a Python has, and whether it computes on a GPU and why."""
        if environment.problem is not None:
            self.show_failure(environment.problem)
            return
        text = tr("geoseg {version} works. {device}").format(version=environment.version, device=environment.device or "")
        self.status.setText(f"\N{HEAVY CHECK MARK} {text}")

    def show_failure(self, text: str) -> None:
        """Say what is wrong."""
        self.status.setText(f"\N{WARNING SIGN} {text}")

    def show_creation(self, is_going_on: bool) -> None:
        """Turn the button into one that cancels, and back."""
        self.create_button.setText(tr("Cancel") if is_going_on else tr("Create"))
        self.bar.setVisible(is_going_on)
        if is_going_on:
            self.log.clear()

    def add_line(self, text: str) -> None:
        """Add a line to what venv and pip say."""
        self.log.appendPlainText(text)


def _file_widget(parent: QWidget, tip: str) -> QgsFileWidget:
    widget = QgsFileWidget(parent)
    widget.setStorageMode(QgsFileWidget.StorageMode.GetFile)
    widget.setToolTip(tip)
    widget.lineEdit().setPlaceholderText(tip)
    return widget


def _folder_widget(parent: QWidget, tip: str) -> QgsFileWidget:
    widget = _file_widget(parent, tip)
    widget.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
    return widget

"""The settings page: which Python has geoseg, whether it works and on what, and one click that makes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsSettings
from qgis.gui import QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QWidget

from .background import Background
from .creation import Recipe, create_environment, guess_source
from .environment import SETTING, Environment, check, find_environments, own_folder
from .settingsform import SettingsForm
from .text import ICON, tr

MODELS_SETTING = "geoseg/models"
"""Where QGIS keeps the folder with the user's own model packages."""


class GeosegOptions:
    """The settings page in the options of QGIS.

    Args:
        iface: The window of QGIS.
    """

    def __init__(self, iface: Any) -> None:
        self._iface = iface
        self._factory = _Factory()

    def add(self) -> None:
        """Register the page."""
        self._iface.registerOptionsWidgetFactory(self._factory)

    def remove(self) -> None:
        """Take the page out again."""
        self._iface.unregisterOptionsWidgetFactory(self._factory)


class _Factory(QgsOptionsWidgetFactory):
    def __init__(self) -> None:
        super().__init__()
        self.setTitle("geoseg")

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def createWidget(self, parent: QWidget | None) -> QgsOptionsPageWidget:  # noqa: N802  of QGIS
        return SettingsPage(parent)


def _short(folder: Path) -> str:
    return str(folder).replace(str(Path.home()), "~", 1)


class SettingsPage(QgsOptionsPageWidget):
    """Find, test, choose and create the environment that geoseg runs in."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("geoseg")
        self.form = form = SettingsForm(self)
        self._creation: Background | None = None
        form.python.setCurrentText(str(QgsSettings().value(SETTING, "") or ""))
        form.models.setFilePath(str(QgsSettings().value(MODELS_SETTING, "") or ""))
        form.source.setFilePath(guess_source(Path(__file__).parent))
        form.folder.setText(_short(own_folder()))
        form.find_button.clicked.connect(lambda _: self.find())
        form.test_button.clicked.connect(lambda _: self.test())
        form.create_button.clicked.connect(lambda _: self.create_or_cancel())
        if form.chosen_python():
            self.test()
        else:
            self.find()

    def apply(self) -> None:
        """Keep the Python and the folder of models that are chosen; QGIS calls this for OK and Apply."""
        QgsSettings().setValue(SETTING, self.form.chosen_python())
        QgsSettings().setValue(MODELS_SETTING, self.form.models.filePath())

    def cancel(self) -> None:
        """Leave everything as it was; an environment that is being made goes on for nobody, so it is ended."""
        if self._creation is not None:
            self._creation.cancel()

    def find(self) -> Background:
        """Look for environments on this machine."""
        self.form.show_busy(tr("Looking for environments ..."))
        setting = self.form.chosen_python()
        work = Background(lambda _: find_environments(setting), self)
        work.done.connect(self._show_found)
        work.failed.connect(self.form.show_failure)
        return work.start()

    def _show_found(self, found: list[Environment]) -> None:
        self.form.offer(found)
        if self.form.chosen_python():
            self.test()
        else:
            self.form.show_failure(tr("No Python with geoseg was found. Create an environment below, or name one."))

    def test(self) -> Background:
        """Ask the chosen Python which geoseg it has, and what it computes on."""
        self.form.show_busy(tr("Testing ..."))
        python = self.form.chosen_python()
        work = Background(lambda _: check(python), self)
        work.done.connect(self._show_tested)
        work.failed.connect(self.form.show_failure)
        return work.start()

    def _show_tested(self, environment: Environment) -> None:
        if environment.python == self.form.chosen_python():
            self.form.show_environment(environment)

    def create_or_cancel(self) -> None:
        """Begin to make an environment, or end what is being made."""
        if self._creation is not None:
            self._creation.cancel()
        else:
            self.create()

    def create(self) -> Background:
        """Make an environment beside the window, then choose it."""
        form = self.form
        recipe = Recipe(
            folder=own_folder(),
            source=form.source.filePath(),
            base=form.base.filePath(),
            wheels=form.wheels.filePath(),
            is_cpu_only=form.cpu_only.isChecked(),
        )
        self._creation = work = Background(lambda work: create_environment(recipe, work.tell, work.is_cancelled), self)
        form.show_creation(True)
        work.heard.connect(form.add_line)
        work.done.connect(self._created)
        work.failed.connect(self._ended)
        work.stopped.connect(lambda: self._ended(tr("Cancelled; nothing was changed.")))
        return work.start()

    def _created(self, python: str) -> None:
        self._ended(tr("The environment is ready."))
        self.form.python.setCurrentText(python)
        self.apply()
        self.test()

    def _ended(self, text: str) -> None:
        self._creation = None
        self.form.show_creation(False)
        self.form.add_line(text)

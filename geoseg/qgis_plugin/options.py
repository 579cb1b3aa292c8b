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

_CLOSING_S = 3.0
"""How long QGIS waits for work to end when it closes."""
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
        """Take the page out again, and end what it began."""
        self._factory.creation.end()
        self._iface.unregisterOptionsWidgetFactory(self._factory)


class Creation:
    """The environment that is being made, if any: OK closes the page, and the work goes on until a later page cancels it."""

    def __init__(self) -> None:
        self.work: Background | None = None

    @property
    def is_going_on(self) -> bool:
        """Whether an environment is being made."""
        return self.work is not None and self.work.is_running

    def start(self, recipe: Recipe) -> Background:
        """Begin; the caller connects what it wants to hear."""
        self.work = work = Background(lambda work: create_environment(recipe, work.tell, work.is_cancelled))
        work.done.connect(lambda python: QgsSettings().setValue(SETTING, python))
        return work

    def cancel(self) -> None:
        """Ask it to end."""
        if self.work is not None:
            self.work.cancel()

    def end(self) -> None:
        """End it now, when QGIS closes: pip is no child that ends with QGIS."""
        if self.work is not None and self.is_going_on:
            self.work.cancel()
            self.work.wait(_CLOSING_S)


class _Factory(QgsOptionsWidgetFactory):
    def __init__(self) -> None:
        super().__init__()
        self.setTitle("geoseg")
        self.creation = Creation()

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def createWidget(self, parent: QWidget | None) -> QgsOptionsPageWidget:  # noqa: N802  of QGIS
        return SettingsPage(self.creation, parent)


def _short(folder: Path) -> str:
    return str(folder).replace(str(Path.home()), "~", 1)


class SettingsPage(QgsOptionsPageWidget):
    """Find, test, choose and create the environment that geoseg runs in."""

    def __init__(self, creation: Creation, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("geoseg")
        self.form = form = SettingsForm(self)
        self._creation = creation
        self._begun: Background | None = None
        self._hears_window = False
        form.python.setCurrentText(str(QgsSettings().value(SETTING, "") or ""))
        form.models.setFilePath(str(QgsSettings().value(MODELS_SETTING, "") or ""))
        form.source.setFilePath(guess_source(Path(__file__).parent))
        form.folder.setText(_short(own_folder()))
        form.find_button.clicked.connect(lambda _: self.find())
        form.test_button.clicked.connect(lambda _: self.test())
        form.create_button.clicked.connect(lambda _: self.create_or_cancel())
        if creation.work is not None and creation.is_going_on:
            self._follow(creation.work)
        if form.chosen_python():
            self.test()
        else:
            self.find()

    def apply(self) -> None:
        """Keep the Python and the folder of models that are chosen; QGIS calls this for OK and Apply."""
        QgsSettings().setValue(SETTING, self.form.chosen_python())
        QgsSettings().setValue(MODELS_SETTING, self.form.models.filePath())

    def showEvent(self, event: Any) -> None:  # noqa: N802  of Qt
        """Hear of Cancel: QGIS 3.22 tells its pages of OK alone."""
        super().showEvent(event)
        window = self.window()
        if not self._hears_window and hasattr(window, "rejected"):
            window.rejected.connect(self.cancel)
            self._hears_window = True

    def cancel(self) -> None:
        """Leave everything as it was: an environment that this page began to make is ended, one that OK was said to goes on."""
        if self._begun is not None and self._creation.work is self._begun:
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
        if self._creation.is_going_on:
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
        self._begun = work = self._creation.start(recipe)
        self._follow(work)
        return work.start()

    def _follow(self, work: Background) -> None:
        """Show work; the page may be gone before it ends, which bound methods of the page bear and lambdas do not."""
        self.form.show_creation(True)
        work.heard.connect(self.form.add_line)
        work.done.connect(self._created)
        work.failed.connect(self._ended)
        work.stopped.connect(self._cancelled)

    def _cancelled(self) -> None:
        self._ended(tr("Cancelled; nothing was changed."))

    def _created(self, python: str) -> None:
        self._ended(tr("The environment is ready."))
        self.form.python.setCurrentText(python)
        self.apply()
        self.test()

    def _ended(self, text: str) -> None:
        self._creation.work = None
        self.form.show_creation(False)
        self.form.add_line(text)

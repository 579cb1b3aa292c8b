"""``geoseg qgis``: the plugin for QGIS, installed or packed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from geoseg import __version__
from geoseg.cli import options as o

qgis = typer.Typer(
    help="Install the QGIS plugin, pack it for its repository, or get its texts for translators.",
    no_args_is_help=True,
    rich_markup_mode=o.HELP,
)


Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Profile of QGIS, or its folder.  [default: default]", show_default=False),
]


@qgis.command()
def install(profile: Profile = None) -> None:
    """Copy the plugin into a profile of QGIS, enable it, and have it use this Python. Close QGIS before."""
    from geoseg.packing.profiles import choose_profiles, install_plugin

    for chosen in choose_profiles(profile):
        typer.echo(f"Installed: {install_plugin(chosen, __version__, sys.executable)}")
    typer.echo(f"It uses {sys.executable}.")
    typer.echo(
        "Start QGIS. The Processing toolbox has 'geoseg - land cover, buildings, roads'; if it is not there, tick it under Plugins >"
    )
    typer.echo("Manage and Install Plugins > Installed. QGIS that was running meanwhile forgets that it is enabled.")


@qgis.command("package")
def pack(
    output: Annotated[Path, typer.Option("-o", "--output", help="Archive to write, a .zip.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Pack the plugin as the archive that the plugin repository and 'Install from ZIP' take."""
    from geoseg.packing.plugin import pack_plugin

    typer.echo(f"{pack_plugin(output, __version__, overwrite)} files: {output}")


@qgis.command()
def texts(
    output: Annotated[Path, typer.Option("-o", "--output", help="Qt translation source, for example geoseg_de.ts.", show_default=False)],
    language: Annotated[str, typer.Option("--language", metavar="CODE", help="Of the translation, for example de.", show_default=False)],
) -> None:
    """Write the texts of the plugin for Qt Linguist; translations that stand in the file are kept."""
    from geoseg.io.files import write_whole
    from geoseg.packing.plugin import plugin_texts
    from geoseg.packing.texts import read_source, write_ts

    found = plugin_texts()
    write_whole(output, write_ts(found, language, read_source(output)).encode())
    typer.echo(f"{len(found)} texts: {output}. lrelease makes geoseg_{language}.qm of it, for the plugin's folder i18n.")

"""What mkdocs calls while it builds the site: pages that are written from the code are added to those that lie in ``docs/``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pages import PAGES

_REST = "More"
"""Section of pages that the navigation does not name, so that none is lost."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List pages that the navigation does not name."""
    named = set(_named(config.nav))
    rest = sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in named)
    if rest:
        config.nav.append({_REST: rest})
    return config


def _named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif nav:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(entry)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, write in PAGES.items():
        files.append(File.generated(config, name, content=write()))
    return files

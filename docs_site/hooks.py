"""What mkdocs calls while it builds the site: pages that are written from the code are added to those that lie in ``docs/``."""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pages import PAGES


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, write in PAGES.items():
        files.append(File.generated(config, name, content=write()))
    return files

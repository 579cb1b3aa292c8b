"""The documentation: it builds strictly, asks for nothing outside, and says what the code says."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

import geoseg
from geoseg.cli.main import app
from geoseg.config import RunConfig, make_config
from geoseg.errors import GeosegError

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_mkdocs = pytest.mark.skipif(
    not all(map(find_spec, ("mkdocs", "material", "mkdocstrings"))), reason="the documentation needs mkdocs: pip install '.[docs]'"
)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(SITE / "mkdocs.yml"), "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@needs_mkdocs
def test_no_page_asks_for_anything_outside(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 30
    for page in pages:
        html = page.read_text()
        fetched = re.findall(r'<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)="([^"]*)"', html)
        assert fetched
        assert [address for address in fetched if "://" in address] == [], page
    assert not re.search(rb"fonts\.g(oogle)?static|googleapis", b"".join(path.read_bytes() for path in site.rglob("*.css")))


class Quiet(SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, *_: object) -> None:
        """Keep silent."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@needs_mkdocs
@pytest.mark.skipif(not CHROMIUM.exists() or find_spec("playwright") is None, reason="looked at in Chromium, which is not installed here")
def test_a_browser_finds_pages_by_search_without_asking_anybody_else(address: str) -> None:
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{address}/start.html")
        page.locator("input[name=query]").fill("receptive field")
        page.locator("a.md-search-result__link[href*='how.html']").first.wait_for(state="attached", timeout=60_000)
        browser.close()
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert complaints == []


@needs_mkdocs
def test_every_page_is_reached_from_the_first_one(site: Path) -> None:
    home = (site / "index.html").read_text()
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"commands", "configuration", "errors", "api"}
    assert [page for page in sorted(pages) if f'href="{page}.html"' not in home and page != "index"] == []


@needs_mkdocs
def test_every_public_name_has_its_docstring_in_the_site(site: Path) -> None:
    html = (site / "api.html").read_text()
    assert [name for name in geoseg.__all__ if name != "Event" and f".{name}" not in html] == []
    assert "Segment a raster into a run folder" in html


def test_every_command_and_option_stands_on_its_page() -> None:
    page = load("pages").write_commands()
    for name, command in commands(get_command(app), "geoseg"):
        assert f"## {name}\n" in page
        for param in command.params:
            wanted = param.opts if param.param_type_name == "option" else [param.name, param.metavar or param.name]
            assert any(each in page for each in wanted), f"{name}: {param.name}"


def test_every_key_of_the_configuration_stands_on_its_page_with_its_meaning() -> None:
    pages = load("pages")
    page = pages.write_configuration()
    documented = pages.read_field_docs(RunConfig)
    for name in RunConfig.model_fields.keys() - {"objects"}:
        assert f"| `{name}` |" in page
        assert documented[name]
    assert "[run.objects.buildings]" in page
    assert "| `min_area_m2` |" in page


def test_messages_of_errors_are_found_where_they_are_raised() -> None:
    pages = load("pages")
    found = pages.collect_messages()
    texts = {text for messages in found.values() for text, _ in messages}
    assert len(texts) > 200
    assert "There is no vector file {zones}. Check --zones." in texts
    assert {"UsageError", "RasterError", "ModelError", "RunFolderError", "ChunkError", "WriteError"} <= found.keys()
    page = pages.write_errors()
    for kind in kinds(GeosegError):
        assert kind.__name__ in page


def test_every_raise_of_the_package_has_a_message_in_the_page() -> None:
    found = load("pages").collect_messages()
    known = {kind.__name__ for kind in kinds(GeosegError)}
    for path in sorted((ROOT / "geoseg").rglob("*.py")):
        where = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) in known:
                kind = ast.unparse(node.exc.func)
                assert where in {module for _, module in found.get(kind, ())}, f"{where} line {node.lineno}: {ast.unparse(node)}"
    texts = {text for messages in found.values() for text, _ in messages}
    assert "What a UsageError says: {exc}" in texts
    assert any(text.startswith("The classes of the two runs do not fit: ") for text in texts)
    assert "Training diverged: {exc}. {kept}. Choose a lower learning_rate, a longer warm_up or a smaller gradient_clip." in texts


def kinds(kind: type[GeosegError]) -> Iterator[type[GeosegError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == "geoseg.errors":
            yield from kinds(below)


def test_drawings_are_those_that_their_script_draws() -> None:
    drawings = load("drawings")
    assert {path.stem for path in (ROOT / "docs" / "drawings").iterdir()} == drawings.DRAWINGS.keys()
    for name in drawings.DRAWINGS:
        assert (ROOT / "docs" / "drawings" / f"{name}.svg").read_text() == drawings.render(name)


def commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for key, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {key}")
        else:
            yield f"{name} {key}", command


def written_commands() -> list[tuple[str, str]]:
    """Return the lines of shell blocks that call geoseg, with the page that they stand on."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.split("  #")[0].strip()) for line in lines if line.startswith("geoseg ")]
    return found


def test_commands_in_the_documentation_exist_with_their_options_and_settings() -> None:
    known = dict(commands(get_command(app), "geoseg"))
    written = written_commands()
    assert len(written) > 30
    for page, line in written:
        words = shlex.split(line.replace("|", " "))
        if len(words) > 1 and words[1].startswith("-"):
            continue
        name = " ".join(words[:3]) if " ".join(words[:3]) in known else " ".join(words[:2])
        assert name in known, f"{page}: {line}"
        options = {opt for param in known[name].params for opt in (*param.opts, *param.secondary_opts)}
        used = {word.split("=")[0] for word in words if word.startswith("-")}
        assert used <= options, f"{page}: {line}: {used - options}"
        for setting in (after for word, after in pairwise(words) if word == "--set"):
            table, key, value = re.fullmatch(r"(\w+)\.(\w+)=(.+)", setting).groups()  # type: ignore[union-attr]
            if value.replace(".", "").isdigit():
                make_config({"raster": "a.tif", "output": "out", "objects": {table: {key: float(value)}}})

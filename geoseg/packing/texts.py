"""Texts of the plugin for translators, as Qt's tools read and write them."""

import ast
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from geoseg.errors import UsageError

CONTEXT = "geoseg"
"""Of all texts, as the plugin asks for them."""


def collect_texts(folder: Path) -> dict[str, str]:
    """Return each text that stands in a call of ``tr`` below a folder, with the file that it is first in.

    Raises:
        UsageError: If something else than a text is translated.
    """
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tr":
                text = node.args[0] if node.args else None
                if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
                    raise UsageError(f"{path}, line {node.lineno}: tr() takes a text as it stands, so that translators find it.")
                texts.setdefault(text.value, path.relative_to(folder).as_posix())
    return texts


def write_ts(texts: Mapping[str, str], language: str = "en", known: str | None = None) -> str:
    """Return a translation source.

    Args:
        texts: Each text and its file.
        language: Of the translation, for example ``de``.
        known: An earlier source, whose translations are kept.

    Raises:
        UsageError: If the earlier one cannot be read.
    """
    translated = {} if known is None else _read_translations(known)
    root = ET.Element("TS", version="2.1", language=language, sourcelanguage="en")
    context = ET.SubElement(root, "context")
    ET.SubElement(context, "name").text = CONTEXT
    for text, file in texts.items():
        message = ET.SubElement(context, "message")
        ET.SubElement(message, "location", filename=f"../{file}")
        ET.SubElement(message, "source").text = text
        if text in translated:
            ET.SubElement(message, "translation").text = translated[text]
        else:
            ET.SubElement(message, "translation", type="unfinished")
    ET.indent(root, "    ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n{ET.tostring(root, encoding="unicode")}\n'


def read_source(path: Path) -> str | None:
    """Read an earlier translation source, None if there is none.

    Raises:
        UsageError: If something stands there that is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path} cannot be read: {exc}. Expected a .ts file of Qt, in UTF-8; name another file.") from exc


def _read_translations(source: str) -> dict[str, str]:
    try:
        root = ET.fromstring(source)
    except ET.ParseError as exc:
        raise UsageError(f"The translations cannot be read: {exc}. Expected a .ts file of Qt; name another file.") from exc
    if root.tag != "TS":
        raise UsageError(f"The file holds <{root.tag}>, no translations. Expected a .ts file of Qt; name another file.")
    return {m.findtext("source", ""): m.findtext("translation", "") for m in root.iter("message") if m.findtext("translation")}

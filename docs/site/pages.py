"""Pages of the documentation that are written from the code itself: commands, configuration, errors, Python."""

import ast
import builtins
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.main import get_command

import geoseg
from geoseg import errors
from geoseg.cli.main import app
from geoseg.config import RunConfig
from geoseg.errors import GeosegError

_PACKAGE = Path(geoseg.__file__).parent
_LEAST_WORDS = 3
"""Words of a message below which it is only a name that is handed on."""


def write_commands() -> str:
    """Return every command with its arguments and options, as Markdown."""
    root = get_command(app)
    lines = ["# Commands", "", "Written from the code. `geoseg COMMAND --help` says the same.", ""]
    lines += ["Exit codes: 0 done, 1 failed, 2 usage, 3 done but something is missing.", ""]
    for name, command in _commands(root, "geoseg"):
        lines += [f"## {name}", "", _escape(textwrap.dedent(command.help or "")), ""]
        with typer.Context(command, info_name=name) as context:
            lines += ["```", f"{name} {' '.join(command.collect_usage_pieces(context))}", "```", ""]
            rows = [_describe_parameter(param, context) for param in command.params if not param.hidden]
        if rows:
            lines += ["| option | what |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for key, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {key}")
        else:
            yield f"{name} {key}", command


def _describe_parameter(param: Any, context: Any) -> str:
    names, what = param.get_help_record(context) or (param.name, param.help or "")
    # brackets would be taken for links
    plain = re.sub(r"\[([^\]]*)\]", r"(\1)", _escape(what))
    return f"| `{names}` | {_cell(plain)} |"


def write_configuration() -> str:
    """Return every key of ``run.toml`` with its type, default and meaning, as Markdown."""
    lines = [
        "# Configuration",
        "",
        "Written from the code. Every run leaves a `run.toml`; `--config` takes one, and options of the command line override it.",
        "Keys stand in the table `[run]`, or at the top of a file that is written by hand:",
        "",
        "```toml",
        "[run]",
        'raster = "city.tif"',
        'output = "out"',
        'model = "aerial"',
        "",
        "[run.objects.buildings]",
        "min_area_m2 = 20",
        "```",
        "",
    ]
    for path, model in _tables(RunConfig, "run"):
        documented = read_field_docs(model)
        if all(_is_table(field.annotation) for field in model.model_fields.values()):
            continue
        lines += [f"## [{path}]", "", _escape(inspect.getdoc(model) or ""), "", "| key | default | what |", "| --- | --- | --- |"]
        for name, field in model.model_fields.items():
            if _is_table(field.annotation):
                continue
            default = (
                "required" if field.default is PydanticUndefined and field.default_factory is None else f"`{_show(field.get_default())}`"
            )
            lines.append(f"| `{name}` | {_cell(default)} | {_cell(_escape(documented.get(name, '')))} |")
        lines.append("")
    return "\n".join(lines)


def _tables(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        if _is_table(field.annotation):
            yield from _tables(field.annotation, f"{path}.{name}")


def _is_table(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _show(value: Any) -> str:
    return "not set" if value is None else ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def read_field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field of a model, also of those that it inherits."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not issubclass(each, BaseModel) or each is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[ast.unparse(field.target)] = str(below.value.value)
    return found


def write_errors() -> str:
    """Return every kind of error, and every message that the code can raise, as Markdown."""
    said = collect_messages()
    tree = textwrap.dedent((errors.__doc__ or "").split("::", 1)[1].split("A message says", 1)[0]).strip("\n")
    lines = [
        "# Errors",
        "",
        "Written from the code. Every message says what was expected, what came, and what to do. What stands in braces is filled in.",
        "`geoseg --debug COMMAND` shows the traceback as well. `geoseg doctor` examines the installation.",
        "",
        "```",
        tree,
        "```",
        "",
    ]
    for kind in _kinds(GeosegError):
        messages = sorted(said.get(kind.__name__, ()))
        if not messages:
            continue
        lines += [f"## {kind.__name__}", "", _escape(inspect.getdoc(kind) or ""), "", "| message | where |", "| --- | --- |"]
        lines += [f"| {_cell(_escape(text))} | `{where}` |" for text, where in messages]
        lines.append("")
    return "\n".join(lines)


def _kinds(kind: type[GeosegError]) -> Iterator[type[GeosegError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def collect_messages() -> dict[str, set[tuple[str, str]]]:
    """Return the messages of each kind of error that the package raises, with the module that does."""
    known = {kind.__name__ for kind in _kinds(GeosegError)}
    found: dict[str, set[tuple[str, str]]] = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        where = ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known and node.args:
                texts = [text for text in [_template(node.args[0])] if len(text.split()) >= _LEAST_WORDS]
                found.setdefault(node.func.id, set()).update((text, where) for text in texts or _follow(node.args[0], tree))
    return found


def _follow(message: ast.expr, tree: ast.Module) -> list[str]:
    """Return what a message that is no text may be: what a function of its module returns, or what another error said."""
    if isinstance(message, ast.Call) and isinstance(message.func, ast.Name):
        makers = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == message.func.id]
        returns = [node.value for maker in makers for node in ast.walk(maker) if isinstance(node, ast.Return) and node.value]
        if returns:
            return [_template(value) for value in returns]
    if isinstance(message, ast.Attribute):
        return [f"The same again: {{{message.attr}}}"]
    caught = [ast.unparse(node.type) for node in ast.walk(tree) if _catches(node, message) and node.type]
    return [f"What a {kind} says: {{exc}}" for kind in caught]


def _catches(node: ast.AST, message: ast.expr) -> TypeGuard[ast.ExceptHandler]:
    """Tell whether a message is made inside of a handler."""
    return isinstance(node, ast.ExceptHandler) and any(inner is message for inner in ast.walk(node))


def _template(node: ast.expr) -> str:
    """Return a message as it stands in the code, with a name in braces where a value is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + _name(node.value) + "}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return ""


def _name(node: ast.expr) -> str:
    """Return a short name for a value."""
    if isinstance(node, ast.Attribute):
        return node.attr
    names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name) and each.id[0] != "_" and each.id not in dir(builtins)]
    return node.id if isinstance(node, ast.Name) else names[-1] if names else "..."


def write_api() -> str:
    """Return the public names of Python, for mkdocstrings to fill in."""
    lines = ["# Python", "", "The public surface: everything else may change. Names are loaded when they are first used.", ""]
    lines += [
        "```python",
        "import geoseg",
        "",
        'run = geoseg.segment_raster(geoseg.make_config({"raster": "city.tif", "output": "out"}))',
        "```",
        "",
    ]
    for name in geoseg.__all__:
        if name != "Event":
            lines += [f"::: {getattr(geoseg, name).__module__}.{name}", ""]
    return "\n".join(lines)


def _escape(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("<", "&lt;").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {"commands.md": write_commands, "configuration.md": write_configuration, "errors.md": write_errors, "api.md": write_api}
"""What writes each page, by its name in the site."""

"""Pages of the documentation that come from the code: the commands, and the settings with their limits.

python -m modelyard.cli.reference commands > docs/reference/commands.md
python -m modelyard.cli.reference settings > docs/reference/settings.md
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import typer

from modelyard.base import otel, settings
from modelyard.base.settings import MIB, Limits, Settings
from modelyard.cli.main import app_of

_MARKUP = re.compile(r"\[/?(?:bold|dim|italic|green|red|cyan)?\]")
_HIDDEN = ("help", "install_completion", "show_completion", "version")
_COMMANDS = """# Commands

Generated from the code by `make docs`; a test keeps it true. Every command is a thin client of the platform's public API, and
`--help` says the same as this page. A command that fails says on its last line what to do next, and exits with 1; 2 is a
wrong option.
"""
_SETTINGS = """# Settings and limits

Generated from the code by `make docs`; a test keeps it true. `modelyard up` takes them as [options](commands.md#modelyard-up),
a limit as `--limit name=value`; each start begins with the defaults.

| variable | |
|---|---|
| `MODELYARD_HOME` | The platform's home; default `~/.modelyard`. |
| `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_DEFAULT_REGION`, `AWS_REGION` | \
What `modelyard env` prints, for AWS's clients. |
| {otel} | [Traces](../guides/tracing.md), by OpenTelemetry's own names; read by `modelyard up`. |
""".replace("{otel}", ", ".join(f"`{name}`" for name in otel.VARIABLES))


def commands_page() -> Iterator[str]:
    """The page of commands, line by line."""
    yield _COMMANDS
    yield from _command(typer.main.get_command(app_of(())), "modelyard")


def _command(command: Any, name: str) -> Iterator[str]:
    """One command, or those of a group."""
    if hasattr(command, "commands"):
        for word, one in command.commands.items():
            yield from _command(one, f"{name} {word}")
        return
    yield f"## {name}\n"
    yield _plain(command.help or "") + "\n"
    rows = list(_parameters(command))
    if rows:
        yield "| | |\n|---|---|"
        yield from rows
        yield ""


def _parameters(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.name in _HIDDEN:
            continue
        if parameter.param_type_name == "argument":
            shown = f"`{(parameter.metavar or parameter.name).upper()}`"
        else:
            shown = ", ".join(f"`{one}`" for one in (*parameter.opts, *parameter.secondary_opts))
        text = _plain(getattr(parameter, "help", None) or "").replace("|", "\\|")
        yield f"| {shown} | {text}{_default(parameter)} |"


def _default(parameter: Any) -> str:
    """What holds without the option; nothing for a switch, or where the text says it."""
    if parameter.required:
        return " Required."
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return f" Default: {shown}."
    value = parameter.default
    if value is None or isinstance(value, bool) or callable(value) or value in ("", (), []):
        return ""
    return f" Default: `{value}`."


def _plain(text: str) -> str:
    """Help without its markup; what stands between two lines of one paragraph is a space."""
    paragraphs = inspect.cleandoc(_MARKUP.sub("", text)).split("\n\n")
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)


def settings_page() -> Iterator[str]:
    """The page of settings, line by line."""
    yield _SETTINGS
    texts = _field_texts()
    yield "## Settings\n"
    yield from _fields(Settings, texts)
    yield "## Limits\n"
    yield "Whatever waits, queues or is held in memory has a bound; what is past it is refused with AWS's error for it.\n"
    yield from _fields(Limits, texts)


def _fields(owner: type, texts: dict[tuple[str, str], str]) -> Iterator[str]:
    yield "| name | default | |\n|---|---|---|"
    for one in fields(owner):
        if one.name != "limits":
            text = texts[owner.__name__, one.name].replace("``", "`").replace("|", "\\|")
            yield f"| `{one.name}` | {_value(one)} | {text} |"
    yield ""


def _value(field: Field[Any]) -> str:
    """A field's default for a reader: bytes in their units, seconds as they are."""
    value = field.default
    if value is MISSING or value in (None, "", ()):
        return ""
    if field.name.endswith("_bytes") and value >= 1024:
        return f"{value // MIB:,} MiB" if value % MIB == 0 else f"{value // 1024:,} KiB"
    return f"`{value}`"


def _field_texts() -> dict[tuple[str, str], str]:
    """The text beneath each field in the source, which Python does not keep, by class and field."""
    tree = ast.parse(Path(settings.__file__).read_text())
    texts = {}
    for owner in (one for one in tree.body if isinstance(one, ast.ClassDef)):
        for field, text in zip(owner.body, owner.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(words))
                ):
                    texts[owner.name, name] = " ".join(words.split())
    return texts


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "commands": commands_page,
    "settings": settings_page,
}


def page(name: str) -> str:
    """A whole page."""
    return "\n".join(PAGES[name]()).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(sys.argv[1]))

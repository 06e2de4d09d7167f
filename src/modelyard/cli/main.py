"""``modelyard``: the commands, each a thin client of the platform's public API.

What a command needs is imported when it is asked for: all of them together would keep each waiting.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer

import modelyard
from modelyard.cli import output

PLATFORM, SERVING, CLIENTS = "Platform", "Models, endpoints and jobs", "AWS clients"
HELP = """The ML operations platform you run yourself.

It speaks AWS's APIs (SageMaker, S3, STS, IAM, CloudWatch Logs) on one local port, and really executes them.

[bold]Start in a minute[/]

  modelyard up --detach                         start a platform
  modelyard deploy model.onnx --name demo       serve a model
  modelyard invoke demo --body '1,2,3'          ask it
  eval $(modelyard env)                         let boto3, aws and the SageMaker SDK use it
  modelyard down                                stop
"""


class _Command(NamedTuple):
    """A function of a module of this package, or a group of commands (``app``)."""

    panel: str
    module: str
    name: str
    settings: dict[str, Any] | None = None


_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}
_COMMANDS = {
    "up": _Command(PLATFORM, "lifecycle", "up"),
    "down": _Command(PLATFORM, "lifecycle", "down"),
    "status": _Command(PLATFORM, "lifecycle", "status"),
    "reset": _Command(PLATFORM, "lifecycle", "reset"),
    "backup": _Command(PLATFORM, "lifecycle", "backup"),
    "restore": _Command(PLATFORM, "lifecycle", "restore"),
    "deploy": _Command(SERVING, "hosting", "deploy"),
    "invoke": _Command(SERVING, "hosting", "invoke"),
    "transform": _Command(SERVING, "transform", "transform"),
    "list": _Command(SERVING, "hosting", "list_resources"),
    "logs": _Command(SERVING, "logs", "logs"),
    "top": _Command(SERVING, "top", "top"),
    "delete": _Command(SERVING, "hosting", "delete"),
    "rollout": _Command(SERVING, "rollout", "app"),
    "rehearse": _Command(SERVING, "rehearse", "command"),
    "simulate": _Command(SERVING, "simulate", "app"),
    "image": _Command(SERVING, "image", "app"),
    "models": _Command(SERVING, "models", "app"),
    "chat": _Command(SERVING, "chat", "chat"),
    "usage": _Command(SERVING, "usage", "usage"),
    "env": _Command(CLIENTS, "environment", "env"),
    "configure": _Command(CLIENTS, "environment", "configure"),
    "run": _Command(CLIENTS, "environment", "run", _ANYTHING),
}


def app_of(words: Sequence[str]) -> typer.Typer:
    """What understands a command line that begins with ``words``: its command alone, or all of them where it names none."""
    app = typer.Typer(
        name="modelyard",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help=HELP,
    )
    app.callback()(_options)
    asked = words[0] if words else ""
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        _add(app, name, _COMMANDS[name])
    return app


def _add(app: typer.Typer, name: str, command: _Command) -> None:
    found = getattr(importlib.import_module(f"modelyard.cli.{command.module}"), command.name)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name, rich_help_panel=command.panel)
    else:
        settings = command.settings
        app.command(name, rich_help_panel=command.panel, context_settings=settings)(found)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelyard {modelyard.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options that stand before the command."""


def main() -> None:
    """The entry point of the installed command."""
    completes = "_MODELYARD_COMPLETE" in os.environ  # A shell asks what could be said.
    with output.readable_errors(SystemExit):
        app_of([] if completes else sys.argv[1:])()


if __name__ == "__main__":
    main()

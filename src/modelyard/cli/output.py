"""How commands speak: tables for people, JSON for programs, errors that say what to do next."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelyard.base.errors import ServiceError
from modelyard.cli.platform import CommandFailed

console = Console(highlight=False)
notes = Console(stderr=True, highlight=False)
FAILED = 1
"""Exit status of a command that could not do what was asked; usage errors are 2, as everywhere."""


def print_json(value: Any) -> None:
    """One JSON document on standard output, dates in ISO 8601."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """An aligned table, or the sentence ``empty`` when there is nothing to show."""
    if not rows:
        notes.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def coloured(text: str) -> Text:
    """A status in its colour."""
    return Text(text, style=_COLOURS.get(text, ""))


def _cell(value: object) -> str | Text:
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return coloured(str(value))


_COLOURS: Mapping[str, str] = {
    "InService": "green",
    "Completed": "green",
    "running": "green",
    "Creating": "yellow",
    "Updating": "yellow",
    "Deleting": "yellow",
    "InProgress": "yellow",
    "Stopping": "yellow",
    "Failed": "red",
    "down": "red",
}


@contextmanager
def readable_errors(exit_with: Callable[[int], BaseException]) -> Iterator[None]:
    """Turn what a command raises into one message and an exit status."""
    try:
        yield
    except CommandFailed as failure:
        _complain(failure.message, failure.hint)
    except ClientError as error:
        detail = error.response.get("Error", {})
        _complain(f"{detail.get('Code', 'Error')}: {detail.get('Message', error)}", "")
    except (BotoCoreError, ServiceError) as error:
        _complain(str(error), "Is the platform running? modelyard status")
    except KeyboardInterrupt:
        raise exit_with(130) from None
    else:
        return
    raise exit_with(FAILED)


def _complain(message: str, hint: str) -> None:
    # As Text, because messages hold brackets that are no markup: pip install 'modelyard[onnx]'.
    notes.print(Text.assemble(("Error: ", "red"), message), soft_wrap=True)
    if hint:
        notes.print(f"  {hint}", markup=False, soft_wrap=True)

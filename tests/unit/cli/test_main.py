"""Which commands a command line has to do with."""

import typer

from modelyard.cli.main import app_of


def _names(*words: str) -> list[str]:
    command = typer.main.get_command(app_of(words))
    return list(command.commands)  # type: ignore[attr-defined]


def test_a_command_that_is_named_is_the_only_one_that_is_made() -> None:
    assert _names("down", "--home", "x") == ["down"]


def test_every_command_is_there_where_none_is_named() -> None:
    for words in ((), ("--help",), ("dwon",)):
        assert {"up", "down", "deploy", "run", "simulate"} < set(_names(*words))

"""``chat``: a conversation with a Lex bot, in the terminal or from a pipe, through the public API."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from rich.text import Text

from modelyard.base.ids import SystemRandom
from modelyard.cli import output
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import CommandFailed, Platform, connect

DEFAULT_LOCALE = "en_US"
_HELP = "/new begins anew, /state shows what the bot knows, /quit or Ctrl-D leaves."


@dataclass(frozen=True, slots=True)
class Partner:
    """Who is talked to."""

    bot: str
    alias: str
    locale: str
    session: str

    def place(self) -> dict[str, str]:
        """As the runtime's operations take it."""
        return {
            "botId": self.bot,
            "botAliasId": self.alias,
            "localeId": self.locale,
            "sessionId": self.session,
        }


def chat(
    bot: Annotated[str, typer.Argument(help="The bot's name, or its id.")],
    locale: Annotated[
        str | None,
        typer.Option("--locale", help="Language.", show_default="en_US, or the bot's only one"),
    ] = None,
    alias: Annotated[str, typer.Option("--alias", help="Name or id.")] = "TestBotAlias",
    session: Annotated[
        str | None, typer.Option("--session", help="Go on with this session.", show_default="new")
    ] = None,
    region: RegionOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk to a Lex bot.

    From a pipe each line is something said; what the bot says goes to the standard output, a line a message (with
    [bold]--json[/] a whole answer a line), and the first error ends the command.
    """
    platform = connect(home, region=region)
    partner = _find(platform, bot, alias, locale, session)
    runtime = platform.client("lexv2-runtime")
    if not sys.stdin.isatty():
        for line in _lines():
            _print(runtime.recognize_text(**partner.place(), text=line), as_json=as_json)
        return
    output.notes.print(f"You talk to {bot} ({partner.locale}). {_HELP}", style="dim")
    while (text := _asked()) is not None:
        if text == "/quit":
            return
        try:
            if text == "/new":
                partner = replace(partner, session=_new_session())
            elif text == "/state":
                output.print_json(runtime.get_session(**partner.place())["sessionState"])
            elif text:
                _print(runtime.recognize_text(**partner.place(), text=text), as_json=as_json)
        except ClientError as error:
            detail = error.response["Error"]
            _tell(f"{detail['Code']}: {detail['Message']}", style="red")


def _asked() -> str | None:
    try:
        return output.console.input(Text("you  ", style="bold cyan")).strip()
    except EOFError:
        return None


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


def _print(answer: Any, *, as_json: bool) -> None:
    if as_json:
        shown = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
        sys.stdout.write(json.dumps(shown) + "\n")
        return
    is_terminal = output.console.is_terminal
    for message in answer.get("messages", []):
        line = Text.assemble(("bot  ", "bold green")) if is_terminal else Text()
        output.console.print(line.append(_words(message)), soft_wrap=True)
    _tell(_status(answer["sessionState"]), style="dim")


def _words(message: Any) -> str:
    card = message.get("imageResponseCard")
    if not card:
        return str(message["content"])
    lines = [card["title"], *([card["subtitle"]] if card.get("subtitle") else [])]
    lines += [f"  [{one['value']}] {one['text']}" for one in card.get("buttons", [])]
    return "\n".join(lines)


def _status(state: Any) -> str:
    """Which intent, how far it is, what is known."""
    intent = state.get("intent")
    if not intent:
        return "     (no intent)"
    known = [f"{name}={_value(slot)}" for name, slot in (intent.get("slots") or {}).items() if slot]
    waits = state["dialogAction"].get("slotToElicit")
    parts = [
        f"{intent['name']} {intent['state']}",
        *known,
        *([f"waits for {waits}"] if waits else []),
    ]
    return f"     {', '.join(parts)}"


def _value(slot: Any) -> str:
    if slot.get("shape") == "List":
        return "+".join(_value(one) for one in slot.get("values", []))
    return str(slot["value"].get("interpretedValue"))


def _tell(text: str, *, style: str) -> None:
    output.notes.print(Text(text, style=style), soft_wrap=True)


def _new_session() -> str:
    return f"chat-{SystemRandom().hex(16)}"


def _find(
    platform: Platform, bot: str, alias: str, locale: str | None, session: str | None
) -> Partner:
    """Raises ``CommandFailed`` for what is not there, naming what is."""
    models = platform.client("lexv2-models")
    bots = {one["botId"]: one["botName"] for one in _all(models.list_bots, "botSummaries")}
    bot_id = _id_of(bot, bots, "bot")
    aliases = {
        one["botAliasId"]: one["botAliasName"]
        for one in _all(models.list_bot_aliases, "botAliasSummaries", botId=bot_id)
    }
    alias_id = _id_of(alias, aliases, "alias")
    if locale is None:
        version = models.describe_bot_alias(botId=bot_id, botAliasId=alias_id).get("botVersion")
        found = [
            one["localeId"]
            for one in _all(
                models.list_bot_locales,
                "botLocaleSummaries",
                botId=bot_id,
                botVersion=version or "DRAFT",
            )
        ]
        locale = found[0] if len(found) == 1 else DEFAULT_LOCALE
    return Partner(bot_id, alias_id, locale, session or _new_session())


def _all(operation: Any, member: str, **arguments: str) -> Iterator[Any]:
    while True:
        answer = operation(**arguments)
        yield from answer[member]
        if not answer.get("nextToken"):
            return
        arguments["nextToken"] = answer["nextToken"]


def _id_of(wanted: str, names: dict[str, str], what: str) -> str:
    if wanted in names:
        return wanted
    for one, name in names.items():
        if name == wanted:
            return one
    known = ", ".join(sorted(names.values())) or "none"
    raise CommandFailed(f"There is no {what} {wanted}.", f"Known: {known}.")

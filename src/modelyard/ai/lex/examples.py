"""What a bot learns from: its templates with values in their slots, and sentences that have nothing to do with it."""

import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from modelyard.ai.lex.bot import Bot, Intent
from modelyard.domain.lex.recognisers import examples_of
from modelyard.domain.lex.templates import Part

EXAMPLES_MAX = 6_000
"""Of all intents together; a template has at least one."""
_OF_TEMPLATE = 12
_UNKNOWN_SHARE = 0.4
_UNKNOWN = (
    "table garden music lemon window river doctor chair mountain pencil engine basket holiday ticket flower bridge shadow letter "
    "cotton island silver market planet candle forest rabbit ocean guitar winter castle button mirror saddle tunnel velvet harbor"
)
"""Words that stand for values that nobody has named, so that their place is learned and not their letters."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``begin`` to ``end`` are the value of a slot."""

    slot: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Example:
    """One text. ``template`` numbers the utterance it was made of, within its intent."""

    text: str
    spans: tuple[Span, ...]
    template: int


class Maker:
    """Of one bot; the same seed makes the same examples."""

    def __init__(self, bot: Bot, *, seed: int = 0) -> None:
        self._bot = bot
        self._random = random.Random(seed)  # noqa: S311 - it shall be the same each time
        count = sum(len(one.templates) for one in bot.intents)
        self._each = max(1, min(_OF_TEMPLATE, EXAMPLES_MAX // max(1, count)))
        self._said = {kind: self._values(kind) for kind in bot.recognisers}

    def examples(self, intent: Intent) -> list[Example]:
        """Each different one once."""
        kinds = {slot.name: slot.kind for slot in intent.slots}
        made: dict[str, Example] = {}
        for number, template in enumerate(intent.templates):
            slots = sum(part.is_slot for part in template)
            for _ in range(min(self._each, 3 + 3 * slots) if slots else 1):
                one = self._fill(template, kinds, number)
                made.setdefault(one.text, one)
        return list(made.values())

    def _fill(self, template: Sequence[Part], kinds: dict[str, str], number: int) -> Example:
        text, spans = "", []
        for part in template:
            if text and _needs_blank(text, part):
                text += " "
            begin = len(text)
            text += self._value(kinds[part.text]) if part.is_slot else part.text
            if part.is_slot:
                spans.append(Span(part.text, begin, len(text)))
        return Example(text, tuple(spans), number)

    def _value(self, kind: str) -> str:
        said = self._said[kind]
        if not said or (
            self._bot.recognisers[kind].is_open and self._random.random() < _UNKNOWN_SHARE
        ):
            unknown = self._random.sample(_UNKNOWN.split(), self._random.choice((1, 1, 2)))
            if said and len(unknown) > 1 and self._random.random() < 0.5:
                unknown[-1] = self._random.choice(
                    said
                )  # "master bedroom", where a bedroom is known
            return " ".join(unknown)
        return self._random.choice(said)

    def _values(self, kind: str) -> Sequence[str]:
        custom = self._bot.types.get(kind)
        if custom is None:
            return examples_of(kind)
        said = list(_custom_values(custom.get("slotTypeValues") or ()))
        return said or examples_of(custom.get("parentSlotTypeSignature") or "")


def _custom_values(values: Sequence[dict[str, object]]) -> Iterator[str]:
    for one in values:
        yield one["sampleValue"]["value"]  # type: ignore[index]
        for synonym in one.get("synonyms") or ():  # type: ignore[attr-defined]
            yield synonym["value"]


def _needs_blank(text: str, part: Part) -> bool:
    return not (text[-1] in "-/$#(" or (not part.is_slot and part.text[0] in "-/,.?!;:')%"))


@cache
def background() -> tuple[str, ...]:
    """What people say to anybody: no bot's business unless it says so itself."""
    data = files("modelyard.ai.lex").joinpath("background.toml").read_text(encoding="utf-8")
    sentences = tomllib.loads(data)["sentences"].splitlines()
    return tuple(line.strip() for line in sentences if line.strip())

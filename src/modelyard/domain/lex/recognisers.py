"""Slot types as recognisers: what of a text may be a value of one, whether all of it is, and how a value reads.

``recogniser_of`` gives that of any type a bot may use. Where ``is_open``, words that no recogniser knows are values too, if they
stand in the slot's place: names, and custom types that expand their values.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from modelyard.domain.lex import dates, forms, numbers, times
from modelyard.domain.lex.builtin import ALPHANUMERIC, BY_SIGNATURE, CONFIRMATION, FREE_FORM
from modelyard.domain.lex.matches import Match, disjoint, whole
from modelyard.domain.lex.pattern import Pattern, compile_pattern
from modelyard.domain.lex.understanding import SlotValue
from modelyard.domain.lex.vocabulary import Vocabulary

Find = Callable[[str, date], list[Match]]
_NAMES = {
    "AMAZON.City": "cities",
    "AMAZON.Country": "countries",
    "AMAZON.State": "states",
    "AMAZON.FirstName": "first_names",
    "AMAZON.LastName": "last_names",
}
_DAY_FIRST_NOT = ("en_US", "en_CA", "es_US")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recogniser:
    """Of one slot type. ``is_open``: words that ``find`` does not know are values too, in the slot's place."""

    slot_type: str
    find: Find
    is_open: bool = False
    is_free: bool = False
    """Anything at all is a value."""

    def value_of(self, text: str, begin: int, end: int, today: date) -> SlotValue | None:
        """How characters ``begin`` to ``end`` read as a value; None: not at all."""
        said = text[begin:end].strip()
        if not said:
            return None
        found = [] if self.is_free else self.find(said, today)
        match = whole(found, said) or max(
            found, key=lambda one: (not one.is_weak, one.end - one.begin), default=None
        )
        is_whole = match is not None and whole([match], said) is not None
        if match is not None and (is_whole or not self.is_open):
            return as_value(said, match)
        if self.is_open or self.is_free:
            resolved = (said,) if self.slot_type in BY_SIGNATURE else ()
            return SlotValue(originalValue=said, interpretedValue=said, resolvedValues=resolved)
        return None


def as_value(text: str, match: Match) -> SlotValue:
    """A match as the runtime shows it."""
    return SlotValue(
        originalValue=text[match.begin : match.end],
        interpretedValue=match.value,
        resolvedValues=match.readings,
    )


def recogniser_of(
    slot_type: str, custom: Mapping[str, Any] | None, locale: str
) -> Recogniser | None:
    """Of a built-in type, or of a custom one as DescribeSlotType shows it; None: there is none. Raises ``BadPattern``."""
    if custom is not None:
        return _custom(slot_type, custom, locale)
    return _builtin(slot_type, locale, None)


def _custom(slot_type: str, custom: Mapping[str, Any], locale: str) -> Recogniser | None:
    setting = custom.get("valueSelectionSetting") or {}
    parent = custom.get("parentSlotTypeSignature")
    if parent:
        filtering = (setting.get("regexFilter") or {}).get("pattern")
        pattern = compile_pattern(filtering) if filtering else None
        found = _builtin(parent, locale, pattern)
        own = custom.get("slotTypeValues")
        return _with_values(found, Vocabulary.of(own)) if found is not None and own else found
    vocabulary = Vocabulary.of(custom.get("slotTypeValues") or ())
    if setting.get("resolutionStrategy") == "TopResolution":
        return Recogniser(slot_type=slot_type, find=lambda text, _: vocabulary.find(text))
    return Recogniser(
        slot_type=slot_type,
        find=lambda text, _: _as_said(text, vocabulary.find(text)),
        is_open=True,
    )


def _with_values(found: Recogniser, own: Vocabulary) -> Recogniser:
    """A built-in type that a bot has added values to."""
    return replace(
        found, find=lambda text, today: disjoint([*own.find(text), *found.find(text, today)])
    )


def _as_said(text: str, found: Sequence[Match]) -> list[Match]:
    """The value is what the user said; what it resolves to is listed."""
    return [
        Match(begin=one.begin, end=one.end, value=text[one.begin : one.end], resolved=one.readings)
        for one in found
    ]


def _builtin(signature: str, locale: str, pattern: Pattern | None) -> Recogniser | None:
    known = BY_SIGNATURE.get(signature)
    if known is None:
        return None
    if signature in _NAMES:
        names = _gazetteer(_NAMES[signature])
        return Recogniser(slot_type=signature, find=lambda text, _: names.find(text), is_open=True)
    if signature == FREE_FORM:
        return Recogniser(slot_type=signature, find=lambda text, _: [], is_free=True)
    if signature == ALPHANUMERIC:
        return Recogniser(slot_type=signature, find=lambda text, _: forms.codes(text, pattern))
    day_first = locale not in _DAY_FIRST_NOT
    finders: dict[str, Find] = {
        CONFIRMATION: lambda text, _: forms.confirmations(text),
        "AMAZON.Date": lambda text, today: dates.find(text, today, day_first=day_first),
        "AMAZON.Duration": lambda text, _: times.find_durations(text),
        "AMAZON.EmailAddress": lambda text, _: forms.emails(text),
        "AMAZON.Number": lambda text, _: numbers.find(text),
        "AMAZON.Percentage": lambda text, _: forms.percentages(text),
        "AMAZON.PhoneNumber": lambda text, _: forms.phones(text),
        "AMAZON.Time": lambda text, _: times.find(text),
    }
    return Recogniser(slot_type=signature, find=finders[signature])


@cache
def _gazetteer(kind: str) -> Vocabulary:
    """Spelt as they are: there is a name near to nearly every short word."""
    values = ({"sampleValue": {"value": name}} for name in names_of(kind))
    return Vocabulary.of(values, is_exact=True)


@cache
def _values() -> Mapping[str, Any]:
    text = files("modelyard.domain.lex").joinpath("values.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def names_of(kind: str) -> tuple[str, ...]:
    """``cities``, ``countries``, ``states``, ``first_names`` or ``last_names``."""
    return tuple(name for name in _values()[kind].replace("\n", "").split("|") if name)


def examples_of(slot_type: str) -> tuple[str, ...]:
    """Of a built-in type what people say: what its model learns from."""
    if slot_type in _NAMES:
        return names_of(_NAMES[slot_type])
    return tuple(_values()["examples"].get(slot_type, ()))

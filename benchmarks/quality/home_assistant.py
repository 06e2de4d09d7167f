"""Bots made of the sentences of Home Assistant's intents: grammars, some of whose sentences a bot learns and others test it."""

# ruff: noqa: E501 - lists of words

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.domain.lex.numbers import as_words

LEARNED_EACH, TESTED_EACH = 20, 15
"""Utterances that an intent has, and those that test it, at most."""
_TRIES = 400
_HELD_OUT = 0.3
"""The share of an intent's grammar lines that nothing is learned of, where it has at least three."""
_TOKEN = re.compile(r"[()\[\]|;]|<[^>]+>|\{[^}]+\}|[^()\[\]|;<>{}]+")
_SLOT = re.compile(r"\{(\w+)\}")
VALUES: Mapping[str, str] = {
    "area": "kitchen|living room|bedroom|bathroom|office|garage|hallway|dining room|attic|nursery|guest room|study|laundry room|playroom|"
    "master bedroom|patio",
    "name": "ceiling fan|desk lamp|coffee machine|heater|radio|front door|speaker|thermostat|garage door|christmas tree|porch light|"
    "washing machine|reading lamp|back door|air purifier|television|aquarium|doorbell|skylight|dishwasher",
    "floor": "first floor|second floor|ground floor|basement|upstairs|downstairs|top floor|third floor",
    "message": "dinner is ready|the guests are here|time for bed|we leave in ten minutes|please come down|the taxi is waiting|"
    "lunch is on the table|grandma is calling",
    "search_query": "yesterday|bohemian rhapsody|some jazz|the latest news|classical music|abbey road|relaxing sounds|hotel california|"
    "star wars|christmas songs",
    "zone": "work|school|home|the gym|the office|grandma's house",
    "timer_name": "pizza|pasta|laundry|eggs|homework|tea|bread|workout|potatoes|cake|nap|roast",
    "timer_command": "turn off the lights|open the garage door|lock the front door|play some music|close the blinds|start the vacuum",
    "shopping_list_item": "milk|eggs|bread|bananas|olive oil|toilet paper|chicken breast|orange juice|butter|tomatoes|rice|dog food",
    "todo_list_item": "call mom|clean the gutters|pay the rent|book the dentist|walk the dog|renew the passport|water the plants|"
    "fix the fence|mow the lawn|wash the car",
}  # fmt: skip
"""What Home Assistant takes from the house, or takes as it comes; the bot knows the first half of them."""


class Case(NamedTuple):
    """What is said, and what it means; in ``template`` names of slots stand for their values."""

    text: str
    intent: str
    slots: Mapping[str, str]
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """``near`` are other expansions of lines that were learned of, ``far`` are of lines that nothing was learned of."""

    definition: dict[str, Any]
    near: Sequence[Case]
    far: Sequence[Case]

    def knows(self, case: Case) -> bool:
        """Whether every value is one of its type's, where the type lists them."""
        lists = {
            one["slotTypeId"]: {value["sampleValue"]["value"] for value in one["slotTypeValues"]}
            for one in self.definition["slotTypes"]
        }
        return all(value in lists.get(slot, {value}) for slot, value in case.slots.items())


class Grammar:
    """Sentences of one file of ``home_assistant_intents``, drawn at random."""

    def __init__(self, file: Path, *, seed: int) -> None:
        self._data = json.loads(file.read_text())
        self._random = random.Random(seed)  # noqa: S311 - the same each time

    @property
    def intents(self) -> list[str]:
        """Those that the file has, by name."""
        return sorted(self._data["intents"])

    def house(self, intents: Sequence[str]) -> House:
        """A bot of some of the intents, and what tests it. The same seed makes the same."""
        learned: dict[str, list[str]] = {}
        near: list[tuple[str, str]] = []
        far: list[tuple[str, str]] = []
        taken: dict[str, str] = {}
        for name in intents:
            lines = [
                line for one in self._data["intents"][name]["data"] for line in one["sentences"]
            ]
            self._random.shuffle(lines)
            cut = int(len(lines) * _HELD_OUT) if len(lines) > 2 else 0
            known = self._expansions(name, lines[cut:], LEARNED_EACH + TESTED_EACH, taken)
            learned[name] = known[:LEARNED_EACH]
            near += [(name, one) for one in known[LEARNED_EACH:]]
            far += [(name, one) for one in self._expansions(name, lines[:cut], TESTED_EACH, taken)]
        return House(
            definition=self._definition(learned),
            near=[self._case(*one) for one in near],
            far=[self._case(*one) for one in far],
        )

    def _expansions(
        self, name: str, lines: Sequence[str], most: int, taken: dict[str, str]
    ) -> list[str]:
        """Different ones, of all lines alike; what another intent has taken nobody could tell apart."""
        found: list[str] = []
        for number in range(_TRIES if lines else 0):
            text = " ".join(self._expand(lines[number % len(lines)]).split())
            slots = _SLOT.findall(text)
            if len(set(slots)) < len(slots) or taken.setdefault(text, name) != name:
                continue
            if text not in found:
                found.append(text)
            if len(found) == most:
                break
        self._random.shuffle(found)
        return found

    def _expand(self, line: str) -> str:
        tokens = _TOKEN.findall(line)
        text, _ = self._group(tokens, 0)
        return text

    def _group(self, tokens: Sequence[str], place: int) -> tuple[str, int]:
        """One of the alternatives up to the end of the group, or all of its parts in any order; and where it ends."""
        rows, row, is_mixed = [], "", False
        while place < len(tokens) and tokens[place] not in (")", "]"):
            one = tokens[place]
            place += 1
            if one in "|;":
                is_mixed = is_mixed or one == ";"
                rows.append(row)
                row = ""
            elif one in "([":
                inside, place = self._group(tokens, place)
                place += 1
                row += inside if one == "(" or self._random.random() < 0.5 else ""
            elif one[0] == "<":
                row += self._expand(self._data["expansion_rules"][one[1:-1]])
            elif one[0] == "{":
                row += f"{{{one[1:-1].partition(':')[0]}}}"
            else:
                row += one
        rows.append(row)
        if is_mixed:
            self._random.shuffle(rows)
            return " ".join(rows), place
        return self._random.choice(rows), place

    def _definition(self, learned: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        intents = []
        used: dict[str, None] = {}
        for name, utterances in learned.items():
            slots = dict.fromkeys(slot for text in utterances for slot in _SLOT.findall(text))
            used |= slots
            intents.append(
                {
                    "intentName": name,
                    "sampleUtterances": [{"utterance": text} for text in utterances],
                    "slots": [{"slotName": slot, "slotTypeId": self._kind(slot)} for slot in slots],
                }
            )
        types = [self._type(slot) for slot in used if self._kind(slot) == slot]
        return {"localeId": "en_US", "intents": intents, "slotTypes": types}

    def _kind(self, slot: str) -> str:
        is_number = "range" in self._data["lists"].get(slot, {}) and slot not in VALUES
        return "AMAZON.Number" if is_number else slot

    def _type(self, slot: str) -> dict[str, Any]:
        said = self._said(slot)
        known = said[: (len(said) + 1) // 2] if slot in VALUES else said
        strategy = "OriginalValue" if slot in VALUES else "TopResolution"
        return {
            "slotTypeId": slot,
            "slotTypeName": slot,
            "slotTypeValues": [{"sampleValue": {"value": one}} for one in known],
            "valueSelectionSetting": {"resolutionStrategy": strategy},
        }

    def _said(self, slot: str) -> list[str]:
        """All that may be said for it."""
        if slot in VALUES:
            return VALUES[slot].split("|")
        found: dict[str, None] = {}
        for one in self._data["lists"][slot]["values"]:
            for _ in range(6):
                found[self._expand(one["in"] if isinstance(one, dict) else one)] = None
        return sorted(found)

    def _case(self, intent: str, template: str) -> Case:
        values: dict[str, str] = {}
        for slot in _SLOT.findall(template):
            if self._kind(slot) == "AMAZON.Number":
                span = self._data["lists"][slot]["range"]
                number = self._random.randint(max(1, span["from"]), span["to"])
                is_said = number < 1000 and self._random.random() < 0.5
                values[slot] = as_words(number) if is_said else str(number)
            else:
                values[slot] = self._random.choice(self._said(slot))
        return Case(_SLOT.sub(lambda one: values[one[1]], template), intent, values, template)

"""A built bot as an engine: task ``understand`` (``domain.lex.understanding`` has the contract)."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard.ai.engine import required_folder
from modelyard.ai.lex.bot import Reading, read
from modelyard.ai.lex.filling import fill
from modelyard.ai.lex.model import FILE, BotModel
from modelyard.ai.questions import Finding, Item
from modelyard.domain.lex.forms import confirmation
from modelyard.domain.lex.recognisers import Recogniser
from modelyard.domain.lex.understanding import (
    INTERPRETATIONS_MAX,
    TASK,
    TEXT_CHARACTERS,
    Elicit,
    Interpretation,
    SlotValue,
    Understanding,
    heard_of,
)
from modelyard.domain.lex.vocabulary import words_of

_WORDS_MAX = 8
_OTHER_INTENT = 0.5
"""From here on what no recogniser knows is rather a new request than an answer."""
_LEAD = re.compile(
    r"^(?:(?:um+|uh+|oh|ok|okay|well|so|and|please|maybe|i think|i guess|how about|what about|let's (?:go with|do|say|make it)|"
    r"i want|i need|i would like|i'd like|i'll (?:have|take)|i will (?:have|take)|give me|(?:can|could) i (?:have|get)|"
    r"make it|make that|it's|it is|that's|that is|that would be|my name is|this is|the name is|i'm|i am|call me|i live in|"
    r"to|from|in|at|for|on|a|an|the|some|of)[ ,:]+)+",
    re.IGNORECASE,
)
_TRAIL = re.compile(
    r"(?:[ ,]+(?:please|thanks|thank you|i think|i guess|one))+$|[ .!?,;]+$", re.IGNORECASE
)


class LexEngine:
    """Of one bot's locale."""

    def __init__(self, model: BotModel) -> None:
        self._model = model
        self._kinds = {one.name: one.kinds for one in model.bot.intents}
        self._intents = {one.name: one for one in model.bot.intents}

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """An item that is no question has an error of its own."""
        return [self._answer(item) for item in items]

    def _answer(self, item: Item) -> Finding:
        try:
            heard = heard_of(item)
            today = date.fromisoformat(heard.today)
        except (msgspec.ValidationError, ValueError) as error:
            return Finding(error=f"This is no question of the task {TASK}: {error}")
        if len(heard.text) > TEXT_CHARACTERS:
            return Finding(error=f"The text has more than {TEXT_CHARACTERS} characters.")
        result: dict[str, Any] = msgspec.to_builtins(
            self.understand(heard.text, today, heard.elicit)
        )
        return Finding(result=result)

    def understand(self, text: str, today: date, elicit: Elicit | None = None) -> Understanding:
        """All that a text may mean."""
        reading = read(self._model.bot, text, today)
        interpretations: tuple[Interpretation, ...] = ()
        if any(word.text[0].isalnum() for word in reading.words):
            interpretations = self._interpretations(reading, today)
        said = confirmation(text)
        yes_no: Literal["Yes", "No"] | None = said if said in ("Yes", "No") else None  # type: ignore[assignment]
        elicited = None
        if elicit is not None:
            elicited = self._elicited(reading, today, elicit, interpretations)
        return Understanding(interpretations=interpretations, elicited=elicited, yesNo=yes_no)

    def _interpretations(self, reading: Reading, today: date) -> tuple[Interpretation, ...]:
        evidence = self._model.classifier.evidence(reading, self._kinds)[:INTERPRETATIONS_MAX]
        intents = [self._intents[one.intent] for one in evidence]
        marked = self._model.tagger.tag(reading, intents)
        return tuple(
            Interpretation(
                intent=intent.name,
                score=one.score(),
                slots=fill(self._model, intent, reading, marked.get(intent.name, ()), today),
            )
            for one, intent in zip(evidence, intents, strict=True)
        )

    def _elicited(
        self,
        reading: Reading,
        today: date,
        elicit: Elicit,
        interpretations: Sequence[Interpretation],
    ) -> SlotValue | None:
        """What stands in the slot's place; else what is recognised; else, where anything may be a value, what is left."""
        recogniser = self._model.bot.recognisers.get(elicit.slotType) or self._model.bot.recogniser(
            elicit.slotType
        )
        text = reading.text
        if recogniser is None or not text.strip():
            return None
        if recogniser.is_free:
            return recogniser.value_of(text, 0, len(text), today)
        found = recogniser.find(text, today)
        best = max(found, key=lambda one: (not one.is_weak, one.end - one.begin), default=None)
        for one in interpretations:
            kinds = {slot.name: slot.kind for slot in self._intents[one.intent].slots}
            said = one.slots.get(elicit.slot)
            if said is not None and kinds[elicit.slot] == elicit.slotType:
                return said if best is not None else _read(recogniser, said.originalValue, today)
        if best is not None:
            return recogniser.value_of(text, best.begin, best.end, today)
        if not recogniser.is_open or _is_request(interpretations):
            return None
        return _read(recogniser, text, today)


def _is_request(interpretations: Sequence[Interpretation]) -> bool:
    return bool(interpretations) and interpretations[0].score >= _OTHER_INTENT


def _read(recogniser: Recogniser, text: str, today: date) -> SlotValue | None:
    """What is left of an answer, if that is short enough for a value."""
    begin, end = _bare(text)
    is_short = 0 < len(words_of(text[begin:end])) <= _WORDS_MAX
    return recogniser.value_of(text, begin, end, today) if is_short else None


def _bare(text: str) -> tuple[int, int]:
    """Without what people say around an answer; all of it where nothing else is left."""
    trail, end = _TRAIL.search(text), len(text)
    while trail is not None and trail.start() > 0:
        end = trail.start()
        trail = _TRAIL.search(text[:end])
    lead = _LEAD.match(text[:end] + " ")
    begin = min(lead.end(), end) if lead else 0
    return (begin, end) if text[begin:end].strip() else (0, end)


def load(folder: Path | None, options: Mapping[str, str]) -> LexEngine:
    """Raises ``EngineError``."""
    return LexEngine(BotModel.read(required_folder(folder) / FILE))

"""What texts and documents of both kinds, at once and as jobs, have in common: the pair, its model, the terms, the questions."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from modelyard.ai.catalogue import ANY, NotServed
from modelyard.ai.questions import Finding, Item
from modelyard.ai.translating import TASK, Part, Run
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.comprehend.analysis import LANGUAGE
from modelyard.services.comprehend.analysis import ask as ask_comprehend
from modelyard.services.hosted_models import HostedModels
from modelyard.services.members import REFUSED, Members
from modelyard.services.translate import languages
from modelyard.services.translate.terminologies import Terminologies
from modelyard.services.translate.terms import Found, Terms
from modelyard.store.resources import Json

SERVICE = "translate"
UNIT = "Character"
SETTINGS: Members = {"Formality": REFUSED, "Profanity": REFUSED, "Brevity": REFUSED}
TERMINOLOGIES_MAX = 1
"""That one request may name."""
TERMS_MAX = 250
"""That an answer names."""
CONFIDENCE_MIN = 0.5
"""A language that is found with less is not taken for sure."""
DETECTED_CHARACTERS = 2_000
"""Of a text that are looked at to find its language."""
ITEMS, CHARACTERS = 50, 10_000
"""Of one question: what the slowest engine, a neural one that says a word in 5 ms, has done long before its minute is over. A
sentence that is longer is a question of its own."""
T = TypeVar("T")


class Asker(Protocol):
    """Asks a question, which needs a ``Call``: at once, or as a job does, again where the model is restarting."""

    async def __call__(self, question: Callable[[Call], Awaitable[T]]) -> T: ...


def at_once(call: Call) -> Asker:
    """Questions of one request."""

    async def ask(question: Callable[[Call], Awaitable[T]]) -> T:
        return await question(call)

    return ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a sentence with one markup; ``is_fixed``: it stands in the translation as it is."""

    text: str
    is_fixed: bool = False


Sentence = Sequence[Span]


@dataclass(slots=True, kw_only=True)
class Applied:
    """The terms of one terminology, and those of them that were met."""

    name: str
    terms: Terms
    found: dict[str, str] = field(default_factory=dict)

    def find(self, text: str) -> Sequence[Found]:
        """Where terms stand; they are remembered."""
        found = list(self.terms.find(text))
        for one in found:
            self.found.setdefault(one.source, one.target)
        return found

    def shown(self) -> Json:
        """As an answer names it."""
        terms = list(self.found.items())[:TERMS_MAX]
        return {
            "Name": self.name,
            "Terms": [{"SourceText": source, "TargetText": target} for source, target in terms],
        }


class Translator:
    """Asks the models of a platform."""

    def __init__(self, *, models: HostedModels, terminologies: Terminologies) -> None:
        self._models = models
        self._terminologies = terminologies

    async def source_of(self, call: Call, code: str, text: str) -> str:
        """The language itself, or of ``auto`` the one that Comprehend's model finds. Raises ``ServiceError``."""
        if code != languages.AUTO:
            return code
        (finding,) = await ask_comprehend(
            self._models, call, LANGUAGE.name, ANY, [text[:DETECTED_CHARACTERS]]
        )
        found = finding.result.get("languages") or [["", 0.0]]
        likeliest, score = found[0]
        if score < CONFIDENCE_MIN:
            raise ServiceError(
                "DetectedLanguageLowConfidenceException",
                "The language of the text could not be told with confidence; name the source language.",
                members={"DetectedLanguageCode": likeliest} if likeliest else {},
            )
        return str(likeliest)

    def check_pair(self, source: str, target: str) -> None:
        """Raises ``UnsupportedLanguagePairException`` and ``PackNotInstalled``."""
        try:
            self._models.find(SERVICE, TASK, languages.pair(source, target))
        except NotServed as error:
            raise unsupported_pair(source, target, error) from None

    def check_target(self, target: str) -> None:
        """Whether some language is translated into it. Raises ``UnsupportedLanguagePairException``."""
        pairs = self._models.languages(SERVICE, TASK)
        if not any(pair.endswith(f"-{target}") for pair in pairs):
            raise unsupported_pair(languages.AUTO, target, NotServed(pairs))

    async def terms(
        self, call: Call, names: Sequence[str] | None, source: str, target: str
    ) -> list[Applied]:
        """Of the terminologies of these names. Raises ``ServiceError``."""
        if len(names or ()) > TERMINOLOGIES_MAX:
            raise ServiceError(
                "InvalidRequestException",
                f"A request names at most {TERMINOLOGIES_MAX} terminology.",
            )
        return [
            Applied(name=one.name, terms=one.table.terms(source, target, one.directionality))
            for one in await self._terminologies.named(call, names or ())
        ]

    async def translate(
        self,
        ask: Asker,
        source: str,
        target: str,
        sentences: Sequence[Sentence],
        applied: Sequence[Applied],
    ) -> list[list[Part]]:
        """Of each sentence its parts, as ``ai.translating`` has them. Raises ``ServiceError``."""
        translated: list[list[Part]] = []
        for some in _questions(sentences):
            items = [{"pieces": [_runs(span, applied) for span in sentence]} for sentence in some]
            findings = await ask(partial(self._ask, (source, target), items))
            for finding in findings:
                if finding.error:
                    raise ServiceError("InternalServerException", finding.error, status=500)
                translated.append([(number, text) for number, text in finding.result["parts"]])
        return translated

    async def _ask(
        self, codes: tuple[str, str], items: Sequence[Item], call: Call
    ) -> list[Finding]:
        pair = languages.pair(*codes)
        try:
            return await self._models.ask(call, SERVICE, TASK, pair, items, {"pair": pair})
        except NotServed as error:
            raise unsupported_pair(*codes, error) from None

    def served(self) -> list[str]:
        """Every language that an installed model translates from or to, sorted."""
        pairs = self._models.languages(SERVICE, TASK)
        return languages.of_pairs(
            pair for pair in pairs if self._models.is_ready(SERVICE, TASK, pair)
        )


def _questions(sentences: Sequence[Sentence]) -> Iterator[Sequence[Sentence]]:
    """As few as they can be."""
    begin = size = 0
    for place, sentence in enumerate(sentences):
        length = sum(len(span.text) for span in sentence)
        if place > begin and (place - begin >= ITEMS or size + length > CHARACTERS):
            yield sentences[begin:place]
            begin, size = place, 0
        size += length
    if begin < len(sentences):
        yield sentences[begin:]


def _runs(span: Span, applied: Sequence[Applied]) -> list[Run]:
    """Text between terms, and the terms as they have to stand."""
    if span.is_fixed:
        return [{"fixed": span.text}]
    runs: list[Run] = []
    place = 0
    for one in applied:
        for found in one.find(span.text):
            runs += [span.text[place : found.begin], {"fixed": found.target}]
            place = found.end
    return [run for run in [*runs, span.text[place:]] if run != ""] or [""]


def unsupported_pair(source: str, target: str, error: NotServed) -> ServiceError:
    """Says which pairs there are."""
    known = ", ".join(error.languages) or "none"
    return ServiceError(
        "UnsupportedLanguagePairException",
        f"Unsupported language pair: {source} to {target}. Pairs that there are models for: {known}. "
        "A model of your own can serve another: modelyard models add --help",
        members={"SourceLanguageCode": source, "TargetLanguageCode": target},
    )

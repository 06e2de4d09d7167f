"""Custom entity recognisers: one learns from sentences to Home Assistant and reads others, against the names that it learned from."""

# ruff: noqa: E501 - prose that goes to the page

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.quality.home_assistant import VALUES, Case, House
from benchmarks.quality.lex import SEED, grammar
from benchmarks.quality.tables import Figure, Section, share
from modelyard.ai.entity_tagger import train
from modelyard.domain.entity_training import MENTIONS_MIN, TaggedDocument, mentions
from modelyard.domain.entity_training import measure as rated
from modelyard.domain.tagged_texts import NameList, Span, tokens

_EACH = 2
"""Documents made of each template."""
_SLOT = re.compile(r"(\{\w+\})")
_TITLE = "Comprehend: custom entity recogniser (English)"
Found = Sequence[Sequence[Span]]


def measure(data: Path, _work: Path) -> Section:
    """Learned as a training job does, from as many documents as a user may label."""
    made = grammar(data)
    house = made.house(made.intents)
    learned = list(_documents(house))
    counts = mentions(learned)
    types = sorted(type for type, count in counts.items() if count >= MENTIONS_MIN)
    learned = [_of_types(one, types) for one in learned]
    names = _names(learned)
    tagger = train([one.text for one in learned], [one.spans for one in learned])
    near, far = ([_of_types(tagged(one), types) for one in some] for some in (house.near, house.far))  # fmt: skip

    def ours(documents: Sequence[TaggedDocument]) -> Found:
        return [[span for span, _ in some] for some in tagger.find([one.text for one in documents])]

    def theirs(documents: Sequence[TaggedDocument]) -> Found:
        return [names.find(tokens(one.text)) for one in documents]

    both = ours, theirs
    figures = []
    for what, documents in (("other expansions of its grammar", near), ("grammar lines that nothing was learned of", far)):  # fmt: skip
        wanted = [one.spans for one in documents]
        rates = [rated(wanted, find(documents), types)[0].f1 for find in both]
        figures.append(Figure("F1, all types", f"{len(documents)} {what}", *map(share, rates)))
    tests = [*near, *far]
    found = [find(tests) for find in both]
    for what, is_known in (("names that were learned from", True), ("names that were not", False)):
        some = list(_mentions(tests, names, is_known=is_known))
        rates = [sum(span in said[at] for at, span in some) / len(some) for said in found]
        figures.append(Figure(f"recall, {what}", f"{len(some)} mentions", *map(share, rates)))
    each = [rated([one.spans for one in tests], said, types)[1] for said in found]
    count = mentions(tests)
    figures += [
        Figure(f"F1, {type}", f"{count[type]} mentions", *(share(one[type].f1) for one in each))
        for type in types
        if count[type]
    ]
    return Section(
        _TITLE,
        f"A recogniser of {len(types)} types (what a house, its owner and its lists have names for), learned from {len(learned)} sentences that are drawn from the grammar of home-assistant-intents 2026.10.27, with half of the "
        "names in their places; in the tests all names stand. An entity is right if its place and its type are. No package carries running text whose entities people have marked: such sentences are short and alike, "
        "expect less of prose. The baseline finds the names of the documents that were learned from, the longest first.",
        "entity tagger",
        "names that were learned from",
        figures,
    )  # fmt: skip


def _documents(house: House) -> Iterator[TaggedDocument]:
    """Of the utterances that a bot would learn, with the names that it would know."""
    drawn = random.Random(SEED)  # noqa: S311 - the same each time
    known = {
        one["slotTypeId"]: [value["sampleValue"]["value"] for value in one["slotTypeValues"]]
        for one in house.definition["slotTypes"]
    }
    for intent in house.definition["intents"]:
        for one in intent["sampleUtterances"]:
            template = one["utterance"]
            for _ in range(_EACH if "{" in template else 1):
                values = {
                    part[1:-1]: drawn.choice(known[part[1:-1]])
                    if part[1:-1] in known
                    else str(drawn.randint(1, 100))
                    for part in _SLOT.findall(template)
                }
                yield _filled(template, values)


def tagged(case: Case) -> TaggedDocument:
    """With the entities where they stand."""
    return _filled(case.template, case.slots)


def _filled(template: str, values: Mapping[str, str]) -> TaggedDocument:
    """With the values in their places; those that have a name of their own are entities."""
    text, spans = "", []
    for part in _SLOT.split(template):
        name = part[1:-1] if part.startswith("{") else ""
        begin = len(text)
        text += values[name] if name else part
        if name in VALUES:
            spans.append(Span(begin, len(text), name.upper()))
    return TaggedDocument(text, tuple(spans))


def _of_types(document: TaggedDocument, types: Sequence[str]) -> TaggedDocument:
    return TaggedDocument(document.text, tuple(one for one in document.spans if one.type in types))


def _names(documents: Sequence[TaggedDocument]) -> NameList:
    """Of all entities, each with the type that it has most often."""
    counts: dict[str, dict[str, int]] = {}
    for one in documents:
        for span in one.spans:
            of = counts.setdefault(one.text[span.begin : span.end], {})
            of[span.type] = of.get(span.type, 0) + 1
    return NameList({name: max(sorted(of), key=of.__getitem__) for name, of in counts.items()})


def _mentions(
    documents: Sequence[TaggedDocument], names: NameList, *, is_known: bool
) -> Iterator[tuple[int, Span]]:
    """Entities by the number of their document."""
    for at, one in enumerate(documents):
        for span in one.spans:
            if (one.text[span.begin : span.end] in names.types) == is_known:
                yield at, span

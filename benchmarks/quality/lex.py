"""Lex: bots made of Home Assistant's intents, asked what they never learned; and sentences that are no bot's business.

``python -m benchmarks.quality.lex DATA`` fits the calibration of scores: on every second intent and every second file of
conversations; what is measured of scores is measured on the others.
"""

# ruff: noqa: E501 - prose that goes to the page

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.home_assistant import Case, Grammar, House
from benchmarks.quality.sentiment import calibration_error
from benchmarks.quality.tables import Figure, Section, share
from modelyard.ai.lex.bot import Bot, read
from modelyard.ai.lex.engine import LexEngine
from modelyard.ai.lex.model import BotModel
from modelyard.ai.lex.training import train
from modelyard.domain.lex.templates import learned
from modelyard.domain.lex.vocabulary import normal

SEED = 2026
THRESHOLD = 0.40
"""Of a bot, as CreateBotLocale has it where nothing is said."""
_DAY = date(2026, 11, 28)
_TOPICS = (
    "ai", "botprofile", "conversations", "emotion", "food", "gossip", "greetings", "health", "history", "humor", "literature", "money",
    "movies", "politics", "psychology", "science", "sports", "trivia",
)  # fmt: skip
Slots = Mapping[str, str]
Answer = Callable[[str], tuple[str, float, Slots]]


def measure(data: Path, _work: Path) -> Section:
    """A bot of all intents for what is found; one of every second intent for how sure it is."""
    house = grammar(data).house(grammar(data).intents)
    engine = LexEngine(train(house.definition))
    ours, theirs = _asker(engine), nearest(house)
    figures = []
    for what, cases in (("other expansions of its grammar", house.near), ("grammar lines that nothing was learned of", house.far)):  # fmt: skip
        found, others = [ours(one.text) for one in cases], [theirs(one.text) for one in cases]
        of = f"{len(cases)} {what}"
        known = [place for place, one in enumerate(cases) if house.knows(one)]
        figures += [
            Figure("intent accuracy", of, share(accuracy(cases, found)), share(accuracy(cases, others))),
            Figure("slot F1, intent and value right", of, share(slot_f1(cases, found)), share(slot_f1(cases, others))),
            Figure("the same, where the bot knows all values", f"{len(known)} of these", *(share(slot_f1([cases[at] for at in known], [said[at] for at in known])) for said in (found, others))),
        ]  # fmt: skip
    figures += list(_sureness(data))
    return Section(
        "Lex V2: intents and slots (English)",
        f"A bot of the {len(house.definition['intents'])} intents of home-assistant-intents 2026.10.27, each with at most 20 utterances drawn from its grammar. Of rooms, devices and all that "
        "Home Assistant takes as it comes, half of the values in the tests are unknown to the bot. *Foreign* sentences are what people say to chatterbots (chatterbot-corpus 1.3.3). The scores' calibration was fitted on "
        "every second intent and conversation file, and is measured on the others. The baseline is the utterance that is nearest by tf-idf, and of each slot the first value that its type knows; it has no scores. The threshold is 0.40, CreateBotLocale's usual one.",
        "lex",
        "nearest utterance",
        figures,
    )  # fmt: skip


def grammar(data: Path, seed: int = SEED) -> Grammar:
    """Fresh, so that each house is the same whatever was made before it."""
    return Grammar(data / "home_assistant_intents" / "en.json", seed=seed)


def _sureness(data: Path) -> Iterator[Figure]:
    """Of intents and conversations that the calibration has never seen."""
    made = grammar(data)
    names = made.intents[1::2]
    house, others = made.house(names[0::2]), made.house(names[1::2])
    ask = _asker(LexEngine(train(house.definition)))
    cases = [*house.near, *house.far]
    known = {one.text for one in cases}
    found = [ask(one.text) for one in cases]
    right = [said[0] == one.intent for one, said in zip(cases, found, strict=True)]
    foreigners = [ask(one)[1] for one in [*foreign(data, 1), *_nonsense(50)]]
    neighbours = [ask(one.text)[1] for one in (*others.near, *others.far) if one.text not in known]
    of = f"a bot of {len(house.definition['intents'])} intents"
    for what, scores, is_own in (
        ("own sentences at or above the threshold", [said[1] for said in found], True),
        ("sentences of the other intents below it", neighbours, False),
        ("foreign sentences below it", foreigners, False),
    ):
        kept = [(one >= THRESHOLD) == is_own for one in scores]
        yield Figure(what, f"{len(kept)} sentences, {of}", share(sum(kept) / len(kept)), "no scores")  # fmt: skip
    sure = np.array([*(said[1] for said in found), *neighbours, *foreigners])
    truth = np.array([*right, *(False for _ in (*neighbours, *foreigners))])
    yield Figure("calibration error", "all of these, ten bins of the score", share(calibration_error(sure, truth)), "no scores")  # fmt: skip


def _asker(engine: LexEngine) -> Answer:
    def ask(text: str) -> tuple[str, float, Slots]:
        found = engine.understand(text, _DAY).interpretations
        if not found:
            return "", 0.0, {}
        values = {name: one.originalValue for name, one in found[0].slots.items()}
        return found[0].intent, found[0].score, values

    return ask


def accuracy(cases: Sequence[Case], found: Sequence[tuple[str, float, Slots]]) -> float:
    """Of the likeliest intent, whatever its score."""
    return sum(one.intent == said[0] for one, said in zip(cases, found, strict=True)) / len(cases)


def slot_f1(cases: Sequence[Case], found: Sequence[tuple[str, float, Slots]]) -> float:
    """A slot is found if the intent is right and its value is the words that were said, no more and no less."""
    hits = wanted = given = 0
    for one, (intent, _, slots) in zip(cases, found, strict=True):
        truth = {(name, normal(value)) for name, value in one.slots.items()}
        said = {(name, normal(value)) for name, value in slots.items()}
        wanted += len(truth)
        given += len(said)
        hits += len(truth & said) if intent == one.intent else 0
    return 2 * hits / (wanted + given) if wanted + given else 1.0


def nearest(house: House) -> Answer:
    """The utterance that is nearest by tf-idf of letters; each value that a slot's type knows is that of the first free slot."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    bot = Bot(learned(house.definition))
    intents = {one.name: one for one in bot.intents}
    texts = [
        (intent["intentName"], one["utterance"])
        for intent in house.definition["intents"]
        for one in intent["sampleUtterances"]
    ]
    vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    rows = vectoriser.fit_transform([text for _, text in texts])

    def ask(text: str) -> tuple[str, float, Slots]:
        near = (rows @ vectoriser.transform([text]).T).toarray().ravel()
        intent = intents[texts[int(near.argmax())][0]]
        matches = read(bot, text, _DAY).matches
        free = {kind: [text[one.begin : one.end] for one in some] for kind, some in matches.items()}
        slots = {slot.name: free[slot.kind].pop(0) for slot in intent.slots if free[slot.kind]}
        return intent.name, float(near.max()), slots

    return ask


def foreign(data: Path, part: int) -> list[str]:
    """What people say to chatterbots, of every second file; each sentence once."""
    found: dict[str, None] = {}
    for topic in _TOPICS[part::2]:
        for line in (data / "chatterbot" / f"{topic}.yml").read_text().splitlines():
            if line.startswith("- - ") and len(line) < 200:
                found[line[4:].strip(" '\"")] = None
    return list(found)


def fit(data: Path) -> "np.ndarray[Any, np.dtype[Any]]":
    """Base, margin and coverage: logistic regression on the best interpretations of bots of few and of many intents.

    They are asked their own sentences, those of intents that they do not have, conversations, and words that are none.
    """
    from sklearn.linear_model import LogisticRegression

    rows: list[Sequence[float]] = []
    right: list[bool] = []
    names = grammar(data).intents[0::2]
    strangers = [*foreign(data, 0), *_nonsense(60)]
    for number, size in enumerate((1, 1, 1, 2, 2, 3, 3, 5, 8, 12, 21)):
        some = [names[(number * 5 + step) % len(names)] for step in range(size)]
        made = grammar(data, SEED + 1 + number)
        house, others = made.house(some), made.house([one for one in names if one not in some])
        model = train(house.definition)
        known = {one.text for one in (*house.near, *house.far)}
        near = [one.text for one in (*others.near, *others.far) if one.text not in known][:150]
        for one in [*house.near, *house.far]:
            best = _best(model, one.text)
            rows.append(best[1:])
            right.append(best[0] == one.intent)
        for text in [*strangers, *near]:
            rows.append(_best(model, text)[1:])
            right.append(False)
    weights = np.where(right, 1.0, sum(right) / max(1, len(right) - sum(right)))
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(np.array(rows), right, weights)
    return np.array([fitted.intercept_[0], *fitted.coef_[0]])


def _nonsense(count: int) -> list[str]:
    """Rows of letters that are no words."""
    drawn = np.random.default_rng(SEED)
    letters = [chr(place) for place in (*range(97, 123), *range(0x430, 0x43A))]
    return [
        " ".join(
            "".join(letters[place] for place in drawn.integers(0, len(letters), length))
            for length in drawn.integers(2, 9, drawn.integers(1, 6))
        )
        for _ in range(count)
    ]


def _best(model: BotModel, text: str) -> Any:
    kinds = {one.name: one.kinds for one in model.bot.intents}
    return model.classifier.evidence(read(model.bot, text, _DAY), kinds)[0]


if __name__ == "__main__":
    print([round(float(one), 2) for one in fit(Path(sys.argv[1]))])

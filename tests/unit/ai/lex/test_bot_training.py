"""A bot that is learned in memory: what it understands, and what it does not."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from modelyard.ai.engine import EngineError
from modelyard.ai.lex.bot import read
from modelyard.ai.lex.engine import LexEngine, load
from modelyard.ai.lex.model import FILE, BotModel
from modelyard.ai.lex.training import Unlearnable, train
from modelyard.domain.lex.understanding import (
    TASK,
    Elicit,
    Heard,
    SlotValue,
    Understanding,
    item_of,
    understanding_of,
)
from modelyard.testing.pizzeria import definition

THRESHOLD = 0.4
TODAY = date(2026, 11, 28)


@pytest.fixture(scope="module")
def model() -> BotModel:
    return train(definition())


@pytest.fixture(scope="module")
def engine(model: BotModel) -> LexEngine:
    return LexEngine(model)


def ask(engine: LexEngine, text: str, elicit: tuple[str, str] | None = None) -> Understanding:
    asked = Elicit(slot=elicit[0], slotType=elicit[1]) if elicit else None
    heard = Heard(text=text, today=TODAY.isoformat(), elicit=asked)
    (finding,) = engine.answer(TASK, [item_of(heard)], {})
    assert not finding.error
    return understanding_of(finding.result)


def values(said: Understanding) -> dict[str, str | None]:
    return {name: one.interpretedValue for name, one in said.interpretations[0].slots.items()}


def test_what_was_learned_is_written_alike_whatever_the_order_of_sets_is(model: BotModel) -> None:
    # Each process orders a set of texts in its own way.
    assert list(model.tagger.usual) == sorted(model.tagger.usual)


def test_intents_that_are_asked_about_together_are_answered_as_each_alone(model: BotModel) -> None:
    for text in ("i'd like two big pizzas with mushrooms tomorrow at 5pm", "large", "hello " * 300):
        reading = read(model.bot, text, TODAY)
        together = model.tagger.tag(reading, model.bot.intents)
        for intent in model.bot.intents:
            alone = model.tagger.tag(reading, [intent])
            assert alone.get(intent.name) == together.get(intent.name)


@pytest.mark.parametrize(
    ("text", "intent", "slots"),
    [
        ("I want a large pizza", "Order", {"Size": "large"}),
        ("order a lrage peperoni pizza", "Order", {"Size": "large", "Topping": "peperoni"}),
        (
            "i'd like two big pizzas with mushrooms tomorrow at 5pm",
            "Order",
            {"Size": "large", "Topping": "mushrooms", "Count": "2", "When": "2026-11-29", "Hour": "17:00"},
        ),
        ("order a small spinach pizza", "Order", {"Size": "small", "Topping": "spinach"}),
        ("please cancel my order", "Cancel", {}),
        ("where is my order AB123", "Track", {"Code": "AB123"}),
        ("table for four on friday at 7", "Book", {"People": "4", "When": "2026-12-04", "Hour": None}),
        ("reserve a table in Springfield on dec 5", "Book", {"City": "Springfield", "When": "2026-12-05"}),
        ("my name is Xiomara and I want to reserve a table", "Book", {"Name": "Xiomara"}),
    ],
)  # fmt: skip
def test_intents_and_all_their_slots_are_found_at_once(
    engine: LexEngine, text: str, intent: str, slots: dict[str, str | None]
) -> None:
    said = ask(engine, text)
    assert said.interpretations[0].intent == intent
    assert said.interpretations[0].score >= THRESHOLD
    assert values(said) == slots


@pytest.mark.parametrize(
    "text",
    [
        "what's the weather in paris", "tell me about the french revolution", "i hate you", "hello", "книга и стол",
        "do you sell shoes", "how much is a flight to london", "xqzt blorp", "who won the match yesterday",
    ],
)  # fmt: skip
def test_what_is_foreign_to_the_bot_falls_below_the_usual_threshold(
    engine: LexEngine, text: str
) -> None:
    assert ask(engine, text).interpretations[0].score < THRESHOLD


@pytest.mark.parametrize("text", ["", "   ", "!!!", "🍕🍕🍕", "?!", "\x00"])
def test_a_text_without_a_letter_means_nothing(engine: LexEngine, text: str) -> None:
    assert ask(engine, text, ("Topping", "TOPPING")).interpretations == ()


@pytest.mark.parametrize(
    ("text", "elicit", "value"),
    [
        ("large please", ("Size", "SIZE"), "large"),
        ("the big one", ("Size", "SIZE"), "large"),
        ("purple", ("Size", "SIZE"), None),
        ("I'd like the spinach one", ("Topping", "TOPPING"), "spinach"),
        ("cancel my order", ("Topping", "TOPPING"), None),
        ("two please", ("Count", "AMAZON.Number"), "2"),
        ("tomorrow", ("When", "AMAZON.Date"), "2026-11-29"),
        ("Gotham City", ("City", "AMAZON.City"), "Gotham City"),
        ("call me Zed", ("Name", "AMAZON.FirstName"), "Zed"),
        ("it is qq17", ("Code", "AMAZON.AlphaNumeric"), "qq17"),
        ("yes", ("Sure", "AMAZON.Confirmation"), "Yes"),
        ("anything you like", ("Note", "AMAZON.FreeFormInput"), "anything you like"),
        ("large", ("Other", "AMAZON.Nothing"), None),
    ],
)
def test_an_answer_is_read_as_the_slot_that_was_asked_for(
    engine: LexEngine, text: str, elicit: tuple[str, str], value: str | None
) -> None:
    found = ask(engine, text, elicit).elicited
    assert (found.interpretedValue if found else None) == value


def test_a_time_with_two_readings_has_both_and_no_value(engine: LexEngine) -> None:
    found = ask(engine, "at five", ("Hour", "AMAZON.Time")).elicited
    assert found == SlotValue(
        originalValue="five", interpretedValue=None, resolvedValues=("05:00", "17:00")
    )


def test_a_synonym_resolves_to_its_value_or_stays_as_it_was_said(engine: LexEngine) -> None:
    assert ask(engine, "big", ("Size", "SIZE")).elicited == SlotValue(
        originalValue="big", interpretedValue="large", resolvedValues=("large",)
    )
    assert ask(engine, "hawaiian", ("Topping", "TOPPING")).elicited == SlotValue(
        originalValue="hawaiian",
        interpretedValue="hawaiian",
        resolvedValues=("ham and pineapple",),
    )


@pytest.mark.parametrize(("text", "answer"), [("yes please", "Yes"), ("nope", "No"), ("a pizza", None)])  # fmt: skip
def test_yes_and_no_are_told(engine: LexEngine, text: str, answer: str | None) -> None:
    assert ask(engine, text).yesNo == answer


def test_there_are_at_most_five_interpretations_the_likeliest_first(engine: LexEngine) -> None:
    found = ask(engine, "I want to order a pizza for tomorrow").interpretations
    assert 1 <= len(found) <= 5
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0.0 <= one.score <= 1.0 and one.intent != "Unclear" for one in found)


@pytest.mark.parametrize("part", ["pizza ", "🍕", "a", "1 ", "large pepperoni ", "\ud83d"])
def test_the_longest_texts_are_answered(engine: LexEngine, part: str) -> None:
    text = (part * 1_024)[:1_024]
    for one in engine.understand(text, TODAY).interpretations:
        for value in one.slots.values():
            assert value.originalValue in text


def test_a_question_that_is_none_has_an_error_and_spoils_no_other(engine: LexEngine) -> None:
    good = item_of(Heard(text="I want a pizza", today="2026-11-28"))
    bad: list[dict[str, Any]] = [
        {"text": 5, "today": "2026-11-28"},
        {"text": "x"},
        {"text": "x", "today": "yesterday"},
        {"text": "x" * 1_025, "today": "2026-11-28"},
    ]
    first, *others, last = engine.answer(TASK, [good, *bad, good], {})
    assert first == last and not first.error
    assert all(one.error for one in others)


def test_the_same_definition_gives_the_same_model(model: BotModel, tmp_path: Path) -> None:
    model.save(tmp_path / FILE)
    again = definition()
    again["intents"] = list(reversed(again["intents"]))
    train(again).save(tmp_path / "again.npz")
    assert (tmp_path / FILE).read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_a_model_that_was_read_answers_as_the_one_that_was_written(
    model: BotModel, engine: LexEngine, tmp_path: Path
) -> None:
    model.save(tmp_path / FILE)
    text = "two large pizzas with ham tomorrow"
    assert ask(load(tmp_path, {}), text) == ask(engine, text)


@pytest.mark.parametrize("data", [b"", b"not an archive", b"PK\x03\x04"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(EngineError, match="no model of a bot"):
        load(tmp_path, {})


def test_a_bot_with_one_intent_tells_what_is_not_its_business() -> None:
    only = definition()
    only["intents"] = [one for one in only["intents"] if one["intentName"] == "Cancel"]
    engine = LexEngine(train(only))
    assert ask(engine, "cancel the order please").interpretations[0].score >= THRESHOLD
    for text in ("xqzt", "what is the time", "книга", "i like trains"):
        assert ask(engine, text).interpretations[0].score < THRESHOLD


def test_what_cannot_be_learned_says_why() -> None:
    bad = definition()
    for one in bad["intents"]:
        one["sampleUtterances"] = []
    with pytest.raises(Unlearnable, match="No intent has sample utterances"):
        train(bad)


def test_an_intent_without_utterances_is_never_recognised_and_its_slots_are(tmp_path: Path) -> None:
    quiet = definition()
    (book,) = (one for one in quiet["intents"] if one["intentName"] == "Book")
    book["sampleUtterances"] = []
    train(quiet).save(tmp_path / FILE)
    engine = LexEngine(BotModel.read(tmp_path / FILE))
    for text in ("book a table", "Book", "reserve a table in Paris on monday", "large"):
        found = [one.intent for one in ask(engine, text).interpretations]
        assert sorted(found) == ["Cancel", "Order", "Track"]
    answer = ask(engine, "in Paris please", ("City", "AMAZON.City"))
    assert answer.elicited is not None and answer.elicited.interpretedValue == "Paris"

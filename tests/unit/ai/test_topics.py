"""Topics of a collection: what belongs together is found together, the same each time."""

import pytest

from modelyard.ai.topics import TASK, load

WORDS = {
    "kitchen": "bread soup cheese cook oven salt butter",
    "bank": "loan interest account money tax fund credit",
    "sport": "ball goal team match player league coach",
}


def texts(each: int) -> list[str]:
    """Of each subject in turn: some of its words, another part each time."""
    found = []
    for number in range(each):
        for words in WORDS.values():
            some = words.split()
            found.append(" ".join(some[(number + place) % len(some)] for place in range(5)))
    return found


@pytest.mark.parametrize("each", [4, 30])
def test_documents_of_one_subject_share_a_topic_that_has_its_words(each: int) -> None:
    engine = load(None, {})
    (found,) = engine.answer(TASK, [{"texts": texts(each), "topics": 3}], {})
    terms, shares = found.result["terms"], found.result["shares"]
    assert len(terms) == 3 and len(shares) == 3 * each
    chief = [parts[0][0] for parts in shares]
    for place, words in enumerate(WORDS.values()):
        (topic,) = set(chief[place::3])
        assert {word for word, _ in terms[topic][:4]} <= set(words.split())
    for parts in (*terms, *shares):
        weights = [weight for _, weight in parts]
        assert sum(weights) == pytest.approx(1.0) and weights == sorted(weights, reverse=True)
    (again,) = engine.answer(TASK, [{"texts": texts(each), "topics": 3}], {})
    assert again == found


def test_there_are_no_more_topics_than_documents_and_no_words_are_an_error() -> None:
    engine = load(None, {})
    few, none = engine.answer(
        TASK,
        [
            {"texts": ["bread and soup", "ball and goal"], "topics": 25},
            {"texts": ["12 34", "to be or"], "topics": 2},
        ],
        {},
    )
    assert len(few.result["terms"]) == 2
    assert none.error

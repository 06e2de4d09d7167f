"""The tagger of entities: it finds names that it never saw, its scores are probabilities, and it is kept without pickles."""

from pathlib import Path

import numpy as np
import pytest

from modelyard.ai.engine import EngineError
from modelyard.ai.entity_tagger import EntityTagger, train
from modelyard.ai.recogniser import FILE, NAMES, load
from modelyard.domain.entity_training import measure
from modelyard.domain.tagged_texts import Span
from modelyard.testing.tagged_documents import TYPES, tagged_documents


@pytest.fixture(scope="module")
def tagger() -> EntityTagger:
    documents = tagged_documents(180, seed=1)
    return train([one.text for one in documents], [one.spans for one in documents])


def test_names_that_were_never_seen_are_found_by_what_is_around_them(tagger: EntityTagger) -> None:
    test = tagged_documents(90, seed=2)
    found = tagger.find([one.text for one in test])
    predicted = [[span for span, _ in some] for some in found]
    whole, each = measure([one.spans for one in test], predicted, TYPES)
    assert whole.f1 > 0.95 and min(one.f1 for one in each.values()) > 0.9
    assert all(0.0 < score <= 1.0 for some in found for _, score in some)


def test_the_score_of_an_entity_is_the_share_of_all_paths_that_have_it() -> None:
    tagger = train(["aa bb cc", "bb", "cc aa"], [[Span(0, 5, "T")], [Span(0, 2, "T")], []])
    assert set(tagger.tags) == {"B-T", "I-T", "O"}
    for text in ("aa bb", "bb", "aa aa bb cc"):
        found = tagger.find([text])[0]
        for span, score in found:
            assert score == pytest.approx(_by_hand(tagger, text, span), abs=1e-6)


def _by_hand(tagger: EntityTagger, text: str, wanted: Span) -> float:
    """The sum over every sequence of tags, one by one."""
    import itertools

    from modelyard.ai.entity_tagger import word_features
    from modelyard.domain.tagged_texts import may_follow, tags_of, tokens

    found = tokens(text)
    raw = tagger._raw([word_features(found)])
    own = tags_of(found, [wanted])
    total = 0.0
    for path in itertools.product(range(len(tagger.tags)), repeat=len(found)):
        tags = [tagger.tags[one] for one in path]
        probability, before = 1.0, ""
        for place, number in enumerate(path):
            row = tagger.tags.index(before) if before else len(tagger.tags)
            scores = np.where(
                [may_follow(before, tag) for tag in tagger.tags],
                raw[place] + tagger.steps[row],
                -np.inf,
            )
            powers = np.exp(scores - scores.max())
            probability *= powers[number] / powers.sum()
            before = tags[place]
        inside = [place for place, tag in enumerate(own) if tag != "O"]
        goes_on = inside[-1] + 1 < len(tags) and tags[inside[-1] + 1] == f"I-{wanted.type}"
        if all(tags[place] == own[place] for place in inside) and not goes_on:
            total += probability
    return float(total)


def test_a_text_alone_is_answered_as_among_others(tagger: EntityTagger) -> None:
    texts = [one.text for one in tagged_documents(9, seed=3)]
    together = tagger.find([*texts, "", " \n"])
    for text, some in zip(texts, together, strict=False):
        ((alone),) = tagger.find([text])
        assert [span for span, _ in alone] == [span for span, _ in some]
        assert [score for _, score in alone] == pytest.approx([score for _, score in some])
    assert together[-2:] == [[], []] and tagger.find([]) == []


def test_the_same_documents_give_the_same_file_and_it_is_read_again(
    tagger: EntityTagger, tmp_path: Path
) -> None:
    documents = tagged_documents(180, seed=1)
    again = train([one.text for one in documents], [one.spans for one in documents])
    tagger.save(tmp_path / "one.npz")
    again.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    text = documents[0].text
    assert EntityTagger.read(tmp_path / "one.npz").find([text]) == tagger.find([text])
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(EngineError, match="no tagger"):
        EntityTagger.read(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match="no entities"):
        train(["a b"], [[]])


def test_a_name_of_the_list_is_certain_and_stands_before_what_the_tagger_finds(
    tagger: EntityTagger, tmp_path: Path
) -> None:
    tagger.save(tmp_path / FILE)
    (tmp_path / NAMES).write_text('{"the engineer Bakor Dellap": "ENGINEER", "plant": "PART"}')
    text = "Yesterday the engineer Bakor Dellap repaired BX-77 in the plant."
    (finding,) = load(tmp_path, {}).answer("recognise", [{"text": text}], {})
    found = {text[begin:end]: (kind, score) for kind, begin, end, score in finding.result["entities"]}  # fmt: skip
    assert found["the engineer Bakor Dellap"] == ("ENGINEER", 1.0)
    assert found["plant"] == ("PART", 1.0)
    assert found["BX-77"][0] == "PART" and 0.0 < found["BX-77"][1] < 1.0
    assert len(found) == 3

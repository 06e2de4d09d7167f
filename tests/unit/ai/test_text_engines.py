"""Languages, sentiment and the classifier beneath it."""

from pathlib import Path

import pytest

from modelyard.ai import language, sentiment, sentiment_training
from modelyard.ai.engine import EngineError
from modelyard.ai.sentences import clauses, sentences
from modelyard.ai.text_classifier import FEW, TextClassifier, train

TEXTS = ["good", "great", "bad", "awful", "a table", "the rain"]
LABELS = [["POSITIVE"], ["POSITIVE"], ["NEGATIVE"], ["NEGATIVE"], ["NEUTRAL"], ["NEUTRAL"]]


@pytest.fixture(scope="module")
def classifier() -> TextClassifier:
    return train(TEXTS, LABELS, strength=100.0)


def test_a_classifier_is_the_same_after_it_was_written(
    classifier: TextClassifier, tmp_path: Path
) -> None:
    classifier.save(tmp_path / "one.npz")
    classifier.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    read = TextClassifier.read(tmp_path / "one.npz")
    assert read.classes == ("NEGATIVE", "NEUTRAL", "POSITIVE")
    assert (read.scores(TEXTS) == classifier.scores(TEXTS)).all()
    assert read.scores(TEXTS).sum(axis=1) == pytest.approx(1.0)


def test_a_text_has_the_same_scores_alone_and_among_many(classifier: TextClassifier) -> None:
    texts = [*TEXTS, "", "  ", "Great, GREAT!! :-)", "ünïcödé 好的", "the the rain", "x" * 5_000]
    assert len(texts) > FEW
    together = classifier.scores(texts)
    for text, scores in zip(texts, together, strict=True):
        assert classifier.scores([text])[0] == pytest.approx(scores, abs=1e-5)
    assert classifier.scores([]).shape == (0, 3)


def test_two_classes_and_independent_labels_are_learned(tmp_path: Path) -> None:
    two = train(["red", "blue", "red red"], [["R"], ["B"], ["R"]], strength=100.0)
    assert two.scores(["red"])[0].argmax() == 1
    both = train(
        ["red", "blue", "red blue", "grey"],
        [["R"], ["B"], ["R", "B"], []],
        is_multi_label=True,
        strength=100.0,
    )
    assert (both.scores(["red blue"])[0] > 0.5).all()
    with pytest.raises(ValueError, match="at least two classes"):
        train(["a", "b"], [["X"], ["X"]])


def test_a_file_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(EngineError, match=r"x\.npz is no text classifier"):
        TextClassifier.read(tmp_path / "x.npz")
    with pytest.raises(EngineError, match="no text classifier"):
        sentiment.load(tmp_path, {})


def test_sentiments_are_probabilities_and_a_turn_is_mixed(classifier: TextClassifier) -> None:
    engine = sentiment.SentimentEngine(classifier)
    items = [{"text": text} for text in ("great", "great. But it is awful!", "", "…")]
    found = [finding.result["scores"] for finding in engine.answer("sentiment", items, {})]
    assert all(sum(scores.values()) == pytest.approx(1.0, abs=1e-5) for scores in found)
    assert found[0]["MIXED"] == 0.0
    assert found[1]["MIXED"] > 0.4
    alone = engine.answer("sentiment", [items[1]], {})[0].result["scores"]
    assert alone == pytest.approx(found[1], abs=1e-6)


def test_texts_are_cut_where_they_end_and_turn() -> None:
    assert sentences("It is 3.5 m. Good! \n\n没有。好") == ["It is 3.5 m.", "Good!", "没有。", "好"]
    assert clauses("I like it, but it broke. Fine.") == ["I like it", "but it broke.", "Fine."]
    assert sentences("  ") == []


def test_languages_are_ranked_and_what_has_no_words_has_none() -> None:
    engine = language.load(None, {})
    texts = ["Wo ist der Bahnhof, bitte?", "123 456", "これは日本語です"]
    found = [
        one.result["languages"] for one in engine.answer("x", [{"text": t} for t in texts], {})
    ]
    assert [languages[0][0] if languages else None for languages in found] == ["de", None, "ja"]
    scores = [score for _, score in found[0]]
    assert scores == sorted(scores, reverse=True) and sum(scores) <= 1.0 + 1e-6


def test_a_rating_is_a_label_and_some_texts_are_never_seen(tmp_path: Path) -> None:
    import io
    import tarfile

    lines = b"1\t2.5\tlovely thing\n2\t-0.5\tbad thing\n3\t0.1\ta thing\nnonsense\n"
    with tarfile.open(tmp_path / sentiment_training.ARCHIVE, "w:gz") as archive:
        about = tarfile.TarInfo("x/tweets_GroundTruth.txt")
        about.size = len(lines)
        archive.addfile(about, io.BytesIO(lines))
    rated = list(sentiment_training.rated_texts(tmp_path))
    assert [one.label for one in rated] == ["POSITIVE", "NEGATIVE", "NEUTRAL"]
    assert {one.domain for one in rated} == {"tweets"}
    shares = [sentiment_training.Rated("d", 0, str(n)).is_held_out for n in range(2000)]
    assert 0.1 < sum(shares) / 2000 < 0.2

"""Sentiment: on the rated texts that the classifier never saw, against VADER."""

# ruff: noqa: E501 - prose that goes to the page

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality.tables import Figure, Section, share
from modelyard.ai.sentiment import FILE
from modelyard.ai.sentiment_training import build, rated_texts
from modelyard.ai.text_classifier import TextClassifier

_VADER_CUT = 0.05
"""Of VADER's compound score, as its authors say."""


def measure(data: Path, work: Path) -> Section:
    """Train as the pack's installation does, and ask both of the texts that were held out."""
    build(data, work)
    classifier = TextClassifier.read(work / FILE)
    texts = [one for one in rated_texts(data) if one.is_held_out]
    scores = classifier.scores([one.text for one in texts])
    ours = [classifier.classes[place] for place in scores.argmax(axis=1)]
    vaders = _vader(data, [one.text for one in texts])
    truth = [one.label for one in texts]
    figures = [
        Figure(
            "accuracy",
            f"{len(texts)} texts",
            share(_accuracy(truth, ours)),
            share(_accuracy(truth, vaders)),
        ),
        Figure(
            "macro F1",
            f"{len(texts)} texts",
            share(_macro(truth, ours)),
            share(_macro(truth, vaders)),
        ),
    ]
    for domain in sorted({one.domain for one in texts}):
        own = [place for place, one in enumerate(texts) if one.domain == domain]
        some = [
            _accuracy([truth[n] for n in own], [said[n] for n in own]) for said in (ours, vaders)
        ]
        figures.append(
            Figure(f"accuracy, {domain}", f"{len(own)} texts", share(some[0]), share(some[1]))
        )
    right = np.array([one == other for one, other in zip(truth, ours, strict=True)])
    figures.append(
        Figure(
            "calibration error",
            "ten bins of confidence",
            share(calibration_error(scores.max(axis=1), right)),
            "no probabilities",
        )
    )
    return Section(
        "Comprehend: sentiment (English)",
        "Three classes (ratings from 0.5 on are positive, from -0.5 down negative). The data is that of vaderSentiment's sdist; texts "
        "are held out by their hash. The same four domains were trained on: expect less on others. *Mixed* has no labelled data and is not measured.",
        "sentiment-en",
        "VADER 3.3.2",
        figures,
    )  # fmt: skip


def _vader(data: Path, texts: Sequence[str]) -> list[str]:
    sys.path.append(str(data / "site"))
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyser = SentimentIntensityAnalyzer()
    compounds = [analyser.polarity_scores(text)["compound"] for text in texts]
    return [
        "POSITIVE" if one >= _VADER_CUT else "NEGATIVE" if one <= -_VADER_CUT else "NEUTRAL"
        for one in compounds
    ]


def _accuracy(truth: Sequence[str], said: Sequence[str]) -> float:
    return sum(one == other for one, other in zip(truth, said, strict=True)) / len(truth)


def _macro(truth: Sequence[str], said: Sequence[str]) -> float:
    found = []
    for label in sorted(set(truth)):
        hits = sum(one == other == label for one, other in zip(truth, said, strict=True))
        found.append(2 * hits / (truth.count(label) + said.count(label)))
    return sum(found) / len(found)


def calibration_error(confidence: "np.ndarray[tuple[int], np.dtype[np.float64]]", right: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> float:  # fmt: skip
    """How far confidence and accuracy are apart, in ten bins, weighted by their sizes."""
    error = 0.0
    for low in np.arange(0.0, 1.0, 0.1):
        some = (confidence > low) & (confidence <= low + 0.1)
        if some.any():
            error += abs(float(right[some].mean()) - float(confidence[some].mean())) * float(
                some.mean()
            )
    return error

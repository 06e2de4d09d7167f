"""From a model's finding to Comprehend's shapes. Pure. Offsets are code points of the text, as the models give them."""

from collections.abc import Sequence

from modelyard.ai.questions import Finding
from modelyard.store.resources import Json

Datum = tuple[str, int, int, float]
"""Type, begin, end, score."""
_PERSONAL = {"PERSON": "NAME"}
"""Of the entities that a model finds, those that are personal data."""


def languages(text: str, finding: Finding) -> Json:
    """The likeliest first."""
    return {
        "Languages": [
            {"LanguageCode": code, "Score": score} for code, score in finding.result["languages"]
        ]
    }


def sentiment(text: str, finding: Finding) -> Json:
    """The likeliest of the four, and all of them."""
    scores = finding.result["scores"]
    return {
        "Sentiment": max(scores, key=lambda name: (scores[name], name)),
        "SentimentScore": {name.capitalize(): score for name, score in scores.items()},
    }


def entities(text: str, finding: Finding) -> Json:
    """In the order of the text."""
    return {
        "Entities": [
            {
                "Score": score,
                "Type": kind,
                "Text": text[begin:end],
                "BeginOffset": begin,
                "EndOffset": end,
            }
            for kind, begin, end, score in finding.result["entities"]
        ]
    }


def key_phrases(text: str, finding: Finding) -> Json:
    """In the order of the text."""
    return {
        "KeyPhrases": [
            {"Score": score, "Text": text[begin:end], "BeginOffset": begin, "EndOffset": end}
            for begin, end, score in finding.result["phrases"]
        ]
    }


def syntax(text: str, finding: Finding) -> Json:
    """Tokens are counted from 1."""
    return {
        "SyntaxTokens": [
            {
                "TokenId": number,
                "Text": text[begin:end],
                "BeginOffset": begin,
                "EndOffset": end,
                "PartOfSpeech": {"Tag": tag, "Score": score},
            }
            for number, (tag, begin, end, score) in enumerate(finding.result["tokens"], 1)
        ]
    }


def personal_data(patterns: Finding, named: Finding | None) -> list[Datum]:
    """What has a form, and the names that a model of entities found beside it; in the order of the text."""
    found: list[Datum] = [
        (kind, begin, end, score) for kind, begin, end, score in patterns.result["entities"]
    ]
    taken = list(found)
    for kind, begin, end, score in named.result["entities"] if named is not None else ():
        if kind in _PERSONAL and all(end <= b or begin >= e for _, b, e, _ in taken):
            found.append((_PERSONAL[kind], begin, end, score))
    return sorted(found, key=lambda datum: datum[1])


def pii_entities(found: Sequence[Datum]) -> Json:
    """Without the text, as AWS answers."""
    return {
        "Entities": [
            {"Score": score, "Type": kind, "BeginOffset": begin, "EndOffset": end}
            for kind, begin, end, score in found
        ]
    }


def pii_labels(found: Sequence[Datum]) -> Json:
    """Each kind once, with the score of its surest datum; the surest first."""
    best: dict[str, float] = {}
    for kind, _, _, score in found:
        best[kind] = max(best.get(kind, 0.0), score)
    ranked = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
    return {"Labels": [{"Name": name, "Score": score} for name, score in ranked]}

"""From a model's finding to Comprehend's shapes. Pure. Offsets are code points of the text, as the models give them."""

from modelyard.ai.questions import Finding
from modelyard.store.resources import Json


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

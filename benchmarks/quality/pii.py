"""Personal data: values that Faker makes up, in sentences of ours; and what is wrongly found in texts that have none."""

# ruff: noqa: E501 - prose that goes to the page

import sys
from pathlib import Path
from typing import Any

from benchmarks.quality.tables import Figure, Section, share
from modelyard.ai.pii import find
from modelyard.ai.sentiment_training import rated_texts

CASES = 200
_QUIET = {"CREDIT_DEBIT_NUMBER", "INTERNATIONAL_BANK_ACCOUNT_NUMBER", "SSN", "EMAIL", "AWS_ACCESS_KEY", "PHONE",
          "VEHICLE_IDENTIFICATION_NUMBER", "IP_ADDRESS"}  # fmt: skip
"""Kinds that a review of a film or a newspaper has no reason to hold."""
_SENTENCES: tuple[tuple[str, str, str], ...] = (
    ("EMAIL", "email", "You can write to {} at any time."),
    ("CREDIT_DEBIT_NUMBER", "credit_card_number", "I paid with {} last week."),
    ("INTERNATIONAL_BANK_ACCOUNT_NUMBER", "iban", "Please transfer it to {} soon."),
    ("SSN", "ssn", "His social security number is {}."),
    ("PHONE", "basic_phone_number", "Call me at {} tomorrow."),
    ("IP_ADDRESS", "ipv4", "The request came from {} again."),
    ("IP_ADDRESS", "ipv6", "The request came from {} again."),
    ("MAC_ADDRESS", "mac_address", "The device {} is not known."),
    ("VEHICLE_IDENTIFICATION_NUMBER", "vin", "The car {} was sold."),
    ("URL", "url", "More is at {} for everybody."),
    ("DATE_TIME", "date", "She was born on {} here."),
    ("ADDRESS", "street_address", "They moved to {} in the end."),
    ("SWIFT_CODE", "swift", "The SWIFT code is {} for this bank."),
)


def measure(data: Path, _work: Path) -> Section:
    """Recall by kind, where the very characters have to be found; and false alarms."""
    sys.path.append(str(data / "site"))
    from faker import Faker

    maker: Any = Faker("en_US")
    maker.seed_instance(20_26)
    figures = []
    for kind, method, sentence in _SENTENCES:
        hits = sum(_is_found(kind, sentence, str(getattr(maker, method)())) for _ in range(CASES))
        figures.append(
            Figure(f"recall, {kind} ({method})", f"{CASES} made-up values", share(hits / CASES))
        )
    texts = [one.text for one in rated_texts(data) if one.is_held_out]
    alarms = sum(any(kind in _QUIET for kind, *_ in find(text)) for text in texts)
    figures.append(
        Figure("false alarms", f"{len(texts)} texts that hold none of 8 kinds", f"{alarms} texts")
    )
    return Section(
        "Comprehend: personal data with a form (English)",
        "Made-up values of Faker 40.54.0 in sentences of ours: an easy set, whose sentences fit the recognisers. Names come from a model of entities, and are "
        "as good as that. No corpus of real personal data is carried by a package.",
        "pii-patterns",
        "",
        figures,
    )  # fmt: skip


def _is_found(kind: str, sentence: str, value: str) -> bool:
    text = sentence.format(value)
    begin = text.index(value)
    return any((k, b, e) == (kind, begin, begin + len(value)) for k, b, e, _ in find(text))

"""The sentiment classifier is trained when its pack is installed, from texts that people rated.

The sdist of vaderSentiment carries some 23,700 of them (Hutto and Gilbert, ICWSM 2014): tweets, reviews of films and of
products, and sentences of newspapers, each with its mean rating from -4 to 4.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modelyard.ai.sentiment import FILE, NEGATIVE, NEUTRAL, POSITIVE
from modelyard.ai.text_classifier import train

ARCHIVE = "hutto_ICWSM_2014.tar.gz"
_RATINGS = "_GroundTruth.txt"
THRESHOLD = 0.5
"""Ratings from here on are a sentiment; between its negative and it a text is neutral."""
HELD_OUT = 38
"""Of 256: the texts that the classifier never sees, by their hash; the quality page is measured on them."""
STRENGTH = 2.0


class Rated(NamedTuple):
    """One text, with the domain that it comes from."""

    domain: str
    rating: float
    text: str

    @property
    def label(self) -> str:
        if self.rating >= THRESHOLD:
            return POSITIVE
        return NEGATIVE if self.rating <= -THRESHOLD else NEUTRAL

    @property
    def is_held_out(self) -> bool:
        return hashlib.sha256(self.text.encode()).digest()[0] < HELD_OUT


def rated_texts(sources: Path) -> Iterator[Rated]:
    """All texts, in the order of the archive's names."""
    with tarfile.open(sources / ARCHIVE) as archive:
        for member in sorted(archive.getmembers(), key=lambda one: one.name):
            if not member.name.endswith(_RATINGS):
                continue
            file = archive.extractfile(member)
            assert file is not None
            domain = Path(member.name).name.removesuffix(_RATINGS)
            for line in file.read().decode("utf-8", "replace").splitlines():
                parts = line.split("\t", 2)
                if len(parts) == 3 and parts[2].strip():
                    yield Rated(domain, float(parts[1]), parts[2])


def build(sources: Path, target: Path) -> None:
    """Train on what is not held out; ``target`` gets the classifier."""
    seen = [one for one in rated_texts(sources) if not one.is_held_out]
    classifier = train([one.text for one in seen], [[one.label] for one in seen], strength=STRENGTH)
    classifier.save(target / FILE)

"""A user's own recogniser of entities, trained by the platform: what the tagger finds, and the names of the user's list.

A name of the list is certain, for the list is what says so; where the tagger's entity overlaps it, the list's stands.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.ai.engine import EngineError, required_folder
from modelyard.ai.entity_tagger import EntityTagger
from modelyard.ai.questions import Finding, Item
from modelyard.domain.tagged_texts import NameList, tokens

FILE, NAMES = "tagger.npz", "names.json"
_CERTAIN = 1.0


class RecogniserEngine:
    """Task ``recognise``: ``{"entities": [[type, begin, end, score], …]}``; offsets are code points."""

    def __init__(self, tagger: EntityTagger, names: NameList) -> None:
        self._tagger = tagger
        self._names = names

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """All texts go through the tagger at once."""
        texts = [item["text"] for item in items]
        findings = []
        for text, tagged in zip(texts, self._tagger.find(texts), strict=True):
            found = [(one, _CERTAIN) for one in self._names.find(tokens(text))]
            listed = [one for one, _ in found]
            for span, score in tagged:
                if all(span.end <= one.begin or span.begin >= one.end for one in listed):
                    found.append((span, score))
            entities = [(one.type, one.begin, one.end, score) for one, score in sorted(found)]
            findings.append(Finding(result={"entities": entities}))
        return findings


def load(folder: Path | None, options: Mapping[str, str]) -> RecogniserEngine:
    """Raises ``EngineError``."""
    place = required_folder(folder)
    tagger = EntityTagger.read(place / FILE)
    try:
        names = msgspec.json.decode((place / NAMES).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError) as error:
        raise EngineError(f"{NAMES} is no list of names: {error}") from error
    return RecogniserEngine(tagger, NameList(names))

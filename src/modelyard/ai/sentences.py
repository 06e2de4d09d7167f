"""Where sentences end, well enough to weigh them one by one. Offsets are code points."""

import re

_END = re.compile(
    r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[]?[A-Z0-9\u00c0-\u00d6\u00d8-\u00de])"
    r"|\n{2,}|(?<=[\u3002\uff01\uff1f])"
)
_TURN = re.compile(
    r"[,;]\s+(?=(?:but|however|although|though|yet)\b)|\s+(?=(?:but|however)\b)", re.I
)
SENTENCES_MAX = 1_000


def sentences(text: str) -> list[str]:
    """The sentences of a text, without what is blank."""
    parts = [part.strip() for part in _END.split(text)]
    return [part for part in parts if part][:SENTENCES_MAX]


def clauses(text: str) -> list[str]:
    """Sentences, cut once more where a word such as *but* turns them."""
    parts = [part.strip() for one in sentences(text) for part in _TURN.split(one)]
    return [part for part in parts if part][:SENTENCES_MAX]

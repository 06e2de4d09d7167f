"""What may be written as a sample utterance: words, and slots in braces."""

import re

CHARACTERS_MAX = 500
_SLOT = re.compile(r"\{[0-9a-zA-Z]+(?:[_-][0-9a-zA-Z]+)*[_-]?\}")


def fault_of(utterance: str) -> str:
    """What is wrong with it; empty: nothing. Whether its slots exist is seen when the locale is built."""
    if not utterance.strip():
        return "it is empty"
    if len(utterance) > CHARACTERS_MAX:
        return f"it is longer than {CHARACTERS_MAX} characters"
    rest = _SLOT.sub(" ", utterance)
    if "{" in rest or "}" in rest:
        return "a slot is written as its name in braces, {SlotName}"
    return ""

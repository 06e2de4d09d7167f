"""What a model of translation is asked, whichever engine it is: task ``translate``, options ``{"pair": "en-es"}``.

An item is a sentence or more, in pieces that differ in their markup: ``{"pieces": [[run, …], …]}``. A run is text to be
translated, or ``{"fixed": text}``, which stands in the translation exactly so. The finding is ``{"parts": [[number, text], …]}``:
the translation in its own order, each part with the number of the piece whose markup it bears; a piece may come twice or never.
"""

from collections.abc import Iterable, Sequence
from typing import Any

TASK = "translate"
Run = str | dict[str, str]
Piece = Sequence[Run]
Part = tuple[int, str]


def plain(text: str) -> dict[str, Any]:
    """An item without markup or terms."""
    return {"pieces": [[text]]}


def merged(parts: Iterable[Part]) -> list[Part]:
    """Neighbours with the same markup are one."""
    found: list[Part] = []
    for number, text in parts:
        if found and found[-1][0] == number:
            found[-1] = number, found[-1][1] + text
        elif text:
            found.append((number, text))
    return found


def text_of(run: Run) -> str:
    """What stands in the source, or for it."""
    return run if isinstance(run, str) else run["fixed"]

"""The hot paths once more, in C: what is ordinary is answered sooner, all else is left to the Python that reads the same.

Each function here has a twin in Python and answers as that does, or says that the twin has to be asked. ``built`` is None
where there was no C compiler when Modelyard was installed, and where what was built is of other C than lies here, as after a
``git pull``: then everything is Python's, and works. ``why_not`` tells which.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from modelyard.native.sources import digest

NOT_BUILT = (
    "there was no C compiler, or no headers of Python's, when Modelyard was installed; "
    "with both (such as gcc and python3-dev) install it again"
)
STALE = "what was built is of other C than is here; run make setup, or install it again"


def load(folder: Path) -> tuple[ModuleType | None, str]:
    """What was built of the C in this folder, or None and why it is not used."""
    try:
        found = importlib.import_module("modelyard.native._native")
    except ModuleNotFoundError:
        return None, NOT_BUILT
    except ImportError as error:  # Of another machine's, or cut short.
        return None, f"what was built cannot be loaded ({error}); install it again"
    expected = digest(folder)
    if expected and getattr(found, "sources", "") != expected:
        return None, STALE
    return found, ""


built, why_not = load(Path(__file__).parent)


def part(name: str) -> Any:
    """What the C has of that name; None where there is none."""
    return getattr(built, name, None)


def in_words() -> str:
    """Whether the hot paths are C's, and why not."""
    return "in C" if built is not None else f"in Python, which is slower: {why_not}"

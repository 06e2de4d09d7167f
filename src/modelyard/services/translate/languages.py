"""What Translate calls languages: their codes, and their names in the languages that it shows names in. Pure."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

AUTO = "auto"
DISPLAY_DEFAULT = "en"


@cache
def _names() -> Mapping[str, Mapping[str, str]]:
    """By the code of the language that they are written in, and the code of what they name."""
    table = files("modelyard.services.translate").joinpath("languages.toml").read_text()
    names: Mapping[str, Mapping[str, str]] = tomllib.loads(table)
    return names


def name(code: str, display: str) -> str:
    """Of a language; its code where nobody has named it."""
    return _names()[display].get(code, code)


def is_known(code: str) -> bool:
    """Whether the service knows a language of this code."""
    return code in _names()[DISPLAY_DEFAULT]


def pair(source: str, target: str) -> str:
    """As packs name what they serve."""
    return f"{source}-{target}"


def of_pairs(pairs: Iterable[str]) -> list[str]:
    """Every language of some pairs, sorted."""
    known = _names()[DISPLAY_DEFAULT]
    return sorted(
        {
            code
            for one in pairs
            for source, target in _splits(one)
            if source in known and target in known
            for code in (source, target)
        }
    )


def _splits(one: str) -> Iterable[tuple[str, str]]:
    """A code may have a dash itself: ``es-pt-PT``."""
    parts = one.split("-")
    return (("-".join(parts[:place]), "-".join(parts[place:])) for place in range(1, len(parts)))

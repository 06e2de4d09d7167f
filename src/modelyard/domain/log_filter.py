"""Filter patterns of CloudWatch Logs: which words a line has to hold, and which not; ``{…}`` is of ``log_json``.

``timeout`` holds the word, ``"out of memory"`` the phrase, ``-debug`` holds it not; ``?error ?fatal`` holds any of them, and is
ignored beside other terms, as AWS does. Case matters. Patterns for columns (``[a, b]``) and regular expressions (``%…%``) are
not executed.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from modelyard.domain import log_json
from modelyard.domain.log_json import NotAPattern, NotExecuted

__all__ = ["LineFilter", "LogFilter", "NotAPattern", "NotExecuted", "parse"]

_TERM = re.compile(r'([?-]?)(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))(?=\s|$)')
_ESCAPED = re.compile(r"\\(.)")


class LogFilter(Protocol):
    """What a pattern becomes."""

    def matches(self, line: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFilter:
    """What a line has to hold: all of ``every``, one of ``some`` if there are any, none of ``never``."""

    every: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    def matches(self, line: str) -> bool:
        return (
            all(term in line for term in self.every)
            and (not self.some or any(term in line for term in self.some))
            and not any(term in line for term in self.never)
        )


def parse(pattern: str) -> LogFilter:
    """Read a pattern; the empty one matches every line. Raises ``NotExecuted`` and ``NotAPattern``."""
    text = pattern.strip()
    if text.startswith("{"):
        return log_json.parse(text)
    for begin, kind in (("[", "for columns"), ("%", "with regular expressions")):
        if text.startswith(begin):
            raise NotExecuted(f"patterns {kind} ({begin}…) are not executed; filter by words")
    terms: dict[str, list[str]] = {"": [], "?": [], "-": []}
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:
            raise NotAPattern(f"cannot read {text[at:]!r}; close every quotation mark")
        phrase = match[3] if match[2] is None else _ESCAPED.sub(r"\1", match[2])
        terms[match[1]].append(phrase)
        at = match.end()
        at += len(text[at:]) - len(text[at:].lstrip())
    alone = not terms[""] and not terms["-"]
    return LineFilter(
        every=tuple(terms[""]),
        some=tuple(terms["?"]) if alone else (),
        never=tuple(terms["-"]),
    )

"""Filter patterns of CloudWatch Logs for lines that are JSON: what a line's members have to be.

::

    { $.level = "ERROR" && ($.status >= 500 || $.user.name = "a*") }
    { $.tags[0] != x }   { $.error NOT EXISTS }   { $.reply IS NULL }   { $.cached IS TRUE }

A comparison with a member that a line lacks is false, also by ``!=``; so is one with an object or a list. ``*`` in a text
stands for any characters. A literal without quotation marks that is a number compares with numbers by value. Regular
expressions (``%…%``) and ``[*]`` are not executed.
"""

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

_DEPTH_MAX = 20
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<selector>\$(?:\.[A-Za-z0-9_-]+|\.?\['[^']*'\]|\[\d{1,6}\])+)
      | (?P<operator>&&|\|\||!=|<=|>=|=|<|>|\(|\))
      | "(?P<quoted>(?:[^"\\]|\\.)*)"
      | (?P<word>[A-Za-z0-9_.:/+*@~\#-]+)
    )""",
    re.VERBOSE,
)
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\.?\['([^']*)'\]|\[(\d+)\]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_EQUALITY = ("=", "!=")
_MISSING = object()

Condition = Callable[[Any], bool]


class NotExecuted(Exception):
    """The pattern is of a kind that is not executed; the text says which."""


class NotAPattern(Exception):
    """The pattern cannot be read; the text says where."""


@dataclass(frozen=True, slots=True)
class JsonFilter:
    """A condition on the document that a line is; other lines do not match."""

    condition: Condition

    def matches(self, line: str) -> bool:
        if not line.lstrip().startswith("{"):
            return False
        try:
            document = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False
        return self.condition(document)


def parse(pattern: str) -> JsonFilter:
    """Read ``{ … }``. Raises ``NotExecuted`` and ``NotAPattern``."""
    text = pattern.strip()
    if not text.endswith("}"):
        raise NotAPattern("a pattern for JSON ends with }")
    reader = _Reader(_tokens(text[1:-1]))
    condition = reader.either(0)
    reader.end()
    return JsonFilter(condition)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        rest = text[at:].lstrip()
        if rest.startswith("%"):
            raise NotExecuted("patterns with regular expressions (%…%) are not executed")
        match = _TOKEN.match(text, at)
        if match is None or (rest.startswith("$") and match.lastgroup != "selector"):
            raise NotAPattern(f"cannot read {rest!r}")
        if text[match.end() : match.end() + 2] == "[*":
            raise NotExecuted("selectors of every element ([*]) are not executed")
        kind = match.lastgroup or ""
        found.append(_Token(kind, match[kind]))
        at = match.end()
    return found


class _Reader:
    """Recursive descent: either, both, one."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._take("operator", "||"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else lambda line: any(part(line) for part in parts)

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise NotAPattern(f"nothing is expected at {self._tokens[self._at].text!r}")

    def _both(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._take("operator", "&&"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else lambda line: all(part(line) for part in parts)

    def _one(self, depth: int) -> Condition:
        if depth > _DEPTH_MAX:
            raise NotAPattern("its parentheses are nested too deeply")
        if self._take("operator", "("):
            inner = self.either(depth + 1)
            if not self._take("operator", ")"):
                raise NotAPattern("a parenthesis is open")
            return inner
        steps = _steps(self._next("selector", "a selector such as $.level").text)
        if self._take("word", "IS"):
            return _is(steps, self._next("word", "NULL, TRUE or FALSE").text)
        if self._take("word", "NOT"):
            if self._next("word", "EXISTS").text.upper() != "EXISTS":
                raise NotAPattern("after NOT only EXISTS is expected")
            return lambda line: _find(line, steps) is _MISSING
        sign = self._next("operator", "an operator").text
        if sign not in (*_EQUALITY, *_ORDER):
            raise NotAPattern(f"{sign!r} is no comparison")
        return _comparison(steps, sign, self._literal())

    def _literal(self) -> _Token:
        if self._at < len(self._tokens) and self._tokens[self._at].kind in ("quoted", "word"):
            self._at += 1
            return self._tokens[self._at - 1]
        raise NotAPattern("a comparison needs a value")

    def _take(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind == kind and token.text.upper() == text:
                self._at += 1
                return True
        return False

    def _next(self, kind: str, what: str) -> _Token:
        if self._at >= len(self._tokens) or self._tokens[self._at].kind != kind:
            where = (
                f"at {self._tokens[self._at].text!r}"
                if self._at < len(self._tokens)
                else "at the end"
            )
            raise NotAPattern(f"{what} is expected {where}")
        self._at += 1
        return self._tokens[self._at - 1]


def _steps(selector: str) -> tuple[str | int, ...]:
    return tuple(
        int(match[3]) if match[3] is not None else match[1] or match[2] or ""
        for match in _STEP.finditer(selector, 1)
    )


def _find(line: Any, steps: Sequence[str | int]) -> Any:
    value = line
    for step in steps:
        if isinstance(step, str):
            value = value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
        else:
            is_there = isinstance(value, list) and step < len(value)
            value = value[step] if is_there else _MISSING
    return value


def _is(steps: Sequence[str | int], what: str) -> Condition:
    wanted = {"NULL": None, "TRUE": True, "FALSE": False}
    if what.upper() not in wanted:
        raise NotAPattern("after IS only NULL, TRUE or FALSE is expected")
    value = wanted[what.upper()]
    return lambda line: _find(line, steps) is value


def _comparison(steps: Sequence[str | int], sign: str, literal: _Token) -> Condition:
    quoted = literal.kind == "quoted"
    text = re.sub(r"\\(.)", r"\1", literal.text) if quoted else literal.text
    number = None if quoted or not _NUMBER.fullmatch(text) else float(text)
    if sign in _ORDER:
        if number is None:
            raise NotAPattern(f"{sign} compares with a number, not with {text!r}")
        return _ordered(steps, _ORDER[sign], number)
    # Only * is special: what else fnmatch knows stands for itself.
    special = re.sub(r"([?\[])", r"[\1]", text)
    wild = re.compile(fnmatch.translate(special))

    def is_equal(value: Any) -> bool:
        if isinstance(value, str):
            return wild.match(value) is not None
        return number is not None and float(value) == number

    wanted = sign == "="

    def condition(line: Any) -> bool:
        value = _find(line, steps)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return False
        return is_equal(value) is wanted

    return condition


def _ordered(
    steps: Sequence[str | int], holds: Callable[[float, float], bool], number: float
) -> Condition:
    def condition(line: Any) -> bool:
        value = _find(line, steps)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and holds(value, number)

    return condition

"""Conditions of a bot's branches: comparisons of a reference with a constant, put together by AND, OR and NOT. Pure.

References are ``{slot}``, ``[session attribute]``, ``((request attribute))``, ``$.inputTranscript`` and ``$.inputMode``;
constants are texts in quotes, numbers, true and false. ``fn.IS_SET(reference)``, ``fn.COUNT({slot})`` with a comparison, and
``{slot} CONTAINS "text"`` are known; every other function is not executed, and refused by ``parse``. A comparison with what has
no value is false. Texts are compared without case; a slot of several values is them all, with commas between.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelyard.domain.lex.messages import Lookup

Condition = Callable[[Lookup], bool]
_TOKEN = re.compile(
    r"""\s*(?:(?P<ref>\{[^{}]+\}|\[[^\[\]]+\]|\(\([^()]+\)\)|\$\.\w+)|(?P<fn>fn\.\w+)|(?P<text>"[^"]*"|'[^']*')
    |(?P<number>-?\d+(?:\.\d+)?)|(?P<op><=|>=|!=|=|<|>)|(?P<sign>&&|\|\||!|\(|\))|(?P<word>\w+))""",
    re.VERBOSE,
)
_DEPTH_MAX = 50
_OPERATORS: dict[str, Callable[[float | str, float | str], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]  # both are texts, or both numbers
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}


class BadCondition(Exception):
    """An expression that cannot be executed; the text says why."""


def parse(expression: str) -> Condition:
    """Raises ``BadCondition``."""
    parser = _Parser(list(_tokens(expression)))
    condition = parser.either(0)
    if parser.has_more():
        raise BadCondition(f"{parser.shown()} is not expected in: {expression}")
    return condition


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(expression: str) -> Iterator[_Token]:
    position = 0
    text = expression.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise BadCondition(f"{text[position:].strip()[:20]} cannot be read in: {expression}")
        yield _Token(found.lastgroup, found[found.lastgroup])
        position = found.end()


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._position = 0

    def has_more(self) -> bool:
        return self._position < len(self._tokens)

    def shown(self) -> str:
        return self._tokens[self._position].text if self.has_more() else "its end"

    def _take(self, *texts: str) -> bool:
        if self.has_more() and self._tokens[self._position].text.upper() in texts:
            self._position += 1
            return True
        return False

    def _next(self, *kinds: str) -> _Token:
        if not self.has_more() or self._tokens[self._position].kind not in kinds:
            raise BadCondition(f"{self.shown()} stands where {' or '.join(kinds)} is expected.")
        self._position += 1
        return self._tokens[self._position - 1]

    def either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._take("OR", "||"):
            parts.append(self._both(depth))
        return lambda lookup: any(one(lookup) for one in parts)

    def _both(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._take("AND", "&&"):
            parts.append(self._one(depth))
        return lambda lookup: all(one(lookup) for one in parts)

    def _one(self, depth: int) -> Condition:
        if depth > _DEPTH_MAX:
            raise BadCondition(f"The expression is nested deeper than {_DEPTH_MAX}.")
        if self._take("NOT", "!"):
            inner = self._one(depth + 1)
            return lambda lookup: not inner(lookup)
        if self._take("("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                raise BadCondition("A bracket is not closed.")
            return inner
        return self._comparison()

    def _comparison(self) -> Condition:
        token = self._next("ref", "fn")
        if token.kind == "fn":
            return self._function(token.text)
        kind, name = _reference(token.text)
        if self._take("CONTAINS"):
            wanted = str(self._constant()).casefold()
            return lambda lookup: (
                wanted in [one.strip().casefold() for one in (lookup(kind, name) or "").split(",")]
            )
        operator, constant = self._operator(), self._constant()
        return lambda lookup: _holds(lookup(kind, name), operator, constant)

    def _function(self, name: str) -> Condition:
        if name.upper() not in ("FN.IS_SET", "FN.COUNT"):
            raise BadCondition(f"Modelyard does not execute {name} in conditions yet.")
        if not self._take("("):
            raise BadCondition(f"{name} needs a reference in brackets.")
        kind, of = _reference(self._next("ref").text)
        if not self._take(")"):
            raise BadCondition(f"{name} needs one reference in brackets.")
        if name.upper() == "FN.IS_SET":
            return lambda lookup: lookup(kind, of) is not None
        operator, constant = self._operator(), self._constant()
        return lambda lookup: _holds(
            str(len([one for one in (lookup(kind, of) or "").split(",") if one])),
            operator,
            constant,
        )

    def _operator(self) -> str:
        return self._next("op").text

    def _constant(self) -> float | str:
        token = self._next("text", "number", "word")
        if token.kind == "number":
            return float(token.text)
        if token.kind == "text":
            return token.text[1:-1]
        if token.text.lower() not in ("true", "false"):
            raise BadCondition(f"{token.text} has to stand in quotes.")
        return token.text


def _reference(text: str) -> tuple[str, str]:
    if text.startswith("{"):
        return "slot", text[1:-1].strip()
    if text.startswith("["):
        return "session", text[1:-1].strip()
    if text.startswith("(("):
        return "request", text[2:-2].strip()
    if text not in ("$.inputTranscript", "$.inputMode"):
        raise BadCondition(f"Modelyard does not know {text} in conditions.")
    return "input", text[2:]


def _holds(value: str | None, operator: str, constant: float | str) -> bool:
    if value is None:
        return False
    if isinstance(constant, float):
        try:
            return _OPERATORS[operator](float(value), constant)
        except ValueError:
            return operator == "!="
    return _OPERATORS[operator](value.casefold(), constant.casefold())

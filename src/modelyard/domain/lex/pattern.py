"""Regular expressions of AMAZON.AlphaNumeric: the part that Lex allows, matched in time that grows with the text alone.

Lex allows letters, digits, classes, groups, alternatives, ``?`` and counted repeats, but neither ``*``, ``+``, ``.`` nor repeats
without an upper bound. Such a pattern is a finite automaton; here it is run state by state, so that no pattern can be slow.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass, field

PATTERN_CHARACTERS = 300
STATES_MAX = 4_000
_DIGITS = frozenset(string.digits)
_WORD = frozenset(string.ascii_letters + string.digits + "_")
_SPACE = frozenset(" \t")
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_SPECIAL = "*+.^$"


class BadPattern(Exception):
    """The text says what is wrong with the pattern."""


@dataclass(slots=True, eq=False)
class _State:
    """Either ``accepts`` one character and goes on, or goes on at once."""

    accepts: Callable[[str], bool] | None = None
    following: "list[_State]" = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern."""

    _begin: _State
    _end: _State

    def matches(self, text: str) -> bool:
        """Whether all of the text fits."""
        states = _closure([self._begin])
        for character in text:
            states = _closure(
                [
                    after
                    for state in states
                    if state.accepts is not None and state.accepts(character)
                    for after in state.following
                ]
            )
            if not states:
                return False
        return self._end in states


def compile_pattern(text: str) -> Pattern:
    """Raises ``BadPattern``."""
    if len(text) > PATTERN_CHARACTERS:
        raise BadPattern(f"The pattern has more than {PATTERN_CHARACTERS} characters.")
    reader = _Reader(text.removeprefix("^").removesuffix("$"))
    tree = reader.alternatives()
    if reader.rest:
        raise BadPattern(f"The pattern has a ')' too many: {text!r}.")
    builder = _Builder()
    begin, end = builder.build(tree)
    return Pattern(begin, end)


_Tree = tuple[object, ...]
"""``("one", accepts)``, ``("row", trees)``, ``("either", trees)`` or ``("repeat", tree, least, most)``."""


class _Reader:
    """Recursive descent; the depth is bounded by the pattern's length."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    @property
    def rest(self) -> str:
        return self._text[self._place :]

    def _take(self) -> str:
        if not self.rest:
            raise BadPattern("The pattern ends too early.")
        self._place += 1
        return self._text[self._place - 1]

    def alternatives(self) -> _Tree:
        rows = [self._row()]
        while self.rest.startswith("|"):
            self._take()
            rows.append(self._row())
        return ("either", rows) if len(rows) > 1 else rows[0]

    def _row(self) -> _Tree:
        trees = []
        while self.rest and self.rest[0] not in "|)":
            trees.append(self._repeated(self._atom()))
        return ("row", trees)

    def _atom(self) -> _Tree:
        one = self._take()
        if one == "(":
            if self.rest.startswith("?"):
                if not self.rest.startswith("?:"):
                    raise BadPattern("Look-around and named groups are not supported.")
                self._place += 2
            tree = self.alternatives()
            if self._take() != ")":
                raise BadPattern("A group of the pattern is not closed.")
            return tree
        if one == "[":
            return ("one", self._class())
        if one == "\\":
            return ("one", _accepts(self._escape()))
        if one in _SPECIAL or one in "?{":
            raise BadPattern(
                f"The operator {one!r} is not supported here; use counted repeats such as {{1,10}}."
            )
        return ("one", _accepts(frozenset(one)))

    def _escape(self) -> frozenset[str]:
        one = self._take()
        if one in _CLASSES:
            return _CLASSES[one]
        if one == "u":
            digits = "".join(self._take() for _ in range(4))
            try:
                return frozenset(chr(int(digits, 16)))
            except ValueError:
                raise BadPattern(f"\\u{digits} is no character.") from None
        if one.isalnum():
            raise BadPattern(f"\\{one} is not supported.")
        return frozenset(one)

    def _class(self) -> Callable[[str], bool]:
        is_negated = self.rest.startswith("^")
        self._place += is_negated
        members: set[str] = set()
        ranges: list[tuple[str, str]] = []
        while (one := self._take()) != "]":
            known = self._escape() if one == "\\" else frozenset(one)
            if len(known) == 1 and self.rest.startswith("-") and not self.rest.startswith("-]"):
                self._take()
                (low,), last = known, self._take()
                high = next(iter(self._escape())) if last == "\\" else last
                if high < low:
                    raise BadPattern(f"The range {low}-{high} is empty.")
                ranges.append((low, high))
            else:
                members |= known
        return lambda character: (
            is_negated
            != (character in members or any(low <= character <= high for low, high in ranges))
        )

    def _repeated(self, tree: _Tree) -> _Tree:
        while self.rest and self.rest[0] in "?{*+":
            one = self._take()
            if one in "*+":
                raise BadPattern(
                    f"The operator {one!r} is not supported; use counted repeats such as {{1,10}}."
                )
            if one == "?":
                tree = ("repeat", tree, 0, 1)
                continue
            inside = ""
            while (one := self._take()) != "}":
                inside += one
            low, comma, high = inside.partition(",")
            if not (low.isdecimal() and (high.isdecimal() if comma else True)) or len(inside) > 9:
                raise BadPattern(f"The repeat {{{inside}}} needs an upper bound.")
            least, most = int(low), int(high or low)
            if least > most:
                raise BadPattern(f"The repeat {{{inside}}} is empty.")
            tree = ("repeat", tree, least, most)
        return tree


def _accepts(known: frozenset[str]) -> Callable[[str], bool]:
    return known.__contains__


class _Builder:
    def __init__(self) -> None:
        self._count = 0

    def _state(self, accepts: Callable[[str], bool] | None = None) -> _State:
        self._count += 1
        if self._count > STATES_MAX:
            raise BadPattern("The pattern's repeats are too many.")
        return _State(accepts)

    def build(self, tree: _Tree) -> tuple[_State, _State]:
        begin, end = self._state(), self._state()
        match tree:
            case ("one", accepts):
                begin.accepts = accepts  # type: ignore[assignment]
                begin.following.append(end)
            case ("row", list() as trees):
                last = begin
                for one in trees:
                    last = self._append(last, one)
                last.following.append(end)
            case ("either", list() as trees):
                for one in trees:
                    self._append(begin, one).following.append(end)
            case ("repeat", tuple() as inner, int() as least, int() as most):
                last = begin
                for number in range(most):
                    if number >= least:
                        last.following.append(end)
                    last = self._append(last, inner)
                last.following.append(end)
        return begin, end

    def _append(self, last: _State, tree: _Tree) -> _State:
        begin, end = self.build(tree)
        last.following.append(begin)
        return end


def _closure(states: list[_State]) -> list[_State]:
    found: dict[int, _State] = {}
    waiting = list(states)
    while waiting:
        state = waiting.pop()
        if id(state) not in found:
            found[id(state)] = state
            if state.accepts is None:
                waiting += state.following
    return list(found.values())

"""The subset of JSONPath that ``DataProcessing`` knows: parsed once, applied to one record at a time.

``$``, ``.name``, ``*``, ``['a','b']``, ``[i]``, ``[i,j]``, ``[a:b]``, with negative indexes; no filter expressions, no
recursive descent.
**The end of a slice is excluded**, as the JSONPath library has it that AWS's documentation links (its prose counts both ends).

One value is chosen by ``.name`` and ``[i]``; several become an array, but several names at the end of a path an object of these
members. What a path names has to be there: an index out of range or a missing member is an error, a slice takes what there is.
JSON is never decoded further than the path goes, and what is chosen keeps its own text, digit for digit.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

PATH_CHARACTERS_MAX = 63
_MEMBER = re.compile(r"\.([A-Za-z_][\w-]*)|\.(\*)|\[\s*(\*)\s*\]")
_INDEXES = re.compile(r"\[\s*(-?\d{1,9}(?:\s*,\s*-?\d{1,9})*)\s*\]")
_SLICE = re.compile(r"\[\s*(-?\d{1,9})?\s*:\s*(-?\d{1,9})?\s*\]")
_NAMES = re.compile(r"\[\s*('[^']*'(?:\s*,\s*'[^']*')*|\"[^\"]*\"(?:\s*,\s*\"[^\"]*\")*)\s*\]")
_NAME = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class BadPath(Exception):
    """Not a path of the subset; the text says what is."""


class NotInRecord(Exception):
    """The record has nothing at this path; it fails its object."""


@dataclass(frozen=True, slots=True)
class Names:
    """Members of an object; one name, or several."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Indexes:
    """Elements of an array; negative ones from its end."""

    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """Elements from ``begin`` up to ``end``, which is excluded."""

    begin: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class Everything:
    """All members or elements."""


Step = Names | Indexes | Slice | Everything


@dataclass(frozen=True, slots=True)
class RecordPath:
    """A parsed path; of no steps it is the record itself."""

    text: str
    steps: tuple[Step, ...]

    @property
    def is_whole(self) -> bool:
        return not self.steps

    def of_json(self, record: bytes) -> bytes:
        """What the path chooses, as JSON text. Raises ``NotInRecord``."""
        if not self.steps:
            return record
        found = [msgspec.Raw(record)]
        for number, step in enumerate(self.steps):
            if isinstance(step, Names) and len(step.names) > 1 and number == len(self.steps) - 1:
                found = [msgspec.Raw(_encode(self._named(node, step))) for node in found]
            else:
                found = [one for node in found for one in self._apply(step, node)]
        return bytes(found[0]) if self._is_definite else _encode(found)

    def of_cells(self, cells: Sequence[bytes]) -> Sequence[bytes]:
        """The chosen cells of a CSV row. Raises ``NotInRecord``."""
        for step in self.steps:
            match step:
                case Indexes(indexes=indexes):
                    try:
                        return [cells[index] for index in indexes]
                    except IndexError:
                        raise NotInRecord(
                            f"{self.text} chooses a column that is not there: the row has {len(cells)}"
                        ) from None
                case Slice(begin=begin, end=end):
                    return cells[begin:end]
        return cells

    @property
    def _is_definite(self) -> bool:
        *path, last = self.steps
        return all(_is_single(step) for step in path) and (
            _is_single(last) or isinstance(last, Names)
        )

    def _apply(self, step: Step, node: msgspec.Raw) -> Iterator[msgspec.Raw]:
        match step:
            case Names():
                yield from self._named(node, step).values()
            case Indexes(indexes=indexes):
                elements = self._array(node)
                for index in indexes:
                    if not -len(elements) <= index < len(elements):
                        raise NotInRecord(
                            f"{self.text}: index {index} is out of range, there are {len(elements)}"
                        )
                    yield elements[index]
            case Slice(begin=begin, end=end):
                yield from self._array(node)[begin:end]
            case Everything():
                is_object = bytes(node).lstrip()[:1] == b"{"
                yield from self._object(node).values() if is_object else self._array(node)

    def _named(self, node: msgspec.Raw, step: Names) -> dict[str, msgspec.Raw]:
        members = self._object(node)
        missing = [name for name in step.names if name not in members]
        if missing:
            raise NotInRecord(f"{self.text}: the record has no {', '.join(missing)}")
        return {name: members[name] for name in step.names}

    def _object(self, node: msgspec.Raw) -> dict[str, msgspec.Raw]:
        try:
            return _members(node)
        except msgspec.DecodeError as error:
            raise NotInRecord(f"{self.text} needs a JSON object there: {error}") from None

    def _array(self, node: msgspec.Raw) -> list[msgspec.Raw]:
        try:
            return _elements(node)
        except msgspec.DecodeError as error:
            raise NotInRecord(f"{self.text} needs a JSON array there: {error}") from None


def parse_path(text: str) -> RecordPath:
    """Raises ``BadPath``."""
    if not text.startswith("$") or len(text) > PATH_CHARACTERS_MAX:
        raise BadPath(
            f"{text!r} is no JSONPath: it has to start with $ and have at most {PATH_CHARACTERS_MAX} characters."
        )
    steps: list[Step] = []
    at = 1
    while at < len(text):
        found = _next_step(text, at)
        if found is None:
            raise BadPath(
                f"{text!r} is not understood from {text[at:]!r} on. Known are $, .name, *, ['a','b'], [i], [i,j] "
                "and [a:b]; not filter expressions, nor recursive descent (..)."
            )
        step, at = found
        steps.append(step)
    return RecordPath(text, tuple(steps))


def check_csv_path(path: RecordPath) -> None:
    """A row has columns, no members: raises ``BadPath`` for what chooses by name, or goes deeper."""
    if len(path.steps) > 1 or any(isinstance(step, Names) for step in path.steps):
        raise BadPath(
            f"{path.text!r} does not fit CSV: choose columns by index there, as $[0,-1] or $[1:]."
        )


def csv_cells(row: bytes) -> list[bytes]:
    """The cells of a row, each as it is written, its quotes included."""
    if b'"' not in row:
        return row.split(b",")
    cells: list[bytes] = []
    parts: list[bytes] = []
    quotes = 0
    for part in row.split(b","):
        parts.append(part)
        quotes += part.count(b'"')
        if quotes % 2 == 0:  # A comma between quotes belongs to its cell.
            cells.append(b",".join(parts))
            parts, quotes = [], 0
    if parts:
        raise NotInRecord("a quoted cell of the row does not end on its line")
    return cells


def _is_single(step: Step) -> bool:
    match step:
        case Names(names=names):
            return len(names) == 1
        case Indexes(indexes=indexes):
            return len(indexes) == 1
    return False


def _next_step(text: str, at: int) -> tuple[Step, int] | None:
    if member := _MEMBER.match(text, at):
        return (Names((member[1],)) if member[1] else Everything()), member.end()
    if indexes := _INDEXES.match(text, at):
        return Indexes(tuple(int(one) for one in indexes[1].split(","))), indexes.end()
    if bounds := _SLICE.match(text, at):
        begin, end = (int(one) if one else None for one in bounds.groups())
        return Slice(begin, end), bounds.end()
    if names := _NAMES.match(text, at):
        found = tuple(one[1] or one[2] or "" for one in _NAME.finditer(names[1]))
        return Names(found), names.end()
    return None

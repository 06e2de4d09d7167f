"""A request's first part, and how one that is like the last is read without a parser.

A client's heads are mostly the same bytes. One that signs changes a few lines each time (its signature, the time, the body's
length): where all other lines are what they were, the parser would find what it found. So it would where the path is another
one made of plain names, such as another session's.
"""

from itertools import pairwise
from typing import Any, Protocol

import msgspec

from modelyard.wire.canonical import is_plain

CHANGING = frozenset(
    {
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "content-length",
    }
)
"""Headers whose values are another request's each time, and ask nothing of an endpoint."""
LENGTH = "content-length"
_LINE_END = b"\r\n"
_LENGTH_DIGITS = 12
_POST, _VERSION = b"POST ", b" HTTP/1.1"


class Head(msgspec.Struct, eq=False):
    """A request's first part. ``joined`` has lower-case names; ``target`` is path and query as sent.

    ``length`` is the body's, -1 where the head does not say. ``raw_headers`` are as sent; empty where the head was read by its
    form, as those are that a handler has left a ``memo`` in.
    """

    method: str
    target: str
    path: str
    version: str
    peer: str
    joined: dict[str, str]
    length: int
    raw_headers: list[tuple[bytes, bytes]] = []
    form: "HeadForm | None" = None
    memo: Any = None
    """What the handler has learnt of this head; a head that comes again and again is kept, with it."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """With lower-case names, in order."""
        if not self.raw_headers:
            return list(self.joined.items())
        return [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in self.raw_headers]


class Track(Protocol):
    """What the lane knows of requests with one head; its use is ``gateway/lane.py``'s."""

    @property
    def is_open(self) -> bool:
        """Whether its requests go where they went."""

    @property
    def table(self) -> Any:
        """The key table that its signatures are verified by; None where there are none."""


class HeadForm:
    """What the heads of one client have in common, and where they differ. ``plan`` is for whoever verifies them."""

    __slots__ = ("_changing", "_head", "_lines", "plan", "track")

    def __init__(
        self, lines: list[bytes], changing: list[tuple[int, bytes, str]], head: Head
    ) -> None:
        self._lines = lines
        self._changing = changing
        self._head = head
        self.plan: Any = None
        self.track: Track | None = None
        """Of the lane, for those that ask for what the form's own head does."""

    @property
    def target(self) -> str:
        """Of the head that it was made of."""
        return self._head.target

    def read(self, raw: bytes) -> Head | None:
        """The head that these bytes are, or None: ask the parser."""
        lines = raw.split(_LINE_END)
        like = self._head
        target, path, memo = like.target, like.path, like.memo
        if len(lines) != len(self._lines):
            return None
        if lines[0] != self._lines[0]:
            target = path = _other_target(lines[0], self._lines[0])
            if not is_plain(target):
                return None
            lines[0] = self._lines[0]
            memo = None  # It was learnt of another path.
        joined = self._head.joined.copy()
        for place, prefix, name in self._changing:
            line = lines[place]
            if not line.startswith(prefix):
                return None
            lines[place] = prefix
            joined[name] = value = line[len(prefix) :].decode("latin-1")
            if (
                not (value.isascii() and value.isprintable())
                or "  " in value
                or value != value.strip()
            ):
                return None
        length = joined[LENGTH]
        if lines != self._lines or not length.isdecimal() or len(length) > _LENGTH_DIGITS:
            return None
        return Head(
            like.method, target, path, like.version, like.peer, joined, int(length), [], self, memo
        )

    def parts(self) -> tuple[str, list[bytes], list[str]]:
        """Of heads with the first one's target: that target, what stands around their values that change, and whose these are.

        A head that ``read`` reads is these pieces with a value after each but the last.
        """
        ends = [0, *(place + 1 for place, _, _ in self._changing), len(self._lines)]
        first, *others = (_LINE_END.join(self._lines[a:b]) for a, b in pairwise(ends))
        pieces = [first, *(_LINE_END + piece for piece in others)]
        return self._head.target, pieces, [name for _, _, name in self._changing]


def _other_target(line: bytes, like: bytes) -> str:
    """Of a request's line that differs from one that was parsed, in the target; empty where it differs in more."""
    for one in (line, like):
        if not (one.startswith(_POST) and one.endswith(_VERSION)):
            return ""
    return line[len(_POST) : -len(_VERSION)].decode("latin-1")


def form_of(raw: bytes, head: Head) -> HeadForm | None:
    """The form of a head that was parsed; None where a line is not one header, or a header comes twice."""
    lines = raw.split(_LINE_END)
    names = [name.decode("latin-1").lower() for name, _ in head.raw_headers]
    # The request's line before them, and two empty pieces behind the last line's end.
    if len(lines) != len(names) + 3 or len(set(names)) < len(names) or LENGTH not in head.joined:
        return None
    changing = []
    for place, (name, value) in enumerate(zip(names, head.raw_headers, strict=True), 1):
        prefix = value[0] + b": "
        if lines[place] != prefix + value[1]:
            return None
        if name in CHANGING:
            lines[place] = prefix
            changing.append((place, prefix, name))
    return HeadForm(lines, changing, head)

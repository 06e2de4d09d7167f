"""Groups, streams and lines of the log store, and what may be wrong with the names of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class AlreadyThere(Exception):
    """A group or stream of this name exists."""


class NotThere(Exception):
    """A group or stream does not exist: ``what`` tells which of the two."""

    def __init__(self, what: Literal["group", "stream"]) -> None:
        super().__init__(f"log {what} not found")
        self.what = what


class InvalidToken(Exception):
    """Not a token that ``events`` gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupName:
    """Identity of a group."""

    account: str
    region: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamName:
    """Identity of a stream."""

    group: GroupName
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogGroup:
    """A group as it is; ``bytes`` of all its streams; its events are kept for so many days, or until there is no room."""

    name: str
    created_ms: int
    bytes: int
    retention_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream as it is; the times of its events are None while there was none."""

    name: str
    created_ms: int
    first_ms: int | None
    last_ms: int | None
    ingested_ms: int | None
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """One line."""

    ms: int
    ingested_ms: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """A page in order of time. At an end of the stream its token is the one that was asked with."""

    events: Sequence[LogEvent]
    forward_token: str
    backward_token: str

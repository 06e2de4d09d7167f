"""What a gateway counts of the requests of one rollout, as words of 64 bits in memory that outlives it. Pure.

A gateway's book is a file of pages; a page belongs to one rollout. Words are written one at a time, so whoever reads a page
sees each of them whole; a request is entered before it is struck off, and the page's last word, which is read last, says how
many were entered: so what is missing was in flight when it was read, and nothing is ever counted before it happened.
"""

import math
from collections.abc import Sequence

import msgspec

PAGE_WORDS = 512
PAGE_BYTES = PAGE_WORDS * 8
PAGES = 256
"""Rollouts in one book; the oldest makes room."""
KEY_WORDS = 8
KEY_BYTES = KEY_WORDS * 8
LEFT, TWICE, CROSSED = KEY_WORDS, KEY_WORDS + 1, KEY_WORDS + 2
ACCEPTED = PAGE_WORDS - 1
REASONS = (
    "ThrottlingException",
    "ServiceUnavailable",
    "ModelError",
    "ModelNotReadyException",
    "ValidationError",
    "InternalFailure",
    "other",
)
"""Codes of refusals; ``ModelError`` is one where no container answered in time."""
FIRST_REASON = CROSSED + 1
BLUE = 32
FLEET_WORDS = 208
GREEN = BLUE + FLEET_WORDS
(
    ANSWERED,
    CLIENT_ERRORS,
    SERVER_ERRORS,
    REPEATED,
    MICROSECONDS,
    COMPARED,
    DISAGREED,
) = range(7)
"""Of one fleet, from its first word."""
HISTOGRAM = 16
BUCKETS = 160
_FIRST_MICROSECONDS = 10.0
_STEP = math.log(1.1)


class FleetCounts(msgspec.Struct, kw_only=True):
    """Of one fleet. ``buckets``: answers by latency, each a tenth wider than the one before."""

    answered: int = 0
    client_errors: int = 0
    server_errors: int = 0
    repeated: int = 0
    microseconds: int = 0
    compared: int = 0
    disagreed: int = 0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)

    def add(self, other: "FleetCounts") -> None:
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]

    def percentile(self, percent: float) -> float:
        """Milliseconds, within a tenth; 0 where nothing was answered."""
        wanted = sum(self.buckets) * percent / 100
        seen = 0
        for place, count in enumerate(self.buckets):
            seen += count
            if count and seen >= wanted:
                return _FIRST_MICROSECONDS * math.exp((place + 0.5) * _STEP) / 1000
        return 0.0


_SUMMED = (
    "answered",
    "client_errors",
    "server_errors",
    "repeated",
    "microseconds",
    "compared",
    "disagreed",
)


class PageCounts(msgspec.Struct, kw_only=True):
    """One page, or several added up. ``cut``: entered at gateways that died, and never struck off."""

    accepted: int = 0
    left: int = 0
    twice: int = 0
    crossed: int = 0
    cut: int = 0
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    blue: FleetCounts = msgspec.field(default_factory=FleetCounts)
    green: FleetCounts = msgspec.field(default_factory=FleetCounts)

    @property
    def in_flight(self) -> int:
        """Entered and not struck off, at gateways that live."""
        ended = self.blue.answered + self.green.answered + self.left + sum(self.refused.values())
        return max(0, self.accepted - ended - self.cut)

    def add(self, other: "PageCounts") -> None:
        self.accepted += other.accepted
        self.left += other.left
        self.twice += other.twice
        self.crossed += other.crossed
        self.cut += other.cut
        for reason, count in other.refused.items():
            self.refused[reason] = self.refused.get(reason, 0) + count
        self.blue.add(other.blue)
        self.green.add(other.green)


def key_of(rollout: str) -> bytes:
    """How a page names its rollout: its id, padded."""
    return rollout.encode().ljust(KEY_BYTES, b"\0")[:KEY_BYTES]


def place_of(seconds: float) -> int:
    """The latency's bucket."""
    microseconds = seconds * 1e6
    if microseconds <= _FIRST_MICROSECONDS:
        return 0
    return min(BUCKETS - 1, int(math.log(microseconds / _FIRST_MICROSECONDS) / _STEP))


def reason_word(code: str) -> int:
    """Where refusals with this code are counted."""
    return FIRST_REASON + REASONS.index(code if code in REASONS else "other")


def counts_of(words: Sequence[int], *, is_alive: bool) -> PageCounts:
    """What a page says; what is missing on that of a gateway that is gone was cut off with it."""
    refusals = {reason: words[FIRST_REASON + n] for n, reason in enumerate(REASONS)}
    counts = PageCounts(
        accepted=words[ACCEPTED],
        left=words[LEFT],
        twice=words[TWICE],
        crossed=words[CROSSED],
        refused={reason: count for reason, count in refusals.items() if count},
        blue=_fleet(words, BLUE),
        green=_fleet(words, GREEN),
    )
    if not is_alive:
        counts.cut = counts.in_flight
    return counts


def _fleet(words: Sequence[int], first: int) -> FleetCounts:
    return FleetCounts(
        **{name: words[first + n] for n, name in enumerate(_SUMMED)},
        buckets=list(words[first + HISTOGRAM : first + HISTOGRAM + BUCKETS]),
    )

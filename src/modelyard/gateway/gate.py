"""What all connections of a gateway share: its limits, its counts, the heads that came before, and who answers a request."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from modelyard.base.settings import Limits
from modelyard.gateway.body_shares import BodyShares
from modelyard.gateway.heads import Head

if TYPE_CHECKING:
    from modelyard.gateway.http import ClientConnection
    from modelyard.gateway.lane import Lane

KNOWN_HEADS = 1024


class Exchange(Protocol):
    """What answers one request; chosen from its head."""

    def body(self, data: bytes) -> None:
        """A piece of the request's body."""

    def complete(self) -> None:
        """The request has been read to its end."""

    def whole(self, data: bytes) -> None:
        """All of the body, and its end, in one."""

    def client_gone(self) -> None:
        """The client has left; stop, tell nobody."""

    def client_paused(self, paused: bool) -> None:
        """The client reads too slowly for more of the answer, or reads again."""


Handler = Callable[[Head, "ClientConnection"], Exchange]


@dataclass(slots=True)
class Gate:
    """What all connections of a gateway share. ``body_bytes`` is what their bodies hold now, those of the lane left out."""

    limits: Limits
    handle: Handler
    now: Callable[[], float]
    body_bytes: int = 0
    shares: BodyShares = field(default_factory=BodyShares)
    is_closing: bool = False
    connections: set["ClientConnection"] = field(default_factory=set)
    idle_until: float = 0.0
    """When a connection that falls idle now has been so for too long; right to a second."""
    known: dict[bytes, Head] = field(default_factory=dict)
    """Heads that may come again, by their very bytes."""
    lane: "Lane | None" = None
    """Where the C was built, and nothing is to be told of each request."""

    @property
    def body_budget(self) -> int:
        """Bytes that ``body_bytes`` may be."""
        held = 0 if self.lane is None else self.lane.held
        return self.limits.body_budget_bytes - held

    def tick(self) -> None:
        """Once a second: close who is too slow."""
        now = self.now()
        for connection in list(self.connections):
            connection.check_time(now)
        self.idle_until = now + self.limits.idle_seconds + 1.0

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep a head: a client that does not sign sends the same bytes each time, and nobody need parse them twice."""
        if len(self.known) >= KNOWN_HEADS:
            self.known.clear()
        self.known[raw] = head

"""The spans of one gateway, on their way to control: a bounded list, and datagrams that are told and never waited for."""

from collections import deque
from collections.abc import Callable

from modelyard.base.ids import RandomSource
from modelyard.domain.tracing import Sampler, Span, Told, encode_told

SPANS_MAX = 8_192
"""Spans of one gateway that control has not taken yet; further ones are dropped and counted."""
DATAGRAM_SPANS = 64
DATAGRAM_BYTES = 64 * 1024


class Spans:
    """``now`` is monotonic, ``wall`` since the epoch; both in seconds."""

    def __init__(
        self,
        *,
        process: str,
        scheme: str,
        sampler: Sampler,
        random: RandomSource,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.process = process
        self.scheme = scheme
        self.sampler = sampler
        self.random = random
        self.now = now
        self._wall = wall
        self._kept: deque[Span] = deque()
        self._dropped = 0

    def offset(self) -> float:
        """Between ``now`` and the epoch; a clock that is set moves it, so it is looked at once for each trace."""
        return self._wall() - self.now()

    def add(self, span: Span) -> None:
        """Keep it, if there is room."""
        if len(self._kept) < SPANS_MAX:
            self._kept.append(span)
        else:
            self._dropped += 1

    def tell(self, send: Callable[[bytes], bool]) -> None:
        """Send what is kept; what nobody takes stays."""
        while self._kept or self._dropped:
            some = [self._kept[place] for place in range(min(DATAGRAM_SPANS, len(self._kept)))]
            data = encode_told(Told(some, self._dropped))
            while len(data) > DATAGRAM_BYTES and len(some) > 1:
                some = some[: len(some) // 2]
                data = encode_told(Told(some, self._dropped))
            if len(data) > DATAGRAM_BYTES:
                self._kept.popleft()  # Its texts alone are more than a datagram holds.
                self._dropped += 1
                continue
            if not send(data):
                return
            self._dropped = 0
            for _ in some:
                self._kept.popleft()

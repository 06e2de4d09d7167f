"""Which part of a gateway's budget for bodies each endpoint holds: one that is sent large bodies leaves room for the others.

An endpoint may hold at most as much as is left free (a dynamic threshold: Choudhury and Hahne, 1998). Alone it has half of the
budget; beside a second one that wants as much, each has a third. Nothing is set aside for endpoints that want nothing.
Bodies of up to ``SMALL_BYTES`` are not counted: a thousand of them are what one large one is.
"""

SMALL_BYTES = 64 << 10


class BodyShares:
    """Bytes of large bodies by endpoint. Belongs to one event loop."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def grow(self, endpoint: str, size: int, *, counted: int, free: int) -> bool:
        """A body of the endpoint has ``size`` bytes by now, ``counted`` of them before; False: others need what is ``free``.

        An endpoint's only body is never too large.
        """
        held = self._held[endpoint] = self._held.get(endpoint, 0) + size - counted
        return held <= max(free, size)

    def release(self, endpoint: str, counted: int) -> None:
        """A body of which so much was counted is gone."""
        left = self._held[endpoint] - counted
        if left:
            self._held[endpoint] = left
        else:
            del self._held[endpoint]

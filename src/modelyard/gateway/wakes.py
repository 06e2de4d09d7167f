"""Who waits for a variant that sleeps: control is told at once, and again each second until there is a replica."""

import socket
from collections.abc import Callable
from pathlib import Path

from modelyard.domain.hibernation import Wake, encode

AGAIN_SECONDS = 1.0
"""Control may have been away, or killed after it had read."""
Wanted = tuple[str, str, str, str]
"""Account, region, endpoint, variant."""


class Wakes:
    """Of one gateway. ``now`` is monotonic seconds; ``waits`` says whether anybody still waits for a replica of a variant."""

    def __init__(
        self, *, control: Path, now: Callable[[], float], waits: Callable[[Wanted], bool]
    ) -> None:
        self._control = str(control)
        self._now = now
        self._waits = waits
        self._told: dict[Wanted, float] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Nobody is told any more."""
        self._socket.close()

    @property
    def is_asking(self) -> bool:
        """Whether somebody waits, or did a moment ago."""
        return bool(self._told)

    def want(self, wanted: Wanted) -> None:
        """Somebody waits. However many do, control is told of them once a second."""
        now = self._now()
        if now - self._told.get(wanted, float("-inf")) >= AGAIN_SECONDS:
            self._told[wanted] = now
            self._tell(wanted)

    def tick(self) -> None:
        """Once a second: control is told again of those for whom it has not done it."""
        for wanted in list(self._told):
            if not self._waits(wanted):
                del self._told[wanted]
            else:
                self.want(wanted)

    def _tell(self, wanted: Wanted) -> None:
        try:
            self._socket.sendto(encode(Wake(*wanted)), self._control)
        except OSError:
            return  # Control is away, or its queue is full: it is told again.

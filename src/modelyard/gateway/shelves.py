"""Models that are on no shelf yet: control is asked for each once, however many requests wait for it."""

import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.domain.shelf import DATAGRAM_BYTES, Ask, decode_told, encode
from modelyard.transport.datagrams import bound

WAIT_SECONDS = 55.0
"""Before an invocation's own limit of 60 seconds, so that its caller hears the true reason."""
WAITING_MAX = 1_000
Told = Callable[[ServiceError | None], None]
Wanted = tuple[str, str, str, str, str]
"""Account, region, endpoint, variant, model."""


class Shelves:
    """Of one gateway. ``now`` is monotonic seconds."""

    def __init__(self, *, control: Path, own: Path, now: Callable[[], float]) -> None:
        self._control = str(control)
        self._now = now
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Wanted, float, list[Told]]] = {}
        self._asked: dict[Wanted, int] = {}
        self._socket = bound(own)

    def close(self) -> None:
        """Nobody is told any more."""
        self._socket.close()

    def fileno(self) -> int:
        """For an event loop, which calls ``read`` when there is something."""
        return self._socket.fileno()

    def want(self, wanted: Wanted, told: Told) -> None:
        """``told`` is called once: None when the model is there, else the error for the caller."""
        known = self._asked.get(wanted)
        if known is not None:
            self._waiting[known][2].append(told)
            return
        number = next(self._ids)
        try:
            if len(self._waiting) >= WAITING_MAX:
                raise BlockingIOError
            self._socket.sendto(encode(Ask(number, *wanted)), self._control)
        except OSError:
            told(_away())
            return
        self._asked[wanted] = number
        self._waiting[number] = (wanted, self._now() + WAIT_SECONDS, [told])

    def read(self) -> None:
        """Take in what control says."""
        while True:
            try:
                data = self._socket.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            try:
                answer = decode_told(data)
            except (msgspec.DecodeError, msgspec.ValidationError):
                continue
            error = ServiceError("ValidationError", answer.error) if answer.error else None
            self._end(answer.id, error)

    def tick(self) -> None:
        """Now and then: who was not told in time is refused."""
        now = self._now()
        for number, (wanted, until, _) in list(self._waiting.items()):
            if now >= until:
                self._end(number, _not_ready(wanted[-1]))

    def _end(self, number: int, error: ServiceError | None) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        wanted, _, listeners = waiting
        del self._asked[wanted]
        for told in listeners:
            told(error)


def _not_ready(model: str) -> ServiceError:
    """AWS's word (hosting.md, section 6); clients repeat a 429, and control goes on fetching."""
    text = f"Model {model} is still being loaded; try again."
    return ServiceError("ModelNotReadyException", text, status=429)


def _away() -> ServiceError:
    text = (
        "The model is not loaded, and the platform's control is not there to fetch it; try again."
    )
    return ServiceError("ServiceUnavailable", text, status=503)

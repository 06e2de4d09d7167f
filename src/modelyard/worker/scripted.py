"""Requests to a model that reads and writes bodies by itself, and every request its own answer.

The counterpart of ``predictor`` for a ``Service``: one at a time, or as many together as it takes. What goes wrong together is
tried again one by one, so that one caller's body is one caller's error.
"""

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from modelyard.frameworks.model import BadInput
from modelyard.frameworks.script import status_of
from modelyard.frameworks.service import Ask, Refusal, Reply, Service
from modelyard.worker.predictor import MARGIN_SECONDS, TEXT, Answer, Pieces, Request
from modelyard.worker.streams import joined

MESSAGE_CHARACTERS = 4000
_OK = 200
_SUCCESS = range(200, 300)
T = TypeVar("T")


class ScriptedPredictor:
    """A service and its watchdog. ``seconds`` bounds one call, and an answer that is not streamed; ``answer_bytes`` each one."""

    def __init__(
        self,
        service: Service,
        *,
        seconds: float,
        answer_bytes: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._now = now
        self._seconds = min(seconds, service.seconds) if service.seconds else seconds
        self._answer_bytes = answer_bytes

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer for each request, in order; never raises for what a request or the model did."""
        asks = [
            Ask(
                body=request.body,
                content_type=request.content_type,
                accept=request.accept,
                custom_attributes=request.custom_attributes,
            )
            for request in requests
        ]
        is_alone = self._service.max_batch == 1
        found = [self._alone(ask) for ask in asks] if is_alone else self._together(asks)
        return [
            answer if answer.pieces is None else self._streamed(answer, answer.pieces, request)
            for answer, request in zip(found, requests, strict=True)
        ]

    def _streamed(self, answer: Answer, pieces: Pieces, request: Request) -> Answer:
        """As it is, for a caller who takes it in parts; else, and where it is an error, as a whole."""
        if request.streams and answer.status == _OK:
            return answer
        until = self._now() + self._seconds
        return joined(pieces, answer, limit=self._answer_bytes, until=until, now=self._now)

    def _alone(self, ask: Ask) -> Answer:
        try:
            return self._answer(self._watched(lambda: self._service.answer(ask)))
        except SystemExit as end:
            return _text(500, f"The script called sys.exit({end.code!r}) instead of answering.")
        except Exception as error:  # noqa: BLE001 - somebody's code may raise anything
            return _failure(error)

    def _together(self, asks: Sequence[Ask]) -> list[Answer]:
        try:
            found = self._watched(lambda: self._service.answer_together(asks))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            if len(asks) > 1:
                return [self._together([ask])[0] for ask in asks]
            if isinstance(error, SystemExit):
                return [_text(500, f"The script called sys.exit({error.code!r}).")]
            return [_failure(error)]
        return [_failure(one) if isinstance(one, Exception) else self._answer(one) for one in found]

    def _watched(self, call: Callable[[], T]) -> T:
        """A script that hangs, in Python or in C, is ended by the kernel's timer: SIGALRM's default action."""
        signal.setitimer(signal.ITIMER_REAL, self._seconds + MARGIN_SECONDS)
        try:
            return call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _answer(self, reply: Reply) -> Answer:
        if len(reply.body) > self._answer_bytes:
            return _text(
                500, f"The answer has {len(reply.body)} bytes, the limit is {self._answer_bytes}."
            )
        status = _OK if reply.status in _SUCCESS else reply.status
        return Answer(
            status,
            reply.content_type,
            reply.body,
            custom_attributes=reply.custom_attributes,
            is_own_status=True,
            pieces=None if reply.pieces is None else _Pieces(reply.pieces, self._watched),
        )


class _Pieces:
    """What a script yields; each step is watched like an answer."""

    def __init__(
        self, pieces: Iterator[bytes], watched: Callable[[Callable[[], bytes | None]], bytes | None]
    ) -> None:
        self._pieces = pieces
        self._watched = watched

    def next(self) -> bytes | Answer:
        try:
            piece = self._watched(lambda: next(self._pieces, None))
        except SystemExit as end:
            return _text(500, f"The script called sys.exit({end.code!r}) instead of yielding.")
        except Exception as error:  # noqa: BLE001 - somebody's code may raise anything
            return _failure(error)
        return Answer(_OK, "", b"", is_own_status=True) if piece is None else piece

    def close(self) -> None:
        """The script's ``finally`` runs."""
        try:
            self._watched(self._close)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            traceback.print_exception(error)

    def _close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def _failure(error: Exception) -> Answer:
    if isinstance(error, Refusal):
        return _text(error.status, error.message)
    if isinstance(error, BadInput):
        return _text(400, str(error))
    traceback.print_exception(error)  # to the container's log
    return _text(status_of(error), f"{type(error).__name__}: {error}"[:MESSAGE_CHARACTERS])


def _text(status: int, message: str) -> Answer:
    return Answer(status, TEXT, message.encode(errors="replace"), is_own_status=True)

"""One predict for many requests, and every request its own answer.

Pure but for the model: requests in, answers out, in order. Requests of one form share a predict; when that fails, each of
its members is predicted alone, so that one caller's bad row is one caller's error.
"""

import signal
import traceback
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from modelyard.domain.chain import ARRAYS
from modelyard.frameworks import answers, between, bodies
from modelyard.frameworks.batch import Batch, merge
from modelyard.frameworks.model import BadInput, Model, Output
from modelyard.transport.frames import ModelTimes

TEXT = "text/plain"
MARGIN_SECONDS = 5.0
"""A predict may overrun the caller's limit by so much before the worker is ended as hung."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a caller wants."""

    body: bytes
    content_type: str
    accept: str
    custom_attributes: str = ""
    target_model: str = ""
    streams: bool = False
    """The answer may come in parts."""


class Pieces(Protocol):
    """What a model yields."""

    def next(self) -> "bytes | Answer":
        """The next piece; an ``Answer`` says that it was the last, or what went wrong. Never raises."""

    def close(self) -> None:
        """Nobody wants more of it. Never raises."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """HTTP status as a container gives it, type and body; an error's body is its message."""

    status: int
    content_type: str
    body: bytes
    custom_attributes: str = ""
    is_own_status: bool = False
    """The model chose the status, so that 429 is its answer and not the worker's word."""
    pieces: Pieces | None = None
    """The body, where it comes in parts: only for a request that ``streams``."""
    model: ModelTimes | None = None
    """What it took to have the request's model there, of one among many."""


class _Decoded(msgspec.Struct):
    place: int
    batch: Batch
    content_type: str
    """Of the answer."""


class Predictor:
    """A model and its watchdog. ``seconds`` bounds one predict, ``answer_bytes`` one answer."""

    def __init__(self, model: Model, *, seconds: float, answer_bytes: int) -> None:
        self._model = model
        self._seconds = seconds
        self._answer_bytes = answer_bytes

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer for each request, in order; never raises for what a request or the model did."""
        found: list[Answer | None] = [None] * len(requests)
        decoded: list[_Decoded] = []
        for place, request in enumerate(requests):
            ready = _decode(place, request)
            if isinstance(ready, Answer):
                found[place] = ready
            else:
                decoded.append(ready)
        for group in group_by_form(decoded, mergeable=self._model.row_wise):
            for member, answer in zip(group, self._answer_group(group), strict=True):
                found[member.place] = answer
        return [answer for answer in found if answer is not None]

    def answer_alike(
        self, encoded: list[bytes], content_type: str, accept: str
    ) -> tuple[str, Sequence[bytes | Answer]] | None:
        """For requests that differ in nothing but their bodies: a type, and for each a body of that type or an ``Answer``.

        None, and nothing was predicted, where their bodies cannot be read together: ``answer`` does what this does.
        """
        if len(encoded) > 1 and not self._model.row_wise:
            return None
        kind = _plain_type(content_type, accept)
        decoded = None if kind is None else _decode_alike(encoded, content_type)
        if kind is None or decoded is None:
            return None
        batch, counts = decoded
        write = answers.predictions if kind == answers.JSON else answers.lines
        try:
            output = self._predict(batch)
            written = write(output, counts)
            pieces = answers.split(output, counts) if written is None else ()
        except Exception as error:  # noqa: BLE001 - the model's own code may raise anything
            if len(encoded) > 1:
                return kind, [self._alone(body, content_type, accept) for body in encoded]
            return kind, [_model_error(error)]
        if written is None:
            return kind, [self._encode(piece, kind) for piece in pieces]
        if max(map(len, written)) > self._answer_bytes:
            return kind, [self._sized(body, kind) for body in written]
        return kind, written

    def _alone(self, body: bytes, content_type: str, accept: str) -> Answer:
        return self.answer([Request(body, content_type, accept)])[0]

    def _answer_group(self, group: Sequence[_Decoded]) -> list[Answer]:
        try:
            merged = merge([member.batch for member in group])
            output = self._predict(merged)
            counts = [member.batch.rows for member in group]
            together = answers.encode_together(output, counts, [one.content_type for one in group])
            pieces = answers.split(output, counts) if together is None else ()
        except Exception as error:  # noqa: BLE001 - the model's own code may raise anything
            if len(group) > 1:
                return [self._answer_group([member])[0] for member in group]
            return [_model_error(error)]
        if together is not None:
            return [self._sized(body, answers.JSON) for body in together]
        return [
            self._encode(piece, member.content_type)
            for piece, member in zip(pieces, group, strict=True)
        ]

    def _predict(self, batch: Batch) -> Output:
        """A model that hangs, in Python or in C, is ended by the kernel's timer: SIGALRM's default action."""
        signal.setitimer(signal.ITIMER_REAL, self._seconds + MARGIN_SECONDS)
        try:
            return self._model.predict(batch)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _encode(self, output: Output, content_type: str) -> Answer:
        try:
            if content_type == ARRAYS:
                content_type, body = between.encode(output)
            else:
                body = answers.encode(output, content_type)
        except answers.NotAcceptable as error:
            return _text(406, str(error))
        except Exception as error:  # noqa: BLE001 - an output of the model's own types
            return _model_error(error)
        return self._sized(body, content_type)

    def _sized(self, body: bytes, content_type: str) -> Answer:
        if len(body) > self._answer_bytes:
            return _text(
                500, f"The answer has {len(body)} bytes, the limit is {self._answer_bytes}."
            )
        return Answer(200, content_type, body)


def _plain_type(content_type: str, accept: str) -> str | None:
    """JSON or CSV, where that is what the answer will be."""
    if accept == ARRAYS:
        return None
    try:
        kind = answers.choose(accept, content_type)
    except answers.NotAcceptable:
        return None
    return kind if kind in (answers.JSON, answers.CSV) else None


def _decode_alike(encoded: list[bytes], content_type: str) -> tuple[Batch, list[int]] | None:
    """All rows, and how many are whose; None where each body has to be looked at."""
    try:
        return bodies.decode_together(encoded, content_type)
    except (bodies.BodyError, MemoryError):
        return None


def _decode(place: int, request: Request) -> _Decoded | Answer:
    try:
        accept = request.accept
        content_type = ARRAYS if accept == ARRAYS else answers.choose(accept, request.content_type)
        batch = bodies.decode(request.body, request.content_type)
    except bodies.BodyError as error:
        return _text(error.status, error.message)
    except answers.NotAcceptable as error:
        return _text(406, str(error))
    except Exception as error:  # noqa: BLE001 - a body that no decoder thought of is its caller's, not the worker's end
        traceback.print_exception(error)
        return _text(400, f"The body cannot be read: {type(error).__name__}: {error}")
    return _Decoded(place, batch, content_type)


def group_by_form(members: Sequence[_Decoded], *, mergeable: bool) -> Iterator[list[_Decoded]]:
    """Those of one form together, in the order of their first; those that may not share, alone."""
    groups: dict[object, list[_Decoded]] = {}
    for member in members:
        key = member.batch.form if mergeable else member.place
        groups.setdefault(key, []).append(member)
    yield from groups.values()


def _model_error(error: Exception) -> Answer:
    if isinstance(error, BadInput):
        return _text(400, str(error))
    if isinstance(error, answers.WrongOutput):
        return _text(500, str(error))
    traceback.print_exception(error)  # to the container's log
    return _text(500, f"{type(error).__name__}: {error}")


def _text(status: int, message: str) -> Answer:
    return Answer(status, TEXT, message.encode())

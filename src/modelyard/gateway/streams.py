"""``InvokeEndpointWithResponseStream``: an answer that comes in parts, as an event stream over chunked HTTP.

Its worker may be ahead by one window of bytes; more is asked for as the client takes what there is, so a client that stops
reading stops the model. What goes wrong before the first part is an error like any other; later it is an event that ends the
stream.
"""

import json
from collections.abc import Callable
from typing import Protocol

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final
from modelyard.transport import frames
from modelyard.wire.event_stream import CONTENT_TYPE, encode_event, encode_exception

PAYLOAD_BYTES = 1 << 20
"""A larger answer of a model that does not stream travels in several events."""
_OK = 200
_GIVE_AT = frames.STREAM_WINDOW // 2
TIME_EXCEEDED, BROKEN = "ModelInvocationTimeExceeded", "StreamBroken"


class Client(Protocol):
    """``gateway.http.ClientConnection``."""

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow."""

    def write(self, data: bytes) -> None: ...
    def finish(self, *, keep_alive: bool = True) -> None: ...
    def abort(self) -> None: ...


class StreamAnswer:
    """One answer. ``headers`` makes its header lines from what the model said of its content; ``credit`` tells the worker."""

    def __init__(
        self,
        client: Client,
        *,
        is_chunked: bool,
        headers: Callable[[str, str], bytes],
        credit: Callable[[int], None],
    ) -> None:
        self._client = client
        self._is_chunked = is_chunked
        self._headers = headers
        self._credit = credit
        self._taken = 0
        self._is_paused = False
        self.has_begun = False

    def part(self, meta: frames.AnswerMeta, body: bytes) -> None:
        """The worker's next piece."""
        if not self.has_begun:
            self._begin(meta.content_type, meta.custom_attributes)
        self._taken += len(body) + frames.PART_WEIGHT
        self._write(encode_event("PayloadPart", body))
        self._give()

    def paused(self, paused: bool) -> None:
        """The client reads too slowly for more, or reads again."""
        self._is_paused = paused
        self._give()

    def end(self, outcome: Final | ServiceError) -> bool:
        """False for an error before the first part: then the client has had nothing, and gets that."""
        is_whole = isinstance(outcome, Final) and outcome.status == _OK
        if not self.has_begun:
            if not (isinstance(outcome, Final) and is_whole):
                return False
            self._begin(outcome.content_type, outcome.custom_attributes)
            for place in range(0, max(1, len(outcome.body)), PAYLOAD_BYTES):
                piece = outcome.body[place : place + PAYLOAD_BYTES]
                self._write(encode_event("PayloadPart", piece))
        elif not is_whole:
            if self._is_paused:
                # It would not read the reason either, and nothing is kept for it.
                self._client.abort()
                return True
            self._write(broken(outcome))
        if self._is_chunked:
            self._client.write(b"0\r\n\r\n")
        self._client.finish(keep_alive=self._is_chunked)
        return True

    def _begin(self, content_type: str, custom_attributes: str) -> None:
        self.has_begun = True
        lines = self._headers(content_type, custom_attributes)
        if self._is_chunked:
            lines += b"Transfer-Encoding: chunked\r\n"
        if not (self._is_chunked and self._client.keeps_alive):
            lines += b"Connection: close\r\n"
        kind = CONTENT_TYPE.encode()
        self._client.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n" % (kind, lines))

    def _write(self, message: bytes) -> None:
        if self._is_chunked:
            message = b"%x\r\n%b\r\n" % (len(message), message)
        self._client.write(message)

    def _give(self) -> None:
        if not self._is_paused and self._taken >= _GIVE_AT:
            taken, self._taken = self._taken, 0
            self._credit(taken)


def broken(outcome: Final | ServiceError) -> bytes:
    """The event that says why a stream ended early: the model's fault, or the platform's."""
    if isinstance(outcome, Final):
        said = outcome.body.decode("utf-8", "replace")[:1000]
        text = f"The stream from {outcome.container} was broken off: {said}"
        return _exception("ModelStreamError", {"Message": text, "ErrorCode": BROKEN})
    if outcome.code == "ModelError":
        told = {"Message": outcome.message, "ErrorCode": TIME_EXCEEDED}
        return _exception("ModelStreamError", told)
    return _exception("InternalStreamFailure", {"Message": outcome.message})


def _exception(name: str, document: dict[str, str]) -> bytes:
    return encode_exception(name, json.dumps(document).encode())

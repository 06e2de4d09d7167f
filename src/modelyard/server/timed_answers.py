"""Answers over HTTP that have to come in time as a whole: a socket's own time-out is one for each read, and an answer that comes
byte by byte would hold its thread for ever.
"""

import http.client
import io
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any


class TimedAnswer(http.client.HTTPResponse):
    """The ``response_class`` of a connection: what is read of it is read within the connection's own time-out."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock))


class _Timed(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer is not whole in time")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedHttp(urllib.request.HTTPHandler):
    def do_open(self, http_class: Any, *arguments: Any, **named: Any) -> Any:
        return super().do_open(_timed(http_class), *arguments, **named)


class _TimedHttps(urllib.request.HTTPSHandler):
    def do_open(self, http_class: Any, *arguments: Any, **named: Any) -> Any:
        return super().do_open(_timed(http_class), *arguments, **named)


def _timed(http_class: Any) -> Callable[..., http.client.HTTPConnection]:
    def connection(*arguments: Any, **named: Any) -> http.client.HTTPConnection:
        made: http.client.HTTPConnection = http_class(*arguments, **named)
        made.response_class = TimedAnswer
        return made

    return connection


OPENER = urllib.request.build_opener(_TimedHttp, _TimedHttps)
"""As ``urlopen``, with such answers."""

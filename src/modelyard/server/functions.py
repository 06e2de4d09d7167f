"""Lambda functions by ARN: an address that takes events over HTTP, or a Python function in processes of its own.

``modelyard up --lambda ARN=URL`` or ``ARN=MODULE:FUNCTION`` says which; nothing of a function runs in the control process.
"""

import asyncio
import re
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httptools

from modelyard.domain.lex.code_hooks import ANSWER_BYTES
from modelyard.server.function_pool import FunctionPool
from modelyard.services.lex.hooks import FunctionFailed, FunctionUnknown, FunctionUnreachable

HEADER_BYTES = 64 * 1024
_CHUNK = 64 * 1024
_ARN = re.compile(r"(arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9_-]+)(:[\w$-]+)?")
_PYTHON = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_SUCCESS = range(200, 300)
_AWAY = (502, 503, 504)


class BadTarget(Exception):
    """A line of the table that says nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """One line: ``address`` is a URL or ``module:function``."""

    arn: str
    address: str

    @property
    def is_url(self) -> bool:
        return self.address.startswith(("http://", "https://"))


def parse_target(text: str) -> Target:
    """``ARN=URL`` or ``ARN=MODULE:FUNCTION``. Raises ``BadTarget``."""
    arn, _, address = text.partition("=")
    if not _ARN.fullmatch(arn):
        raise BadTarget(f"{arn or text} is no Lambda function's ARN.")
    target = Target(arn, address)
    if target.is_url:
        if not urlsplit(address).hostname:
            raise BadTarget(f"{address} names no host.")
    elif not _PYTHON.fullmatch(address):
        raise BadTarget(f"{address or text} is neither a URL nor MODULE:FUNCTION.")
    return target


class LocalFunctions:
    """``services.lex.hooks.Functions``. ``folder`` is where Python modules are looked for first."""

    def __init__(self, lines: Iterable[str], *, folder: Path) -> None:
        targets = [parse_target(line) for line in lines]
        self._urls = {one.arn: one.address for one in targets if one.is_url}
        self._pools = {
            one.arn: FunctionPool(one.address, arn=one.arn, folder=folder)
            for one in targets
            if not one.is_url
        }

    async def invoke(self, arn: str, event: bytes, *, seconds: float) -> bytes:
        """Of a version or an alias too, where the function is named without one."""
        found = _ARN.fullmatch(arn)
        names = (arn, found[1]) if found else (arn,)
        async with asyncio.timeout(seconds):
            for name in names:
                if name in self._pools:
                    return await self._pools[name].invoke(event, seconds=seconds)
                if name in self._urls:
                    return await _post(self._urls[name], event)
        raise FunctionUnknown(arn)

    async def close(self) -> None:
        """End what runs."""
        for pool in self._pools.values():
            await pool.close()


class _Answer:
    """What a server says, as far as it has come. The parser calls the ``on_…`` methods."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_error = self.is_whole = False
        self.size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.is_error = self.is_error or name.lower() == b"x-amz-function-error"

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_whole = True


async def _post(url: str, event: bytes) -> bytes:
    """One event. Raises ``FunctionFailed`` and ``FunctionUnreachable``; the caller bounds the time."""
    place = urlsplit(url)
    is_tls = place.scheme == "https"
    path = f"{place.path or '/'}{'?' if place.query else ''}{place.query}"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {place.netloc.rpartition('@')[2]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(event)}\r\nConnection: close\r\n\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection(
            place.hostname,
            place.port or (443 if is_tls else 80),
            ssl=ssl.create_default_context() if is_tls else None,
        )
    except OSError as error:
        raise FunctionUnreachable(f"{url}: {error}") from None
    try:
        writer.write(head.encode("latin-1", "replace") + event)
        await writer.drain()
        status, answer = await _read(reader)
    except OSError as error:
        raise FunctionUnreachable(f"{url}: {error}") from None
    finally:
        writer.transport.abort()  # It is over: who has not taken the event, or says no farewell, is not waited for.
        with suppress(OSError):
            await writer.wait_closed()
    text = answer.body[:300].decode("utf-8", "replace")
    if status in _AWAY:
        raise FunctionUnreachable(f"{url} answered with status {status}: {text}")
    if answer.is_error or status not in _SUCCESS:
        raise FunctionFailed(f"{url} answered with status {status}: {text}")
    return bytes(answer.body)


async def _read(reader: asyncio.StreamReader) -> tuple[int, _Answer]:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    size = 0
    while not answer.is_whole:
        data = await reader.read(_CHUNK)
        size += len(data)
        if size > ANSWER_BYTES + HEADER_BYTES or len(answer.body) > ANSWER_BYTES:
            raise FunctionFailed(f"its answer has more than {ANSWER_BYTES} bytes")
        if not data:
            if answer.body and parser.get_status_code():
                break  # An answer without a length ends with the connection.
            raise FunctionUnreachable("it closed the connection without an answer")
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise FunctionFailed(f"its answer is not HTTP: {error}") from None
    return int(parser.get_status_code()), answer

"""Control's answers over its socket: whole, dated, one for each request, whatever happens around them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError, Unsupported
from modelyard.base.ids import SystemRandom
from modelyard.base.settings import Limits
from modelyard.server.app import Pipeline, Request
from modelyard.server.control_app import ControlApp
from modelyard.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
ROOT = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1")
NOW = 1_767_323_045.0
LIMIT = 1_000
HEAD = b"POST /%b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"


class Control:
    """Own calls whose answers can be held back."""

    def __init__(self, socket: Path) -> None:
        clock = ManualClock(NOW)
        self.may_answer, self.asked, self.done = asyncio.Event(), asyncio.Event(), 0
        pipeline = Pipeline(
            registry={},
            authenticate=lambda service, operation, request: (ROOT, "us-east-1"),
            authorise=_allow,
            audit=_forget,
            clock=clock,
            random=SystemRandom(),
        )
        self.app = ControlApp(
            pipeline,
            own={"POST /_modelyard/echo": self._echo, "POST /_modelyard/bug": _fail, "POST /_modelyard/no": _refuse},
            limits=Limits(api_body_bytes=LIMIT),
            clock=clock,
        )  # fmt: skip
        self.socket = socket

    async def _echo(self, request: Request) -> str:
        self.asked.set()
        await self.may_answer.wait()
        self.done += 1
        return request.body.decode()

    async def ask(self, path: bytes, body: bytes = b"") -> tuple[bytes, bytes]:
        """Head and body of the answer, over a connection of its own."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        writer.write(HEAD % (path, len(body)) + body)
        try:
            return await answer(reader)
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (
        int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"
    )
    return head, await reader.readexactly(length)  # fmt: skip


def _allow(call: Call) -> None: ...
def _forget(call: Call, outcome: Mapping[str, Any] | ServiceError | None) -> None: ...


async def _fail(request: Request) -> str:
    raise KeyError("a bug")


async def _refuse(request: Request) -> str:
    raise Unsupported("a value with\r\na line's end")


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Control]:
    control = Control(folder / "s")
    server = await asyncio.get_running_loop().create_unix_server(
        control.app.connection, folder / "s"
    )
    ticking = asyncio.create_task(control.app.run())
    async with asyncio.timeout(20):
        yield control
        server.close()
        await control.app.close()
    ticking.cancel()


async def test_an_answer_comes_whole_and_dated_also_where_the_request_comes_in_pieces(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as control:
        control.may_answer.set()
        reader, writer = await asyncio.open_unix_connection(control.socket)
        for body in (b"one", b"another"):
            for piece in (HEAD % (b"_modelyard/echo", len(body)), body[:2], body[2:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            head, got = await answer(reader)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"date: Fri, 02 Jan 2026 03:04:05 GMT\r\n" in head
            assert got == body
        writer.close()


async def test_what_fails_is_answered_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as control:
        assert (await control.ask(b"_modelyard/bug"))[0].startswith(b"HTTP/1.1 500 ")
        assert (await control.ask(b"_modelyard/no"))[0].startswith(b"HTTP/1.1 501 ")
        assert (await control.ask(b"_modelyard/nothing"))[0].startswith(b"HTTP/1.1 404 ")
        unsigned, body = await control.ask(b"_of_no_service", b"{}")
        assert unsigned.startswith(b"HTTP/1.1 501 ")
        assert body


async def test_a_body_past_the_limit_is_refused_and_one_at_the_limit_is_not(tmp_path: Path) -> None:
    async with running(tmp_path) as control:
        control.may_answer.set()
        assert (await control.ask(b"_modelyard/echo", b"x" * LIMIT))[1] == b"x" * LIMIT
        head, body = await control.ask(b"_modelyard/echo", b"x" * (LIMIT + 1))
        assert head.startswith(b"HTTP/1.1 413 ")
        assert body == b"HTTP content length exceeded 1000 bytes."
        reader, writer = await asyncio.open_unix_connection(control.socket)
        chunk = b"100\r\n" + b"x" * 256 + b"\r\n"
        writer.write(
            b"POST /_modelyard/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunk * 4
        )
        head, _ = await answer(reader)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert control.done == 1
        writer.close()  # fmt: skip


async def test_a_caller_that_leaves_ends_no_operation_halfway(tmp_path: Path) -> None:
    async with running(tmp_path) as control:
        _, writer = await asyncio.open_unix_connection(control.socket)
        writer.write(HEAD % (b"_modelyard/echo", 3) + b"one")
        await control.asked.wait()
        writer.close()
        await writer.wait_closed()
        control.may_answer.set()
        while not control.done:
            await asyncio.sleep(0)


async def test_what_was_asked_before_the_end_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as control:
        asking = asyncio.create_task(control.ask(b"_modelyard/echo", b"last"))
        await control.asked.wait()
        ending = asyncio.create_task(control.app.close())
        await asyncio.sleep(0)
        control.may_answer.set()
        await ending
        assert (await asking)[1] == b"last"


async def test_a_client_that_asks_first_is_told_to_send_its_body(tmp_path: Path) -> None:
    async with running(tmp_path) as control:
        control.may_answer.set()
        reader, writer = await asyncio.open_unix_connection(control.socket)
        writer.write(
            (HEAD % (b"_modelyard/echo", 2)).replace(b"Host", b"Expect: 100-continue\r\nHost")
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await answer(reader))[1] == b"ok"
        writer.close()  # fmt: skip

"""The open load against a server that takes so many requests at a time, and refuses the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from benchmarks.load import Target
from benchmarks.models import Case
from benchmarks.overload import Client, Seen, figures, percentile

pytestmark = pytest.mark.anyio
CASE = Case(name="one", path=Path("none"), body=b"[1]", expected=0.5)
ANSWER = b'{"predictions": [0.5]}'


class Server:
    """Holds what it takes until it is let go; ``room`` requests at a time."""

    def __init__(self, room: int) -> None:
        self.room, self.held = room, 0
        self.may_answer = asyncio.Event()
        self.asked = asyncio.Semaphore(0)
        self.serving: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(len(CASE.body))
                self.asked.release()
                if self.held == self.room:
                    writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
                    continue
                self.held += 1
                await self.may_answer.wait()
                self.held -= 1
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
                )
        except asyncio.IncompleteReadError:
            writer.close()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """One of its own."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = Client(Target(url=f"http://127.0.0.1:{port}/x"), CASE)
        yield client
        client.close()
        server.close()
        await asyncio.gather(*filter(None, self.serving))


async def test_load_comes_when_it_is_due_although_nothing_is_answered() -> None:
    at = Server(room=10)
    async with at.client() as client:
        load = asyncio.create_task(client.open(rate=200.0, seconds=0.5))
        for _ in range(90):
            await at.asked.acquire()
        assert at.held == 10, "the others were refused meanwhile"
        at.may_answer.set()
        seen = await load
    assert seen.offered == len(seen.answered) + len(seen.refused)
    assert seen.statuses == {200: len(seen.answered), 429: len(seen.refused)}
    assert len(seen.refused) >= 80 and seen.broken == 0


async def test_callers_that_wait_ask_once_each_at_a_time() -> None:
    at = Server(room=3)
    at.may_answer.set()
    async with at.client() as client:
        seen = await client.closed(3, 0.1)
    assert seen.offered == len(seen.answered) > 3 and not seen.refused


def test_figures_are_of_what_was_seen() -> None:
    at, over = Seen(seconds=1.0, answered=[0.1] * 100), Seen(seconds=1.0, offered=200)
    over.answered, over.refused = [0.1] * 80 + [0.3], [0.001]
    found = figures(at, over)
    assert (found["of_capacity"], found["p50_ms"], found["p99_ms"]) == (0.81, 100.0, 300.0)
    assert percentile([], 0.5) != percentile([], 0.5), "not a number"

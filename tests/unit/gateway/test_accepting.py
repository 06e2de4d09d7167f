"""Connections of one listening socket, divided among those who share it."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.gateway import accepting
from modelyard.gateway.accepting import Acceptor, Board

pytestmark = pytest.mark.anyio


class Held(asyncio.Protocol):
    """A connection that a gateway holds."""

    def __init__(self, open_ones: set["Held"]) -> None:
        self._open_ones = open_ones

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open_ones.add(self)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._open_ones.discard(self)


class Sharer:
    """One of those who share: what it holds, and its acceptor."""

    def __init__(self, listener: socket.socket, board: Board | None) -> None:
        self.held: set[Held] = set()
        self.acceptor = Acceptor(
            listener.dup(),
            lambda: Held(self.held),
            tls=None,
            held=lambda: len(self.held),
            board=board,
        )

    def close(self) -> None:
        self.acceptor.close()
        for one in self.held:
            one.transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        listener.setblocking(False)
        yield listener


async def connect(listener: socket.socket, count: int) -> list[socket.socket]:
    clients = [socket.create_connection(listener.getsockname()) for _ in range(count)]
    await asyncio.sleep(0)
    return clients


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to pass")


async def test_a_burst_is_divided(listener: socket.socket, tmp_path: Path) -> None:
    boards = [Board(tmp_path / "board", place=place, places=2) for place in (0, 1)]
    one, two = (Sharer(listener, board) for board in boards)
    clients = await connect(listener, 40)
    await until(lambda: len(one.held) + len(two.held) == 40)
    assert abs(len(one.held) - len(two.held)) <= 2
    for sharer in (one, two):
        sharer.close()
    for client in clients:
        client.close()


async def test_who_is_alone_takes_all_though_others_hold_less(
    listener: socket.socket, tmp_path: Path
) -> None:
    Board(tmp_path / "board", place=1, places=2)
    one = Sharer(listener, Board(tmp_path / "board", place=0, places=2))
    clients = await connect(listener, 10)
    await until(lambda: len(one.held) == 10)
    one.acceptor.tick()
    one.close()
    one.close()
    for client in clients:
        client.close()


class Failing:
    """A listening socket whose first connection comes to nothing."""

    def __init__(self, listener: socket.socket, error: int) -> None:
        self._listener = listener
        self._errors = [error]

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> object:
        if self._errors:
            raise OSError(self._errors.pop(), "once")
        return self._listener.accept()

    def dup(self) -> "Failing":
        return self

    def close(self) -> None:
        """It is the test's."""


@pytest.mark.parametrize("is_ahead", [False, True])
@pytest.mark.parametrize("error", [errno.EMFILE, errno.EPROTO])
async def test_after_an_error_it_goes_on(
    listener: socket.socket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: int,
    is_ahead: bool,
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.001)
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    board = Board(tmp_path / "board", place=0, places=2)
    monkeypatch.setattr(board, "is_ahead", lambda _: is_ahead)
    one = Sharer(Failing(listener, error), board)  # type: ignore[arg-type]
    clients = await connect(listener, 2)
    await until(lambda: len(one.held) == 2)
    assert len(told) == (error == errno.EPROTO)
    one.close()
    for client in clients:
        client.close()


def test_the_board_says_who_is_ahead(tmp_path: Path) -> None:
    one = Board(tmp_path / "board", place=0, places=2)
    two = Board(tmp_path / "board", place=1, places=2)
    assert not one.is_ahead(0)
    assert one.is_ahead(1)
    assert not two.is_ahead(1)
    assert not one.is_ahead(1)
    again = Board(tmp_path / "board", place=0, places=2)  # It died, and holds nothing.
    assert two.is_ahead(1)
    assert not again.is_ahead(0)

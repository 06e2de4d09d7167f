"""How a gateway says that somebody waits: once a second, until there is a replica, and to a control that may be away."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.domain.hibernation import Wake, decode
from modelyard.gateway.wakes import AGAIN_SECONDS, Wakes, Wanted
from modelyard.testing.clock import ManualClock

A: Wanted = ("1", "r", "e", "v")


class Control:
    """Its end of the socket, and a gateway's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "control"
        self.clock = ManualClock(0.0)
        self.waiting = {A}
        self.wakes = Wakes(
            control=self.path, now=self.clock.monotonic, waits=self.waiting.__contains__
        )
        self.listen()

    def listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)

    def heard(self) -> list[Wake]:
        found = []
        while True:
            try:
                found.append(decode(self.socket.recv(4096)))
            except BlockingIOError:
                return found


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    control = Control(tmp_path)
    yield control
    control.socket.close()
    control.wakes.close()


def test_many_who_wait_are_one_word(control: Control) -> None:
    for _ in range(100):
        control.wakes.want(A)
    assert control.heard() == [Wake(*A)]


def test_control_is_told_again_until_nobody_waits(control: Control) -> None:
    control.wakes.want(A)
    control.wakes.tick()
    assert len(control.heard()) == 1
    control.clock.advance(AGAIN_SECONDS)
    control.wakes.tick()
    assert len(control.heard()) == 1
    control.waiting.clear()
    control.clock.advance(AGAIN_SECONDS)
    control.wakes.tick()
    assert control.heard() == []
    assert not control.wakes.is_asking


def test_a_control_that_was_away_is_told_when_it_is_back(control: Control) -> None:
    control.socket.close()
    control.wakes.want(A)
    control.listen()
    control.clock.advance(AGAIN_SECONDS)
    control.wakes.tick()
    assert control.heard() == [Wake(*A)]

"""How a gateway asks control for models: once for each, and every request is told exactly once."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.base.errors import ServiceError
from modelyard.domain.shelf import Ask, Told, decode_ask, encode
from modelyard.gateway.shelves import WAIT_SECONDS, WAITING_MAX, Shelves, Wanted
from modelyard.testing.clock import ManualClock

A: Wanted = ("1", "r", "e", "v", "a")
B: Wanted = ("1", "r", "e", "v", "b")


class Control:
    """Its end of the sockets, and a gateway's."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(0.0)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "control"))
        self.socket.setblocking(False)
        self.shelves = Shelves(
            control=folder / "control", own=folder / "own", now=self.clock.monotonic
        )
        self.told: list[tuple[str, str]] = []

    def want(self, wanted: Wanted) -> None:
        def told(error: ServiceError | None) -> None:
            self.told.append((wanted[-1], "" if error is None else error.code))

        self.shelves.want(wanted, told)

    def asked(self) -> list[Ask]:
        found = []
        while True:
            try:
                data, self.gateway = self.socket.recvfrom(4096)
            except BlockingIOError:
                return found
            found.append(decode_ask(data))

    def tell(self, *answers: Told) -> None:
        for answer in answers:
            self.socket.sendto(encode(answer), self.gateway)
        self.shelves.read()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    control = Control(tmp_path)
    yield control
    control.socket.close()
    control.shelves.close()


def test_a_model_is_asked_for_once_and_everyone_who_waits_is_told(control: Control) -> None:
    for wanted in (A, B, A):
        control.want(wanted)
    first, second = control.asked()
    assert (first.model, second.model) == ("a", "b")
    control.tell(Told(second.id, "no such object"), Told(first.id), Told(first.id))
    assert control.told == [("b", "ValidationError"), ("a", ""), ("a", "")]
    control.want(A)
    assert len(control.asked()) == 1


def test_what_is_no_answer_disturbs_nobody(control: Control) -> None:
    control.want(A)
    (ask,) = control.asked()
    control.socket.sendto(b"\xc1", control.gateway)
    control.tell(Told(ask.id + 7), Told(ask.id))
    assert control.told == [("a", "")]


def test_a_model_that_takes_too_long_is_not_ready_and_goes_on_being_fetched(
    control: Control,
) -> None:
    control.want(A)
    control.clock.advance(WAIT_SECONDS - 1)
    control.shelves.tick()
    assert control.told == []
    control.clock.advance(1)
    control.shelves.tick()
    assert control.told == [("a", "ModelNotReadyException")]
    (late,) = control.asked()
    control.tell(Told(late.id))
    assert len(control.told) == 1


def test_without_control_requests_are_refused_at_once(control: Control) -> None:
    control.socket.close()
    control.want(A)
    assert control.told == [("a", "ServiceUnavailable")]


def test_only_so_many_models_are_waited_for(control: Control) -> None:
    for n in range(WAITING_MAX + 5):
        control.want(("1", "r", "e", "v", str(n)))
        control.asked()
    assert len(control.told) == 5

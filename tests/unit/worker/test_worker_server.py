"""The worker's sockets, turn by turn, without a process."""

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import Array
from modelyard.testing.clock import ManualClock
from modelyard.transport import frames
from modelyard.worker import server as server_module
from modelyard.worker.batcher import Bounds
from modelyard.worker.predictor import Predictor
from modelyard.worker.server import WorkerServer

pytestmark = pytest.mark.usefixtures("frozen")
CSV = frames.encode_meta(frames.RequestMeta(content_type="text/csv"))


class Echo:
    """Answers the first value of each row; of 5, with a million characters."""

    row_wise = True

    def __init__(self, clock: ManualClock) -> None:
        self.batches: list[list[float]] = []
        self.seconds = 0.0
        self._clock = clock

    def predict(self, batch: Batch) -> Array:
        self._clock.advance(self.seconds)
        assert batch.array is not None
        first = batch.array[:, 0]
        self.batches.append(first.tolist())
        if (first == 5).any():
            return np.repeat(first[:, None], 250_000, axis=1)
        return first


class Running:
    """A server that is turned by hand."""

    def __init__(self, folder: Path, **bounds: int) -> None:
        self.path = folder / "w.sock"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(16)
        self.clock = ManualClock()
        self.model = Echo(self.clock)
        limits = {"payload_bytes": 1 << 20, "queue": 10, "max_batch": 4, **bounds}
        self.server = WorkerServer(
            self.listener,
            Predictor(self.model, seconds=60, answer_bytes=64 << 20),
            bounds=Bounds(worker_id="w", **limits),
            now=self.clock.monotonic,
        )
        self.callers: list[Caller] = []

    def caller(self) -> "Caller":
        caller = Caller(self.path)
        self.callers.append(caller)
        self.turn()
        assert caller.read()[0].kind == frames.HELLO
        return caller

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.server.turn(0.0)

    def close(self) -> None:
        for caller in self.callers:
            caller.socket.close()
        self.server.close()
        self.listener.close()


class Caller:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.setblocking(False)
        self.decoder = frames.FrameDecoder(limit=1 << 30)
        self.is_open = True

    def ask(self, request_id: int, body: str, *, ms: int = 1000, flags: int = 0) -> None:
        frame = frames.encode_frame(
            frames.REQUEST, request_id, number=ms, flags=flags, meta=CSV, body=body.encode()
        )
        self.socket.sendall(frame)

    def cancel(self, request_id: int) -> None:
        self.socket.sendall(frames.encode_frame(frames.CANCEL, request_id))

    def read(self) -> list[frames.Frame]:
        found: list[frames.Frame] = []
        try:
            while data := self.socket.recv(1 << 20):
                found += self.decoder.feed(data)
            self.is_open = False
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.is_open = False
        return found

    def answers(self) -> list[tuple[int, int]]:
        return [(one.id, one.number) for one in self.read() if one.kind == frames.ANSWER]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.close()


def test_what_waits_on_all_connections_is_one_predict(running: Running) -> None:
    one, two = running.caller(), running.caller()
    one.ask(1, "10")
    two.ask(1, "20")
    one.ask(2, "30")
    running.turn()
    assert len(running.model.batches) == 1
    assert sorted(running.model.batches[0]) == [10, 20, 30]
    assert one.answers() == [(1, 200), (2, 200)]
    (answer,) = two.read()
    assert answer.body == b"20.0\n"


@pytest.mark.parametrize("position", [0, 1, 2])
def test_cancelling_one_of_three_leaves_the_others_their_answers(
    running: Running, position: int
) -> None:
    caller = running.caller()
    for number in range(3):
        caller.ask(number, str(number))
    caller.cancel(position)
    running.turn()
    statuses = dict(caller.answers())
    assert statuses == {number: 499 if number == position else 200 for number in range(3)}
    assert position not in running.model.batches[0]


def test_a_traced_answer_says_how_long_it_waited_and_with_how_many_it_was_predicted(
    running: Running,
) -> None:
    caller = running.caller()
    caller.ask(1, "10", flags=frames.TRACED)
    caller.ask(2, "20")
    running.server._read(0.0)
    running.clock.advance(0.25)
    running.model.seconds = 0.5
    running.turn()
    traced, plain = caller.read()
    times = frames.decode_traced_meta(traced.meta)
    assert (traced.flags, times.waited, times.worked) == (frames.TRACED, 250_000, 500_000)
    assert (times.requests, plain.flags) == (2, 0)
    assert frames.decode_answer_meta(traced.meta) == frames.decode_answer_meta(plain.meta)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_caller_that_leaves_takes_nobody_along(running: Running, position: int) -> None:
    callers = [running.caller() for _ in range(3)]
    for number, caller in enumerate(callers):
        caller.ask(1, str(number))
    callers[position].socket.close()
    running.turn(2)
    for number, caller in enumerate(callers):
        if number != position:
            assert caller.answers() == [(1, 200)]


def test_what_expired_while_it_waited_is_not_predicted(running: Running) -> None:
    caller = running.caller()
    caller.ask(1, "1", ms=0)
    caller.ask(2, "2")
    running.turn()
    assert sorted(caller.answers()) == [(1, 408), (2, 200)]
    assert running.model.batches == [[2.0]]


def test_a_full_queue_refuses_the_rest(running: Running) -> None:
    caller = running.caller()
    for number in range(12):
        caller.ask(number, "1")
    running.turn(3)
    statuses = dict(caller.answers())
    assert statuses == {number: 200 if number < 10 else 429 for number in range(12)}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        frames.encode_frame(frames.REQUEST, 1, body=b"x" * (2 << 20)),
        frames.encode_frame(frames.REQUEST, 1, meta=b"\xc1"),
    ],
)
def test_what_is_no_request_closes_its_connection_only(
    running: Running, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = running.caller(), running.caller()
    bad.socket.setblocking(True)
    bad.socket.settimeout(0.1)
    try:
        bad.socket.sendall(data)
    except TimeoutError:
        running.turn(3)
    bad.socket.setblocking(False)
    good.ask(1, "1")
    running.turn(3)
    assert good.answers() == [(1, 200)]
    bad.read()
    assert not bad.is_open
    assert "a connection is closed" in capsys.readouterr().err


def test_a_body_that_makes_its_decoder_fail_is_a_client_error(running: Running) -> None:
    caller = running.caller()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 9), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    meta = frames.encode_meta(frames.RequestMeta(content_type="application/x-npy"))
    caller.socket.sendall(frames.encode_frame(frames.REQUEST, 1, number=1000, meta=meta, body=body))
    deep = frames.encode_meta(frames.RequestMeta(content_type="application/json"))
    caller.socket.sendall(
        frames.encode_frame(frames.REQUEST, 2, number=1000, meta=deep, body=b"[" * 100_000)
    )
    running.turn()
    assert sorted(caller.answers()) == [(1, 400), (2, 400)]


def test_a_slow_reader_waits_for_itself_while_others_are_answered(running: Running) -> None:
    slow, quick = running.caller(), running.caller()
    for number in range(10):
        slow.ask(number, "5")
    running.turn(6)
    predicted = sum(batch.count(5.0) for batch in running.model.batches)
    assert predicted < 10  # No more answers are made than it reads.

    for number in range(20):
        quick.ask(number, "1")
        running.turn()
        assert quick.answers() == [(number, 200)]

    found: list[tuple[int, int]] = []
    for _ in range(200):
        found += slow.answers()
        running.turn()
    assert sorted(found) == [(number, 200) for number in range(10)]


def test_a_peer_that_asks_and_does_not_read_is_not_read(running: Running) -> None:
    """Also where its socket was full before there was much that it has not read."""
    caller = running.caller()
    while not any(one.unsent for one in running.server._connections):
        caller.ask(1, "1")
        running.turn()
    for number in range(6):
        caller.ask(number, "5")
        running.turn()
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 2_000:
            caller.ask(sent, "1" * 1_000)
            running.turn()
            sent += 1
    assert sent < 2_000


def test_a_solo_request_is_predicted_alone(running: Running) -> None:
    caller = running.caller()
    caller.ask(1, "1")
    caller.ask(2, "2", flags=frames.SOLO)
    caller.ask(3, "3")
    running.turn(3)
    assert running.model.batches == [[1.0], [2.0], [3.0]]


def test_a_connection_too_many_is_closed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_LIMIT", 1)
    first = running.caller()
    second = Caller(running.path)
    running.callers.append(second)
    running.turn()
    assert second.read() == []
    assert not second.is_open
    first.ask(1, "1")
    running.turn()
    assert first.answers() == [(1, 200)]


def test_a_worker_without_descriptors_refuses_whoever_comes_and_does_not_spin(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its model has left files open, say."""
    first, second = running.caller(), Caller(running.path)
    running.callers.append(second)
    first.ask(1, "1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        running.turn(5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert first.answers() == [(1, 200)]
    assert second.read() == []
    assert not second.is_open
    assert capsys.readouterr().err.count("Too many open files") == 1
    assert running.caller().is_open


def test_draining_ends_when_it_is_quiet_with_answers_before_goaway(running: Running) -> None:
    caller = running.caller()
    late = Caller(running.path)  # Not accepted yet.
    running.callers.append(late)
    caller.ask(1, "1")
    running.server.drain()
    running.turn()
    running.clock.advance(server_module.QUIET_SECONDS)
    caller.ask(2, "2")  # Read at the last moment.
    running.turn()
    running.clock.advance(server_module.QUIET_SECONDS / 2)
    running.turn()

    running.clock.advance(server_module.QUIET_SECONDS)
    kinds: list[list[tuple[int, int]]] = []
    closer = threading.Thread(target=_close_at_the_end, args=([caller, late], kinds))
    closer.start()
    assert not running.server.turn(0.0)
    closer.join()
    assert kinds == [
        [(frames.ANSWER, 1), (frames.ANSWER, 2), (frames.GOAWAY, 0)],
        [(frames.HELLO, 0), (frames.GOAWAY, 0)],
    ]


def _close_at_the_end(callers: list[Caller], kinds: list[list[tuple[int, int]]]) -> None:
    """As gateways do: read until the worker has closed its end, then close."""
    for caller in callers:
        caller.socket.settimeout(20)
        found: list[tuple[int, int]] = []
        while data := caller.socket.recv(1 << 20):
            found += [(one.kind, one.id) for one in caller.decoder.feed(data)]
        kinds.append(found)
        caller.socket.close()


def test_draining_ends_although_requests_keep_coming(running: Running) -> None:
    caller = running.caller()
    running.server.drain()
    step = server_module.QUIET_SECONDS / 2
    turns = 0
    caller.ask(0, "1")
    while running.clock.monotonic() < server_module.DRAIN_SECONDS:
        running.turn()
        running.clock.advance(step)
        turns += 1
        caller.ask(turns, "1")
    kinds: list[list[tuple[int, int]]] = []
    closer = threading.Thread(target=_close_at_the_end, args=([caller], kinds))
    closer.start()
    assert not running.server.turn(0.0)
    closer.join()
    assert kinds[0][-1] == (frames.GOAWAY, 0)
    answered = [request_id for kind, request_id in kinds[0][:-1] if kind == frames.ANSWER]
    assert answered == sorted(answered)
    assert len(answered) == sum(map(len, running.model.batches))

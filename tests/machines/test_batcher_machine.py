"""Every answer goes to its own caller: any order of arrivals, cancels, disconnects, failing rows and slow readers."""

import itertools
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import Array
from modelyard.transport import frames
from modelyard.worker import server as server_module
from modelyard.worker.batcher import Bounds
from modelyard.worker.predictor import Predictor
from modelyard.worker.server import WorkerServer

POISON = 666
WIDE = 20_000
META = frames.encode_meta(frames.RequestMeta(content_type="application/json"))
QUEUE = 12
pytestmark = pytest.mark.usefixtures("frozen")


class Doubler:
    """Doubles the first column; a poisonous row fails the whole predict. Rows of two columns have wide answers."""

    row_wise = True

    def __init__(self) -> None:
        self.batches: list[list[float]] = []

    def predict(self, batch: Batch) -> Array:
        assert batch.array is not None
        first = batch.array[:, 0]
        self.batches.append(first.tolist())
        if (first == POISON).any():
            raise ValueError("poison")
        doubled = first * 2
        return np.repeat(doubled[:, None], WIDE, axis=1) if batch.array.shape[1] == 2 else doubled


@dataclass
class Asked:
    rows: list[list[float]]
    may_be: set[int]
    """Statuses that would be right."""


@dataclass(eq=False)
class Client:
    socket: socket.socket
    decoder: frames.FrameDecoder = field(default_factory=lambda: frames.FrameDecoder(limit=1 << 30))
    to_send: bytearray = field(default_factory=bytearray)
    asked: dict[int, Asked] = field(default_factory=dict)
    reads: bool = True
    broken: bool = False
    greeted: bool = False


class WorkerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "w.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(
            128
        )  # More than a run has steps: one that is full would make ``connect`` wait for ever.
        self.listener = listener
        self.time = 0.0
        self.model = Doubler()
        predictor = Predictor(self.model, seconds=60, answer_bytes=1 << 20)
        bounds = Bounds(worker_id="w", payload_bytes=1_000, queue=QUEUE, max_batch=2)
        self.clogged_bytes = server_module.CLOGGED_BYTES
        server_module.CLOGGED_BYTES = 32 * 1024
        self.server = WorkerServer(listener, predictor, bounds=bounds, now=lambda: self.time)
        self.clients: list[Client] = []
        self.ids = itertools.count(1)

    def teardown(self) -> None:
        for client in self.clients:
            client.reads = True
        for _ in range(100):
            self.turn()
            waiting = [one for one in self.clients if one.asked or one.to_send or not one.greeted]
            if all(one.broken for one in waiting):
                break
        for client in self.clients:
            if not client.broken:
                assert client.greeted
                assert not client.to_send
                assert client.asked == {}, "requests without an answer"
            client.socket.close()
        self.server.close()
        self.listener.close()
        self.folder.cleanup()
        server_module.CLOGGED_BYTES = self.clogged_bytes

    @precondition(lambda self: len(self.clients) < 4)
    @rule()
    def connect(self) -> None:
        one = socket.socket(socket.AF_UNIX)
        one.connect(self.path)
        one.setblocking(False)
        self.clients.append(Client(one))

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        values=st.lists(st.integers(0, 50), min_size=1, max_size=3),
        columns=st.integers(1, 3),
        solo=st.booleans(),
        cut=st.integers(0, 100),
        fate=st.sampled_from(["fine"] * 6 + ["poison", "late", "nonsense", "odd type"]),
    )
    def ask(
        self,
        data: st.DataObject,
        values: list[int],
        columns: int,
        solo: bool,
        cut: int,
        fate: str,
    ) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.broken:
            return
        request_id = next(self.ids)
        rows = [[float(value)] * columns for value in values]
        meta, may_be = META, {200}
        if fate == "poison":
            rows[-1] = [float(POISON)] * columns
            may_be = {500}
        elif fate == "late":
            may_be = {408}
        elif fate == "odd type":
            meta, may_be = frames.encode_meta(frames.RequestMeta(content_type="image/x")), {415}
        body = b"[nonsense" if fate == "nonsense" else msgspec.json.encode(rows)
        if fate == "nonsense":
            may_be = {400}
        client.asked[request_id] = Asked(rows, may_be | {429})
        frame = frames.encode_frame(
            frames.REQUEST,
            request_id,
            number=0 if fate == "late" else 10_000,
            flags=frames.SOLO if solo else 0,
            meta=meta,
            body=body,
        )
        client.to_send += frame
        self.send(client, len(client.to_send) - min(cut, len(frame) - 1) if cut else None)

    @precondition(lambda self: any(client.asked for client in self.clients))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([one for one in self.clients if one.asked]))
        if client.broken:
            return
        request_id = data.draw(st.sampled_from(sorted(client.asked)))
        client.asked[request_id].may_be |= {499}
        client.to_send += frames.encode_frame(frames.CANCEL, request_id)
        self.send(client, None)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        client.socket.close()
        self.clients.remove(client)

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        what=st.sampled_from(
            [
                b"\x07" * 64,
                frames.encode_frame(frames.REQUEST, 1, meta=b"\xc1"),
                frames.encode_frame(frames.REQUEST, 1, body=b"x" * 200_000),
            ]
        ),
    )
    def send_what_is_no_request(self, data: st.DataObject, what: bytes) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if not client.broken and not client.to_send:
            client.broken = True
            client.to_send += what
            self.send(client, None)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), reads=st.booleans())
    def stop_or_begin_to_read(self, data: st.DataObject, reads: bool) -> None:
        data.draw(st.sampled_from(self.clients)).reads = reads

    @rule()
    def turn(self) -> None:
        for client in self.clients:
            self.send(client, None)
        assert self.server.turn(0.0)
        for client in self.clients:
            if client.reads:
                self.read(client)

    def send(self, client: Client, limit: int | None) -> None:
        try:
            while client.to_send and (limit is None or limit > 0):
                sent = client.socket.send(client.to_send[:limit])
                del client.to_send[:sent]
                limit = None if limit is None else limit - sent
        except BlockingIOError:
            return
        except OSError:
            assert client.broken, "an innocent connection was closed"
            client.to_send.clear()

    def read(self, client: Client) -> None:
        try:
            while data := client.socket.recv(1 << 20):
                for frame in client.decoder.feed(data):
                    self.check(client, frame)
            assert client.broken, "an innocent connection was closed"
        except BlockingIOError:
            return
        except ConnectionResetError:
            assert client.broken

    def check(self, client: Client, frame: frames.Frame) -> None:
        if not client.greeted:
            assert frame.kind == frames.HELLO
            client.greeted = True
            return
        assert frame.kind == frames.ANSWER
        asked = client.asked.pop(frame.id)  # KeyError: another's answer, or a second one
        assert frame.number in asked.may_be
        if frame.number == 200:
            found = msgspec.json.decode(frame.body)["predictions"]
            firsts = [one[0] if isinstance(one, list) else one for one in found]
            assert firsts == [row[0] * 2 for row in asked.rows]


WorkerMachine.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestWorkerMachine = WorkerMachine.TestCase

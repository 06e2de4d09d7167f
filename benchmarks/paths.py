"""``python -m benchmarks.paths gateway|signed|worker COUNT``: one process's part of COUNT invocations, without sockets.

What ``benchmarks.instructions`` counts. The gateway's part is its real objects with transports that keep what is written; the
worker's is its predictor with batches of 64.
"""

import asyncio
import gc
import itertools
import secrets
import sys
import tempfile
import time
from pathlib import Path

from botocore.credentials import Credentials

from benchmarks.models import load_case
from benchmarks.systems import sign
from modelyard.base.call import Principal
from modelyard.base.ids import FastRandom, RequestIds, SystemRandom
from modelyard.base.settings import Limits, Settings
from modelyard.domain.routes import EndpointRoute, ReplicaRoute, VariantRoute, WorkerRoute
from modelyard.frameworks.formats import load
from modelyard.gateway.books import Books
from modelyard.gateway.capture import Capture
from modelyard.gateway.counters import Counters
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.invocations import Invocations, Invoke
from modelyard.gateway.lane import Tracks, open_lane
from modelyard.gateway.shadows import Shadows
from modelyard.gateway.shelves import Shelves
from modelyard.server.authentication import Authentication
from modelyard.testing.clock import ManualClock
from modelyard.transport import frames
from modelyard.transport.channel import Channel, Listener
from modelyard.wire import keys, sealed, sigv4
from modelyard.worker.predictor import Predictor, Request

CONNECTIONS = 64
SIGNED_APART = 100
MODELS = Path(__file__).parent.parent / ".cache" / "benchmarks"
URL = "http://127.0.0.1:8650/endpoints/e/invocations"
ANSWER = b'{"predictions": [[0.9]]}'
SECRET = "an example of a secret access key of forty"  # noqa: S105 - an example


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class GatewaysPart:
    """64 connections to one endpoint with one worker."""

    def __init__(self, *, signed: bool) -> None:
        principal = Principal(kind="root", arn="arn", id="1", account="1")
        worker = WorkerRoute(id="w", container="primary", address="unix:/nowhere")
        replica = ReplicaRoute(id="r", workers=(worker,))
        endpoint = EndpointRoute(
            arn="arn", log_group="g", account="1", region="us-east-1", name="e",
            variants=(VariantRoute(name="v", weight=1.0, replicas=(replica,)),),
        )  # fmt: skip
        self.channels: list[Channel] = []
        now = time.monotonic
        dispatcher = Dispatcher(channel=self._channel, now=now, queue_limit=1024, wait_seconds=5)
        folder = Path(tempfile.mkdtemp())
        capture = Capture(
            write=lambda uri, data: None, disk=folder, clock=ManualClock(), random=FastRandom()
        )
        counters, books, random = Counters(), Books(folder, "b"), FastRandom()
        shadows = Shadows(
            dispatcher=dispatcher, counters=counters, capture=capture, random=random, now=now, seconds=60, books=books
        )  # fmt: skip
        self.gate = Gate(Limits(), self._begin, now)
        authentication = _authentication(principal)
        verify = (
            authentication.invocation if signed else lambda head, body: (principal, "us-east-1")
        )
        self.invocations = Invocations(
            gate=self.gate, dispatcher=dispatcher, authenticate=verify,
            authorise=lambda call: None, audit=lambda call, error: None,
            find=lambda account, region, name: endpoint, random=random, now=now, request_id=RequestIds(SystemRandom()),
            counters=counters, capture=capture, shadows=shadows, books=books,
            shelves=Shelves(control=folder / "c", own=folder / "o", now=now),
        )  # fmt: skip
        self._open_lane(dispatcher, authentication)
        dispatcher.update((endpoint,))
        self.gate.tick()
        (self.channel,) = self.channels
        hello = frames.encode_meta(frames.Hello("w", 64, 64))
        self.channel.data_received(frames.encode_frame(frames.HELLO, 0, meta=hello))
        self.clients = [(ClientConnection(self.gate), Wire()) for _ in range(CONNECTIONS)]
        for client, wire in self.clients:
            client.connection_made(wire)  # type: ignore[arg-type]
        body = load_case("tiny", MODELS).body
        self.requests = itertools.cycle(
            [_request(body, at) for at in range(SIGNED_APART)] if signed else [_request(body, None)]
        )
        self.meta = frames.encode_meta(frames.AnswerMeta("application/json"))

    def _open_lane(self, dispatcher: Dispatcher, authentication: Authentication) -> None:
        ids = RequestIds(SystemRandom())
        lane = open_lane(
            self.gate, routes=_Routes(), keys=authentication.key_table, take_over=self.invocations.take_over,
            begin=lambda: None, ids=(ids.prefix, ids.last),
        )  # fmt: skip
        if lane is not None:
            self.gate.lane = dispatcher.lane = lane
            self.invocations.tracks = Tracks(
                lane, keys=authentication.key_table, sign=authentication.signed
            )

    def _begin(self, head: Head, client: ClientConnection) -> Invoke:
        return self.invocations.begin(head, client)

    def _channel(self, address: str, listener: Listener) -> Channel:
        channel = Channel(address, listener, frame_limit=1 << 25)
        channel.connect = lambda: None  # type: ignore[method-assign]
        self.wire = Wire()
        channel.connection_made(self.wire)  # type: ignore[arg-type]
        self.channels.append(channel)
        return channel

    async def serve(self, count: int) -> None:
        """One request of each connection at a time, and the answers in one piece, as a worker's batch has them."""
        served = 0
        while served < count:
            for client, _ in self.clients:
                client.data_received(next(self.requests))
            await asyncio.sleep(0)
            sent = b"".join(self.wire.written)
            self.wire.written.clear()
            asked = frames.FrameDecoder(limit=1 << 25).feed(sent)
            answers = [
                frames.encode_frame(frames.ANSWER, one.id, number=200, meta=self.meta, body=ANSWER)
                for one in asked
            ]
            self.channel.data_received(b"".join(answers))
            for _, wire in self.clients:
                (answer,) = wire.written
                assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(ANSWER)
                wire.written.clear()
            served += CONNECTIONS


def _request(body: bytes, signed_at: int | None) -> bytes:
    """``signed_at``: so many seconds from now, so that no two are alike; None: not signed."""
    lines = ["POST /endpoints/e/invocations HTTP/1.1", "Host: 127.0.0.1:8650", f"Content-Length: {len(body)}"]  # fmt: skip
    extra = {"Content-Type": "application/json"}
    if signed_at is not None:
        credentials = Credentials("AKIDEXAMPLE", SECRET)
        extra |= sign(URL, body, credentials, "us-east-1", seconds=signed_at)
    lines += [f"{name}: {value}" for name, value in extra.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Routes:
    """A published table that stays what it is."""

    seen, epoch = bytes(8), bytes(8)


def _authentication(principal: Principal) -> Authentication:
    """As ``server.gateway`` verifies, over a table with one key."""
    table = keys.KeyTable({"AKIDEXAMPLE": keys.KeyEntry(secret=SECRET, principal=principal)})
    seal = sealed.Seal(secrets.token_bytes(32))
    verifier = sigv4.Verifier(keys=lambda: table, seal=seal, now=time.time)
    return Authentication(Settings(home=MODELS), verifier)


def serve_as_worker(count: int) -> None:
    """Batches of 64 rows, decoded, predicted, encoded."""
    case = load_case("tiny", MODELS)
    folder = Path(tempfile.mkdtemp())
    (folder / "model.onnx").write_bytes(case.path.read_bytes())
    model = load(folder, runtime="onnx", environment={}, trusted=frozenset())
    predictor = Predictor(model, seconds=60, answer_bytes=1 << 25)
    kind = "application/json"
    bodies = [case.body] * CONNECTIONS
    batch = [Request(body=body, content_type=kind, accept="") for body in bodies]
    for _ in range(count // CONNECTIONS):
        alike = predictor.answer_alike(bodies, kind, "")  # As the worker asks first.
        found = predictor.answer(batch) if alike is None else alike[1]
        assert len(found) == CONNECTIONS


def main() -> None:
    part, count = sys.argv[1], int(sys.argv[2])
    if part == "worker":
        serve_as_worker(count)
    else:

        async def run() -> None:
            gateway = GatewaysPart(signed=part == "signed")
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)  # As the gateway's process does.
            await gateway.serve(count)

        asyncio.run(run())


if __name__ == "__main__":
    main()

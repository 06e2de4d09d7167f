"""The gateway process: what it is built of, and its start and stop."""

import asyncio
import contextlib
import functools
import gc
import json
import logging
import os
import resource
import signal
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import uvloop

from modelyard.base import otel
from modelyard.base.call import Call, Principal
from modelyard.base.clock import SystemClock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import FastRandom, RequestIds, SystemRandom
from modelyard.base.settings import Home, Settings
from modelyard.domain.hibernation import SOCKET as WAKES
from modelyard.domain.shelf import SOCKET as SHELVES
from modelyard.domain.tracing import SOCKET as TRACES
from modelyard.domain.tracing import Sampler
from modelyard.gateway.accepting import TLS_CLOSING_SECONDS, Acceptor, Board
from modelyard.gateway.answers import error_answer
from modelyard.gateway.asked import is_invocation
from modelyard.gateway.books import Books
from modelyard.gateway.capture import Capture
from modelyard.gateway.counters import CellKey, Counters, Teller, Telling
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.gate import Exchange, Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.in_flight import WorkerChannel
from modelyard.gateway.invocations import Invocations
from modelyard.gateway.lane import Tracks, open_lane
from modelyard.gateway.looks import Looks
from modelyard.gateway.relay import Relay, Upstream
from modelyard.gateway.shadows import Shadows
from modelyard.gateway.shelves import Shelves
from modelyard.gateway.spans import Spans
from modelyard.gateway.traced import TracedChannel, Tracing
from modelyard.gateway.wakes import Wakes
from modelyard.server.authentication import Authentication, allow, anonymous, make_verifier
from modelyard.server.process import Start, begin
from modelyard.server.routing_table import Routes
from modelyard.store.external_s3 import open_external
from modelyard.store.object_info import parse_s3_uri
from modelyard.store.objects import ObjectStore
from modelyard.transport.channel import Channel, Listener
from modelyard.wire.identify import identify

logger = logging.getLogger(__name__)
DRAIN_SECONDS = 0.05
REST_SECONDS = 0.1
"""A request whose worker died waits so long: workers of one zone that die together are all gone by then."""
FRAME_MARGIN = 1 << 20
LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))


class Gateway:
    """One gateway."""

    def __init__(self, start: Start) -> None:
        settings, home = start.settings, start.home
        self._settings = settings
        self._auth = settings.auth
        self._start = start
        self._clock = clock = SystemClock()
        limits = settings.limits
        self._authentication = Authentication(settings, make_verifier(home, clock))
        self._anonymous = (anonymous(settings), settings.region)
        self._dispatcher = Dispatcher(
            channel=self._channel,
            now=clock.monotonic,
            queue_limit=limits.replica_queue,
            wait_seconds=limits.replica_wait_seconds,
            rest_seconds=REST_SECONDS,
        )
        self._routes = Routes(home, self._dispatcher)
        counters = Counters()
        self._dispatcher.counters = counters
        self._telling = Telling(
            counters,
            gauges=self._gauges,
            send=Teller(str(home.socket("metrics"))).send,
            now=clock.now,
        )
        self._capture = Capture(
            write=_captured_writer(home, clock),
            disk=home.root,
            clock=clock,
            random=SystemRandom(),
        )
        self._gate = Gate(limits, self._handle, clock.monotonic)
        self._shelves = Shelves(
            control=home.socket(SHELVES),
            own=home.socket(f"{SHELVES}-{start.name}"),
            now=clock.monotonic,
        )
        self._books = Books(home.ledgers, f"{start.name}-{SystemRandom().hex(12)}")
        self._wakes = Wakes(
            control=home.socket(WAKES), now=clock.monotonic, waits=self._dispatcher.waits_for
        )
        self._dispatcher.wake = self._wakes.want
        self._looks = Looks(
            clock=clock, is_idle=self._is_idle, is_waking=lambda: self._wakes.is_asking
        )
        self._dispatcher.begin = self._looks.begin
        self._invocations = Invocations(
            gate=self._gate,
            dispatcher=self._dispatcher,
            authenticate=self._authenticate,
            authorise=allow,
            audit=_no_audit,
            find=self._routes.find,
            random=FastRandom(),
            now=clock.monotonic,
            request_id=RequestIds(SystemRandom()),
            counters=counters,
            shelves=self._shelves,
            capture=self._capture,
            shadows=Shadows(
                dispatcher=self._dispatcher,
                counters=counters,
                capture=self._capture,
                random=FastRandom(),
                now=clock.monotonic,
                seconds=limits.invocation_seconds,
                books=self._books,
            ),
            books=self._books,
        )
        self._begin = self._invocations.begin
        self._spans: Spans | None = None
        if settings.tracing is not None:
            self._spans = _spans(start, settings.tracing, clock)
            self._begin = Tracing(self._spans, self._invocations).begin
        else:
            self._open_lane()
        self._told_spans = Teller(str(home.socket(TRACES)))
        self._acceptor: Acceptor | None = None
        self._control = Upstream(str(home.socket("control")))
        self._objects = Upstream(str(home.socket("objects")))

    def _open_lane(self) -> None:
        """Every caller may do everything, and nothing is recorded or traced of a request: so the lane asks nobody."""
        ids, authentication = RequestIds(SystemRandom()), self._authentication
        lane = open_lane(
            self._gate,
            routes=self._routes.published,
            keys=authentication.key_table,
            take_over=self._invocations.take_over,
            begin=self._looks.begin,
            ids=(ids.prefix, ids.last),
        )
        if lane is not None:
            self._gate.lane = self._dispatcher.lane = lane
            self._invocations.tracks = Tracks(
                lane, keys=authentication.key_table, sign=authentication.signed
            )

    def _channel(self, address: str, listener: Listener) -> WorkerChannel:
        if self._settings.tracing is not None:
            return TracedChannel(address, listener, channel=self._plain_channel)
        return self._plain_channel(address, listener)

    def _plain_channel(self, address: str, listener: Listener) -> Channel:
        return Channel(
            address, listener, frame_limit=self._settings.limits.payload_bytes + FRAME_MARGIN
        )

    def _handle(self, head: Head, client: ClientConnection) -> Exchange:
        """The one decision about a request: who answers it."""
        if is_invocation(head.path):
            return self._begin(head, client)
        if head.path == "/_modelyard/health":
            return _Health(client, self._health())
        if not self._settings.auth and not _is_local(head):
            return _Health(
                client, {"message": "A foreign Host or Origin is refused with --no-auth."}, 403
            )
        if head.path.startswith("/_modelyard/"):
            return self._relay(head, client, self._control)
        path, _, query = head.target.partition("?")
        service = identify(method=head.method, path=path, query=query, headers=head.joined)
        return self._relay(head, client, self._objects if service == "s3" else self._control)

    def _relay(self, head: Head, client: ClientConnection, upstream: Upstream) -> Relay:
        head.memo = True  # The client's next one may be read by this one's form.
        return Relay(head, client, upstream, unavailable=_unavailable)

    def _authenticate(self, head: Head, body: bytes) -> tuple[Principal, str]:
        if not self._auth:
            joined = head.joined
            if not _are_local(joined.get("host", ""), joined.get("origin")):
                raise ServiceError(
                    "AccessDeniedException",
                    "A foreign Host or Origin is refused with --no-auth.",
                    status=403,
                )
            if "authorization" not in joined:
                return self._anonymous
        return self._authentication.invocation(head, body)

    def _health(self) -> dict[str, object]:
        return {
            "state": "running",
            "endpoints": len(self._routes),
            "in_flight": self._dispatcher.in_flight,
            "connections": len(self._gate.connections),
        }

    async def run(self) -> None:
        """Serve until SIGTERM; then finish what was accepted, within the drain's bound."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        listener = socket.socket(fileno=self._start.descriptor)
        listener.setblocking(False)
        server = await self._serve(listener)
        self._routes.refresh()
        loop.add_reader(self._shelves.fileno(), self._shelves.read)
        # What exists now exists for good: collections look at what requests leave behind only.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(self._tick(), name="gateway.tick")
            capturing = tasks.create_task(self._capture.run(), name="gateway.capture")
            await stopping.wait()
            server.close()
            await self._drain()
            ticking.cancel()
            capturing.cancel()
        loop.remove_reader(self._shelves.fileno())
        self._shelves.close()
        self._wakes.close()
        if self._spans is not None:
            self._spans.tell(self._told_spans.send)
        self._told_spans.close()

    async def _serve(self, listener: socket.socket) -> asyncio.Server | Acceptor:
        tls = _tls(self._settings)
        if self._settings.gateways > 1:
            self._acceptor = Acceptor(
                listener,
                lambda: ClientConnection(self._gate),
                tls=tls,
                held=lambda: len(self._gate.connections),
                board=_board(self._start),
            )
            return self._acceptor
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: ClientConnection(self._gate),
            sock=listener,
            ssl=tls,
            ssl_shutdown_timeout=None if tls is None else TLS_CLOSING_SECONDS,
            backlog=1024,
        )

    async def _tick(self) -> None:
        last = 0
        while True:
            await self._looks.pause()
            self._routes.look()
            self._dispatcher.tick()
            if self._acceptor is not None:
                self._acceptor.tick()
            self._telling.tick()
            if self._spans is not None:
                self._spans.tell(self._told_spans.send)
            if (second := int(self._clock.now())) != last:
                last = second
                self._gate.tick()
                self._shelves.tick()
                self._wakes.tick()

    def _is_idle(self) -> bool:
        return self._dispatcher.is_idle and not self._telling.has_more

    def _gauges(self) -> Iterable[tuple[CellKey, int, int]]:
        return (
            ((*key[:4], config), instances, in_flight)
            for key, config, instances, in_flight in self._dispatcher.gauges()
        )

    async def _drain(self) -> None:
        self._gate.is_closing = True
        for connection in list(self._gate.connections):
            connection.close_when_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.limits.drain_seconds):
                while self._gate.connections:  # noqa: ASYNC110 - a set that many empty
                    await asyncio.sleep(DRAIN_SECONDS)


class _Health:
    """An answer that needs nothing of the request."""

    def __init__(
        self, client: ClientConnection, document: dict[str, object], status: int = 200
    ) -> None:
        self._client = client
        self._document = document
        self._status = status

    def body(self, data: bytes) -> None:
        """Nothing in it matters."""

    def whole(self, data: bytes) -> None:
        self.complete()

    def complete(self) -> None:
        body = json.dumps(self._document).encode()
        self._client.respond(self._status, b"Content-Type: application/json\r\n", body)

    def client_gone(self) -> None:
        """Nothing to stop."""

    def client_paused(self, paused: bool) -> None:
        """The answer is small."""


def _spans(start: Start, tracing: otel.Tracing, clock: SystemClock) -> Spans:
    return Spans(
        process=start.name,
        scheme="https" if start.settings.tls_cert else "http",
        sampler=Sampler(tracing.sampler, tracing.ratio),
        random=FastRandom(),
        now=clock.monotonic,
        wall=clock.now,
    )


def _board(start: Start) -> Board | None:
    """Where gateways tell each other how many connections they hold; None on a full disk."""
    place = int(start.name.rpartition("-")[2])
    try:
        return Board(start.home.run / "gateways.board", place=place, places=start.settings.gateways)
    except OSError as error:
        logger.warning("connections are not divided among gateways: %s", error)
        return None


def _is_local(head: Head) -> bool:
    """Whether a browser of a foreign page could not have sent this (DNS rebinding, cross-origin posts)."""
    return _are_local(head.joined.get("host", ""), head.joined.get("origin"))


@functools.lru_cache(maxsize=1024)
def _are_local(host_header: str, origin: str | None) -> bool:
    host = urlsplit(f"//{host_header}").hostname or ""
    local = host in LOCAL_HOSTS or host.endswith((".localhost", ".amazonaws.com"))
    return local and (origin is None or urlsplit(origin).hostname in LOCAL_HOSTS)


def _unavailable(head: Head) -> tuple[int, bytes, bytes]:
    """The process behind is restarting and did not come back in time."""
    error = ServiceError(
        "ServiceUnavailable", "This part of the platform is restarting; try again.", status=503
    )
    return error.status, *error_answer(error, "")


def _captured_writer(home: Home, clock: SystemClock) -> Callable[[str, bytes], None]:
    """Stores what is captured; the store is opened with the first of it."""

    @functools.cache
    def objects() -> Any:
        external = open_external(home.external_s3, home.fetched)
        return external or ObjectStore(home.objects, clock=clock)

    def write(uri: str, data: bytes) -> None:
        bucket, key = parse_s3_uri(uri)
        try:
            with objects().writer(bucket, key, content_type="application/jsonlines") as writer:
                writer.write(data)
                writer.commit()
        except sqlite3.Error as error:
            raise OSError(f"the object store does not answer: {error}") from error

    return write


def _no_audit(call: Call, error: ServiceError | None) -> None:
    """Invocations are data events, recorded only where asked for."""


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


def _take_all_descriptors() -> None:
    """Each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls its limit infinite, and refuses to be taken at its word.
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """``python -m modelyard.server.gateway --settings FILE --fd N``."""
    start = begin("gateway")
    os.set_inheritable(start.descriptor, False)
    _take_all_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Gateway(start).run())


if __name__ == "__main__":
    main()

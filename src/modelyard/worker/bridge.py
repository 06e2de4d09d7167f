"""Frames in, HTTP out: the server side of a bridge, on one event loop.

Requests wait in a ``Batcher``, which knows of limits, peers that went or do not read, SOLO and time that ran out; from there they
go to the program, at most ``concurrency`` at a time. Each has its own answer and its own end.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec

from modelyard.transport import frames
from modelyard.worker.batcher import Batcher, Bounds, Waiting, times_of
from modelyard.worker.http_client import HttpAnswer, ProgramClient, ProgramError
from modelyard.worker.streams import Window, encode_parts

BACKLOG = 128
CONNECTIONS_LIMIT = 256
CLOGGED_BYTES = 4 << 20
QUIET_SECONDS = 0.25
"""A draining bridge that was sent nothing for so long has been taken out of every table."""
DRAIN_SECONDS = 10.0
"""A draining bridge that is still sent requests takes no more of them after this."""
FINISH_SECONDS = 15.0
"""What is in flight then has so long to be answered before the program is stopped."""
LINGER_SECONDS = 2.0
FULL_STATUS, EXPIRED_STATUS, CANCELLED_STATUS, FAILED_STATUS = 429, 408, 499, 500
_SUCCESS = range(200, 300)
TEXT, UNTYPED = "text/plain", "application/octet-stream"


class _Peer(asyncio.Protocol):
    """One connection of a gateway or job."""

    def __init__(self, bridge: "Bridge") -> None:
        self._bridge = bridge
        self._decoder = frames.FrameDecoder(limit=bridge.bounds.payload_bytes + 64 * 1024)
        self.transport: asyncio.Transport | None = None
        self.is_open = False
        self.is_clogged = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=CLOGGED_BYTES)
        if not self._bridge.greet(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._bridge.take(self, frame)
        except (frames.FrameError, msgspec.MsgspecError) as error:
            print(f"[modelyard] a connection is closed: {error}", flush=True)  # noqa: T201 - the container's log
            if self.transport is not None:
                self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._bridge.forget(self)

    def pause_writing(self) -> None:
        self.is_clogged = True
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.is_clogged = False
        if self.transport is not None and self.is_open:
            self.transport.resume_reading()
            self._bridge.release(self)

    def send(self, frame: bytes) -> None:
        if self.is_open and self.transport is not None:
            self.transport.write(frame)


class _Stream:
    """An answer on its way in parts; ``http_client.Sink``. The program is not read while its reader has no room."""

    def __init__(self, peer: _Peer, request_id: int) -> None:
        self._peer = peer
        self._id = request_id
        self.task: asyncio.Task[None] | None = None
        """None until it is begun."""
        self._window = Window()
        self._meta = b""
        self._pause: Callable[[bool], None] | None = None
        self.is_cancelled = False

    def attach(self, pause: Callable[[bool], None]) -> None:
        self._pause = pause

    def begin(self, content_type: str, custom_attributes: str) -> None:
        self._meta = frames.encode_meta(
            frames.AnswerMeta(content_type or UNTYPED, custom_attributes)
        )

    def write(self, data: bytes) -> None:
        self._peer.send(encode_parts(self._id, self._meta, self._window.cut(data)))
        if not self._window.is_open and self._pause is not None:
            self._pause(True)

    def credit(self, taken: int) -> None:
        self._window.left = min(frames.STREAM_WINDOW, self._window.left + taken)
        if self._window.is_open and self._pause is not None:
            self._pause(False)

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.task is not None:
            self.task.cancel()


class Bridge:
    """``seconds`` bounds one invocation, whatever the caller would wait; ``now`` is a monotonic clock."""

    def __init__(
        self,
        client: ProgramClient,
        *,
        bounds: Bounds,
        concurrency: int,
        seconds: float,
        now: Callable[[], float],
    ) -> None:
        self.bounds = bounds
        self._client = client
        self._concurrency = concurrency
        self._seconds = seconds
        self._now = now
        self._batcher: Batcher[_Peer] = Batcher(bounds)
        self._peers: set[_Peer] = set()
        self._active: set[asyncio.Task[None]] = set()
        self._streams: dict[tuple[_Peer, int], _Stream] = {}
        self._solo: Waiting[_Peer] | None = None
        """It waits until nothing else is in flight, and then has the program to itself."""
        self._solo_is_active = False
        self._heard_at = 0.0
        self._has_said_goodbye = False
        """What comes now has been asked of another worker, too."""
        self._all_gone = asyncio.Event()

    @asynccontextmanager
    async def listening(self, listener: socket.socket) -> AsyncIterator[None]:
        """Take connections; drop them all at the end."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _Peer(self), sock=listener, backlog=BACKLOG)
        try:
            yield
        finally:
            server.close()
            for task in self._active:
                task.cancel()
            await asyncio.gather(*self._active, return_exceptions=True)
            for peer in list(self._peers):
                if peer.transport is not None:
                    peer.transport.abort()

    # ---- what peers do

    def greet(self, peer: _Peer) -> bool:
        """Whether there is room for one more."""
        if len(self._peers) >= CONNECTIONS_LIMIT:
            return False
        self._peers.add(peer)
        self._all_gone.clear()
        peer.is_open = True
        hello = frames.Hello(self.bounds.worker_id, self.bounds.max_batch, self.bounds.queue)
        peer.send(frames.encode_frame(frames.HELLO, 0, meta=frames.encode_meta(hello)))
        return True

    def take(self, peer: _Peer, frame: frames.Frame) -> None:
        """Raises ``MsgspecError`` for a meta that is none."""
        if self._has_said_goodbye:
            return
        self._heard_at = self._now()
        if frame.kind == frames.REQUEST:
            expires = self._now() + frame.number / 1000
            meta = frames.decode_request_meta(frame.meta)
            if self._batcher.add(Waiting(peer, frame, meta, expires)):
                self._pump()
            else:
                self._say(peer, frame.id, FULL_STATUS, "The worker's queue is full.")
        elif frame.kind == frames.CANCEL and (
            self._batcher.cancel(peer, frame.id) or self._drop_solo(peer, frame.id)
        ):
            self._say(peer, frame.id, CANCELLED_STATUS, "The caller has left.")
        elif (stream := self._streams.get((peer, frame.id))) is not None:
            if frame.kind == frames.CANCEL:
                stream.cancel()
            elif frame.kind == frames.CREDIT:
                stream.credit(frame.number)

    def forget(self, peer: _Peer) -> None:
        self._peers.discard(peer)
        if not self._peers:
            self._all_gone.set()
        for (of, _), stream in list(self._streams.items()):
            if of is peer:
                stream.cancel()
        self._batcher.forget(peer)
        self._drop_solo(peer)
        self._pump()

    def _drop_solo(self, peer: _Peer, request_id: int | None = None) -> bool:
        """The one that waits for the program, if it is this one, or any of the peer's."""
        solo = self._solo
        if solo is None or solo.peer is not peer or request_id not in (None, solo.frame.id):
            return False
        self._solo = None
        self._pump()
        return True

    def release(self, peer: _Peer) -> None:
        """The peer reads again."""
        self._batcher.release(peer)
        self._pump()

    # ---- requests to the program

    def _pump(self) -> None:
        """Start what may start now."""
        while len(self._active) < self._concurrency and not self._solo_is_active:
            if self._solo is None:
                batch, expired = self._batcher.take(self._now())
                for late in expired:
                    text = "The request expired while it waited."
                    self._say(late.peer, late.frame.id, EXPIRED_STATUS, text)
                if not batch:
                    return
                (waiting,) = batch
                if waiting.frame.flags & frames.SOLO:
                    self._solo = waiting
            if self._solo is not None:
                if self._active:
                    return
                waiting, self._solo = self._solo, None
                self._solo_is_active = True
            if waiting.frame.flags & frames.STREAM:
                # Now, since it may be cancelled before its task has had its first turn.
                place = waiting.peer, waiting.frame.id
                self._streams[place] = _Stream(*place)
            task = asyncio.get_running_loop().create_task(self._invoke(waiting), name="invoke")
            self._active.add(task)
            task.add_done_callback(self._invoked)

    def _invoked(self, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        self._solo_is_active = self._solo_is_active and bool(self._active)
        self._pump()

    async def _invoke(self, waiting: Waiting[_Peer]) -> None:
        peer, frame, meta = waiting.peer, waiting.frame, waiting.meta
        began = self._now()
        seconds = min(waiting.expires - began, self._seconds)
        stream = self._streams.get((peer, frame.id)) if frame.flags & frames.STREAM else None
        try:
            if stream is not None:
                seconds = waiting.expires - began
                stream.task = asyncio.current_task()
                if stream.is_cancelled:
                    raise asyncio.CancelledError
            async with asyncio.timeout(max(0.0, seconds)):
                answer = await self._client.ask(
                    "POST",
                    "/invocations",
                    {
                        "Content-Type": meta.content_type,
                        "Accept": meta.accept,
                        "X-Amzn-SageMaker-Custom-Attributes": meta.custom_attributes,
                        "Traceparent": meta.trace,
                        "Tracestate": meta.trace_state,
                    },
                    frame.body,
                    stream,
                )
        except asyncio.CancelledError:
            if stream is not None and stream.is_cancelled:
                self._say(peer, frame.id, CANCELLED_STATUS, "The caller has left.")
            raise
        except TimeoutError:
            self._say(peer, frame.id, EXPIRED_STATUS, "The program did not answer in time.")
        except ProgramError as error:
            self._say(peer, frame.id, FAILED_STATUS, str(error))
        else:
            self._answer(waiting, answer, began)
        finally:
            self._streams.pop((peer, frame.id), None)

    def _answer(self, waiting: Waiting[_Peer], answer: HttpAnswer, began: float) -> None:
        kind, attributes = answer.content_type or UNTYPED, answer.custom_attributes
        meta: frames.AnswerMeta | frames.TracedAnswerMeta = frames.AnswerMeta(kind, attributes)
        flags = frames.OWN_STATUS
        if waiting.frame.flags & frames.TRACED:
            flags |= frames.TRACED
            times = times_of(waiting, began=began, ended=self._now(), requests=1)
            meta = msgspec.structs.replace(times, content_type=kind, custom_attributes=attributes)
        waiting.peer.send(
            frames.encode_frame(
                frames.ANSWER,
                waiting.frame.id,
                number=200 if answer.status in _SUCCESS else answer.status,
                flags=flags,
                meta=frames.encode_meta(meta),
                body=answer.body,
            )
        )

    def _say(self, peer: _Peer, request_id: int, status: int, text: str) -> None:
        meta = frames.encode_meta(frames.AnswerMeta(TEXT))
        peer.send(
            frames.encode_frame(
                frames.ANSWER, request_id, number=status, meta=meta, body=text.encode()
            )
        )

    # ---- the end

    async def drain(self) -> None:
        """Answer what was sent, then say that nothing else was executed. Peers close their ends."""
        await self._fall_quiet()
        if not await self._finish():
            return  # What the program may have executed is no one else's to execute again without knowing.
        self._has_said_goodbye = True
        for peer in self._peers:
            peer.send(frames.encode_frame(frames.GOAWAY, 0))
            if peer.transport is not None and peer.is_open:
                peer.transport.write_eof()
                peer.transport.resume_reading()
        if self._peers:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._all_gone.wait()

    async def _fall_quiet(self) -> None:
        begin = self._heard_at = self._now()
        while (left := self._heard_at + QUIET_SECONDS - self._now()) > 0:
            if self._now() - begin >= DRAIN_SECONDS:
                break
            await asyncio.sleep(left)
        for peer in self._peers:
            if peer.transport is not None:
                peer.transport.pause_reading()

    async def _finish(self) -> bool:
        """Whether everything that was sent has its answer."""
        end = self._now() + FINISH_SECONDS
        while self._active and (left := end - self._now()) > 0:
            await asyncio.wait(self._active, timeout=left)
            self._pump()
        return not (self._active or self._batcher or self._solo)

"""The lane: what is ordinary of a gateway's invocations, from a client's bytes to its answer, in C (``native/lane.c``).

Ordinary is one whole request whose head came before or has the form of the last one, of an endpoint whose requests all go
one way, to a replica that takes more, and answered with success. A request is on a *trip* then. Whatever else happens to it
(its client leaves or sends more, its worker is lost or says no, its deadline passes) makes it an ``Invocation`` in the state
that it is in, once and for all. So each rule stands in Python; what stands in C besides is how the ordinary is told from the
rest. Where the C was not built there is no lane.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import structs

from modelyard.gateway.answers import common_lines
from modelyard.gateway.body_shares import SMALL_BYTES
from modelyard.gateway.counters import CellKey
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head, HeadForm
from modelyard.gateway.in_flight import Invocation, WorkerChannel
from modelyard.gateway.ways import Known, Way
from modelyard.native import part
from modelyard.transport.channel import Channel
from modelyard.transport.line import WorkerLine


class Lane(Protocol):
    """What all trips of a gateway share."""

    @property
    def held(self) -> int:
        """Bytes of the bodies in flight."""

    @property
    def in_flight(self) -> int:
        """Trips, those that were handed over left out."""

    def tick(self, now: float) -> None:
        """Hand over what is past its deadline."""


class Client(Protocol):
    """The lane's side of a ``ClientConnection``."""

    def data_received(self, data: bytes) -> None:
        """What the client sent: a trip, or for ``ClientConnection.read``."""

    def open(self, write: Callable[[bytes], Any]) -> None:
        """There is a transport."""

    def settle(self) -> None:
        """A request in flight becomes an exchange of the connection's."""

    def shut(self) -> None:
        """The connection is lost: settled, and not to be used any more."""

    def was_active(self) -> bool:
        """Whether a request came or was in flight since this was asked."""


class Port(Protocol):
    """The replicas of one variant as the lane sees them, and what it counts of their requests."""

    @property
    def key(self) -> CellKey:
        """Of its counters."""

    @property
    def is_open(self) -> bool: ...
    @property
    def trips(self) -> int:
        """In flight."""

    def close(self) -> None:
        """No more trips: the variant is another one now, or gone."""

    def take_counts(self) -> tuple[float, float, dict[int, int], dict[int, int]] | None:
        """Since it was asked: microseconds of model and overhead, and their buckets; None for nothing."""


class Trip(Protocol):
    """A request that is handed over, and all that is known of it."""

    @property
    def connection(self) -> Any: ...
    @property
    def context(self) -> "Context": ...
    @property
    def replica(self) -> Any: ...
    @property
    def body(self) -> bytes: ...
    @property
    def deadline(self) -> float: ...
    @property
    def sent_at(self) -> float: ...
    @property
    def request_id(self) -> str: ...
    @property
    def number(self) -> int:
        """As its line knows it."""


Context = tuple[Head, Way]
"""What Python needs to go on with a request: a head like its own, and its way."""


class RouteEpochs(Protocol):
    """``store.published.Published``, as far as the lane has to do with it."""

    seen: bytes
    """The epoch whose table is in use."""

    @property
    def epoch(self) -> Any:
        """The newest, in memory that is shared."""


def open_lane(  # noqa: PLR0913 - what the C has to ask of Python, gathered in one place
    gate: Gate,
    *,
    routes: RouteEpochs,
    keys: Callable[[], Any],
    take_over: Callable[[Trip], Invocation],
    begin: Callable[[], None],
    ids: tuple[str, int],
    clocks: tuple[Callable[[], float] | None, Callable[[], float] | None] = (None, None),
) -> Lane | None:
    """None where the C was not built. ``begin`` is called when something is in flight and nobody was told.

    ``ids``: what the ids of its requests begin with, and the number they count on from. ``clocks``: monotonic and of the
    wall; the system's by default.
    """
    lane = part("Lane")
    if lane is None:
        return None
    limits = gate.limits
    opened: Lane = lane(
        gate,
        routes,
        routes.epoch,
        keys,
        take_over,
        begin,
        clocks,
        limits.invocation_seconds,
        (limits.payload_bytes, min(SMALL_BYTES, limits.payload_bytes), limits.body_budget_bytes),
        ids,
    )
    return opened


def client_of(lane: Lane, connection: Any, known: dict[bytes, Head]) -> Client:
    """The lane's side of a connection; ``known`` are the gateway's heads that may come again."""
    client: Client = part("Client")(lane, connection, known)
    return client


def open_port(
    key: CellKey,
    pool: Any,
    queues: tuple[Any, Any],
    replicas: Sequence[tuple[Any, WorkerChannel]],
    *,
    limit: int,
    variant: str,
) -> Port | None:
    """Of replicas that are one worker each; None where one is reached by what is no line of the C's."""
    line = part("Line")
    lines = tuple(line_of(channel) for _, channel in replicas)
    if line is None or not all(type(one) is line for one in lines):
        return None
    port: Port = part("Port")(
        key,
        pool,
        *queues,
        tuple(replica for replica, _ in replicas),
        lines,
        limit,
        functools.partial(common_lines, variant),
    )
    return port


def line_of(channel: WorkerChannel) -> WorkerLine | None:
    """A channel's own line, on which trips may be."""
    return channel.line if isinstance(channel, Channel) else None


class Signed(Protocol):
    """``wire.signed.SignedForm``, as far as the lane has to do with it."""

    @property
    def signed(self) -> Any:
        """What verifies the requests of one form."""

    @property
    def keys(self) -> Any:
        """The key table that it does so by; another one makes it void."""


class Tracks:
    """Lays the tracks of heads whose requests are ordinary. ``sign`` gives what verifies those of a form, or None."""

    def __init__(
        self,
        lane: Lane,
        *,
        keys: Callable[[], Any],
        sign: Callable[[HeadForm], Signed | None],
    ) -> None:
        self._lane = lane
        self._keys = keys
        self._sign = sign

    def lay(self, head: Head, known: Known, port: Port | None) -> None:
        """After a request with this head was accepted, and while all like it go ``known.way``."""
        form, way = head.form, known.way
        if port is None or way is None:
            return
        track = known.track if form is None else form.track
        if (
            track is not None
            and track.is_open
            and (track.table is None or track.table is self._keys())
        ):
            return
        signer = table = None
        if "authorization" in head.joined:
            if form is None or form.target != head.target:
                return  # A form's track is for its own target; what it reads besides goes elsewhere.
            signed = self._sign(form)
            if signed is None:
                return
            signer, table = signed.signed, signed.keys
        laid = part("Track")(
            self._lane,
            port,
            known.asked.encoded,
            # A head of its own: that one knows its form or its memo, and these the track.
            (structs.replace(head, form=None, memo=None), way),
            head.peer,
            head.length,
            signer,
            table,
        )
        if form is None:
            known.track = laid
        else:
            form.track = laid

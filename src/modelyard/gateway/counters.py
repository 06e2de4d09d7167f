"""What a gateway counts of its requests, for CloudWatch's metrics: plain numbers on the hot path, told every few seconds.

A cell is one fleet's part of one variant, or one measure of that by itself, such as the latency of one container.
Latencies fall into buckets one percent wide, so that what is told does not grow with the number of requests. While nobody
listens, cells keep adding up: a restarted control misses the moment, not the requests.
"""

import math
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from modelyard.domain.metrics import BUCKET_WIDTH

TELL_SECONDS = 5
"""Control learns so often what was counted."""
DATAGRAM_CELLS = 50
"""Cells in one datagram at most."""
DATAGRAM_BYTES = 64 * 1024
"""Several of this size fit into a socket's buffer; a cell of the widest latencies is half of it."""
_OK, _FIRST_SERVER_STATUS, _FIRST_CLIENT_STATUS = 200, 500, 400
_PER_LOG = 1.0 / BUCKET_WIDTH
_TABLE_STEPS = 2.0
"""The table of buckets has so many entries a microsecond."""

CellKey = tuple[str, str, str, str, str]
"""Account, region, endpoint, variant, endpoint config."""


class Cell(msgspec.Struct, array_like=True):
    """Counts since they were last told. Latencies: bucket number to count, and the sum in microseconds."""

    account: str
    region: str
    endpoint: str
    variant: str
    config: str
    requests: int = 0
    """Filled in when it is told: it is the sum of either histogram."""
    client_errors: int = 0
    server_errors: int = 0
    model_errors: int = 0
    model_sum: float = 0.0
    overhead_sum: float = 0.0
    model: dict[int, int] = {}
    overhead: dict[int, int] = {}
    instances: int = 0
    in_flight: int = 0
    compared: int = 0
    """Answers of a shadow that were held against the production variant's; from here on a shadow's alone."""
    disagreed: int = 0
    drifts: int = 0
    """Comparisons in which every number had its counterpart: of these the sum, the smallest and the largest drift."""
    drift_sum: float = 0.0
    drift_low: float = 0.0
    drift_high: float = 0.0
    dropped: int = 0
    """Copies that there was no room for."""
    measure: str = ""
    """The metric whose times ``model`` and ``model_sum`` are, of a cell that has nothing else; of requests' cells empty.

    Of what is so or not so for each request, ``model`` has 0 and 1 instead of buckets.
    """
    container: str = ""
    """Whose times they are, if a container's."""


class Report(msgspec.Struct, array_like=True):
    """One datagram: what happened in the seconds after ``at`` (epoch)."""

    at: int
    cells: list[Cell]


def _bucket(microseconds: float) -> int:
    """Its number; ``domain.endpoint_metrics`` knows what stands in the middle of it."""
    return int(math.log(microseconds) * _PER_LOG) if microseconds > 1.0 else 0


# A logarithm costs as much as all the rest of a count; nearly all latencies are below 16 ms.
_TABLE = tuple(_bucket((entry + 0.5) / _TABLE_STEPS) for entry in range(32_768))


class Counting(Protocol):
    """``lane.Port``, as far as its counts go."""

    @property
    def key(self) -> CellKey: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def trips(self) -> int: ...
    def take_counts(self) -> tuple[float, float, dict[int, int], dict[int, int]] | None: ...


class Counters:
    """The cells of one gateway."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, ...], Cell] = {}
        """By the variant's key, or that with the measure and the container."""
        self._ports: list[Counting] = []
        """Which count for themselves what is added up here before it is told."""

    def count(self, key: CellKey, status: int, model_seconds: float, seconds: float) -> None:
        """One request that was answered. ``status`` is the container's, or the platform's own where it refused.

        ``seconds`` are not less than ``model_seconds``. Positional and plain: this runs for each request.
        """
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = Cell(*key)
        if status != _OK:
            cell.model_errors += 1
            if status >= _FIRST_SERVER_STATUS:
                cell.server_errors += 1
            elif status >= _FIRST_CLIENT_STATUS:
                cell.client_errors += 1
        model = model_seconds * 1e6
        overhead = seconds * 1e6 - model
        cell.model_sum += model
        cell.overhead_sum += overhead
        try:
            place = _TABLE[int(model * _TABLE_STEPS)]
        except IndexError:
            place = _bucket(model)
        buckets = cell.model
        buckets[place] = buckets.get(place, 0) + 1
        try:
            place = _TABLE[int(overhead * _TABLE_STEPS)]
        except IndexError:
            place = _bucket(overhead)
        buckets = cell.overhead
        buckets[place] = buckets.get(place, 0) + 1

    def watch(self, port: Counting) -> None:
        """The lane counts there."""
        self._ports.append(port)

    def _gather(self) -> None:
        """What the lane has counted."""
        for port in self._ports:
            counted = port.take_counts()
            if counted is not None:
                cell = self._cell(port.key)
                cell.model_sum += counted[0]
                cell.overhead_sum += counted[1]
                for sums, more in ((cell.model, counted[2]), (cell.overhead, counted[3])):
                    for bucket, count in more.items():
                        sums[bucket] = sums.get(bucket, 0) + count
        self._ports = [port for port in self._ports if port.is_open or port.trips]

    def spent(self, key: CellKey, measure: str, seconds: float, container: str = "") -> None:
        """Time that belongs to a metric of its own. Each has a cell, so that many containers do not outgrow a datagram."""
        cell = self._own_cell(key, measure, container)
        microseconds = seconds * 1e6
        bucket = _bucket(microseconds)
        cell.model_sum += microseconds
        cell.model[bucket] = cell.model.get(bucket, 0) + 1

    def said(self, key: CellKey, measure: str, is_so: bool) -> None:
        """Whether something was so for one request."""
        told = self._own_cell(key, measure, "").model
        place = int(is_so)
        told[place] = told.get(place, 0) + 1

    def _own_cell(self, key: CellKey, measure: str, container: str) -> Cell:
        place = (*key, measure, container)
        cell = self._cells.get(place)
        if cell is None:
            cell = self._cells[place] = Cell(*key, measure=measure, container=container)
        return cell

    def compare(self, key: CellKey, agrees: bool, drift: float | None) -> None:
        """A shadow's answer, held against the production variant's."""
        cell = self._cell(key)
        cell.compared += 1
        cell.disagreed += not agrees
        if drift is not None:
            cell.drift_low = min(cell.drift_low, drift) if cell.drifts else drift
            cell.drift_high = max(cell.drift_high, drift)
            cell.drift_sum += drift
            cell.drifts += 1

    def drop(self, key: CellKey) -> None:
        """A copy for a shadow that there was no room for."""
        self._cell(key).dropped += 1

    def _cell(self, key: CellKey) -> Cell:
        if key not in self._cells:
            self._cells[key] = Cell(*key)
        return self._cells[key]

    def note(self, at: int, gauges: Iterable[tuple[CellKey, int, int]]) -> None:
        """Instances and requests in flight of each fleet, before a telling."""
        self._gather()
        is_minute = at % 60 == 0
        for key, instances, in_flight in gauges:
            cell = self._cells.get(key)
            if cell is None:
                if not in_flight and not is_minute:
                    continue  # Once a minute is enough to say that nothing happens.
                cell = self._cells[key] = Cell(*key)
            cell.instances, cell.in_flight = instances, in_flight

    def tell(self, at: int, send: Callable[[bytes], bool]) -> bool:
        """Send the cells; those that nobody took stay. Whether it is worth to go on soon: some went and some stay."""
        keys = list(self._cells)
        told = 0
        while told < len(keys):
            some = keys[told : told + DATAGRAM_CELLS]
            data = self._report(at, some)
            while len(data) > DATAGRAM_BYTES and len(some) > 1:
                some = some[: len(some) // 2]
                data = self._report(at, some)
            if not send(data):
                return told > 0
            for key in some:
                del self._cells[key]
            told += len(some)
        return False

    def _report(self, at: int, keys: Iterable[tuple[str, ...]]) -> bytes:
        cells = [self._cells[key] for key in keys]
        for cell in cells:
            cell.requests = sum(cell.model.values())
        return _encode(Report(at, cells))


_encode = msgspec.msgpack.Encoder().encode
decode_report = msgspec.msgpack.Decoder(Report).decode


class Teller:
    """Datagrams to control's socket; never waits."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, data: bytes) -> bool:
        """Whether control has it: False while it is away, or slow."""
        try:
            self._socket.sendto(data, self._path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


class Telling:
    """When to tell: at the same moments in every gateway, so that the periods of metrics close soon after their ends."""

    def __init__(
        self,
        counters: Counters,
        *,
        gauges: Callable[[], Iterable[tuple[CellKey, int, int]]],
        send: Callable[[bytes], bool],
        now: Callable[[], float],
    ) -> None:
        self._counters = counters
        self._gauges = gauges
        self._send = send
        self._now = now
        self._since = self._last = self._moment()
        self.has_more = False
        """Whether it is worth to tick again soon."""

    def tick(self) -> None:
        """Often, whether something is due or not."""
        moment = self._moment()
        if moment != self._last:
            # Of a clock that was set back, too: not a word about the future, and no waiting for it.
            self._since, self._last = min(self._last, moment), moment
            self._counters.note(self._since, self._gauges())
        elif not self.has_more:
            return
        self.has_more = self._counters.tell(self._since, self._send)

    def _moment(self) -> int:
        return int(self._now()) // TELL_SECONDS * TELL_SECONDS

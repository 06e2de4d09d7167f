"""What a gateway counts of its requests, for CloudWatch's metrics: plain numbers on the hot path, told every few seconds.

A cell is one fleet's part of one variant. Latencies fall into buckets one percent wide, so that what is told does not grow
with the number of requests. While nobody listens, cells keep adding up: a restarted control misses the moment, not the requests.
"""

import math
import socket
from collections.abc import Callable, Iterable

import msgspec

from modelyard.domain.metrics import BUCKET_WIDTH

DATAGRAM_CELLS = 50
"""Cells in one datagram, which has to fit into a socket's buffer."""
_FIRST_SERVER_STATUS, _FIRST_CLIENT_STATUS = 500, 400

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
    client_errors: int = 0
    server_errors: int = 0
    model_errors: int = 0
    model_sum: float = 0.0
    overhead_sum: float = 0.0
    model: dict[int, int] = {}
    overhead: dict[int, int] = {}
    instances: int = 0
    in_flight: int = 0


class Report(msgspec.Struct, array_like=True):
    """One datagram: what happened in the seconds after ``at`` (epoch)."""

    at: int
    cells: list[Cell]


class Counters:
    """The cells of one gateway."""

    def __init__(self) -> None:
        self._cells: dict[CellKey, Cell] = {}

    def count(
        self, key: CellKey, *, status: int, failed: bool, model_seconds: float, seconds: float
    ) -> None:
        """One request that was answered. ``status`` is the container's, or the platform's own where it refused."""
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = Cell(*key)
        cell.requests += 1
        if failed:
            cell.model_errors += 1
            if status >= _FIRST_SERVER_STATUS:
                cell.server_errors += 1
            elif status >= _FIRST_CLIENT_STATUS:
                cell.client_errors += 1
        model = model_seconds * 1e6
        overhead = (seconds - model_seconds) * 1e6
        cell.model_sum += model
        cell.overhead_sum += overhead
        place = int(math.log(model) / BUCKET_WIDTH) if model > 1.0 else 0
        cell.model[place] = cell.model.get(place, 0) + 1
        place = int(math.log(overhead) / BUCKET_WIDTH) if overhead > 1.0 else 0
        cell.overhead[place] = cell.overhead.get(place, 0) + 1

    def tell(
        self, at: int, gauges: Iterable[tuple[CellKey, int, int]], send: Callable[[bytes], bool]
    ) -> None:
        """Send all cells; those that nobody took stay. ``gauges``: instances and requests in flight of each fleet."""
        is_minute = at % 60 == 0
        for key, instances, in_flight in gauges:
            cell = self._cells.get(key)
            if cell is None:
                if not in_flight and not is_minute:
                    continue  # Once a minute is enough to say that nothing happens.
                cell = self._cells[key] = Cell(*key)
            cell.instances, cell.in_flight = instances, in_flight
        keys = list(self._cells)
        for first in range(0, len(keys), DATAGRAM_CELLS):
            some = keys[first : first + DATAGRAM_CELLS]
            report = Report(at, [self._cells[key] for key in some])
            if not send(_encode(report)):
                return
            for key in some:
                del self._cells[key]


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

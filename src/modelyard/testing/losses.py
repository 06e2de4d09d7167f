"""Callers without patience, and processes that are killed under them: what a loss costs, request by request.

Each caller sends a number of its own over a connection of its own, checks that the answer is twice that number, and repeats
nothing: whatever a client with retries would not notice is seen here. The model is ``models.doubling_model``.
"""

import http.client
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError

from modelyard.base.settings import Home, zone_names
from modelyard.cli.platform import CommandFailed, Platform
from modelyard.store.lease import read_holder

ANSWERED, BROKEN, WRONG = "answered", "broken", "wrong"
TIMEOUT_SECONDS = 70.0
SETTLED_SECONDS = 180.0
PATIENT: dict[str, Any] = {"mode": "standard", "total_max_attempts": 12}
"""``retries`` of a client that outwaits a process which a busy machine takes long to start again."""
PATIENTLY = ("--limit", "replica_wait_seconds=50")
"""Options of a platform whose requests outwait workers which a busy machine takes long to start again."""
_OK = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request: ``ANSWERED``, ``BROKEN`` (the connection ended), ``WRONG``, or an HTTP status."""

    began: float
    ended: float
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What callers saw of one loss. Seconds: from the kill to the end of the last request that failed; of the slowest."""

    victim: str
    answered: int
    refused: int
    broken: int
    other: int
    window_seconds: float
    slowest_seconds: float


class Callers:
    """``count`` threads that ask an endpoint of a platform without signatures until the block ends."""

    def __init__(self, platform: Platform, endpoint: str, *, count: int) -> None:
        self._address = (platform.settings.host, platform.settings.port)
        self._path = f"/endpoints/{endpoint}/invocations"
        self._stop = threading.Event()
        self._answers: list[list[Answer]] = [[] for _ in range(count)]
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(count)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def answers(self) -> list[Answer]:
        """So far, of all callers, in the order of their ends."""
        found = [answer for mine in self._answers for answer in list(mine)]
        return sorted(found, key=lambda answer: answer.ended)

    def since(self, moment: float) -> int:
        """How many requests that began after ``moment`` (monotonic) were answered."""
        return sum(one.began > moment and one.outcome == ANSWERED for one in self.answers)

    def _call(self, caller: int) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_SECONDS)
        number = caller
        while not self._stop.is_set():
            number += len(self._threads)
            began = time.monotonic()
            outcome = self._ask(connection, number)
            self._answers[caller].append(Answer(began, time.monotonic(), outcome))
            if outcome == BROKEN:
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> str:
        try:
            connection.request("POST", self._path, str(number), {"Content-Type": "text/csv"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return BROKEN
        if answer.status != _OK:
            return str(answer.status)
        return ANSWERED if float(body) == 2.0 * number else WRONG


def summary(victim: str, answers: Sequence[Answer], killed_at: float) -> Loss:
    """What those requests that ended after the kill say."""
    after = [one for one in answers if one.ended >= killed_at]
    counts = Counter(one.outcome for one in after)
    failed = [one.ended for one in after if one.outcome != ANSWERED]
    known = counts[ANSWERED] + counts["503"] + counts[BROKEN]
    return Loss(
        victim=victim,
        answered=counts[ANSWERED],
        refused=counts["503"],
        broken=counts[BROKEN],
        other=len(after) - known,
        window_seconds=max(failed, default=killed_at) - killed_at,
        slowest_seconds=max((one.ended - one.began for one in after), default=0.0),
    )


def platform_processes(home: Home) -> dict[str, int]:
    """Process ids by name, without the supervisor."""
    table: dict[str, int] = json.loads(home.process_table.read_text())
    return {name: pid for name, pid in table.items() if name != "supervisor"}


def rows(platform: Platform) -> list[dict[str, Any]]:
    """Of ``modelyard status``, a process each: ``name``, ``state``, ``pid``, ``zone`` of a worker."""
    found: list[dict[str, Any]] = json.loads(platform.own_call("GET", "/_modelyard/status"))[
        "processes"
    ]
    return found


def workers(platform: Platform) -> list[dict[str, Any]]:
    """Rows of the workers that are ready."""
    return [one for one in rows(platform) if _is_ready_worker(one)]


def _is_ready_worker(row: dict[str, Any]) -> bool:
    return bool(row["name"].startswith("worker") and row["state"] == "ready")


def victims(platform: Platform, what: str) -> list[int]:
    """Process ids of a loss: ``worker``, ``every worker``, ``control`` (who leads), another process by name, ``zone b``.

    With a zone go its host, its workers, the gateway and the control that share its number.
    """
    processes = platform_processes(platform.home)
    if what == "worker":
        return [workers(platform)[0]["pid"]]
    if what == "every worker":
        return [row["pid"] for row in workers(platform)]
    if what == "control":
        holder = read_holder(platform.home.lease)
        return [holder.pid] if holder is not None else [processes["control"]]
    if not what.startswith("zone "):
        return [processes[what]]
    zone = what.removeprefix("zone ")
    number = zone_names(platform.settings.zones).index(zone)
    names = ["host", "control"] if number == 0 else [f"host-{zone}", f"control-{number + 1}"]
    names.append(f"gateway-{number}")
    found = [row["pid"] for row in workers(platform) if row["zone"] == zone]
    return [processes[name] for name in names if name in processes] + found


def kill(pids: Sequence[int]) -> float:
    """SIGKILL to all at once, by a program that has nothing else to do; the moment of it (monotonic)."""
    moment = time.monotonic()
    subprocess.run(["kill", "-KILL", *map(str, pids)], check=True)
    return moment


def wait_for(condition: Callable[[], bool], what: str) -> float:
    """Until it is so; how long that took. Raises ``AssertionError`` after ``SETTLED_SECONDS``."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < SETTLED_SECONDS, f"{what} did not happen"
        time.sleep(0.02)
    return time.monotonic() - began


def is_answered(platform: Platform) -> bool:
    """Whether control answers."""
    try:
        platform.own_call("GET", "/_modelyard/status")
    except (CommandFailed, BotoCoreError):
        return False
    return True


def is_whole(platform: Platform, replicas: int) -> bool:
    """Whether every process is there (of two controls one can take over), every replica is ready, and zones have equally many."""
    home, settings = platform.home, platform.settings
    expected = 2 + settings.standby + settings.zones + settings.gateways
    if len(platform_processes(home)) != expected:
        return False
    found = rows(platform)
    if sum(row["state"] == "standby" for row in found) != settings.standby:
        return False
    zones = Counter(row["zone"] for row in found if _is_ready_worker(row))
    if zones.total() != replicas:
        return False
    if settings.zones == 1:
        return True
    counts = [zones[zone] for zone in zone_names(settings.zones)]
    return max(counts) - min(counts) <= 1

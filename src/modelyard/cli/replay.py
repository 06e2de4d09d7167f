"""Captured requests, asked again: of the fleet in service and of a candidate that lives as long as the rehearsal."""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from modelyard.base.ids import SeededRandom
from modelyard.cli.captured import OWN
from modelyard.cli.platform import CommandFailed
from modelyard.domain.capture import Captured
from modelyard.domain.rehearsal import Answered, Exchange
from modelyard.domain.shadow import Answer, compare

SETTLE_SECONDS = 600.0
POLL_SECONDS = 0.1
BUSY_SECONDS = 60.0
"""A platform that refuses a request as too many is asked again for so long."""
_OVERLOADED = (429, 503)
_NAME_CHARACTERS = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """``speed``: captured seconds in a second, 0 for no waiting; ``callers`` ask at a time."""

    speed: float
    callers: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """An endpoint to ask: its variants with their weights."""

    endpoint: str
    weights: Mapping[str, float]

    def variant(self, captured: str, draw: float) -> str:
        """The variant that was asked then, where there is one of its name; else one by weight."""
        if captured in self.weights:
            return captured
        position = draw * sum(self.weights.values())
        for name, weight in self.weights.items():
            position -= weight
            if position < 0:
                return name
        return next(iter(self.weights))


@contextmanager
def candidate(sagemaker: Any, endpoint: str, config: str) -> Iterator[str]:
    """The name of an endpoint of the config, in service; deleted in the end, come what may."""
    tail = f"-{secrets.token_hex(4)}"
    name = f"rehearsal-{endpoint}"[: _NAME_CHARACTERS - len(tail)].rstrip("-") + tail
    tags = [{"Key": "modelyard:rehearsal-of", "Value": endpoint}]
    try:
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=tags)
        found = _settled(sagemaker, name)
        if found["EndpointStatus"] != "InService":
            raise CommandFailed(
                f"The candidate does not start: {found.get('FailureReason', 'no reason is known')}"
            )
        yield name
    finally:
        _delete(sagemaker, name)


def _settled(sagemaker: Any, name: str) -> Mapping[str, Any]:
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        found: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] != "Creating":
            return found
        time.sleep(POLL_SECONDS)
    raise CommandFailed(f"The candidate is not in service after {SETTLE_SECONDS:.0f} seconds.")


def _delete(sagemaker: Any, name: str) -> None:
    """What is still being created cannot be deleted yet, which is waited for."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            sagemaker.delete_endpoint(EndpointName=name)
            return
        except ClientError as error:
            if "Could not find" in str(error):
                return
            if "in-progress" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(POLL_SECONDS)


class Replay:
    """Asks two fleets the same, in the captured order."""

    def __init__(
        self, runtime: Any, old: Fleet | None, new: Fleet, *, pace: Pace, tolerance: float
    ) -> None:
        """Without ``old`` the captured answers stand for the fleet in service."""
        self._runtime = runtime
        self._old = old
        self._new = new
        self._pace = pace
        self._tolerance = tolerance

    def run(
        self, captured: Iterable[tuple[Captured, str]], told: Callable[[], object]
    ) -> list[Exchange]:
        """``told`` is called for each request that was asked; no more are on their way than there are callers."""
        random = SeededRandom(self._pace.seed)
        room = threading.Semaphore(self._pace.callers)
        asked: list[Future[Exchange]] = []
        pool = ThreadPoolExecutor(self._pace.callers, thread_name_prefix="rehearsal")
        begun, first, due = time.monotonic(), None, 0.0

        def done(_: object) -> None:
            room.release()
            told()

        try:
            for one, variant in captured:
                first = one.moment if first is None else first
                # The capture knows whole seconds: where in its second a request came is drawn, its place in the order kept.
                due = max(due, one.moment - first + random.uniform())
                draws = random.uniform(), random.uniform()
                if self._pace.speed:
                    time.sleep(max(0.0, begun + due / self._pace.speed - time.monotonic()))
                room.acquire()
                asked.append(pool.submit(self._exchange, one, variant, draws))
                asked[-1].add_done_callback(done)
                if len(asked) % self._pace.callers == 0:
                    _raise_any(asked[-2 * self._pace.callers :])
            return [future.result() for future in asked]
        finally:
            pool.shutdown(cancel_futures=True)

    def _exchange(self, one: Captured, variant: str, draws: tuple[float, float]) -> Exchange:
        if self._old is None:
            assert one.answer is not None
            old, old_seconds = Answer(200, one.answer.content_type, one.answer.body), 0.0
        else:
            variant = self._old.variant(variant, draws[0])
            old, old_seconds = self._ask(self._old.endpoint, variant, one)
        wanted = self._new.variant(variant, draws[1])
        new, new_seconds = self._ask(self._new.endpoint, wanted, one)
        found = compare(old, new, tolerance=self._tolerance)
        return Exchange(
            event_id=one.event_id,
            at=int(one.moment),
            variant=variant,
            old=Answered(old.status, old_seconds * 1e6),
            new=Answered(new.status, new_seconds * 1e6),
            agrees=None if found is None else found.agrees,
            drift=None if found is None else found.drift,
        )

    def _ask(self, endpoint: str, variant: str, one: Captured) -> tuple[Answer, float]:
        request = {
            "EndpointName": endpoint,
            "TargetVariant": variant,
            "Body": one.request.body,
            "InferenceId": OWN,
        }
        if one.request.content_type:
            request["ContentType"] = one.request.content_type
        if one.answer is not None and one.answer.content_type:
            request["Accept"] = one.answer.content_type
        end = time.monotonic() + BUSY_SECONDS
        while True:
            begun = time.perf_counter()
            try:
                answer = self._runtime.invoke_endpoint(**request)
                body = answer["Body"].read()
                found = Answer(200, answer.get("ContentType", ""), body)
            except ClientError as error:
                found = _refused(error)
                if found.status in _OVERLOADED and "OriginalStatusCode" not in error.response:
                    if time.monotonic() < end:
                        time.sleep(POLL_SECONDS)
                        continue
                    raise CommandFailed(
                        f"Endpoint {endpoint} refuses requests for {BUSY_SECONDS:.0f} seconds: {error}",
                        "Ask more slowly: --speed 1, or fewer --callers.",
                    ) from error
            return found, time.perf_counter() - begun


def _raise_any(asked: list[Future[Exchange]]) -> None:
    """A request that could not be asked ends the rehearsal now, not after the last one."""
    for future in asked:
        if future.done():
            future.result()


def _refused(error: ClientError) -> Answer:
    """An error of the container, or the platform's own."""
    response = error.response
    status = response.get("OriginalStatusCode") or response["ResponseMetadata"]["HTTPStatusCode"]
    return Answer(int(status), "", b"")

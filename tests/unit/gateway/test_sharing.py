"""What one endpoint's callers take is never another's: queues, replicas, deadlines."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, ReplicaRoute, VariantRoute, WorkerRoute
from modelyard.domain.shelf import ABSENT
from modelyard.gateway.counters import CellKey
from modelyard.gateway.dispatcher import Dispatcher, Uncounted
from modelyard.gateway.in_flight import Invocation
from modelyard.transport import frames
from modelyard.transport.channel import Listener

QUEUE = 5
Sent = tuple[object, int, bytes]
"""Invocation, remaining milliseconds, body."""


@dataclass
class Worker:
    """Greets at once, and answers when it is told to."""

    listener: Listener
    sent: list[Sent] = field(default_factory=list)
    is_ready: bool = False

    @property
    def in_flight(self) -> int:
        return len(self.sent)

    def connect(self) -> None:
        self.is_ready = True

    def close(self) -> None: ...

    def send(self, tag: object, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int:
        self.sent.append((tag, remaining_ms, body))
        return len(self.sent)

    def cancel(self, request_id: int) -> None: ...
    def credit(self, request_id: int, taken: int) -> None: ...

    def answer(self, status: int = 200, model: frames.ModelTimes | None = None) -> None:
        tag, _, body = self.sent.pop(0)
        meta = frames.encode_meta(frames.ModelAnswerMeta("text/plain", model=model))
        self.listener.answered(tag, frames.Frame(frames.ANSWER, 0, 1, status, meta, body))


class Bench:
    """Endpoints ``hot`` with one replica and ``calm`` with two."""

    def __init__(self) -> None:
        self.now = 0.0
        self.workers: dict[str, Worker] = {}
        self.outcomes: list[tuple[str, Final | ServiceError]] = []
        self.dispatcher = Dispatcher(
            channel=self.channel, now=lambda: self.now, queue_limit=QUEUE, wait_seconds=10.0
        )
        self.dispatcher.update((endpoint("hot", "h"), endpoint("calm", "c1", "c2")))

    def channel(self, address: str, listener: Listener) -> Worker:
        return self.workers.setdefault(address, Worker(listener))

    def measures(self) -> list[tuple[str, float, str]]:
        """What is counted beside requests, from now on."""
        found: list[tuple[str, float, str]] = []

        class Counted(Uncounted):
            def spent(
                self, key: CellKey, measure: str, seconds: float, container: str = ""
            ) -> None:
                found.append((measure, seconds, container))

            def said(self, key: CellKey, measure: str, is_so: bool) -> None:
                found.append((measure, is_so, ""))

        self.dispatcher.counters = Counted()
        return found

    def ask(self, name: str, *, seconds: float = 60.0) -> Invocation:
        invocation = Invocation(
            body=name.encode(),
            meta=frames.RequestMeta(content_type="text/csv"),
            deadline=self.now + seconds,
            finish=lambda outcome: self.outcomes.append((name, outcome)),
        )
        self.dispatcher.submit(("1", "r", name, "v", 1), invocation)
        return invocation


def endpoint(name: str, *replicas: str) -> EndpointRoute:
    routes = tuple(
        ReplicaRoute(id=one, workers=(WorkerRoute(id=one, container="a", address=one),))
        for one in replicas
    )
    variant = VariantRoute(name="v", weight=1.0, replicas=routes, fleet=1)
    return EndpointRoute(name=name, arn="a", account="1", region="r", variants=(variant,))


def test_a_full_endpoint_refuses_its_own_callers_at_once_and_no_others() -> None:
    bench = Bench()
    for _ in range(QUEUE):
        bench.ask("hot")
    for _ in range(100):
        with pytest.raises(ServiceError, match="Rate exceeded") as refused:
            bench.ask("hot")
        assert (refused.value.code, refused.value.status) == ("ThrottlingException", 429)
    bench.ask("calm")
    assert len(bench.workers["h"].sent) == QUEUE
    (asked,) = [bench.workers[name] for name in ("c1", "c2") if bench.workers[name].sent]
    asked.answer()
    assert [name for name, _ in bench.outcomes] == ["calm"]
    bench.workers["h"].answer()
    bench.ask("hot")
    assert len(bench.workers["h"].sent) == QUEUE


def test_the_replica_with_the_fewest_requests_in_flight_is_asked() -> None:
    bench = Bench()
    for _ in range(4):
        bench.ask("calm")
    first, second = bench.workers["c1"], bench.workers["c2"]
    assert (len(first.sent), len(second.sent)) == (2, 2)
    second.answer()
    second.answer()
    bench.ask("calm")
    bench.ask("calm")
    assert (len(first.sent), len(second.sent)) == (2, 2)


def test_each_container_of_a_pipeline_is_timed_from_its_own_sending() -> None:
    bench = Bench()
    spent = bench.measures()
    route = endpoint("series", "s")
    (variant,) = route.variants
    workers = tuple(WorkerRoute(id=one, container=one, address=one) for one in ("add", "times"))
    variant = msgspec.structs.replace(variant, replicas=(ReplicaRoute(id="s", workers=workers),))
    bench.dispatcher.update((msgspec.structs.replace(route, variants=(variant,)),))
    bench.ask("series")
    for container, seconds in (("add", 0.5), ("times", 2.0)):
        bench.now += seconds
        bench.workers[container].answer()
    assert [name for name, _ in bench.outcomes] == ["series"]
    assert spent == [("ContainerLatency", 0.5, "add"), ("ContainerLatency", 2.0, "times")]


def test_a_wake_is_timed_from_the_request_that_found_the_variant_asleep() -> None:
    bench = Bench()
    spent = bench.measures()
    awake = endpoint("sleepy", "s")
    (variant,) = awake.variants
    hibernating = msgspec.structs.replace(variant, hibernates=True)
    awake = msgspec.structs.replace(awake, variants=(hibernating,))
    asleep = msgspec.structs.replace(hibernating, replicas=())
    bench.dispatcher.update((msgspec.structs.replace(awake, variants=(asleep,)),))
    for _ in range(2):
        bench.ask("sleepy")
        bench.now += 1.5
    bench.dispatcher.update((awake,))
    for _ in range(2):
        bench.workers["s"].listener.ready()
    assert spent == [("ModelSetupTime", 3.0, "")]
    assert len(bench.workers["s"].sent) == 2


def test_a_request_whose_model_had_to_be_fetched_and_loaded_says_what_it_waited() -> None:
    bench = Bench()
    spent = bench.measures()
    route = endpoint("many", "m")
    (variant,) = route.variants
    variant = msgspec.structs.replace(variant, multi_model=True)
    bench.dispatcher.update((msgspec.structs.replace(route, variants=(variant,)),))
    worker, invocation = bench.workers["m"], bench.ask("many")
    invocation.absent = lambda: None
    worker.answer(ABSENT)
    bench.now += 2.0
    bench.dispatcher.resume(("1", "r", "many", "v", 1), invocation)
    worker.answer(model=frames.ModelTimes(False, 750_000, (500_000,), (125_000, 125_000)))
    bench.ask("many")
    worker.answer(model=frames.ModelTimes())
    assert [name for name, _ in bench.outcomes] == ["many", "many"]
    assert spent == [
        ("ModelCacheHit", False, ""),
        ("ModelLoadingWaitTime", 2.75, ""),
        ("ModelLoadingTime", 0.5, ""),
        ("ModelUnloadingTime", 0.125, ""),
        ("ModelUnloadingTime", 0.125, ""),
        ("ModelCacheHit", True, ""),
    ]


def test_a_worker_is_told_how_much_time_the_caller_has_left() -> None:
    bench = Bench()
    bench.ask("calm", seconds=7.5)
    (sent,) = bench.workers["c1"].sent + bench.workers["c2"].sent
    assert sent[1] == 7_500


def test_who_waits_in_vain_is_told_in_time_and_leaves_its_place() -> None:
    bench = Bench()
    for _ in range(QUEUE):
        bench.ask("hot", seconds=1.0)
    bench.now = 1.0
    bench.dispatcher.tick()
    assert len(bench.outcomes) == QUEUE
    assert bench.dispatcher.in_flight == 0


def fleet_of(route: EndpointRoute, fleet: int, **changes: Any) -> EndpointRoute:
    """The endpoint with its variant in this fleet."""
    (variant,) = route.variants
    variant = msgspec.structs.replace(variant, fleet=fleet, **changes)
    return msgspec.structs.replace(route, variants=(variant,))


def test_a_fleet_that_takes_over_need_not_have_the_container_that_was_waited_for() -> None:
    bench = Bench()
    bench.workers["h"].is_ready = False
    bench.ask("hot").container = "a"
    workers = tuple(WorkerRoute(id=one, container=one, address=one) for one in ("b", "c"))
    replicas = (ReplicaRoute(id="n", workers=workers),)
    old = endpoint("hot", "h")
    new = fleet_of(old, 2, replicas=replicas, containers=("b", "c"), direct=True)
    both = msgspec.structs.replace(old, variants=old.variants + new.variants)
    bench.dispatcher.update((both,))
    bench.dispatcher.update((new,))
    ((_, outcome),) = bench.outcomes
    assert isinstance(outcome, ServiceError)
    assert outcome.code == "ValidationError"
    assert not (bench.workers["b"].sent or bench.workers["c"].sent)


def test_who_gave_up_holds_no_place_in_the_fleet_that_took_over() -> None:
    bench = Bench()
    bench.workers["h"].is_ready = False
    bench.ask("hot", seconds=1.0)
    bench.dispatcher.update((fleet_of(endpoint("hot"), 2, hibernates=True),))
    assert bench.dispatcher.waits_for(("1", "r", "hot", "v"))
    bench.now = 1.0
    bench.dispatcher.tick()
    assert len(bench.outcomes) == 1
    assert not bench.dispatcher.waits_for(("1", "r", "hot", "v"))


def test_a_request_whose_worker_died_waits_for_the_variant_to_wake_too() -> None:
    bench = Bench()
    route = fleet_of(endpoint("hot", "h"), 1, hibernates=True)
    bench.dispatcher.update((route,))
    bench.ask("hot")
    bench.dispatcher.update((fleet_of(route, 1, replicas=()),))
    worker = bench.workers["h"]
    worker.is_ready = False
    worker.listener.lost(worker.sent.pop()[0], executed=True)
    assert bench.dispatcher.waits_for(("1", "r", "hot", "v"))


def test_who_waits_for_a_replica_that_goes_to_sleep_waits_as_long_as_its_caller() -> None:
    bench = Bench()
    route = fleet_of(endpoint("hot", "h"), 1, hibernates=True)
    bench.dispatcher.update((route,))
    bench.workers["h"].is_ready = False
    bench.ask("hot")
    bench.dispatcher.update((fleet_of(route, 1, replicas=()),))
    bench.now = 30.0
    bench.dispatcher.tick()
    assert not bench.outcomes
    bench.dispatcher.update((fleet_of(endpoint("hot", "again"), 1, hibernates=True),))
    bench.workers["again"].listener.ready()
    assert len(bench.workers["again"].sent) == 1

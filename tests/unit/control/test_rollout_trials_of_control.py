"""A test before traffic as it is run, and checks as they are measured, on a manual clock."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.base.errors import ServiceError
from modelyard.control.pre_traffic import ATTEMPTS_MAX, Trials
from modelyard.control.rollout_watch import CheckMeter, NoAlarms, RolloutWatch
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_steps import Watch
from modelyard.domain.fleet import Fleet, to_json
from modelyard.domain.metrics import Summary
from modelyard.domain.pre_traffic import Expected, Trial, Tried
from modelyard.domain.rollout import Policy, Rollout
from modelyard.domain.routes import ReplicaRoute, VariantRoute
from modelyard.domain.shadow import Answer
from modelyard.store.metrics import Datum, Metric, MetricStore
from modelyard.store.resources import Key, Resource
from modelyard.testing.alarms import RangBriefly
from modelyard.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
ENDPOINT = Key(kind="endpoint", account="1", region="us-east-1", name="churn")
GONE = ServiceError("ServiceUnavailable", "No healthy replica came back in time.", status=503)


class Plane:
    """Replicas that answer as they are told, and what they were asked."""

    def __init__(self, clock: ManualClock, answer: Callable[[Trial], Answer]) -> None:
        self.clock = clock
        self.answer = answer
        self.asked: list[tuple[str, bytes]] = []
        self.open_: list[str] = []
        self.seconds = 0.0

    def open(self, key: Key, variants: Sequence[VariantRoute]) -> None:
        self.open_ = [one.name for one in variants]

    async def ask(self, key: Key, variant: str, trial: Trial) -> Answer:
        await asyncio.sleep(0)
        self.clock.advance(self.seconds)
        self.asked.append((variant, trial.body))
        return self.answer(trial)

    def close(self, key: Key) -> None:
        self.open_ = []


class Bench:
    def __init__(self, answer: Callable[[Trial], Answer]) -> None:
        self.clock = ManualClock()
        self.plane = Plane(self.clock, answer)
        self.woken = asyncio.Event()
        self.trials = Trials(plane=self.plane, clock=self.clock, wake=lambda _: self.woken.set())

    async def run(self, *bodies: bytes, rollout: str = "r", variant: str = "") -> Tried | None:
        trials = [Trial(body=body, variant=variant) for body in bodies]
        kept = [msgspec.to_builtins(one) for one in trials]
        self.woken.clear()
        self.trials.begin(ENDPOINT, rollout, variants(a=2, b=1), kept)
        await asyncio.wait_for(self.woken.wait(), 5)
        return self.trials.verdict(ENDPOINT, rollout)


def variants(**counts: int) -> list[VariantRoute]:
    return [
        VariantRoute(
            name=name,
            weight=1.0,
            replicas=tuple(ReplicaRoute(id=f"{name}{n}", workers=()) for n in range(count)),
        )
        for name, count in counts.items()
    ]


def ok(trial: Trial) -> Answer:
    return Answer(200, "text/csv", trial.body)


async def test_each_variant_gets_each_request_and_its_replicas_take_turns() -> None:
    bench = Bench(ok)
    assert await bench.run(b"1", b"2") == Tried(sent=4, passed=4)
    assert bench.plane.asked == [("a/0", b"1"), ("b/0", b"1"), ("a/1", b"2"), ("b/0", b"2")]
    assert bench.plane.open_ == [], "nobody is asked any more"


async def test_a_request_of_one_variant_goes_to_it_alone() -> None:
    bench = Bench(ok)
    await bench.run(b"1", variant="b")
    assert bench.plane.asked == [("b/0", b"1")]


async def test_the_first_wrong_answer_ends_it_and_is_told() -> None:
    bench = Bench(lambda trial: Answer(500 if trial.body == b"2" else 200, "", b"broken"))
    found = await bench.run(b"1", b"2", b"3")
    assert found is not None
    assert (found.sent, found.passed) == (3, 2)
    assert "request 2 of 3 to variant a was answered 500 'broken'" in found.failure


async def test_a_container_that_never_answers_has_failed() -> None:
    def answer(trial: Trial) -> Answer:
        raise ServiceError("ModelError", "did not respond in time", status=424)

    found = await Bench(answer).run(b"1")
    assert found is not None
    assert "was not answered: did not respond in time" in found.failure


async def test_a_test_whose_replica_went_away_begins_again_but_not_for_ever() -> None:
    def answer(trial: Trial) -> Answer:
        raise GONE

    bench = Bench(answer)
    for _ in range(ATTEMPTS_MAX - 1):
        assert await bench.run(b"1") is None
    bench.plane.answer = ok
    assert await bench.run(b"1") == Tried(sent=2, passed=2)
    again = Bench(answer)
    for _ in range(ATTEMPTS_MAX):
        found = await again.run(b"1")
    assert found is not None
    assert "could not be run, 3 times: request 1 of 1 to variant a got no answer" in found.failure


async def test_it_has_to_be_over_in_time() -> None:
    bench = Bench(ok)
    bench.plane.seconds = 200.0
    found = await bench.run(b"1", b"2", b"3")
    assert found is not None
    assert "took longer than 300 seconds: request 2 of 3" in found.failure


async def test_it_runs_once_for_a_rollout_and_ends_with_it() -> None:
    bench = Bench(ok)
    await bench.run(b"1")
    bench.trials.begin(ENDPOINT, "r", variants(a=1), [])
    assert len(bench.plane.asked) == 2, "it is done"
    assert bench.trials.verdict(ENDPOINT, "another") is None
    bench.trials.end(ENDPOINT)
    assert bench.trials.verdict(ENDPOINT, "r") is None
    waits = asyncio.Event()

    async def ask(key: Key, variant: str, trial: Trial) -> Answer:
        await waits.wait()
        return ok(trial)

    bench.plane.ask = ask  # type: ignore[method-assign]
    bench.trials.begin(ENDPOINT, "next", variants(a=1), [{"body": "MQ=="}])
    await asyncio.sleep(0)
    assert bench.plane.open_ == ["a/0"]
    await bench.trials.close()
    assert bench.plane.open_ == []


async def test_an_answer_is_judged_by_what_was_kept() -> None:
    bench = Bench(ok)
    trial = Trial(body=b"1", expected=Expected(body="2"))
    bench.trials.begin(ENDPOINT, "r", variants(a=1), [msgspec.to_builtins(trial)])
    await asyncio.wait_for(bench.woken.wait(), 5)
    found = bench.trials.verdict(ENDPOINT, "r")
    assert found is not None
    assert found.failure.endswith("expected 2.")


class Ringing(NoAlarms):
    """Every alarm is in ALARM."""

    def ringing(
        self, account: str, region: str, names: Collection[str], *, since: float
    ) -> tuple[str, ...]:
        return tuple(sorted(names))


def endpoint(memory: Memory, updated_at: float = 0.0) -> Resource:
    status = {"control": to_json(memory)}
    return Resource(
        key=ENDPOINT, version=1, created_at=0.0, updated_at=updated_at, spec={}, status=status
    )


def fleet(generation: int) -> Fleet:
    return Fleet(owner="me", generation=generation, created_at=0.0, variants=())


async def test_a_bake_is_as_long_as_it_was_watched_whatever_happens_to_clocks() -> None:
    clock = ManualClock()
    policy = Policy(termination_wait=100.0, alarms=("bad",))
    rollout = Rollout(policy=policy, blue={"a": 1}, green={"a": 1}, shifted=True)
    memory = Memory(serving=fleet(1), target=fleet(2), rollout=rollout)
    watch, watched = RolloutWatch(clock), 0.0
    for jump in (0.0, 3600.0, -86_400.0):
        await watch.look(endpoint(memory), memory)
        for _ in range(20):
            clock.advance(1.0)
            clock.step_wall_time(jump)
            watched += (await watch.look(endpoint(memory), memory)).seconds
        clock.advance(1000.0)  # control is killed, and comes back much later
        watch = RolloutWatch(clock)
    assert watched == 60.0


async def test_an_alarm_that_rings_after_the_old_fleet_is_gone_is_heard_by_nobody() -> None:
    watch = RolloutWatch(ManualClock(), alarms=Ringing())
    policy = Policy(alarms=("bad",))
    rollout = Rollout(policy=policy, blue={"a": 1}, green={"a": 1})
    running = Memory(serving=fleet(1), target=fleet(2), rollout=rollout)
    assert (await watch.look(endpoint(running), running)).ringing == ("bad",)
    promoted = Memory(serving=fleet(2))
    assert await watch.look(endpoint(promoted), promoted) == Watch()


async def test_an_alarm_that_rang_since_the_last_look_is_heard_once() -> None:
    clock, alarms = ManualClock(), RangBriefly()
    watch = RolloutWatch(clock, alarms=alarms)
    policy = Policy(alarms=("bad",))
    rollout = Rollout(policy=policy, blue={"a": 1}, green={"a": 1})
    running = Memory(serving=fleet(1), target=fleet(2), rollout=rollout)
    begun = endpoint(running, updated_at=clock.now())
    alarms.until = clock.now() - 1.0
    assert (await watch.look(begun, running)).ringing == (), "it was before the rollout"
    watch.kept(ENDPOINT)
    clock.advance(0.4)
    alarms.until = clock.now()
    clock.advance(0.6)
    assert (await watch.look(begun, running)).ringing == ("bad",)
    assert (await watch.look(begun, running)).ringing == ("bad",), "nothing came of it yet"
    watch.kept(ENDPOINT)
    clock.advance(1.0)
    assert (await watch.look(begun, running)).ringing == ()


async def test_an_alarm_that_rang_as_control_was_killed_is_heard_by_the_next_one() -> None:
    clock, alarms = ManualClock(), RangBriefly()
    rollout = Rollout(policy=Policy(alarms=("bad",)), blue={"a": 1}, green={"a": 1}, shifted=True)
    running = Memory(serving=fleet(1), target=fleet(2), rollout=rollout)
    shifted = endpoint(running, updated_at=clock.now())
    before = RolloutWatch(clock, alarms=alarms)
    assert (await before.look(shifted, running)).ringing == ()
    before.kept(ENDPOINT)
    clock.advance(0.4)
    alarms.until = clock.now()
    clock.advance(30.0)  # Control is killed, and comes back.
    assert (await RolloutWatch(clock, alarms=alarms).look(shifted, running)).ringing == ("bad",)


def check(expression: str = "e / n") -> Any:
    metrics = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": "Own", "MetricName": name},
                "Period": 10,
                "Stat": "Sum",
            },
        }
        for name in ("e", "n")
    ]
    asked = {"name": "errors", "expression": expression, "condition": "<= 1", "interval": 30.0}
    return {"check": asked, "metrics": metrics, "period": 10}


def test_a_check_is_the_newest_closed_period_with_a_value(tmp_path: Path) -> None:
    clock = ManualClock(1_700_000_000.0)
    store = MetricStore(tmp_path / "metrics.db")

    def put(name: str, at: int, value: float) -> None:
        summary = Summary()
        summary.add(value)
        metric = Metric(account="1", region="us-east-1", namespace="Own", name=name)
        datum = Datum(metric=metric, at=at, summary=summary, is_high_resolution=True)
        store.put([datum], now=clock.now())

    meter = CheckMeter(store, clock)
    assert meter.measure(ENDPOINT, check()).value is None
    start = 1_700_000_000
    for place, (errors, requests) in enumerate([(1.0, 10.0), (4.0, 8.0)]):
        put("e", start + 10 * place + 3, errors)
        put("n", start + 10 * place + 3, requests)
    clock.advance(21)
    found = meter.measure(ENDPOINT, check())
    assert (found.value, found.inputs) == (0.1, {"e": 1.0, "n": 10.0}), "the second is not over yet"
    clock.advance(1)
    assert meter.measure(ENDPOINT, check()).value == 0.5
    clock.advance(25)
    assert meter.measure(ENDPOINT, check()).value == 0.5, "within its interval"
    clock.advance(10)
    assert meter.measure(ENDPOINT, check()).value is None
    store.close()

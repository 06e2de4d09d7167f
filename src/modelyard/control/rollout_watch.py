"""What a rollout is watched by: its seconds, its alarms, its checks, its test, and a person's word."""

import asyncio
import logging
import sqlite3
from collections.abc import Collection, Sequence
from typing import Protocol

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.control.alarms import SETTLE_SECONDS, Window
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_steps import TryFleet, Watch
from modelyard.domain.endpoint_update import rollout_id
from modelyard.domain.ledger import AlarmSeen
from modelyard.domain.metric_math import evaluate_all
from modelyard.domain.pre_traffic import Tried
from modelyard.domain.rollout import Rollout, due_checks, seconds_left
from modelyard.domain.rollout_checks import Measured
from modelyard.domain.routes import VariantRoute
from modelyard.store.metrics import MetricStore
from modelyard.store.resources import Json, Key, Resource

logger = logging.getLogger(__name__)
TRIALS = "trials"
_SAVE_SECONDS = 5.0
"""So much of a bake may be watched again after control was killed."""
_RESULT = "="


class AlarmStates(Protocol):
    """CloudWatch's alarms, as far as a rollout heeds them."""

    def ringing(
        self, account: str, region: str, names: Collection[str], *, since: float
    ) -> tuple[str, ...]:
        """Those of the alarms that are in ALARM or were after ``since``, a time of day, sorted."""

    def seen(self, account: str, region: str, names: Collection[str]) -> tuple[AlarmSeen, ...]:
        """Their states, and the values behind them. Blocks."""


class NoAlarms:
    """Where there are none."""

    def ringing(
        self, account: str, region: str, names: Collection[str], *, since: float
    ) -> tuple[str, ...]:
        return ()

    def seen(self, account: str, region: str, names: Collection[str]) -> tuple[AlarmSeen, ...]:
        return ()


class Meter(Protocol):
    """Measures a check of a rollout. Blocks."""

    def measure(self, place: Key, check: Json) -> Measured: ...


class Testing(Protocol):
    """``pre_traffic.Trials``."""

    def begin(
        self, key: Key, rollout: str, variants: Sequence[VariantRoute], requests: Sequence[Json]
    ) -> None: ...
    def verdict(self, key: Key, rollout: str) -> Tried | None: ...
    def end(self, key: Key) -> None: ...


class RolloutWatch:
    """Of all endpoints. Without a ``meter`` checks have no data; without ``tests`` nothing passes one."""

    def __init__(
        self,
        clock: Clock,
        *,
        alarms: AlarmStates | None = None,
        meter: Meter | None = None,
        tests: Testing | None = None,
    ) -> None:
        self.alarms = alarms or NoAlarms()
        self._clock = clock
        self._meter = meter
        self._tests = tests
        self._since: dict[Key, float] = {}
        self._looked: dict[Key, float] = {}
        self._looking: dict[Key, float] = {}

    def forget(self, key: Key) -> None:
        """Nothing is rolled out there."""
        self._since.pop(key, None)
        self._looked.pop(key, None)
        self._looking.pop(key, None)
        if self._tests is not None:
            self._tests.end(key)

    def kept(self, key: Key) -> None:
        """What was decided on the last look is stored: alarms that it heard have been heard."""
        if key in self._looking:
            self._looked[key] = self._looking.pop(key)

    async def look(self, resource: Resource, memory: Memory) -> Watch:
        """Its time is added up in steps, so that not each look is a write."""
        rollout, key = memory.rollout, resource.key
        if rollout is None or memory.target is None:
            self.forget(key)
            return Watch()
        now = self._clock.now()
        # An alarm may ring for less than a look's interval: what rang while the traffic of a stage was watched counts.
        # What control looked at before it was killed led to what is stored, or to nothing.
        since = self._looked.get(key, resource.updated_at)
        ringing = self.alarms.ringing(key.account, key.region, alarms_of(rollout), since=since)
        self._looking[key] = now
        is_news = any(name not in rollout.noted for name in ringing)
        word = resource.spec.get("steering") or {}
        seconds = self._seconds(key, rollout, is_news=is_news)
        return Watch(
            seconds=seconds,
            ringing=ringing,
            hold=word.get("hold", False),
            go=is_hurried(resource, rollout),
            abort=word.get("abort", False),
            passed=word.get("passed", -1),
            trusted=word.get("trusted", 0),
            measured=await self._measured(resource, rollout, seconds),
            tried=self._verdict(key, rollout, rollout_id(memory.target)),
        )

    def test(self, resource: Resource, step: TryFleet) -> None:
        """Have the new fleet tested, if that is not done already."""
        if self._tests is not None:
            requests = resource.spec.get(TRIALS, {}).get("test", ())
            self._tests.begin(resource.key, step.rollout, step.variants, requests)

    def _seconds(self, key: Key, rollout: Rollout, *, is_news: bool) -> float:
        now = self._clock.monotonic()
        seconds = now - self._since.setdefault(key, now)
        if seconds < min(_SAVE_SECONDS, seconds_left(rollout)) and not is_news:
            return 0.0
        self._since[key] = now
        return seconds

    async def _measured(
        self, resource: Resource, rollout: Rollout, seconds: float
    ) -> tuple[Measured, ...]:
        kept = {
            one["check"]["name"]: one for one in resource.spec.get(TRIALS, {}).get("checks", ())
        }
        return tuple(
            [
                await asyncio.to_thread(self._meter.measure, resource.key, kept[check.name])
                if self._meter is not None and check.name in kept
                else Measured(name=check.name, value=None)
                for check in due_checks(rollout, seconds)
            ]
        )

    def _verdict(self, key: Key, rollout: Rollout, name: str) -> Tried | None:
        is_open = bool(rollout.policy.tests) and rollout.tried is None and self._tests is not None
        return self._tests.verdict(key, name) if is_open and self._tests is not None else None


class CheckMeter:
    """``Meter`` of what was measured: the newest closed period, of those within the check's interval, that has a value."""

    def __init__(self, metrics: MetricStore, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def measure(self, place: Key, check: Json) -> Measured:
        """No value where there is none, and where the store does not answer."""
        name, period = check["check"]["name"], check["period"]
        now = self._clock.now()
        end = (now - SETTLE_SECONDS) // period * period
        start = end - check["check"]["interval"] // period * period
        window = Window(self._metrics, place, start, end, period, now)
        try:
            stats = {
                one["Id"]: window.series(
                    one["MetricStat"]["Metric"],
                    one["MetricStat"]["Stat"],
                    one["MetricStat"].get("Unit"),
                )
                for one in check["metrics"]
                if "MetricStat" in one
            }
            expressions = {one["Id"]: one.get("Expression", "") for one in check["metrics"]}
            found = evaluate_all({**expressions, _RESULT: check["check"]["expression"]}, stats)
        except (sqlite3.Error, ServiceError) as error:
            logger.warning("check %s of %s has no value: %s", name, place.name, error)
            return Measured(name=name, value=None)
        points = found.pop(_RESULT).points
        if not points:
            return Measured(name=name, value=None)
        at = max(points)
        inputs = {one: series.points[at] for one, series in found.items() if at in series.points}
        return Measured(name=name, value=points[at], inputs=inputs)


def alarms_of(rollout: Rollout) -> tuple[str, ...]:
    """Those that it is watched by, the ones of the dry run included."""
    return (*rollout.policy.alarms, *rollout.policy.dry_run)


def is_hurried(resource: Resource, rollout: Rollout | None) -> bool:
    """Whether a person has ended this stage's bake."""
    word = resource.spec.get("steering") or {}
    return rollout is not None and rollout.shifted and word.get("go") == rollout.stage

"""The test before traffic, run: a new fleet's replicas answer its requests, one after the other, and the answers are judged.

What is found is kept here until the reconciler has taken it over. A killed control begins again, and so does a test whose replica
went away: only answers are held against a version. The requests pass no gateway, so they are in nobody's counts.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Protocol

import msgspec

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.pre_traffic import SECONDS_MAX, Trial, Tried, described, judge
from modelyard.domain.routes import VariantRoute
from modelyard.domain.shadow import Answer
from modelyard.store.resources import Json, Key

logger = logging.getLogger(__name__)
ATTEMPTS_MAX = 3
"""So often a test begins that ends without an answer."""
_UNANSWERED = ("ThrottlingException", "ServiceUnavailable")


class TrialPlane(Protocol):
    """Asks replicas that are in no routing table yet; ``server.trial_plane``."""

    def open(self, key: Key, variants: Sequence[VariantRoute]) -> None:
        """Connect to them."""

    async def ask(self, key: Key, variant: str, trial: Trial) -> Answer:
        """What the replica of that variant answers. Raises ``ServiceError``."""

    def close(self, key: Key) -> None:
        """Let go of them."""


@dataclass(slots=True)
class _Run:
    rollout: str
    attempts: int = 0
    task: "asyncio.Task[Tried | None] | None" = None
    tried: Tried | None = None
    unanswered: str = field(default="")


class _Unanswered(Exception):
    """There was no answer to judge."""


class Trials:
    """At most one test for each endpoint. ``wake`` is told when one has ended."""

    def __init__(self, *, plane: TrialPlane, clock: Clock, wake: Callable[[Key], None]) -> None:
        self._plane = plane
        self._clock = clock
        self._wake = wake
        self._runs: dict[Key, _Run] = {}

    def begin(
        self, key: Key, rollout: str, variants: Sequence[VariantRoute], requests: Sequence[Json]
    ) -> None:
        """Test these replicas, unless that goes on or is done."""
        run = self._runs.get(key)
        if run is None or run.rollout != rollout:
            self.end(key)
            run = self._runs[key] = _Run(rollout)
        if run.task is not None or run.tried is not None:
            return
        run.attempts += 1
        trials = [msgspec.convert(one, Trial) for one in requests]
        run.task = asyncio.create_task(
            self._run(key, variants, trials), name=f"control.test.{key.name}"
        )
        run.task.add_done_callback(lambda task: self._ended(key, run, task))

    def verdict(self, key: Key, rollout: str) -> Tried | None:
        """What came of the test of this rollout; None before that."""
        run = self._runs.get(key)
        return run.tried if run is not None and run.rollout == rollout else None

    def end(self, key: Key) -> None:
        """Nobody asks about it any more."""
        run = self._runs.pop(key, None)
        if run is not None and run.task is not None:
            run.task.cancel()

    async def close(self) -> None:
        """End all."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for key in list(self._runs):
            self.end(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: Key, run: _Run, task: "asyncio.Task[Tried | None]") -> None:
        run.task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            run.tried = task.result()
        elif not isinstance(error, _Unanswered):
            logger.error("the test of %s failed to run", key.name, exc_info=error)
        if error is not None and run.attempts >= ATTEMPTS_MAX:
            why = str(error) if isinstance(error, _Unanswered) else "an error of the platform's own"
            failure = f"The test before traffic could not be run, {run.attempts} times: {why}"
            run.tried = Tried(sent=0, passed=0, failure=failure)
        self._wake(key)

    async def _run(
        self, key: Key, variants: Sequence[VariantRoute], trials: Sequence[Trial]
    ) -> Tried:
        places = {one.name: replica_routes(one) for one in variants if one.replicas}
        self._plane.open(key, [place for found in places.values() for place in found])
        try:
            return await self._ask_all(key, places, trials)
        finally:
            self._plane.close(key)

    async def _ask_all(
        self, key: Key, places: dict[str, list[VariantRoute]], trials: Sequence[Trial]
    ) -> Tried:
        """Each request to each variant that it is for, to its replicas by turns; the first wrong answer is the last."""
        began, slowest = self._clock.monotonic(), 0.0
        turns = {name: cycle(found) for name, found in places.items()}
        plan = [
            (number, trial, name)
            for number, trial in enumerate(trials, start=1)
            for name in places
            if trial.variant in ("", name)
        ]
        for done, (number, trial, name) in enumerate(plan):
            place = f"request {number} of {len(trials)} to variant {name}"
            at = self._clock.monotonic()
            if at - began > SECONDS_MAX:
                late = f"The test before traffic took longer than {SECONDS_MAX:g} seconds: {place} was not sent."
                return Tried(sent=done, passed=done, slowest_ms=slowest, failure=late)
            failure, milliseconds = await self._ask(key, next(turns[name]).name, trial, place, at)
            slowest = max(slowest, milliseconds)
            if failure:
                return Tried(sent=done + 1, passed=done, slowest_ms=slowest, failure=failure)
        return Tried(sent=len(plan), passed=len(plan), slowest_ms=slowest)

    async def _ask(
        self, key: Key, replica: str, trial: Trial, place: str, at: float
    ) -> tuple[str, float]:
        """What is wrong with the answer, and how long it took in milliseconds."""
        try:
            answer = await self._plane.ask(key, replica, trial)
        except ServiceError as error:
            if error.code in _UNANSWERED:
                raise _Unanswered(f"{place} got no answer: {error.message}") from error
            milliseconds = (self._clock.monotonic() - at) * 1000
            failed = f"The test before traffic failed: {place} was not answered: {error.message}"
            return failed, milliseconds
        milliseconds = (self._clock.monotonic() - at) * 1000
        wrong = judge(trial.expected, answer, milliseconds=milliseconds)
        if not wrong:
            return "", milliseconds
        return described(place, answer, milliseconds=milliseconds, wrong=wrong), milliseconds


def replica_routes(variant: VariantRoute) -> list[VariantRoute]:
    """The variant's replicas one by one, each with a name of its own."""
    return [
        msgspec.structs.replace(
            variant, name=f"{variant.name}/{place}", replicas=(replica,), retry=True
        )
        for place, replica in enumerate(variant.replicas)
    ]

"""A rollout's ledger, read off the memories that decisions leave behind."""

from typing import Any

import msgspec

from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.fleet import Container, Fleet, Variant
from modelyard.domain.ledger import (
    DECISIONS_MAX,
    KEPT_MAX,
    AlarmSeen,
    Ledger,
    Now,
    closed,
    follow,
    totals_of,
)
from modelyard.domain.ledger_book import PageCounts
from modelyard.domain.pre_traffic import Tried
from modelyard.domain.rollout import Facts, Policy, Rollout, Size, advance
from modelyard.domain.rollout_checks import Check, Measured

HALF = Size(kind="CAPACITY_PERCENT", value=50)
CANARY = Policy(kind="CANARY", size=HALF, wait=10.0, termination_wait=5.0, alarms=("bad",))
READY = {"all": 2}


def fleet(generation: int) -> Fleet:
    container = Container(name="primary", image="i", runtime="python")
    variant = Variant(name="all", instance_type="t", count=2, weight=1.0, containers=(container,))
    return Fleet(
        owner="me",
        generation=generation,
        created_at=0.0,
        variants=(variant,),
        config_name=f"c{generation}",
    )


class Course:
    """A rollout that is advanced, with its ledger."""

    def __init__(self, policy: Policy = CANARY) -> None:
        self.at = 100.0
        self.ledgers: list[Ledger] = []
        self.blue_ready = READY
        self.memory = Memory(serving=fleet(1))
        rollout = Rollout(policy=policy, blue=READY, green=READY)
        self.become(msgspec.structs.replace(self.memory, target=fleet(2), rollout=rollout))

    def become(
        self, memory: Memory, *, by_hand: bool = False, ended: Rollout | None = None
    ) -> None:
        self.at += 1.0
        alarms = (AlarmSeen(name="bad", state="OK", reason=""),)
        now = Now(at=self.at, alarms=alarms, by_hand=by_hand, ended=ended)
        self.ledgers = follow(self.ledgers, self.memory, memory, now)
        self.memory = memory

    def step(
        self, *, watched: float = 0.0, go: bool = False, ringing: tuple[str, ...] = (), **more: Any
    ) -> None:
        assert self.memory.rollout is not None
        facts = Facts(
            watched=watched,
            green_ready=READY,
            blue_ready=self.blue_ready,
            ringing=ringing,
            go=go,
            **more,
        )
        after, outcome = advance(self.memory.rollout, facts)
        changes = {"rollout": after}
        if outcome == "promoted":
            changes = {"rollout": None, "target": None, "serving": fleet(2)}  # type: ignore[dict-item]
        if outcome == "rolled-back":
            changes = {"rollout": None, "target": None, "refused": 2, "failure": after.back}  # type: ignore[dict-item]
        ended = None if outcome == "running" else after
        self.become(msgspec.structs.replace(self.memory, **changes), by_hand=go, ended=ended)

    @property
    def acts(self) -> list[str]:
        return [one.act for one in self.ledgers[-1].decisions]


def test_a_canary_that_is_promoted_tells_each_step_with_the_share_that_followed() -> None:
    course = Course()
    for watched in (0.0, 10.0, 0.0, 5.0):
        course.step(watched=watched)
    (ledger,) = course.ledgers
    assert course.acts == ["begun", "traffic moved", "bake over", "traffic moved", "promoted"]
    assert [one.shares["all"] for one in ledger.decisions] == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert (ledger.from_config, ledger.to_config, ledger.outcome) == ("c1", "c2", "promoted")
    assert ledger.decisions[2].why == "10 s without an alarm"
    assert ledger.decisions[0].alarms[0].name == "bad"
    assert not ledger.closed


def test_an_alarm_is_the_reason_that_is_kept() -> None:
    course = Course()
    course.step()
    course.step(ringing=("bad",))
    assert course.acts == ["begun", "traffic moved", "rolled back"]
    assert "Alarm bad was in ALARM" in course.ledgers[0].reason
    assert course.ledgers[0].decisions[-1].shares == {"all": 0.0}


def test_a_persons_word_is_told_from_a_bake_that_ran_out() -> None:
    course = Course()
    course.step()
    course.step(go=True)
    assert course.acts[-1] == "bake ended by hand"


def test_a_rolling_update_goes_back_by_steps_of_its_own() -> None:
    course = Course(Policy(kind="ROLLING", size=HALF, wait=10.0, alarms=("bad",)))
    course.step()
    course.blue_ready = {"all": 1}
    course.step(ringing=("bad",))
    assert course.acts[-1] == "going back"
    course.blue_ready = READY
    course.step()
    assert course.acts[-1] == "rolled back"


def test_a_rollback_that_failed_is_told_and_goes_on_until_another_update() -> None:
    course = Course(Policy(kind="ROLLING", size=HALF, wait=10.0, alarms=("bad",)))
    course.step()
    course.blue_ready = {"all": 1}
    course.step(ringing=("bad",))
    course.become(msgspec.structs.replace(course.memory, failure="blue cannot start either"))
    (ledger,) = course.ledgers
    assert (ledger.outcome, ledger.reason) == ("rollback failed", "blue cannot start either")
    assert not ledger.ended
    rollout = Rollout(policy=CANARY, blue=READY, green=READY)
    course.become(
        msgspec.structs.replace(course.memory, target=fleet(3), rollout=rollout, failure="")
    )
    assert [one.outcome for one in course.ledgers] == ["superseded", "running"]


def test_what_nothing_was_decided_in_changes_nothing() -> None:
    course = Course()
    before = course.ledgers
    course.become(course.memory)
    assert course.ledgers == before


def test_a_change_that_takes_its_place_ends_a_rollout() -> None:
    course = Course()
    rollout = Rollout(policy=CANARY, blue=READY, green=READY)
    course.become(msgspec.structs.replace(course.memory, target=fleet(3), rollout=rollout))
    first, second = course.ledgers
    assert (first.outcome, second.outcome, second.to_config) == ("superseded", "running", "c3")


def test_only_the_newest_are_kept_and_each_is_bounded() -> None:
    course = Course()
    for generation in range(3, 3 + KEPT_MAX + 2):
        rollout = Rollout(policy=CANARY, blue=READY, green=READY)
        course.become(
            msgspec.structs.replace(course.memory, target=fleet(generation), rollout=rollout)
        )
    assert len(course.ledgers) == KEPT_MAX
    small = Policy(kind="LINEAR", size=Size(kind="INSTANCE_COUNT", value=1))
    many = {"all": 200}
    course = Course()
    start = Rollout(policy=small, blue=many, green=many)
    course.become(msgspec.structs.replace(course.memory, target=fleet(9), rollout=start))
    for stage in range(DECISIONS_MAX + 10):
        rollout = msgspec.structs.replace(start, stage=stage + 1)
        course.become(msgspec.structs.replace(course.memory, rollout=rollout))
    ledger = course.ledgers[-1]
    assert len(ledger.decisions) == DECISIONS_MAX
    assert ledger.left_out == 11
    assert ledger.decisions[-1].stage == DECISIONS_MAX + 11


def test_what_has_not_ended_when_a_ledger_is_closed_is_lost() -> None:
    course = Course()
    counts = PageCounts(accepted=10, left=1, cut=2, refused={"ServiceUnavailable": 3})
    counts.green.answered = 3
    ledger = closed(course.ledgers[0], counts)
    assert ledger.closed
    assert (ledger.totals.lost, ledger.totals.in_flight) == (1, 0)
    assert totals_of(counts).in_flight == 1


TRIED = msgspec.structs.replace(
    CANARY,
    wait=60.0,
    tests=2,
    checks=(Check(name="c", expression="e", condition="<= 1", interval=10.0, failures_max=1),),
)


def test_a_test_and_checks_are_told_with_their_values_up_to_the_one_that_sent_it_back() -> None:
    course = Course(TRIED)
    course.step(tried=Tried(sent=2, passed=2, slowest_ms=7.0))
    for value in (0.5, 0.6, 2.0, None):
        course.step(watched=10.0, measured=(Measured(name="c", value=value, inputs={"e": 3.0}),))
    course.step(trusted=1)
    course.step(watched=10.0, measured=(Measured(name="c", value=4.0),), trusted=1)
    assert course.acts == [
        "begun", "tested", "traffic moved", "check passed", "check failed", "check inconclusive",
        "waits in doubt", "goes on", "check failed", "rolled back",
    ]  # fmt: skip
    (ledger,) = course.ledgers
    assert ledger.test == Tried(sent=2, passed=2, slowest_ms=7.0)
    (check,) = ledger.checks
    assert (check.passed, check.failed, check.inconclusive) == (2, 2, 1)
    assert check.values == [0.5, 0.6, 2.0, None, 4.0]
    told = {one.act: one.why for one in ledger.decisions}
    assert told["check passed"] == "c: e was 0.5, and has to be <= 1 (e 3)"
    assert "Check c failed 2 times" in ledger.reason
    assert ledger.decisions[-1].checks == {"c": 4.0}


def test_a_failed_test_is_the_reason_and_is_kept() -> None:
    course = Course(TRIED)
    course.step(tried=Tried(sent=1, passed=0, failure="request 1 was answered 500"))
    assert course.acts == ["begun", "rolled back"]
    assert course.ledgers[0].reason == "request 1 was answered 500"
    assert course.ledgers[0].test is not None

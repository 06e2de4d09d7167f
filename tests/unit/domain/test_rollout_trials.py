"""Checks and tests of a rollout: what is counted, what sends it back, what waits for a person, and what the ledger tells."""

from typing import Any

import msgspec
import pytest

from modelyard.domain import rollout_checks
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_plan import plan
from modelyard.domain.endpoint_steps import Endpoint, Rules, SaveStatus, Watch
from modelyard.domain.fleet import Container, Fleet, Variant
from modelyard.domain.pre_traffic import Expected, Tried, described, judge
from modelyard.domain.rollout import (
    Facts,
    Policy,
    Rollout,
    Size,
    advance,
    due_checks,
    seconds_left,
    wants_test,
)
from modelyard.domain.rollout_checks import Check, Measured, parse_condition
from modelyard.domain.shadow import Answer

READY = {"all": 2}
CHECK = Check(
    name="errors",
    expression="100 * e / n",
    condition="<= 1",
    interval=10.0,
    delay=5.0,
    failures_max=1,
    inconclusive_max=1,
)
POLICY = Policy(
    kind="CANARY",
    size=Size(kind="CAPACITY_PERCENT", value=50),
    wait=100.0,
    termination_wait=60.0,
    checks=(CHECK,),
)


def facts(watched: float = 0.0, **changes: Any) -> Facts:
    return Facts(watched=watched, green_ready=READY, blue_ready=READY, **changes)


def baking(**changes: Any) -> Rollout:
    policy = msgspec.structs.replace(POLICY, **changes)
    rollout, _ = advance(Rollout(policy=policy, blue=READY, green=READY), facts())
    assert rollout.shifted
    return rollout


def measured(rollout: Rollout, *values: float | None, **changes: Any) -> tuple[Rollout, str]:
    """After so many intervals, each with its value."""
    outcome = ""
    for value in values:
        watched = seconds_left(rollout)
        assert due_checks(rollout, watched) == (CHECK,)
        one = Measured(name="errors", value=value, inputs={"e": 1.0})
        rollout, outcome = advance(rollout, facts(watched, measured=(one,), **changes))
    return rollout, outcome


def test_a_check_is_due_one_interval_after_its_delay_and_then_each_interval() -> None:
    rollout = baking()
    assert seconds_left(rollout) == 15.0
    assert due_checks(rollout, 14.9) == ()
    rollout, outcome = measured(rollout, 0.5)
    assert (outcome, seconds_left(rollout)) == ("running", 10.0)
    assert rollout.checked["errors"].recent == (0.5,)
    assert due_checks(rollout, 9.9) == ()


def test_nothing_is_due_before_the_new_version_has_traffic() -> None:
    rollout = Rollout(policy=POLICY, blue=READY, green=READY)
    assert due_checks(rollout, 1000.0) == ()
    assert seconds_left(rollout) == float("inf")


def test_so_many_failures_are_tolerated_and_one_more_goes_back_with_the_values() -> None:
    rollout, outcome = measured(baking(), 3.0, 0.5)
    assert (outcome, rollout.back) == ("running", "")
    rollout, outcome = measured(rollout, 4.5)
    assert outcome == "rolled-back"
    assert "Check errors failed 2 times" in rollout.back
    assert "100 * e / n was 3, 4.5, and has to be <= 1 (e 1)" in rollout.back


def test_without_a_limit_failures_are_counted_and_nothing_goes_back() -> None:
    free = msgspec.structs.replace(CHECK, failures_max=-1)
    rollout = baking(checks=(free,))
    for _ in range(5):
        one = Measured(name="errors", value=9.0)
        rollout, outcome = advance(rollout, facts(seconds_left(rollout), measured=(one,)))
        assert outcome == "running"
    assert rollout.checked["errors"].failed == 5


def test_no_data_beyond_its_limit_waits_for_a_person_and_the_next_doubt_for_another_word() -> None:
    rollout, _ = measured(baking(), None, None)
    assert "had no data 2 times" in rollout.doubt
    baked = rollout.baked
    rollout, outcome = measured(rollout, 0.2)
    assert (outcome, rollout.baked) == ("running", baked), "it does not bake on"
    rollout, outcome = advance(rollout, facts(500.0))
    assert (outcome, rollout.baked) == ("running", baked)
    rollout, _ = advance(rollout, facts(trusted=1))
    assert rollout.doubt == ""
    rollout, _ = measured(rollout, None, trusted=1)
    assert rollout.doubt == "", "what was before is excused"
    rollout, _ = measured(rollout, None, trusted=1)
    assert rollout.doubts == 2
    assert rollout.doubt


def test_a_doubtful_rollout_goes_back_when_a_check_fails_or_its_time_is_over() -> None:
    doubtful, _ = measured(baking(timeout=600.0), None, None)
    assert measured(doubtful, 2.0, 2.0)[1] == "rolled-back"
    assert advance(doubtful, facts(600.0))[1] == "rolled-back"


def test_a_doubt_holds_the_next_stage_s_shift_too() -> None:
    rollout, _ = measured(baking(), 0.1, None)
    rollout, _ = advance(rollout, facts(go=True))
    assert (rollout.stage, rollout.shifted) == (1, False)
    one = Measured(name="errors", value=None)
    rollout, _ = advance(rollout, facts(seconds_left(rollout), measured=(one,)))
    assert rollout.doubt
    assert not rollout.shifted
    rollout, _ = advance(rollout, facts(trusted=1))
    assert rollout.shifted


def test_a_value_that_is_no_number_is_no_data() -> None:
    rollout, _ = measured(baking(), float("nan"))
    assert rollout.checked["errors"].inconclusive == 1


def test_the_newest_values_are_kept_and_no_more() -> None:
    tally = rollout_checks.first_tally(CHECK, elapsed=0.0)
    for value in range(30):
        one = Measured(name="errors", value=float(value))
        tally = rollout_checks.counted(CHECK, tally, one, elapsed=0.0)
    assert tally.recent == tuple(map(float, range(10, 30)))


@pytest.mark.parametrize("text", ["", "0.9", "== 1", "> x", ">= 1 or 2", "> 1e999"])
def test_what_is_no_condition_is_none(text: str) -> None:
    assert parse_condition(text) is None


@pytest.mark.parametrize("kind", ["ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING"])
def test_no_traffic_moves_before_the_test_and_its_failure_goes_back(kind: Any) -> None:
    policy = msgspec.structs.replace(POLICY, kind=kind, tests=3, gate="before-traffic")
    rollout = Rollout(policy=policy, blue=READY, green=READY)
    assert not wants_test(rollout, {"all": 0}), "there is nobody to ask yet"
    waiting, outcome = advance(rollout, facts(passed=0))
    assert (waiting.shifted, waiting.at_gate, outcome) == (False, False, "running")
    assert wants_test(waiting, READY)
    gated, _ = advance(waiting, facts(tried=Tried(sent=3, passed=3)))
    assert gated.at_gate, "a person lets through what has passed"
    assert not wants_test(gated, READY)
    assert advance(gated, facts(passed=0))[0].shifted
    failed = Tried(sent=2, passed=1, failure="request 2 was answered 500")
    back, outcome = advance(waiting, facts(tried=failed))
    assert (outcome, back.back) == ("rolled-back", "request 2 was answered 500")
    assert back.tried == failed


def answer(body: bytes = b"", status: int = 200) -> Answer:
    return Answer(status, "application/json", body)


@pytest.mark.parametrize(
    ("expected", "given", "is_right"),
    [
        (Expected(), answer(b"anything"), True),
        (Expected(), answer(status=500), False),
        (Expected(status=400), answer(status=400), True),
        (Expected(body="1.0, 2.0"), answer(b"1.0,2.0\n"), True),
        (Expected(body="1.0,2.0"), answer(b"1.0,2.1"), False),
        (Expected(body="1.0,2.0", within=0.1), answer(b"1.0,2.1"), True),
        (Expected(body="1.0"), answer(b"1.0" + b" " * 70_000), False),
        (Expected(body="x" * 20_000 + "y"), answer(b"x" * 20_000 + b"z"), False),
        (
            Expected(body={"a": [1, True], "b": None}),
            answer(b'{"b": null, "a": [1.0, true]}'),
            True,
        ),
        (Expected(body={"a": [1]}), answer(b'{"a": [1, 2]}'), False),
        (Expected(body={"a": 1}), answer(b'{"a": true}'), False),
        (Expected(body={"a": 1}), answer(b'{"b": 1}'), False),
        (Expected(body=[1.0], within=0.01), answer(b"[1.005]"), True),
        (Expected(body=[1.0], within=0.01), answer(b"[1.02]"), False),
        (Expected(body=[1.0]), answer(b"no json"), False),
        (Expected(body=[1.0]), answer(b"[" * 100_000), False),
        (Expected(latency_ms_max=50.0), answer(), True),
        (Expected(latency_ms_max=5.0), answer(), False),
    ],
)
def test_an_answer_is_right_or_wrong(expected: Expected, given: Answer, is_right: bool) -> None:
    wrong = judge(expected, given, milliseconds=20.0)
    assert (wrong == "") == is_right, wrong


def test_what_was_wrong_is_told_with_the_answer_in_short() -> None:
    wrong = judge(Expected(body="1"), answer(b"2\n" * 5000), milliseconds=3.0)
    told = described("request 1 of 2", answer(b"2\n" * 5000), milliseconds=3.0, wrong=wrong)
    assert told.startswith("The test before traffic failed: request 1 of 2 was answered 200 '2 2 2")
    assert told.endswith("in 3 ms; expected 1.")
    assert len(told) < 400


def test_an_expected_body_survives_being_kept() -> None:
    for one in (Expected(), Expected(body=None), Expected(body={"a": 1}), Expected(body="x")):
        assert msgspec.convert(msgspec.to_builtins(one), Expected) == one


def test_what_was_seen_of_the_fleet_before_says_nothing_of_the_one_that_takes_its_place() -> None:
    container = Container(name="primary", image="modelyard/python", runtime="python")
    variant = Variant(name="all", instance_type="", count=2, weight=1.0, containers=(container,))
    first, second, third = (
        Fleet(owner="me", generation=number, created_at=0.0, variants=(variant,))
        for number in (1, 2, 3)
    )
    policy = Policy(kind="ROLLING", tests=1)
    stuck = Rollout(policy=policy, blue=READY, green=READY, back="The deployment was aborted.")
    memory = Memory(serving=first, target=second, rollout=stuck, failure="It cannot go back.")
    decided = plan(
        Endpoint(generation=3, deleting=False, memory=memory, proposal=third, policy=policy),
        {},
        now=100.0,
        rules=Rules(startup_seconds=60.0, restart_attempts=2),
        watch=Watch(seconds=7.0, tried=Tried(sent=1, passed=1)),
    )
    (saved,) = (step for step in decided.steps if isinstance(step, SaveStatus))
    assert saved.memory.target == third
    assert saved.memory.rollout == Rollout(policy=policy, blue=READY, green=READY)

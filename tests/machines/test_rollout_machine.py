"""Rollouts of every kind under alarms, failures, pauses and lost instances: what must hold at each look."""

from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings

from modelyard.domain.pre_traffic import Tried
from modelyard.domain.rollout import (
    Extent,
    Facts,
    Policy,
    Rollout,
    Size,
    advance,
    due_checks,
    extent,
    is_gated,
    seconds_left,
    shares,
    stages,
    waits,
    wants_test,
)
from modelyard.domain.rollout_checks import Check, Measured

COUNTS = st.dictionaries(st.sampled_from("ab"), st.integers(1, 12), min_size=1)
SIZES = st.one_of(
    st.builds(Size, kind=st.just("INSTANCE_COUNT"), value=st.integers(1, 6)),
    st.builds(Size, kind=st.just("CAPACITY_PERCENT"), value=st.integers(1, 50)),
)
POLICIES = st.builds(
    Policy,
    kind=st.sampled_from(["ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING"]),
    size=SIZES,
    wait=st.sampled_from([0.0, 30.0, 300.0]),
    termination_wait=st.sampled_from([0.0, 60.0]),
    rollback_size=SIZES,
    alarms=st.just(("bad",)),
    dry_run=st.just(("noise",)),
)
CHECKS = st.builds(
    Check,
    name=st.just("c"),
    expression=st.just("e"),
    condition=st.just("<= 1"),
    interval=st.sampled_from([10.0, 60.0]),
    delay=st.sampled_from([0.0, 25.0]),
    failures_max=st.sampled_from([-1, 0, 2]),
    inconclusive_max=st.sampled_from([-1, 0, 1]),
)
GATES = st.sampled_from(["", "before-traffic", "each-step"])


def ready(counts: dict[str, int], data: st.DataObject, *, all_ready: bool) -> dict[str, int]:
    if all_ready:
        return dict(counts)
    return {name: data.draw(st.integers(0, count)) for name, count in counts.items()}


def check(rollout: Rollout, now: Extent) -> None:
    for name in {*rollout.blue, *rollout.green}:
        blue, green = rollout.blue.get(name, 0), rollout.green.get(name, 0)
        blue_on, green_on = now.blue_on.get(name, 0), now.green_on.get(name, 0)
        assert blue_on <= now.blue.get(name, 0), "no traffic to what does not exist"
        assert green_on <= now.green.get(name, 0)
        if blue and green:
            assert blue_on + green_on >= min(blue, green), (
                "capacity never falls below both fleets' own"
            )
        if rollout.policy.kind == "ROLLING" and blue == green and not rollout.back:
            batch = rollout.policy.size.of(green)
            assert now.blue.get(name, 0) + now.green.get(name, 0) <= blue + batch, "one batch extra"
        if blue_on or green_on:
            assert abs(sum(shares(now, name)) - 1.0) < 1e-9


@settings(deadline=None)
@given(POLICIES, GATES, COUNTS, COUNTS, st.data())
def test_whatever_happens_capacity_holds_and_the_rollout_ends(
    policy: Policy, gate: Any, blue: dict[str, int], green: dict[str, int], data: st.DataObject
) -> None:
    policy = msgspec.structs.replace(policy, gate=gate)
    rollout = Rollout(policy=policy, blue=blue, green=green)
    outcome = "running"
    fails = data.draw(st.booleans(), label="something goes wrong")
    for turn in range(400):
        now = extent(rollout)
        check(rollout, now)
        trouble: dict[str, Any] = {}
        if fails and not rollout.back and data.draw(st.integers(0, 9)) == 0:
            trouble = data.draw(
                st.sampled_from(
                    [{"ringing": ("bad",)}, {"failure": "dead"}, {"abort": True}, {"hold": True}]
                )
            )
        elif data.draw(st.integers(0, 9)) == 0:
            trouble = {"ringing": ("noise",)}
        settled = turn > 60 or data.draw(st.booleans())
        facts = Facts(
            watched=data.draw(st.sampled_from([0.0, 7.0, 100.0])) if turn < 60 else 100.0,
            green_ready=ready(now.green, data, all_ready=settled),
            blue_ready=ready(now.blue, data, all_ready=settled),
            passed=rollout.stage if settled and data.draw(st.booleans()) else rollout.stage - 1,
            **trouble,
        )
        went_back, before = bool(rollout.back), rollout
        rollout, outcome = advance(rollout, facts)
        if rollout.shifted and not before.shifted and is_gated(before):
            assert facts.passed == before.stage, "nothing passes a gate that nobody opened"
        assert "noise" not in rollout.back
        if trouble.get("ringing") == ("noise",) and before.shifted and not went_back:
            assert "noise" in rollout.noted
        assert not (went_back and not rollout.back), "there is no way forward again"
        if outcome != "running":
            break
    assert outcome in ("promoted", "rolled-back")
    assert (outcome == "promoted") == (not rollout.back)
    if outcome == "promoted":
        last = extent(rollout)
        assert last.green_on == green
        assert not any(last.blue_on.values())
    if rollout.policy.kind == "ROLLING" and outcome == "rolled-back":
        assert extent(rollout).blue == blue


@settings(deadline=None)
@given(POLICIES, GATES, st.lists(CHECKS, max_size=1), st.booleans(), COUNTS, st.data())
def test_checks_and_a_test_hold_a_rollout_back_and_are_counted_though_control_is_killed(
    policy: Policy,
    gate: Any,
    checks: list[Check],
    is_tested: bool,
    counts: dict[str, int],
    data: st.DataObject,
) -> None:
    policy = msgspec.structs.replace(policy, gate=gate, checks=tuple(checks), tests=int(is_tested))
    rollout = Rollout(policy=policy, blue=counts, green=counts)
    outcome, seen, trusted = "running", [], 0
    for _ in range(600):
        rollout = msgspec.json.decode(
            msgspec.json.encode(rollout), type=Rollout
        )  # killed, and back
        before, now = rollout, extent(rollout)
        watched = min(seconds_left(rollout), data.draw(st.sampled_from([3.0, 100.0])))
        if rollout.doubt and data.draw(st.booleans()):
            trusted = rollout.doubts
        measured = [
            Measured(name=one.name, value=data.draw(st.sampled_from([0.5, 2.0, None])))
            for one in due_checks(rollout, watched)
        ]
        seen += [one.value for one in measured]
        tried = None
        if wants_test(rollout, now.green):
            assert not any(now.green_on.values()), "it is tested before anybody is answered"
            tried = data.draw(
                st.sampled_from(
                    [None, Tried(sent=1, passed=1), Tried(sent=1, passed=0, failure="no")]
                )
            )
        rollout, outcome = advance(
            rollout,
            Facts(
                watched=watched,
                green_ready=now.green,
                blue_ready=now.blue,
                measured=tuple(measured),
                tried=tried,
                trusted=trusted,
                passed=rollout.stage,
            ),
        )
        if rollout.shifted and not before.shifted:
            assert not is_tested or rollout.tried == Tried(sent=1, passed=1)
        if before.doubt and rollout.doubt:
            assert (rollout.stage, rollout.baked) == (before.stage, before.baked), "it waits"
            assert outcome != "promoted"
        if rollout.back and not before.back:
            break
        if outcome != "running":
            break
    for check in checks if rollout.checked else []:
        tally = rollout.checked[check.name]
        failures, silences = seen.count(2.0), seen.count(None)
        assert (tally.passed, tally.failed, tally.inconclusive) == (
            seen.count(0.5),
            failures,
            silences,
        )
        has_failed = check.failures_max >= 0 and failures > check.failures_max
        assert has_failed == ("Check c failed" in rollout.back)
    if outcome == "promoted":
        assert not rollout.back
        assert not rollout.doubt
        assert extent(rollout).green_on == counts


@given(POLICIES, COUNTS)
def test_a_rollout_is_watched_for_exactly_its_bakes(policy: Policy, counts: dict[str, int]) -> None:
    rollout = Rollout(policy=policy, blue=counts, green=counts)
    outcome, watched = "running", 0.0
    for _ in range(1000):
        step = min(seconds_left(rollout), 1000.0) if rollout.shifted else 0.0
        watched += step
        now = extent(rollout)
        rollout, outcome = advance(
            rollout, Facts(watched=step, green_ready=now.green, blue_ready=now.blue)
        )
        if outcome != "running":
            break
    assert outcome == "promoted"
    assert watched == waits(policy, counts)


@given(POLICIES, COUNTS, COUNTS)
def test_stages_only_ever_turn_green_on_and_blue_off(
    policy: Policy, blue: dict[str, int], green: dict[str, int]
) -> None:
    way = stages(policy, blue, green)
    for before, after in pairwise(way):
        assert all(after.green[name] >= before.green[name] for name in green)
        assert all(after.blue[name] <= before.blue[name] for name in blue)
    assert way[-1].green == green
